"""Which host ports are in each other's way, and what one pod wants in the kernel."""

from __future__ import annotations

import pytest

from fairway.podnet.hostports import ANY_PORTS, HAIRPIN, PORTS, PortMapping, in_each_others_way, items
from fairway.reconcile.items import Item
from fairway.values.address import Address
from fairway.values.protocol import Protocol

POD, POD6 = Address.parse("10.244.0.5"), Address.parse("fd00:244::5")
NODE, NODE6, LOCALHOST = Address.parse("10.9.0.2"), Address.parse("fd09::2"), Address.parse("127.0.0.1")


def mapping(ip: Address | None = None, port: int = 8080, protocol: Protocol = Protocol.TCP) -> PortMapping:
    return PortMapping(port, 80, protocol, ip)


@pytest.mark.parametrize(
    ("other", "is_conflict"),
    [
        (mapping(NODE), True),
        (mapping(LOCALHOST), False),
        (mapping(), True),
        (mapping(Address.parse("0.0.0.0")), True),
        (mapping(Address.parse("::")), False),
        (mapping(NODE6), False),
        (mapping(NODE, protocol=Protocol.UDP), False),
        (mapping(NODE, port=8081), False),
    ],
)
def test_conflicts_are_those_that_the_scheduler_sees(other: PortMapping, is_conflict: bool) -> None:
    assert in_each_others_way(mapping(NODE), other) is is_conflict
    assert in_each_others_way(other, mapping(NODE)) is is_conflict


def test_without_a_host_ip_a_port_counts_at_every_address_of_both_families() -> None:
    assert list(items(POD, [mapping()])) == [Item(ANY_PORTS, (Protocol.TCP, 8080), (POD, 80)), Item(HAIRPIN, POD)]
    assert list(items(POD6, [mapping()])) == [Item(ANY_PORTS, (Protocol.TCP, 8080), (POD6, 80)), Item(HAIRPIN, POD6)]


def test_a_host_ip_counts_in_its_family_alone() -> None:
    both = [mapping(NODE), mapping(Address.parse("::"), 9090, Protocol.SCTP)]
    assert list(items(POD, both)) == [Item(PORTS, (NODE, Protocol.TCP, 8080), (POD, 80)), Item(HAIRPIN, POD)]
    assert list(items(POD6, both)) == [Item(ANY_PORTS, (Protocol.SCTP, 9090), (POD6, 80)), Item(HAIRPIN, POD6)]


def test_a_pod_without_a_mapping_in_a_family_wants_nothing_there() -> None:
    assert list(items(POD6, [mapping(NODE)])) == []


def test_a_mapping_is_named_as_a_person_writes_it() -> None:
    assert mapping(NODE).host_text == "10.9.0.2:8080/tcp"
    assert mapping(protocol=Protocol.UDP).host_text == "*:8080/udp"
