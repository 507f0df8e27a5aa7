"""What a Service means to a packet (rules 2, 5 and 7 to 18 of docs/semantics.md), as tables: case → where it goes.

Each case is answered by the plan and by a walk through the nftables items; `went` holds them to one answer.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairway.plan.model import FrontendKind
from fairway.plan.view import DetectLocal, Detector, NodeView
from fairway.values.address import Address, Family, Prefix
from objects import (
    CLUSTER_IP,
    EXTERNAL_IP,
    HERE,
    LB_IP,
    LOCALHOST,
    NO_DETECTOR,
    NODE_IP,
    NODE_PORT,
    OUTSIDE,
    POD,
    SECOND_NODE_IP,
    THERE,
    VIEW,
    a_node,
    endpoint,
    packet,
    port,
    service,
    slice_of,
    view,
    went,
)

E1, E2 = "10.0.1.1", "10.0.2.1"
LOCAL_ONE, REMOTE_ONE = endpoint(E1, HERE), endpoint(E2, THERE)
BOTH = slice_of(LOCAL_ONE, REMOTE_ONE)
TO_BOTH = f"{E1}:8080 {E2}:8080"
TO_LOCAL = f"{E1}:8080"
TO_REMOTE = f"{E2}:8080"
MASQUERADE_ALL = view(masquerade_all=True)
EXTERNAL = {"type": "LoadBalancer", "ports": [port(nodePort=NODE_PORT)], "externalIPs": [EXTERNAL_IP]}
EXTERNAL_TARGETS = ((NODE_IP, NODE_PORT), (EXTERNAL_IP, 80), (LB_IP, 80))


def external(policy: str = "Cluster", **fields: Any) -> Any:
    return service(externalTrafficPolicy=policy, ingress=[LB_IP], **{**EXTERNAL, **fields})


# which Services (rule 2)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"type": "ExternalName", "externalName": "example.org"}, id="ExternalName"),
        pytest.param({"cluster_ips": ["None"]}, id="headless"),
        pytest.param({"cluster_ips": []}, id="without a cluster IP"),
        pytest.param({"cluster_ips": ["fd00:10:96::41"]}, id="of the other family"),
    ],
)
def test_services_that_are_not_served(fields: dict[str, Any]) -> None:
    """Rule 2: none of their addresses is ours, node ports included."""
    node = a_node(service(**{**EXTERNAL, **fields}, ingress=[LB_IP]), BOTH)
    assert node.plan() == {}
    for address, number in ((CLUSTER_IP, 80), *EXTERNAL_TARGETS):
        assert went(node, packet(OUTSIDE, address, number)) == "untouched"


def test_the_other_family_of_a_dual_stack_service_is_left_out() -> None:
    """Rule 2: addresses, ranges and endpoints."""
    dual = service(
        cluster_ips=[CLUSTER_IP, "fd00:10:96::41"],
        externalIPs=["fd00:99::1", EXTERNAL_IP],
        ingress=["fd00:1::1", LB_IP],
        type="LoadBalancer",
        loadBalancerSourceRanges=["fd00:203::/64"],
    )
    six = slice_of(endpoint("fd00:10::1"), name="six", family="IPv6")
    (planned,) = a_node(dual, BOTH, six).plan().values()
    addresses = [str(f.key.address) for f in planned.ports[0].frontends]
    assert addresses == [CLUSTER_IP, EXTERNAL_IP, LB_IP]
    assert all(f.source_ranges == () for f in planned.ports[0].frontends)
    assert [str(b) for b in planned.ports[0].cluster.backends] == [f"{E1}:8080", f"{E2}:8080"]
    assert [str(ip) for ip in planned.cluster_ips] == [CLUSTER_IP]


SIX = msgspec.structs.replace(
    VIEW,
    family=Family.IPV6,
    addresses=(Address.parse("::1"), Address.parse("2001:db8::1")),
    primary=Address.parse("2001:db8::1"),
    node_port_addresses=(Address.parse("2001:db8::1"),),
    detector=Detector(DetectLocal.PREFIXES, prefixes=(Prefix.parse("fd00:10::/64"),)),
)


def test_ipv6_is_the_same_in_its_own_addresses() -> None:
    dual = service(cluster_ips=[CLUSTER_IP, "fd00:96::41"], ports=[port(nodePort=NODE_PORT)], type="NodePort")
    node = a_node(dual, BOTH, slice_of(endpoint("fd00:10::1"), name="six", family="IPv6"), view=SIX)
    assert went(node, packet("fd00:10::9", "fd00:96::41", 80)) == "fd00:10::1:8080 kept"
    assert went(node, packet("2600:5200::1", "fd00:96::41", 80)) == "fd00:10::1:8080 masqueraded"
    assert went(node, packet("fd00:10::1", "fd00:96::41", 80)) == "fd00:10::1:8080 masqueraded"
    assert went(node, packet("2600:5200::1", "2001:db8::1", NODE_PORT)) == "fd00:10::1:8080 masqueraded"


# cluster IPs (rules 7, 8)


@pytest.mark.parametrize(
    ("policy", "source", "node", "expected"),
    [
        ("Cluster", POD, VIEW, f"{TO_BOTH} kept"),
        ("Cluster", NODE_IP, VIEW, f"{TO_BOTH} masqueraded"),
        ("Cluster", OUTSIDE, VIEW, f"{TO_BOTH} masqueraded"),
        ("Cluster", OUTSIDE, NO_DETECTOR, f"{TO_BOTH} kept"),
        ("Cluster", POD, MASQUERADE_ALL, f"{TO_BOTH} masqueraded"),
        ("Local", POD, VIEW, f"{TO_LOCAL} kept"),
        ("Local", NODE_IP, VIEW, f"{TO_LOCAL} masqueraded"),
        ("Local", OUTSIDE, VIEW, f"{TO_LOCAL} masqueraded"),
        ("Local", OUTSIDE, NO_DETECTOR, f"{TO_LOCAL} kept"),
        ("Local", POD, MASQUERADE_ALL, f"{TO_LOCAL} masqueraded"),
    ],
)
def test_cluster_ip(policy: str, source: str, node: NodeView, expected: str) -> None:
    """Rules 7 and 8; the external policy never matters."""
    for external_policy in ("Cluster", "Local"):
        one = external(external_policy, internalTrafficPolicy=policy)
        assert went(a_node(one, BOTH, view=node), packet(source, CLUSTER_IP, 80)) == expected


# external destinations (rules 9, 10, 13)


@pytest.mark.parametrize("target", EXTERNAL_TARGETS)
@pytest.mark.parametrize(
    ("policy", "endpoints", "node", "by_source"),
    [
        pytest.param(
            "Cluster", BOTH, VIEW, (f"{TO_BOTH} masqueraded",) * 3, id="rule 9: Cluster masquerades everybody"
        ),
        pytest.param("Cluster", BOTH, NO_DETECTOR, (f"{TO_BOTH} masqueraded",) * 3, id="rule 9: without detector"),
        pytest.param(
            "Local",
            BOTH,
            VIEW,
            (f"{TO_BOTH} kept", f"{TO_BOTH} masqueraded", f"{TO_LOCAL} kept"),
            id="rule 10: Local, with short circuits",
        ),
        pytest.param(
            "Local",
            BOTH,
            NO_DETECTOR,
            (f"{TO_LOCAL} kept", f"{TO_BOTH} masqueraded", f"{TO_LOCAL} kept"),
            id="rule 10: without detector a pod is anyone else",
        ),
        pytest.param(
            "Local",
            BOTH,
            MASQUERADE_ALL,
            (f"{TO_BOTH} kept", f"{TO_BOTH} masqueraded", f"{TO_LOCAL} kept"),
            id="rule 10: masqueradeAll does not touch these",
        ),
        pytest.param(
            "Local",
            slice_of(REMOTE_ONE),
            VIEW,
            (f"{TO_REMOTE} kept", f"{TO_REMOTE} masqueraded", "drop"),
            id="rules 12 and 13: only elsewhere",
        ),
        pytest.param(
            "Local",
            slice_of(REMOTE_ONE),
            NO_DETECTOR,
            ("drop", f"{TO_REMOTE} masqueraded", "drop"),
            id="rule 13: so too",
        ),
        pytest.param("Local", slice_of(), VIEW, ("reject",) * 3, id="rule 12: nothing anywhere"),
        pytest.param("Cluster", slice_of(), VIEW, ("reject",) * 3, id="rule 12: nothing anywhere, Cluster"),
    ],
)
def test_external_destination(
    policy: str, endpoints: Any, node: NodeView, by_source: tuple[str, str, str], target: tuple[str, int]
) -> None:
    """Rules 9, 10, 12, 13; the internal policy never matters."""
    for internal in ("Cluster", "Local"):
        made = a_node(external(policy, internalTrafficPolicy=internal), endpoints, view=node)
        assert tuple(went(made, packet(source, *target)) for source in (POD, NODE_IP, OUTSIDE)) == by_source


def test_policies_take_from_two_sets() -> None:
    """Rule 5: iTP Local with eTP Cluster uses both sets."""
    made = a_node(external("Cluster", internalTrafficPolicy="Local"), BOTH)
    assert went(made, packet(POD, CLUSTER_IP, 80)) == f"{TO_LOCAL} kept"
    assert went(made, packet(POD, LB_IP, 80)) == f"{TO_BOTH} masqueraded"


def test_local_policy_without_external_access_changes_nothing() -> None:
    """Rule 5."""
    made = a_node(service(externalTrafficPolicy="Local"), slice_of(REMOTE_ONE))
    assert went(made, packet(POD, CLUSTER_IP, 80)) == f"{TO_REMOTE} kept"


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [(BOTH, f"{TO_LOCAL} kept"), (slice_of(REMOTE_ONE), "drop"), (slice_of(), "reject")],
)
def test_internal_local_drops_when_the_endpoints_are_elsewhere_and_rejects_when_there_are_none(
    endpoints: Any, expected: str
) -> None:
    """Rule 12: for a port without external access, which has no Cluster set, as well."""
    made = a_node(service(internalTrafficPolicy="Local"), endpoints)
    assert went(made, packet(POD, CLUSTER_IP, 80)) == expected


def test_an_endpoint_that_only_serves_is_no_reason_to_drop() -> None:
    """Rule 12 with rule 4: what is never used does not count as existing."""
    never_used = slice_of(endpoint(E2, THERE, ready=False, serving=True, terminating=False))
    made = a_node(external("Local", internalTrafficPolicy="Local"), never_used)
    assert went(made, packet(OUTSIDE, LB_IP, 80)) == went(made, packet(POD, CLUSTER_IP, 80)) == "reject"


# hairpin (rule 11)


@pytest.mark.parametrize("node_name", [HERE, THERE, None])
@pytest.mark.parametrize(("policy", "target"), [("Cluster", (CLUSTER_IP, 80)), ("Local", (LB_IP, 80))])
def test_an_endpoint_that_reaches_itself_is_masqueraded(
    policy: str, target: tuple[str, int], node_name: str | None
) -> None:
    """Rule 11: through any address, and wherever its nodeName says it runs, as in kube-proxy."""
    made = a_node(external(policy), slice_of(endpoint(POD, node_name)))
    assert went(made, packet(POD, *target)) == f"{POD}:8080 masqueraded"


def test_only_the_backend_that_is_the_client_is_masqueraded() -> None:
    """Rule 11."""
    made = a_node(service(), slice_of(endpoint(POD, HERE), endpoint(E2, THERE)))
    answer = made.answer(packet(POD, CLUSTER_IP, 80))
    assert {b.address: b.masquerade for b in answer.backends} == {POD: True, E2: False}


# source ranges (rule 14)

GUARDED = {"loadBalancerSourceRanges": ["203.0.113.0/25", " 10.0.0.0/24 "]}


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (OUTSIDE, (LB_IP, 80), f"{TO_BOTH} masqueraded"),
        ("203.0.113.130", (LB_IP, 80), "drop"),
        (POD, (LB_IP, 80), f"{TO_BOTH} masqueraded"),
        ("10.0.1.2", (LB_IP, 80), "drop"),
        (NODE_IP, (LB_IP, 80), "drop"),
        (LB_IP, (LB_IP, 80), "drop"),
        ("203.0.113.130", (NODE_IP, NODE_PORT), f"{TO_BOTH} masqueraded"),
        ("203.0.113.130", (EXTERNAL_IP, 80), f"{TO_BOTH} masqueraded"),
        ("203.0.113.130", (CLUSTER_IP, 80), f"{TO_BOTH} masqueraded"),
    ],
)
def test_source_ranges_guard_load_balancer_addresses_alone(source: str, target: tuple[str, int], expected: str) -> None:
    """Rule 14: pods and the node are bound as well; other destinations are not guarded."""
    assert went(a_node(external(**GUARDED), BOTH), packet(source, *target)) == expected


def test_a_range_with_the_node_in_it_lets_every_load_balancer_address_in() -> None:
    """Rule 14: the node's own connections to such an address carry it as their source."""
    ranges = ["203.0.113.0/25", "192.168.0.0/24"]
    both = service(ingress=[LB_IP, "5.6.7.8"], type="LoadBalancer", loadBalancerSourceRanges=ranges)
    made = a_node(both, BOTH)
    for source in (LB_IP, "5.6.7.8", NODE_IP):
        assert went(made, packet(source, LB_IP, 80)) == f"{TO_BOTH} masqueraded"
    assert went(made, packet(SECOND_NODE_IP, LB_IP, 80)) == "drop"


def test_no_endpoints_beat_source_ranges() -> None:
    """Rule 14: REJECT wins."""
    assert went(a_node(external(**GUARDED), slice_of()), packet("203.0.113.130", LB_IP, 80)) == "reject"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (OUTSIDE, f"{TO_LOCAL} kept"),
        (POD, f"{TO_BOTH} kept"),
        ("203.0.113.130", "drop"),
        ("10.0.1.2", "drop"),
        (NODE_IP, "drop"),
    ],
)
def test_source_ranges_with_local_policy(source: str, expected: str) -> None:
    """Rules 10 and 14 together: first the range, then the short circuits."""
    assert went(a_node(external("Local", **GUARDED), BOTH), packet(source, LB_IP, 80)) == expected


@pytest.mark.parametrize(("source", "expected"), [(OUTSIDE, "drop"), (POD, f"{TO_REMOTE} kept"), ("10.0.1.2", "drop")])
def test_source_ranges_with_local_policy_and_all_endpoints_elsewhere(source: str, expected: str) -> None:
    """Rules 13 and 14 together."""
    assert went(a_node(external("Local", **GUARDED), slice_of(REMOTE_ONE)), packet(source, LB_IP, 80)) == expected


# load balancer addresses (rule 15), node ports (rule 16)


@pytest.mark.parametrize(
    ("ingress", "expected"),
    [
        ({"ip": LB_IP}, f"{TO_BOTH} masqueraded"),
        ({"ip": LB_IP, "ipMode": "VIP"}, f"{TO_BOTH} masqueraded"),
        ({"ip": LB_IP, "ipMode": "Proxy"}, "untouched"),
        ({"hostname": "lb.example.org"}, "untouched"),
    ],
)
def test_load_balancer_ip_mode(ingress: dict[str, str], expected: str) -> None:
    """Rule 15."""
    assert went(a_node(service(ingress=[ingress], type="LoadBalancer"), BOTH), packet(OUTSIDE, LB_IP, 80)) == expected


def test_an_address_in_proxy_mode_gives_no_external_access() -> None:
    """Rules 5 and 15: eTP Local then changes nothing, and no Local set exists."""
    proxied = service(ingress=[{"ip": LB_IP, "ipMode": "Proxy"}], externalTrafficPolicy="Local", type="LoadBalancer")
    (planned,) = a_node(proxied, BOTH).plan().values()
    assert planned.ports[0].local.backends == ()


@pytest.mark.parametrize(
    ("address", "expected"),
    [(NODE_IP, "forward"), (SECOND_NODE_IP, "forward"), (LOCALHOST, "untouched"), ("192.168.0.3", "untouched")],
)
def test_node_ports_are_served_where_the_view_says(address: str, expected: str) -> None:
    """Rule 16; which addresses these are is tested with the configuration."""
    answer = a_node(external(), BOTH).answer(packet(OUTSIDE, address, NODE_PORT))
    assert (answer.verdict.value, answer.agrees) == (expected, True)


def test_localhost_node_ports_are_masqueraded() -> None:
    """Rule 16: any address of 127.0.0.0/8 as the source is the node itself, also under the Local policy."""
    here = view(node_port_addresses=(Address.parse(LOCALHOST),))
    for policy in ("Cluster", "Local"):
        made = a_node(external(policy), BOTH, view=here)
        assert went(made, packet("127.0.0.9", LOCALHOST, NODE_PORT)) == f"{TO_BOTH} masqueraded"


# what matches (rule 17)

IN_RANGE = view(service_cidrs=(Prefix.parse("172.30.0.0/16"),))


@pytest.mark.parametrize(
    ("target", "number", "protocol", "expected"),
    [
        (CLUSTER_IP, 80, "tcp", f"{TO_BOTH} masqueraded"),
        (CLUSTER_IP, 81, "tcp", "reject"),
        (CLUSTER_IP, 80, "udp", "reject"),
        (CLUSTER_IP, NODE_PORT, "tcp", "reject"),
        ("172.30.0.99", 80, "tcp", "drop"),
        ("172.31.0.99", 80, "tcp", "untouched"),
        (EXTERNAL_IP, 81, "tcp", "untouched"),
        (LB_IP, 80, "sctp", "untouched"),
        (NODE_IP, NODE_PORT, "udp", "untouched"),
        (NODE_IP, 80, "tcp", "untouched"),
    ],
)
def test_address_protocol_and_port_must_all_match(target: str, number: int, protocol: str, expected: str) -> None:
    """Rule 17; a known cluster IP's unknown ports are refused, unowned addresses of a service range dropped."""
    made = a_node(external(), BOTH, view=IN_RANGE)
    assert went(made, packet(OUTSIDE, target, number, protocol)) == expected


def test_a_service_address_beats_a_node_port() -> None:
    """Rule 17: also when the Service of the node port is older."""
    old = service("old", type="NodePort", ports=[port(nodePort=80)], created="2020-01-01T00:00:00Z")
    new = service("new", cluster_ips=["172.30.0.42"], externalIPs=[NODE_IP], created="2025-01-01T00:00:00Z")
    made = a_node(old, new, slice_of(LOCAL_ONE, service="old"), slice_of(REMOTE_ONE, service="new"))
    assert went(made, packet(OUTSIDE, NODE_IP, 80)) == f"{TO_REMOTE} masqueraded"
    assert went(made, packet(OUTSIDE, SECOND_NODE_IP, 80)) == f"{TO_LOCAL} masqueraded"


def test_a_service_address_beats_a_node_port_of_the_same_service() -> None:
    """Rule 17: whichever port stands first."""
    slices = slice_of(LOCAL_ONE, ports=[{"name": "a", "port": 1}, {"name": "b", "port": 2}])
    ports = [port(8443, "a", nodePort=80), port(80, "b")]
    for order in (1, -1):
        made = a_node(service(type="NodePort", ports=ports[::order], externalIPs=[NODE_IP]), slices)
        assert went(made, packet(OUTSIDE, NODE_IP, 80)) == f"{E1}:2 masqueraded"


def test_an_address_that_stands_twice_counts_for_its_first_kind() -> None:
    """A load balancer's address that is an external IP as well is served once, and not guarded."""
    twice = external(**{**GUARDED, "externalIPs": [LB_IP]})
    (planned,) = a_node(twice, BOTH).plan().values()
    kinds = [f.kind for f in planned.ports[0].frontends if str(f.key.address) == LB_IP]
    assert kinds == [FrontendKind.EXTERNAL_IP]


# affinity (rule 18)


def test_affinity_does_not_change_where_a_new_client_may_go() -> None:
    """Rule 18."""
    sticky = external("Local", sessionAffinity="ClientIP")
    made = a_node(sticky, BOTH)
    assert went(made, packet(OUTSIDE, LB_IP, 80)) == f"{TO_LOCAL} kept"
    assert went(made, packet(POD, LB_IP, 80)) == f"{TO_BOTH} kept"
    assert {b.probability for b in made.answer(packet(POD, CLUSTER_IP, 80)).backends} == {0.5}


# health check node ports (rule 19)

BALANCED = {"type": "LoadBalancer", "healthCheckNodePort": 30000}


@pytest.mark.parametrize(
    ("fields", "policy", "expected"),
    [
        (BALANCED, "Local", 30000),
        (BALANCED, "Cluster", None),
        ({**BALANCED, "type": "NodePort"}, "Local", None),
        ({**BALANCED, "healthCheckNodePort": 0}, "Local", None),
    ],
)
def test_when_a_health_check_port_is_served(fields: dict[str, Any], policy: str, expected: int | None) -> None:
    """Rule 19."""
    (planned,) = a_node(external(policy, **fields), BOTH).plan().values()
    assert (planned.health_check.port if planned.health_check else None) == expected


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ([BOTH], 1),
        ([slice_of(REMOTE_ONE)], 0),
        ([slice_of(endpoint(E1, HERE, ready=False, serving=True, terminating=True))], 0),
        ([slice_of(LOCAL_ONE, endpoint(E2, HERE))], 2),
        ([slice_of(LOCAL_ONE), slice_of(LOCAL_ONE, name="2", ports=[{"name": "other", "port": 9}])], 1),
    ],
)
def test_health_checks_count_distinct_local_ready_addresses(slices: list[Any], expected: int) -> None:
    """Rule 19: over all ports of the Service."""
    ports = [port(nodePort=NODE_PORT), port(81, "other")]
    made = a_node(external("Local", **BALANCED, ports=ports), *slices)
    (planned,) = made.plan().values()
    assert planned.health_check is not None
    assert planned.health_check.local_endpoints == expected


# local-traffic detectors


@pytest.mark.parametrize(
    ("detector", "interface", "expected"),
    [
        (Detector(DetectLocal.INTERFACE, interface="cbr0"), "cbr0", "kept"),
        (Detector(DetectLocal.INTERFACE, interface="cbr0"), "cbr01", "masqueraded"),
        (Detector(DetectLocal.INTERFACE, interface="cbr0"), "", "masqueraded"),
        (Detector(DetectLocal.INTERFACE_PREFIX, interface="veth"), "veth12", "kept"),
        (Detector(DetectLocal.INTERFACE_PREFIX, interface="veth"), "eth0", "masqueraded"),
    ],
)
def test_pods_told_by_interface(detector: Detector, interface: str, expected: str) -> None:
    """Rules 8 and 10: whatever the source's address."""
    made = a_node(external("Local"), BOTH, view=view(detector=detector))
    assert went(made, packet(OUTSIDE, CLUSTER_IP, 80, interface=interface)) == f"{TO_BOTH} {expected}"
    through_lb = f"{TO_BOTH} kept" if expected == "kept" else f"{TO_LOCAL} kept"
    assert went(made, packet(OUTSIDE, LB_IP, 80, interface=interface)) == through_lb
