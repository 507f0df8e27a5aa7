"""Which nodes an address is reached by."""

from __future__ import annotations

import pytest

from fairway.announce.routes import (
    GROUPS,
    HOPS,
    ROUTES,
    UNREACHABLE,
    Announced,
    Host,
    Presence,
    Ranges,
    host_items,
    local_nodes,
    service_items,
)
from fairway.values.address import Address, Family, Prefix

RANGES = Ranges((Prefix.parse("10.96.0.0/16"),), (Prefix.parse("192.0.2.0/24"), Prefix.parse("2001:db8::/64")))
VIP, VIP6 = Address.parse("192.0.2.7"), Address.parse("2001:db8::7")


def host(name: str, number: int, *, takes_traffic: bool = True) -> Host:
    return Host(name, (Address.parse(f"10.0.0.{number}"), Address.parse(f"fd00::{number}")), takes_traffic)


HOSTS = {"a": host("a", 2), "b": host("b", 3), "c": host("c", 4, takes_traffic=False)}


def items_of(service: Announced) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {HOPS: {}, GROUPS: {}, ROUTES: {}}
    for container, key, value in service_items(service, HOSTS, RANGES):
        shown = tuple(map(str, value)) if isinstance(value, tuple) else value
        found[container][str(key)] = shown
    return found


def local(addresses: tuple[Address, ...], presences: tuple[Presence, ...]) -> Announced:
    return Announced(balancer_ips=addresses, is_local=True, presences=presences)


def present(node: str, state: str = "ready", family: Family = Family.IPV4) -> Presence:
    return Presence(node, family, state == "ready", state == "ending")


def test_all_ranges_are_reached_by_way_of_all_nodes_that_take_traffic() -> None:
    found = {(container, str(key)): value for container, key, value in host_items(HOSTS, RANGES)}
    assert found[GROUPS, "all/IPv4"] == (Address.parse("10.0.0.2"), Address.parse("10.0.0.3"))
    assert found[ROUTES, "10.96.0.0/16"] == found[ROUTES, "192.0.2.0/24"] == "all/IPv4"
    assert found[ROUTES, "2001:db8::/64"] == "all/IPv6"


def test_without_a_node_all_ranges_are_unreachable() -> None:
    found = {str(key): value for container, key, value in host_items({}, RANGES) if container == ROUTES}
    assert found == {"10.96.0.0/16": UNREACHABLE, "192.0.2.0/24": UNREACHABLE, "2001:db8::/64": UNREACHABLE}


def test_the_policy_cluster_needs_nothing_more() -> None:
    assert items_of(Announced(balancer_ips=(VIP, VIP6))) == {HOPS: {}, GROUPS: {}, ROUTES: {}}


def test_the_policy_local_uses_the_nodes_with_ready_endpoints() -> None:
    found = items_of(local((VIP,), (present("a"), present("b", "unready"))))
    assert found[GROUPS] == {"192.0.2.7": ("10.0.0.2",)}
    assert found[ROUTES] == {"192.0.2.7/32": "192.0.2.7"}
    assert found[HOPS] == {"10.0.0.2": None}


def test_a_sticky_service_has_one_node_for_all_its_clients() -> None:
    ip = Address.parse("10.96.0.7")
    found = items_of(Announced((ip,), (VIP,), is_sticky=True))
    assert found[ROUTES] == {"10.96.0.7/32": "10.96.0.7", "192.0.2.7/32": "192.0.2.7"}
    assert all(len(hops) == 1 for hops in found[GROUPS].values())
    serving = (present("a"), present("b", "unready"))
    near = items_of(Announced((), (VIP,), is_local=True, is_sticky=True, presences=serving))
    assert near[GROUPS] == {"192.0.2.7": ("10.0.0.2",)}


def test_sticky_services_are_spread_and_stay_where_they_are_when_another_node_comes() -> None:
    few = {name: host(name, number) for number, name in enumerate("abc", 2)}
    many = {**few, "d": host("d", 5)}
    vips = [Address.parse(f"192.0.2.{number}") for number in range(1, 101)]

    def chosen(hosts: dict[str, Host]) -> dict[Address, object]:
        made = [service_items(Announced((), (vip,), is_sticky=True), hosts, RANGES) for vip in vips]
        return {key: value for items in made for container, key, value in items if container == GROUPS}

    before, after = chosen(few), chosen(many)
    assert len(set(before.values())) == 3
    newcomer = (Address.parse("10.0.0.5"),)
    assert all(after[vip] in (before[vip], newcomer) for vip in before)


@pytest.mark.parametrize("presences", [(), (present("c"),), (present("gone"),), (present("a", family=Family.IPV6),)])
def test_the_policy_local_without_a_node_that_serves_has_no_route(presences: tuple[Presence, ...]) -> None:
    assert items_of(local((VIP,), presences)) == {HOPS: {}, GROUPS: {}, ROUTES: {}}


@pytest.mark.parametrize("address", ["8.8.8.8", "10.96.0.10", "127.0.0.1", "2001:db9::1"])
def test_no_address_outside_the_pool_is_routed_whatever_a_status_says(address: str) -> None:
    assert items_of(local((Address.parse(address),), (present("a"),)))[ROUTES] == {}


@pytest.mark.parametrize(
    ("presences", "nodes"),
    [
        ((present("a"), present("b", "ending")), {"a"}),
        ((present("a", "ending"), present("b", "ending")), {"a", "b"}),
        ((present("a", "ending"), present("b", "unready")), {"a"}),
        ((present("a", "ending"), present("a")), {"a"}),
        ((present(""), present("b", "unready")), set()),
    ],
)
def test_ending_endpoints_count_only_where_nothing_is_ready(presences: tuple[Presence, ...], nodes: set[str]) -> None:
    assert local_nodes(presences, Family.IPV4) == nodes
