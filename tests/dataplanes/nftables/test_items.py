"""A planned service port as elements, spelled out for a few; test_trace.py holds all of them against the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.items import USUAL_TIMEOUT, comment, node_items
from fairway.dataplanes.nftables.layout import Dispatch, Flag, Policy
from fairway.plan.model import Scope
from fairway.plan.view import DetectLocal, Detector
from fairway.values.address import Address, Prefix
from fairway.values.names import ObjectName, ServicePortName
from fairway.values.protocol import Protocol
from objects import (
    CLUSTER_IP,
    HERE,
    LB_IP,
    NO_DETECTOR,
    NODE_IP,
    THERE,
    VIEW,
    a_node,
    endpoint,
    port,
    service,
    slice_of,
    view,
)

TWO = slice_of(endpoint("10.0.1.1", HERE), endpoint("10.0.1.2", THERE))


def dispatch(
    wanted: Mapping[str, Mapping[Any, Any]], address: str, number: int, container: str = layout.FRONTENDS
) -> Any:
    data = wanted[container].get(layout.frontend_key(Address.parse(address), Protocol.TCP, number))
    return Dispatch.unpack(data) if data is not None else None


def sizes(wanted: Mapping[str, Mapping[Any, Any]]) -> dict[str, int]:
    """Without what the node wants whatever its Services."""
    counted = {name: len(content) for name, content in wanted.items() if content and name != layout.PODS}
    counted[layout.TIMEOUTS] -= layout.number_key(USUAL_TIMEOUT) in wanted[layout.TIMEOUTS]
    return {name: count for name, count in counted.items() if count}


def test_a_cluster_ip() -> None:
    wanted = a_node(service(), TWO).wanted
    cluster = 2
    assert dispatch(wanted, CLUSTER_IP, 80) == (cluster, Policy.PICK, Flag.MASQUERADE_OUTSIDE)
    assert wanted[layout.COUNTS] == {layout.svc_key(cluster): layout.count_data(2, "ns/web:http/tcp cluster")}
    assert wanted[layout.BACKENDS] == {
        layout.place_key(0, cluster): layout.address_data(Address.parse("10.0.1.1"), 8080),
        layout.place_key(1, cluster): layout.address_data(Address.parse("10.0.1.2"), 8080),
    }
    assert wanted[layout.CLUSTER_IPS] == {Address.parse(CLUSTER_IP): b""}
    assert sizes(wanted) == {"frontends": 1, "counts": 1, "backends": 2, "hairpin": 2, "cluster-ips": 1}


def test_all_addresses_of_a_service_port_share_one_set() -> None:
    """An endpoint that changes touches no frontend; affinity is shared (rule 18)."""
    many = service(type="NodePort", ports=[port(nodePort=3001)], externalIPs=["9.9.9.9"], ingress=[LB_IP])
    wanted = a_node(many, TWO).wanted
    numbers = {Dispatch.unpack(data).svc for data in wanted[layout.FRONTENDS].values()}  # type: ignore[arg-type]
    assert len(wanted[layout.FRONTENDS]) == 5
    assert len(numbers) == len(wanted[layout.COUNTS]) == 1


def test_affinity_goes_through_endpoint_numbers_that_both_sets_share() -> None:
    """Rule 18."""
    sticky = service(sessionAffinity="ClientIP", ingress=[LB_IP], externalTrafficPolicy="Local", type="LoadBalancer")
    wanted = a_node(sticky, TWO).wanted
    assert wanted[layout.BACKENDS] == {}
    assert wanted[layout.TIMEOUTS] == {layout.number_key(10800): b""}
    entry = dispatch(wanted, LB_IP, 80)
    inside = dispatch(wanted, LB_IP, 80, layout.INSIDE)
    assert (entry.policy, inside.policy) == (Policy.local_affinity(10800), Policy.affinity(10800))
    assert (entry.svc ^ 1) == inside.svc
    numbers: dict[Any, set[int]] = {}
    for key, target in wanted[layout.ENDPOINTS].items():
        numbers.setdefault(target, set()).add(layout.unpack_place_key(key)[0])  # type: ignore[arg-type]
    assert [len(own) for own in numbers.values()] == [1, 1]


@pytest.mark.parametrize(
    ("policy", "slices", "expected", "inside"),
    [
        ("Cluster", TWO, (Policy.PICK, Flag.MASQUERADE_ALWAYS), None),
        ("Local", TWO, (Policy.LOCAL_PICK, Flag.MASQUERADE_NODE), Policy.PICK),
        ("Local", slice_of(endpoint("10.0.1.2", THERE)), (Policy.LOCAL_DROP, Flag.MASQUERADE_NODE), Policy.PICK),
        ("Local", slice_of(), (Policy.REJECT, 0), None),
        ("Cluster", slice_of(), (Policy.REJECT, 0), None),
    ],
)
def test_external_policies(policy: str, slices: Any, expected: tuple[int, int], inside: int | None) -> None:
    """Rules 9, 10 and 12."""
    wanted = a_node(service(ingress=[LB_IP], externalTrafficPolicy=policy, type="LoadBalancer"), slices).wanted
    assert dispatch(wanted, LB_IP, 80)[1:] == expected
    found = dispatch(wanted, LB_IP, 80, layout.INSIDE)
    assert (found.policy if found else None) == inside


def test_without_detector_no_source_is_masqueraded_at_a_cluster_ip() -> None:
    """Rule 8."""
    assert dispatch(a_node(service(), TWO, view=NO_DETECTOR).wanted, CLUSTER_IP, 80).flags == 0


def test_source_ranges_stand_under_the_set_of_their_service_port() -> None:
    """Rule 14."""
    ranges = ["203.0.113.0/25", "10.0.0.0/24", "10.0.1.0/24"]
    guarded = service(ingress=[LB_IP, "5.6.7.8"], loadBalancerSourceRanges=ranges, type="LoadBalancer")
    wanted = a_node(guarded, TWO).wanted
    entry, behind = dispatch(wanted, LB_IP, 80), dispatch(wanted, LB_IP, 80, layout.GUARDED)
    assert (entry.policy, behind.policy) == (Policy.GUARD, Policy.PICK)
    assert entry.svc == behind.svc
    assert wanted[layout.RANGE_LENGTHS].keys() == {layout.number_key(24), layout.number_key(25)}
    expected = {layout.range_key(entry.svc, *Prefix.parse(text)) for text in ranges}
    assert wanted[layout.SOURCE_RANGES].keys() == expected


def test_ranges_of_a_port_that_drops_outsiders_have_a_number_too() -> None:
    """The number must survive a restart: an element of `counts` without backends carries it."""
    guarded = service(
        ingress=[LB_IP],
        loadBalancerSourceRanges=["10.0.0.0/8"],
        externalTrafficPolicy="Local",
        type="LoadBalancer",
    )
    wanted = a_node(guarded, slice_of(endpoint("10.0.1.2", THERE))).wanted
    entry = dispatch(wanted, LB_IP, 80)
    assert dispatch(wanted, LB_IP, 80, layout.GUARDED).policy == Policy.LOCAL_DROP
    assert layout.unpack_count(wanted[layout.COUNTS][layout.svc_key(entry.svc)])[0] == 0  # type: ignore[arg-type]


def test_a_service_without_endpoints_wants_its_frontends_alone() -> None:
    assert sizes(a_node(service()).wanted) == {"frontends": 1, "cluster-ips": 1}


def test_a_headless_or_lost_port_wants_nothing() -> None:
    older = service("older", created="2020-01-01T00:00:00Z")
    node = a_node(older, service(created="2025-01-01T00:00:00Z"), TWO)
    assert sizes(node.wanted) == {"frontends": 1, "cluster-ips": 1}


def test_comments_name_service_port_and_set() -> None:
    name = ServicePortName(ObjectName("ns", "web"), "http", Protocol.TCP)
    assert comment(name, Scope.LOCAL) == "ns/web:http/tcp local"


# this node


def networks(items: Any, container: str) -> list[str]:
    return [str(layout.unpack_network_key(item.key)) for item in items if item.container == container]


def test_node_ranges_do_not_overlap() -> None:
    """The kernel's interval sets refuse that."""
    texts = ["10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/8", "11.0.0.0/24", "fd00::/8"]
    prefixes = tuple(Prefix.parse(text) for text in texts)
    items = node_items(view(detector=Detector(DetectLocal.PREFIXES, prefixes), service_cidrs=prefixes))
    for container in (layout.PODS, layout.SERVICE_CIDRS):
        assert networks(items, container) == ["10.0.0.0/8", "11.0.0.0/24"]


def test_pods_told_by_interface_need_no_ranges() -> None:
    by_interface = node_items(view(detector=Detector(DetectLocal.INTERFACE, interface="cbr0")))
    assert {item.container for item in by_interface} == {layout.TIMEOUTS}
    assert networks(node_items(VIEW), layout.PODS) == ["10.0.0.0/8"]


def test_a_node_ports_frontends_are_those_of_the_view() -> None:
    made = service(type="NodePort", ports=[port(nodePort=3001)])
    wanted = a_node(made, TWO, view=view(node_port_addresses=(Address.parse(NODE_IP),))).wanted
    assert dispatch(wanted, NODE_IP, 3001)
    assert len(wanted[layout.FRONTENDS]) == 2
