"""Every case by the running command: `fairway proxy` follows an API server, real packets follow the kernel."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairway.dataplanes.nftables import layout
from fairway.io.netlink.nftables import NftablesKernel
from fairway.values.address import Address, Family
from fairway.values.protocol import Protocol
from fake_api import FakeApi
from fake_storage import NODES, SERVICE_CIDRS, SERVICES, SLICES
from flow_cases import Tree
from flow_judge import assert_expected, observe
from flow_scenarios import Put, Scenario, Stage, difference, health_check_ports, node_addresses, widest_scenarios
from flow_world import Place, World

pytestmark = pytest.mark.kernel
PATIENCE = 20.0
_NUMBERS = itertools.count(10001)
"""Of markers: each is new to the kernel, which outlives every proxy of this file."""
COLLECTIONS = {"Service": SERVICES, "EndpointSlice": SLICES, "Node": NODES, "ServiceCIDR": SERVICE_CIDRS}
MARKERS = {Family.IPV4: Address.parse("172.30.255.254"), Family.IPV6: Address.parse("fd46:1::1")}
BACKENDS = {Family.IPV4: Address.parse("10.254.0.0"), Family.IPV6: Address.parse("fd00:10:fe::")}


def _groups() -> dict[str, list[Scenario]]:
    """Scenarios that one process can play one after another: those with the same configuration."""
    groups: dict[str, list[Scenario]] = {}
    for scenario in widest_scenarios():
        groups.setdefault(json.dumps(scenario.configuration, sort_keys=True), []).append(scenario)
    return {rows[0].name: rows for rows in groups.values()}


GROUPS = _groups()
HEALTH_CHECKS = health_check_ports(widest_scenarios())


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    rows = [scenario for group in GROUPS.values() for scenario in group]
    ports = set().union(*(scenario.ports for scenario in rows))
    taken = {(Place.NODE, port) for port in HEALTH_CHECKS}  # the proxy listens there
    with World(node_addresses(), ports, taken) as made, made.entered():
        yield made


@contextmanager
def running(api: FakeApi, configuration: Tree, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command, in this thread's namespace, until the end of the block; what it said is in `folder`/log."""
    (folder / "config.json").write_text(json.dumps(configuration))
    command = [str(Path(sys.executable).parent / "fairway"), "proxy", "--config", str(folder / "config.json")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--master", api.url], stderr=log, stdout=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


class Marker:
    """A Service whose port and backends say how far the proxy has read: each change of it comes after all before."""

    def __init__(self, api: FakeApi, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._api = api
        self._process = process
        self._log = folder / "log"
        self._kernels = {family: NftablesKernel(family) for family in Family}

    def wait(self) -> None:
        """Until the kernel holds everything that was put into the API so far."""
        number = next(_NUMBERS)
        meta = {"namespace": "marker", "name": "marker"}
        addresses = [str(address) for address in MARKERS.values()]
        spec = {"clusterIP": addresses[0], "clusterIPs": addresses, "ports": [{"port": number}]}
        self._api.put(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
        for family, first in BACKENDS.items():
            head = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": str(family)}
            labels = {"kubernetes.io/service-name": "marker"}
            rows = {"endpoints": [{"addresses": [str(_nth(first, number))]}], "ports": [{"port": 9}]}
            self._api.put(SLICES, {**head, **rows, "metadata": {**meta, "name": f"marker-{family}", "labels": labels}})
        self.until(lambda: all(self._is_there(family, number) for family in Family))

    def _is_there(self, family: Family, number: int) -> bool:
        kernel = self._kernels[family]
        found = kernel.get(layout.FRONTENDS, layout.frontend_key(MARKERS[family], Protocol.TCP, number))
        if found is None:
            return False
        backend = kernel.get(layout.BACKENDS, layout.place_key(0, layout.Dispatch.unpack(found).svc))
        return backend == layout.address_data(_nth(BACKENDS[family], number), 9)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self._process.poll() is None, f"the proxy has ended: {self._log.read_text()}"
            assert time.monotonic() < deadline, f"the kernel never held it: {self._log.read_text()}"
            time.sleep(0.002)


def _nth(first: Address, number: int) -> Address:
    return Address((int.from_bytes(first, "big") + number).to_bytes(len(first), "big"))


@pytest.mark.parametrize("name", GROUPS)
def test_flows_follow_the_api(name: str, world: World, tmp_path: Path) -> None:
    with FakeApi() as api:
        before: Sequence[Tree] = ()
        for tree in GROUPS[name][0].node:
            api.put(COLLECTIONS[tree["kind"]], tree)
        with running(api, GROUPS[name][0].configuration, tmp_path) as process:
            marker = Marker(api, process, tmp_path)
            for scenario in GROUPS[name]:
                for number, stage in enumerate(scenario.stages):
                    after = [*scenario.node, *stage.objects]
                    change(api, before, after)
                    marker.wait()
                    judge_soon(f"{scenario.name}, stage {number}", stage, world, marker)
                    before = after


def change(api: FakeApi, before: Sequence[Tree], after: Sequence[Tree]) -> None:
    """From one set of objects to another; what stays the same is not written."""
    known = {json.dumps(tree, sort_keys=True) for tree in before}
    for event in difference(before, after):
        collection, meta = COLLECTIONS[event.tree["kind"]], event.tree["metadata"]
        if not isinstance(event, Put):
            api.delete(collection, meta["name"], meta.get("namespace", ""))
        elif json.dumps(event.tree, sort_keys=True) not in known:
            api.put(collection, event.tree)


def judge_soon(label: str, stage: Stage, world: World, marker: Marker) -> None:
    """Node and ServiceCIDR come by watches of their own, which may lag behind the marker's: so the first flow that
    goes elsewhere is tried again for a while."""
    for check in stage.checks:
        if check.flow.packet.port in HEALTH_CHECKS:
            continue  # answered by the proxy's own server, which has its own tests
        failures: list[AssertionError] = []

        def holds(check=check, failures=failures) -> bool:
            try:
                assert_expected(f"{label}: {check.flow.name}", check, observe(check, world))
            except AssertionError as error:
                failures.append(error)
                return False
            return True

        try:
            marker.until(holds)
        except AssertionError as error:
            raise AssertionError(f"{failures[-1]}; {error}") from failures[-1]
