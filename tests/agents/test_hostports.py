"""Host ports of the pods of one node."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pytest

from agents.test_upkeep import CountedClock
from conntrack_entries import Entry, FakeConntrack
from fairway.agents.hostports import HostPorts
from fairway.agents.upkeep import Timing, Upkeep
from fairway.podnet.hostports import CONTAINERS, PORTS, PortMapping
from fairway.reconcile.items import Action, Operation
from fairway.values.address import Address, Family
from fairway.values.names import ObjectName
from fairway.values.protocol import Protocol

NODE, LOCALHOST = Address.parse("10.9.0.2"), Address.parse("127.0.0.1")
POD_A, POD_B = Address.parse("10.244.0.5"), Address.parse("10.244.0.6")


class FakeTable:
    def __init__(self) -> None:
        self.held: dict[str, dict[Hashable, Hashable]] = {one.name: {} for one in CONTAINERS}

    def read(self) -> Mapping[str, Mapping[Hashable, Hashable]]:
        return {name: dict(held) for name, held in self.held.items()}

    def apply(self, operations: Sequence[Operation]) -> None:
        for action, (container, key, value) in operations:
            if action is Action.REMOVE:
                del self.held[container][key]
            else:
                self.held[container][key] = value


class World:
    def __init__(self, *entries: Entry) -> None:
        self.tables = {family: FakeTable() for family in Family}
        timing = Timing(CountedClock(), lambda: 0.5)
        upkeep = {family: Upkeep("hostports", CONTAINERS, table, timing) for family, table in self.tables.items()}
        self.flows = FakeConntrack(entries)
        self.ports = HostPorts(upkeep, self.flows, lambda: [NODE, LOCALHOST])
        self.ports.open()

    def set(self, name: str, address: Address, *mappings: PortMapping) -> tuple[str, ...]:
        return self.ports.put(name, ObjectName("shop", name), [address], mappings)

    def at(self, address: Address, port: int = 8080, protocol: Protocol = Protocol.TCP) -> Any:
        return self.tables[Family.IPV4].held[PORTS].get((address, protocol, port))


@pytest.fixture
def world() -> World:
    return World()


def test_a_pod_has_its_ports_until_it_is_removed(world: World) -> None:
    assert world.set("a", POD_A, PortMapping(8080, 80, host_ip=NODE)) == ()
    assert world.at(NODE) == (POD_A, 80)
    world.ports.remove("a")
    assert all(not held for held in world.tables[Family.IPV4].held.values())


def test_pods_on_different_host_ips_and_protocols_stand_side_by_side(world: World) -> None:
    assert world.set("a", POD_A, PortMapping(8080, 80, host_ip=NODE)) == ()
    assert world.set("b", POD_B, PortMapping(8080, 80, host_ip=LOCALHOST)) == ()
    assert world.set("c", POD_B, PortMapping(8080, 80, Protocol.UDP, NODE)) == ()
    assert world.at(NODE) == (POD_A, 80)
    assert world.at(LOCALHOST) == (POD_B, 80)
    assert world.at(NODE, protocol=Protocol.UDP) == (POD_B, 80)


def test_the_first_pod_keeps_its_port_and_the_second_is_told_and_gets_it_afterwards(world: World) -> None:
    world.set("a", POD_A, PortMapping(8080, 80, host_ip=NODE))
    said = world.set("b", POD_B, PortMapping(8080, 81, host_ip=NODE), PortMapping(9090, 81, host_ip=NODE))
    assert said == ("host port 10.9.0.2:8080/tcp is in use by pod shop/a",)
    assert world.at(NODE) == (POD_A, 80)
    assert world.at(NODE, 9090) == (POD_B, 81)
    world.ports.remove("a")
    assert world.at(NODE) == (POD_B, 81)


def test_a_port_at_every_address_is_in_the_way_of_one_at_one(world: World) -> None:
    world.set("a", POD_A, PortMapping(8080, 80))
    assert world.set("b", POD_B, PortMapping(8080, 80, host_ip=NODE))
    assert world.at(NODE) is None


def test_a_pod_that_is_told_again_changes_what_it_has(world: World) -> None:
    world.set("a", POD_A, PortMapping(8080, 80, host_ip=NODE))
    assert world.set("a", POD_B, PortMapping(8081, 80, host_ip=NODE)) == ()
    assert (world.at(NODE), world.at(NODE, 8081)) == (None, (POD_B, 80))


def test_a_port_that_a_pod_gives_up_is_the_next_ones(world: World) -> None:
    world.set("a", POD_A, PortMapping(8080, 80, host_ip=NODE))
    world.set("b", POD_B, PortMapping(8080, 81, host_ip=NODE))
    world.set("a", POD_A, PortMapping(8081, 80, host_ip=NODE))
    assert (world.at(NODE), world.at(NODE, 8081)) == ((POD_B, 81), (POD_A, 80))


def test_only_stale_udp_flows_to_its_ports_go() -> None:
    client, other = "10.9.0.9", "10.9.0.8"
    unanswered = Entry(client, str(NODE), 8080, str(NODE), 8080)
    right = Entry(other, str(NODE), 8080, str(POD_A), 80)
    elsewhere = Entry(client, str(NODE), 8081, str(NODE), 8081)
    world = World(unanswered, right, elsewhere)
    world.set("a", POD_A, PortMapping(8080, 80, Protocol.UDP))
    assert world.flows.entries == {right, elsewhere}
    world.ports.remove("a")
    assert world.flows.entries == {elsewhere}


def test_a_connection_table_that_cannot_be_read_keeps_no_port_from_being_served() -> None:
    world = World(Entry("10.9.0.9", str(NODE), 8080, str(NODE), 8080))
    world.flows.broken = 1
    assert world.set("a", POD_A, PortMapping(8080, 80, Protocol.UDP, NODE)) == ()
    assert world.at(NODE, protocol=Protocol.UDP) == (POD_A, 80)
