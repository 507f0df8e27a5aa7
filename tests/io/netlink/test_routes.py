"""Routes by way of groups of nodes, on the real kernel."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import netns
from fairway.announce.routes import GROUPS, HOPS, ROUTES, UNREACHABLE
from fairway.io.netlink.routes import RouteTable
from fairway.reconcile.items import Action, Item, Operation, WriteError
from fairway.values.address import Address, Prefix

pytestmark = pytest.mark.kernel

A, B, A6 = Address.parse("10.9.0.2"), Address.parse("10.9.0.3"), Address.parse("fd09::2")
RANGES = [Prefix.parse(one) for one in ("10.96.0.0/16", "192.0.2.0/24", "2001:db8::/64")]
VIP, VIP6 = Prefix.parse("192.0.2.7/32"), Prefix.parse("2001:db8::7/128")


@pytest.fixture
def table() -> Iterator[RouteTable]:
    with netns.private():
        for command in (
            "link add fw-underlay type bridge",
            "addr add 10.9.0.1/24 dev fw-underlay",
            "addr add fd09::1/64 dev fw-underlay nodad",
            "link set fw-underlay up",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        with RouteTable("fw-underlay", RANGES) as made:
            yield made


def ip(*words: str) -> Any:
    done = subprocess.run(["ip", "-j", *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout or "[]")


def gateways(route: str) -> list[str]:
    family = "-6" if ":" in route else "-4"
    (found,) = ip(family, "route", "show", route)
    hops = found.get("nexthops", [found])
    return sorted(one["gateway"] for one in hops)


def add(container: str, key: Any, value: Any = None) -> Operation:
    return Operation(Action.ADD, Item(container, key, value))


def remove(container: str, key: Any) -> Operation:
    return Operation(Action.REMOVE, Item(container, key))


FULL = [
    add(HOPS, A),
    add(HOPS, B),
    add(HOPS, A6),
    add(GROUPS, "all/IPv4", (A, B)),
    add(GROUPS, "all/IPv6", (A6,)),
    add(GROUPS, "192.0.2.7", (B,)),
    add(ROUTES, VIP, "192.0.2.7"),
    add(ROUTES, VIP6, "all/IPv6"),
    add(ROUTES, Prefix.parse("10.96.0.0/16"), "all/IPv4"),
    add(ROUTES, Prefix.parse("192.0.2.0/24"), UNREACHABLE),
    add(ROUTES, Prefix.parse("2001:db8::/64"), UNREACHABLE),
]


def wanted() -> dict[str, dict[Any, Any]]:
    found: dict[str, dict[Any, Any]] = {HOPS: {}, GROUPS: {}, ROUTES: {}}
    for _, (container, key, value) in FULL:
        found[container][key] = value
    return found


def test_what_is_written_is_read_back_by_another_process(table: RouteTable) -> None:
    table.apply(FULL)
    with RouteTable("fw-underlay", RANGES) as other:
        assert other.read() == wanted()
        # which also knows the numbers, so that it can go on
        other.apply([Operation(Action.REPLACE, Item(GROUPS, "192.0.2.7", (A, B)))])
    assert gateways("192.0.2.7") == [str(A), str(B)]
    assert gateways("10.96.0.0/16") == [str(A), str(B)]
    assert gateways("2001:db8::7") == [str(A6)]


def test_a_node_leaves_all_routes_of_a_group_by_one_write(table: RouteTable) -> None:
    routes = [add(ROUTES, Prefix.parse(f"192.0.2.{n}/32"), "all/IPv4") for n in range(10, 20)]
    table.apply([*FULL, *routes])
    table.apply([Operation(Action.REPLACE, Item(GROUPS, "all/IPv4", (A,)))])
    assert gateways("192.0.2.15") == [str(A)]


def test_groups_hash_resiliently(table: RouteTable) -> None:
    table.apply(FULL)
    groups = [one for one in ip("nexthop", "show", "proto", "247") if "group" in one]
    assert [one["type"] for one in groups] == ["resilient"] * 3


def test_others_routes_are_neither_read_nor_removed(table: RouteTable) -> None:
    subprocess.run(["ip", "route", "add", "198.51.100.0/24", "via", "10.9.0.9"], check=True)
    subprocess.run(["ip", "nexthop", "add", "id", "7", "via", "10.9.0.9", "dev", "fw-underlay"], check=True)
    table.apply(FULL)
    assert table.read() == wanted()
    assert table.remove_all() == len(FULL)
    assert table.read() == {HOPS: {}, GROUPS: {}, ROUTES: {}}
    assert gateways("198.51.100.0/24") == ["10.9.0.9"]
    assert [one["id"] for one in ip("nexthop", "show")] == [7]


def test_a_route_of_somebody_else_to_the_same_address_stays(table: RouteTable) -> None:
    subprocess.run(["ip", "route", "add", str(VIP), "via", "10.9.0.9"], check=True)
    assert table.read()[ROUTES] == {}
    table.apply(FULL)
    table.apply([remove(ROUTES, VIP)])
    assert gateways("192.0.2.7") == ["10.9.0.9"]


def test_removals_of_what_went_already_are_done(table: RouteTable) -> None:
    table.apply(FULL)
    subprocess.run(["ip", "link", "del", "fw-underlay"], check=True)
    table.apply([remove(ROUTES, VIP), remove(GROUPS, "192.0.2.7"), remove(HOPS, B)])


def test_a_refused_write_names_its_operation_and_what_came_before_is_done(table: RouteTable) -> None:
    with pytest.raises(WriteError, match="no group nowhere") as caught:
        table.apply([add(HOPS, A), add(ROUTES, VIP, "nowhere"), add(HOPS, B)])
    assert caught.value.operation == add(ROUTES, VIP, "nowhere")
    assert list(table.read()[HOPS]) == [A]


def test_a_link_that_is_missing_is_named(table: RouteTable) -> None:
    with RouteTable("fw-none", RANGES) as other, pytest.raises(WriteError, match="interface fw-none"):
        other.apply([add(HOPS, A)])


def test_a_crash_between_group_and_route_leaves_nothing_that_is_not_found(table: RouteTable) -> None:
    table.apply([add(HOPS, A), add(GROUPS, "192.0.2.7", (A,))])
    with RouteTable("fw-underlay", RANGES) as other:
        (name,) = other.read()[GROUPS]
        other.apply([remove(GROUPS, name), remove(HOPS, A)])
        assert other.read() == {HOPS: {}, GROUPS: {}, ROUTES: {}}


def test_another_cluster_on_the_same_host_is_left_alone(table: RouteTable) -> None:
    for command in ("link add fw2-underlay type bridge", "link set fw2-underlay up"):
        subprocess.run(["ip", *command.split()], check=True)
    subprocess.run(["ip", "addr", "add", "10.8.0.1/24", "dev", "fw2-underlay"], check=True)
    theirs = Address.parse("10.8.0.2")
    network = Prefix.parse("10.98.0.0/16")
    with RouteTable("fw2-underlay", [network]) as other:
        other.apply([add(HOPS, theirs), add(GROUPS, "all/IPv4", (theirs,)), add(ROUTES, network, "all/IPv4")])
        table.apply(FULL)
        assert other.remove_all() == 3
        assert table.read() == wanted()


def test_packets_to_a_range_leave_with_the_hosts_own_address_in_it(table: RouteTable) -> None:
    clients = [Address.parse("192.0.2.254"), Address.parse("2001:db8::ffff")]
    with RouteTable("fw-underlay", RANGES, clients) as other:
        other.read()
        other.apply(FULL)
        assert other.read() == wanted()
    assert ip("-4", "route", "get", "192.0.2.7")[0]["prefsrc"] == "192.0.2.254"
    assert ip("-6", "route", "get", "2001:db8::7")[0]["prefsrc"] == "2001:db8::ffff"
    assert ip("-4", "route", "get", "10.96.0.1")[0]["prefsrc"] == "10.9.0.1"
