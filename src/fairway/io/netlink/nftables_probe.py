"""Can the machine's own `nft` list our table? Tried in a scratch network namespace, never fatal.

Some versions abort on register rules that they do not understand, for `nft list ruleset` of everybody on the host. The
skeleton is built so that the known ones do not; a version that nobody tried yet is found out before it hurts.
"""

from __future__ import annotations

import shutil
import signal
import subprocess

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Dispatch, Policy
from fairway.dataplanes.nftables.skeleton import PodRanges, SkeletonSettings
from fairway.io.host import netns
from fairway.io.netlink.nftables import NftablesKernel
from fairway.reconcile.items import Action, Item, Operation
from fairway.values.address import Address, Family, Prefix
from fairway.values.errors import FairwayError
from fairway.values.protocol import Protocol

_SECONDS = 10


def find_listing_fault(program: str = "nft") -> str | None:
    """What goes wrong when `nft` lists our table, in one line; None if nothing does or there is no such program."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        with netns.scratch():
            for family in Family:
                _fill(family)
            faults = (_try([path, *options, "list", "ruleset"]) for options in ([], ["-j"]))
            return next((fault for fault in faults if fault), None)
    except (FairwayError, OSError) as error:
        return f"could not try whether {path} lists the fairway table: {error}"


def _try(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"{' '.join(command)} does not come to an end with the fairway table present"
    if done.returncode == 0:
        return None
    how = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
    said = done.stderr.strip().splitlines()
    return f"{' '.join(command)} fails with the fairway table present: {how}{f': {said[-1]}' if said else ''}"


def _fill(family: Family) -> None:
    """A table with an element in every container."""
    stages = {container.name: container.add_stage for container in layout.CONTAINERS}
    with NftablesKernel(family) as kernel:
        kernel.ensure_skeleton(SkeletonSettings(family, PodRanges(), drop_invalid=True, guard_localhost=True))
        wanted = sorted(_examples(family), key=lambda item: stages[item.container])
        kernel.apply([Operation(Action.ADD, item) for item in wanted])


def _examples(family: Family) -> list[Item]:
    network = Prefix.parse("192.0.2.0/24" if family is Family.IPV4 else "2001:db8::/64")
    address = Address(network.last)
    key, svc = layout.frontend_key(address, Protocol.TCP, 80), layout.svc_key(2)
    dispatch, target = Dispatch(2, Policy.PICK, 0).pack(), layout.address_data(address, 80)
    sets: dict[str, bytes] = {
        layout.PODS: layout.network_key(network),
        layout.SERVICE_CIDRS: layout.network_key(network),
        layout.TIMEOUTS: layout.number_key(10800),
        layout.RANGE_LENGTHS: layout.number_key(24),
        layout.SOURCE_RANGES: layout.range_key(2, network.address, network.length),
        layout.HAIRPIN: address + address,
        layout.CLUSTER_IPS: bytes(address),
    }
    maps = {
        layout.FRONTENDS: (key, dispatch),
        layout.INSIDE: (key, dispatch),
        layout.GUARDED: (key, dispatch),
        layout.COUNTS: (svc, layout.count_data(3, "namespace/name:port/tcp cluster")),
        layout.BACKENDS: (layout.place_key(0, 2), target),
        layout.BACKEND_IDS: (layout.place_key(0, 2), layout.id_data(1)),
        layout.ENDPOINTS: (layout.place_key(1, 2), target),
    }
    return [*(Item(n, k, b"") for n, k in sets.items()), *(Item(n, *pair) for n, pair in maps.items())]
