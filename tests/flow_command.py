"""The running command, `fairway proxy`, in this thread's network namespace, and the API server that it follows."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from fairway.dataplanes.nftables import layout
from fairway.io.netlink.nftables import NftablesKernel
from fairway.values.address import Address, Family
from fairway.values.protocol import Protocol
from fake_api import FakeApi
from fake_storage import NODES, SERVICE_CIDRS, SERVICES, SLICES
from flow_cases import Tree
from flow_scenarios import Put, difference

PATIENCE = 20.0
"""Seconds until something that must happen is given up."""
PROGRAM = str(Path(sys.executable).parent / "fairway")
COLLECTIONS = {"Service": SERVICES, "EndpointSlice": SLICES, "Node": NODES, "ServiceCIDR": SERVICE_CIDRS}
_MARKERS = {Family.IPV4: Address.parse("172.30.255.254"), Family.IPV6: Address.parse("fd46:1::1")}
_BACKENDS = {Family.IPV4: Address.parse("10.254.0.0"), Family.IPV6: Address.parse("fd00:10:fe::")}
_NUMBERS = itertools.count(10001)
"""Of markers: each is new to the kernel, which outlives the proxies."""


class Command:
    """One process. A marker, a Service whose port and backends change after all else, says how far it has read."""

    def __init__(
        self, api: FakeApi, configuration: Tree, folder: Path, program: Sequence[str] = (PROGRAM, "proxy")
    ) -> None:
        self._api = api
        self._present: Sequence[Tree] = ()
        self._log = folder / "log"
        self._kernels = {family: NftablesKernel(family) for family in Family}
        (folder / "config.json").write_text(json.dumps(configuration))
        with self._log.open("wb") as log:
            arguments = [*program, "--config", str(folder / "config.json"), "--master", api.url]
            self.process = subprocess.Popen(arguments, stderr=log, stdout=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
        for kernel in self._kernels.values():
            kernel.close()

    def replace(self, objects: Sequence[Tree]) -> None:
        """All objects of the API from now on; returns when the kernel holds them. What stays alike is not written."""
        known = {json.dumps(tree, sort_keys=True) for tree in self._present}
        for event in difference(self._present, objects):
            collection, meta = COLLECTIONS[event.tree["kind"]], event.tree["metadata"]
            if not isinstance(event, Put):
                self._api.delete(collection, meta["name"], meta.get("namespace", ""))
            elif json.dumps(event.tree, sort_keys=True) not in known:
                self._api.put(collection, event.tree)
        self._present = objects
        self._mark()

    def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds, by looking often; the proxy must go on running."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"the proxy has ended: {self._log.read_text()}"
            assert time.monotonic() < deadline, f"it never came: {self._log.read_text()}"
            time.sleep(0.002)

    def _mark(self) -> None:
        number = next(_NUMBERS)
        meta = {"namespace": "marker", "name": "marker"}
        addresses = [str(address) for address in _MARKERS.values()]
        spec = {"clusterIP": addresses[0], "clusterIPs": addresses, "ports": [{"port": number}]}
        self._api.put(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
        for family in Family:
            head = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": str(family)}
            labels = {"kubernetes.io/service-name": "marker"}
            rows = {"endpoints": [{"addresses": [str(_backend(family, number))]}], "ports": [{"port": 9}]}
            self._api.put(SLICES, {**head, **rows, "metadata": {**meta, "name": f"marker-{family}", "labels": labels}})
        self.until(lambda: all(self.holds(family, number) for family in Family))

    def holds(self, family: Family, number: int) -> bool:
        """Whether the kernel holds this version of the marker."""
        kernel = self._kernels[family]
        found = kernel.get(layout.FRONTENDS, layout.frontend_key(_MARKERS[family], Protocol.TCP, number))
        if found is None:
            return False
        backend = kernel.get(layout.BACKENDS, layout.place_key(0, layout.Dispatch.unpack(found).svc))
        return backend == layout.address_data(_backend(family, number), 9)


def marker(family: Family) -> Address:
    """The marker's address."""
    return _MARKERS[family]


def _backend(family: Family, number: int) -> Address:
    first = _BACKENDS[family]
    return Address((int.from_bytes(first, "big") + number).to_bytes(len(first), "big"))
