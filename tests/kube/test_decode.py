"""Decoding: defaults as the API server sets them, errors that name object, field and value, and nothing else raised."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.kube import decode
from fairway.kube.cluster import Node
from fairway.kube.decode import ENDPOINT_SLICE, ENDPOINTS, NAMESPACE, NODE, POD, SERVICE, SERVICE_CIDR, Kind
from fairway.kube.endpointslice import EndpointPort, EndpointSlice
from fairway.kube.service import Service, ServicePort, ServiceType, TrafficPolicy
from fairway.values.address import Family
from fairway.values.errors import ObjectError
from fairway.values.names import ObjectName
from fairway.values.protocol import Protocol

Tree = dict[str, Any]
KINDS: list[Kind[Any]] = [SERVICE, ENDPOINT_SLICE, ENDPOINTS, NODE, POD, NAMESPACE, SERVICE_CIDR]
META = {"namespace": "shop", "name": "web"}


def service(**spec: Any) -> Tree:
    return {"metadata": META, "spec": {"clusterIP": "172.30.0.1", "ports": [{"port": 80}], **spec}}


def a_slice(**fields: Any) -> Tree:
    return {"metadata": META, "addressType": "IPv4", **fields}


def both(kind: Kind[Any], tree: Tree) -> Any:
    """From a tree and from its JSON, which must be the same."""
    from_tree, from_json = kind.decode(tree), kind.decode(json.dumps(tree).encode())
    assert from_tree == from_json
    return from_tree


# defaults


def test_defaults_of_a_service() -> None:
    made: Service = both(SERVICE, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})
    assert made == Service(
        name=ObjectName("default", "web"),
        type=ServiceType.CLUSTER_IP,
        ports=(ServicePort("", Protocol.TCP, 80, 0),),
        internal_policy=TrafficPolicy.CLUSTER,
        external_policy=TrafficPolicy.CLUSTER,
        affinity_seconds=0,
    )


def test_defaults_of_a_slice() -> None:
    made: EndpointSlice = both(ENDPOINT_SLICE, a_slice(ports=[{"port": 80}], endpoints=[{"addresses": ["10.0.0.1"]}]))
    assert made.ports == (EndpointPort("", Protocol.TCP, 80),)
    (one,) = made.endpoints
    assert (one.is_ready, one.is_serving_terminating, one.node) == (True, False, "")
    assert made.service == ObjectName("shop", "")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, 0),
        ({"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}, 0),
        ({"sessionAffinity": "ClientIP"}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {}}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": None}}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}}}, 86400),
    ],
)
def test_affinity_seconds(spec: Tree, expected: int) -> None:
    assert both(SERVICE, service(**spec)).affinity_seconds == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"clusterIP": "172.30.0.1"}, ["172.30.0.1"]),
        ({"clusterIPs": ["172.30.0.1", "fd00::1"]}, ["172.30.0.1", "fd00::1"]),
        ({"clusterIP": "None", "clusterIPs": ["None"]}, []),
        ({"clusterIP": "", "clusterIPs": []}, []),
        ({"clusterIP": None}, []),
        ({"type": "ExternalName", "externalName": "example.org", "clusterIP": "172.30.0.1"}, []),
    ],
)
def test_cluster_ips(spec: Tree, expected: list[str]) -> None:
    made = both(SERVICE, {"metadata": META, "spec": spec})
    assert [str(ip) for ip in made.cluster_ips] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("010.020.030.001", "10.20.30.1"), ("172.030.0.010", "172.30.0.10"), ("64:ff9b::010.0.0.01", "64:ff9b::a00:1")],
)
def test_leading_zeros_are_decimal(text: str, expected: str) -> None:
    """Rule 2, KEP-4858."""
    assert str(both(SERVICE, service(externalIPs=[text])).external_ips[0]) == expected


def test_blanks_around_source_ranges_are_trimmed() -> None:
    """Rule 2."""
    made = both(SERVICE, service(loadBalancerSourceRanges=[" 010.0.0.0/8\t", "2001:db8::/32 "]))
    assert [str(p) for p in made.source_ranges] == ["10.0.0.0/8", "2001:db8::/32"]


def test_load_balancer_addresses() -> None:
    """Rule 15."""
    ingress = [
        {"ip": "1.2.3.4"},
        {"ip": "5.6.7.8", "ipMode": "Proxy"},
        {"hostname": "lb.example.org"},
        {"ip": "9.9.9.9", "ipMode": "VIP"},
        {"ip": ""},
    ]
    made = both(SERVICE, {**service(), "status": {"loadBalancer": {"ingress": ingress}}})
    assert [str(ip) for ip in made.load_balancer_ips] == ["1.2.3.4", "9.9.9.9"]


@pytest.mark.parametrize(
    "labels", [{"service.kubernetes.io/headless": ""}, {"service.kubernetes.io/service-proxy-name": "other"}]
)
def test_objects_of_other_proxies_are_marked(labels: dict[str, str]) -> None:
    meta = {**META, "labels": labels}
    assert both(SERVICE, {**service(), "metadata": meta}).is_foreign
    assert both(ENDPOINT_SLICE, {**a_slice(), "metadata": meta}).is_foreign
    subsets = [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]
    assert all(s.is_foreign for s in both(ENDPOINTS, {"metadata": meta, "subsets": subsets}))


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, (True, False)),
        ({}, (True, False)),
        ({"ready": None, "serving": None, "terminating": None}, (True, False)),
        ({"ready": False}, (False, False)),
        ({"ready": False, "terminating": True}, (False, True)),
        ({"ready": False, "serving": False, "terminating": True}, (False, False)),
    ],
)
def test_conditions(conditions: Tree | None, expected: tuple[bool, bool]) -> None:
    """Rule 3."""
    made = both(ENDPOINT_SLICE, a_slice(endpoints=[{"addresses": ["10.0.0.1"], "conditions": conditions}]))
    assert (made.endpoints[0].is_ready, made.endpoints[0].is_serving_terminating) == expected


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        (None, 0.0),
        ({}, 0.0),
        ({"other": "x"}, 0.0),
        ({"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-21T08:46:03Z"}, 1795250763.0),
        ({"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-21T09:46:03.5+01:00"}, 1795250763.5),
        ({"endpoints.kubernetes.io/last-change-trigger-time": "soon"}, 0.0),
        ({"endpoints.kubernetes.io/last-change-trigger-time": ""}, 0.0),
    ],
)
def test_when_a_slice_was_triggered(annotations: Tree | None, expected: float) -> None:
    made = both(ENDPOINT_SLICE, {**a_slice(), "metadata": {**META, "annotations": annotations}})
    assert made.triggered == expected


def test_what_a_slice_may_leave_out() -> None:
    """A port without a number, an endpoint without addresses, a name that is an FQDN: none is for a proxy."""
    made = both(ENDPOINT_SLICE, a_slice(ports=[{"name": "all"}], endpoints=[{"addresses": []}]))
    assert (made.ports, made.endpoints) == ((), ())
    fqdn = both(ENDPOINT_SLICE, {**a_slice(endpoints=[{"addresses": ["example.org"]}]), "addressType": "FQDN"})
    assert (fqdn.family, fqdn.endpoints) == (None, ())


def test_endpoints_become_slices_of_one_family_each() -> None:
    subset = {
        "addresses": [{"ip": "10.0.0.1", "nodeName": "n"}, {"ip": "fd00::1"}],
        "notReadyAddresses": [{"ip": "10.0.0.2"}],
        "ports": [{"name": "http", "port": 80}],
    }
    four, six = both(ENDPOINTS, {"metadata": META, "subsets": [subset]})
    assert (four.family, six.family) == (Family.IPV4, Family.IPV6)
    assert [(str(e.address), e.is_ready, e.node) for e in four.endpoints] == [
        ("10.0.0.1", True, "n"),
        ("10.0.0.2", False, ""),
    ]
    assert four.service == six.service == ObjectName("shop", "web")
    assert four.name != six.name


def test_a_node() -> None:
    addresses = [("ExternalIP", "1.1.1.1"), ("Hostname", "n"), ("InternalIP", "10.0.0.1"), ("InternalIP", "fd00::1")]
    tree = {
        "metadata": {"name": "n", "labels": {"b": "2", "a": "1"}},
        "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:1::/64"]},
        "status": {"addresses": [{"type": kind, "address": text} for kind, text in addresses]},
    }
    made: Node = both(NODE, tree)
    assert [str(a) for a in made.addresses] == ["10.0.0.1", "fd00::1", "1.1.1.1"]
    assert [str(p) for p in made.pod_cidrs] == ["10.1.0.0/24", "fd00:1::/64"]
    assert (made.label("a"), made.label("c"), made.is_leaving) == ("1", "", False)


@pytest.mark.parametrize(
    "extra",
    [
        {"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"metadata": {"name": "n"}, "spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler"}]}},
    ],
)
def test_a_node_that_is_leaving(extra: Tree) -> None:
    assert both(NODE, extra).is_leaving


def test_pods_namespaces_and_service_ranges() -> None:
    pod = both(POD, {"metadata": META, "spec": {"nodeName": "n"}, "status": {"podIPs": [{"ip": "10.0.0.1"}]}})
    assert (pod.node, [str(a) for a in pod.addresses]) == ("n", ["10.0.0.1"])
    assert both(NAMESPACE, {"metadata": {"name": "shop", "labels": {"a": "1"}}}).labels == (("a", "1"),)
    cidr = both(SERVICE_CIDR, {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["172.30.0.0/16"]}})
    assert [str(p) for p in cidr.cidrs] == ["172.30.0.0/16"]


def test_unknown_fields_are_ignored() -> None:
    odd = {**service(trafficDistribution="PreferClose", selector={"a": "b"}), "kind": "Service", "future": [1, {}]}
    assert both(SERVICE, odd) == both(SERVICE, service())


def test_paths_in_the_api() -> None:
    assert SERVICE.path == "/api/v1/services"
    assert ENDPOINT_SLICE.path == "/apis/discovery.k8s.io/v1/endpointslices"


# errors


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (service(ports=[{"port": 0}]), "spec.ports[0].port: 0 is not a port (1 to 65535)"),
        (service(ports=[{"port": 70000}]), "spec.ports[0].port: 70000 is not a port (1 to 65535)"),
        (service(ports=[{"port": -1}]), "spec.ports[0].port: -1 is not a port (1 to 65535)"),
        (service(ports=[{"port": 80, "nodePort": 65536}]), "spec.ports[0].nodePort: 65536 is not a port (0 to 65535)"),
        (service(ports=[{"port": "80"}]), "spec.ports[0].port: expected `int`, got `str` (found '80')"),
        (service(ports=[{}]), "spec.ports[0]: object missing required field `port`"),
        (
            service(ports=[{"port": 80, "protocol": "ICMP"}]),
            "spec.ports[0].protocol: 'ICMP' is not one of TCP, UDP, SCTP",
        ),
        (
            service(ports=[{"port": 1, "name": "a"}, {"port": 2}]),
            "spec.ports[1].name: a name is required with several ports",
        ),
        (service(ports=[{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]), "spec.ports[1].name: 'a' stands twice"),
        (service(type="Balancer"), "spec.type: invalid enum value 'Balancer' (found 'Balancer')"),
        (service(clusterIP="172.30.0"), "spec.clusterIP: '172.30.0' is not an IP address"),
        (service(clusterIPs=["172.30.0.1", "x"]), "spec.clusterIPs[1]: 'x' is not an IP address"),
        (service(externalIPs=["1.2.3.4", "1.2.3.400"]), "spec.externalIPs[1]: '1.2.3.400' is not an IP address"),
        (
            service(loadBalancerSourceRanges=["10.0.0.0"]),
            "spec.loadBalancerSourceRanges[0]: '10.0.0.0' is not a CIDR block",
        ),
        (
            service(loadBalancerSourceRanges=["10.0.0.0/33"]),
            "spec.loadBalancerSourceRanges[0]: '10.0.0.0/33' is not a CIDR block",
        ),
        (
            service(internalTrafficPolicy="local"),
            "spec.internalTrafficPolicy: invalid enum value 'local' (found 'local')",
        ),
        (service(healthCheckNodePort=-5), "spec.healthCheckNodePort: -5 is not a port (0 to 65535)"),
        (
            service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 0}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is not within 1 to 86400",
        ),
        (
            {**service(), "status": {"loadBalancer": {"ingress": [{"ip": "lb.example.org"}]}}},
            "status.loadBalancer.ingress[0].ip: 'lb.example.org' is not an IP address",
        ),
        ({"metadata": META, "spec": []}, "spec: expected `object | null`, got `array`"),
    ],
)
def test_errors_of_a_service_name_object_field_and_value(tree: Tree, expected: str) -> None:
    for raw in (tree, json.dumps(tree).encode()):
        with pytest.raises(ObjectError) as caught:
            SERVICE.decode(raw)
        assert str(caught.value) == f"Service shop/web: {expected}"


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (a_slice(endpoints=[{"addresses": ["x"]}]), "endpoints[0].addresses[0]: 'x' is not an IP address"),
        (
            a_slice(endpoints=[{"addresses": ["10.0.0.1"]}, {"addresses": ["fd00::1"]}]),
            "endpoints[1].addresses[0]: fd00::1 is no IPv4 address, as addressType says",
        ),
        (a_slice(endpoints=[{}]), "endpoints[0]: object missing required field `addresses`"),
        (a_slice(ports=[{"port": 99999}]), "ports[0].port: 99999 is not a port (1 to 65535)"),
        (a_slice(ports=[{"port": 1, "protocol": "tcp"}]), "ports[0].protocol: 'tcp' is not one of TCP, UDP, SCTP"),
        ({"metadata": META, "addressType": "IPv5"}, "addressType: invalid enum value 'IPv5' (found 'IPv5')"),
        ({"metadata": META}, "object missing required field `addressType`"),
        (
            a_slice(endpoints=[{"addresses": ["10.0.0.1"], "conditions": {"ready": "yes"}}]),
            "endpoints[0].conditions.ready: expected `bool | null`, got `str` (found 'yes')",
        ),
    ],
)
def test_errors_of_a_slice_name_object_field_and_value(tree: Tree, expected: str) -> None:
    for raw in (tree, json.dumps(tree).encode()):
        with pytest.raises(ObjectError) as caught:
            ENDPOINT_SLICE.decode(raw)
        assert str(caught.value) == f"EndpointSlice shop/web: {expected}"


@pytest.mark.parametrize(
    ("kind", "tree", "expected"),
    [
        (SERVICE, {"spec": {}}, "Service (without a name): object missing required field `metadata`"),
        (SERVICE, {"metadata": {}}, "Service default/: metadata.name: a name is required"),
        (ENDPOINT_SLICE, a_slice(metadata={}), "EndpointSlice default/: metadata.name: a name is required"),
        (
            ENDPOINTS,
            {"metadata": META, "subsets": [{"addresses": [{"ip": "x"}]}]},
            "Endpoints shop/web: subsets[0].addresses[0].ip: 'x' is not an IP address",
        ),
        (NODE, {"metadata": {}}, "Node : metadata.name: a name is required"),
        (
            NODE,
            {"metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.0.0.0/8", "x"]}},
            "Node n: spec.podCIDRs[1]: 'x' is not an IP address",
        ),
        (
            NODE,
            {"metadata": {"name": "n"}, "status": {"addresses": [{"type": "InternalIP", "address": "x"}]}},
            "Node n: status.addresses[0].address: 'x' is not an IP address",
        ),
        (
            SERVICE_CIDR,
            {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["172.30.0.0"]}},
            "ServiceCIDR kubernetes: spec.cidrs[0]: '172.30.0.0' is not a CIDR block",
        ),
        (
            POD,
            {"metadata": META, "status": {"podIPs": [{"ip": "x"}]}},
            "Pod shop/web: status.podIPs[0].ip: 'x' is not an IP address",
        ),
    ],
)
def test_errors_of_the_other_kinds(kind: Kind[Any], tree: Tree, expected: str) -> None:
    with pytest.raises(ObjectError) as caught:
        kind.decode(tree)
    assert str(caught.value) == expected


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"metadata": {"name": "\xff"}}',
        b'{"metadata": {"name": "\\ud800"}}',
        b'{"metadata": null}',
        b'{"metadata": {"name": "a", "future": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
    ids=range(9),
)
def test_text_that_is_no_object_is_an_object_error(kind: Kind[Any], raw: bytes) -> None:
    with pytest.raises(ObjectError, match=kind.name):
        kind.decode(raw)


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview, msgspec.Raw])
def test_json_may_come_as_any_buffer(form: Any) -> None:
    assert SERVICE.decode(form(json.dumps(service()).encode())) == both(SERVICE, service())


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["None", "IPv4", "TCP", "10.0.0.1", "fd00::1", "10.0.0.0/8", "ClientIP", "Local", "LoadBalancer"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def _mutated(tree: Any, path: list[int], value: Any) -> Any:
    """The tree with one of its nodes replaced."""
    if not path or not isinstance(tree, (dict, list)) or not tree:
        return value
    if isinstance(tree, list):
        at = path[0] % len(tree)
        return [_mutated(v, path[1:], value) if i == at else v for i, v in enumerate(tree)]
    key = sorted(tree)[path[0] % len(tree)]
    return {**tree, key: _mutated(tree[key], path[1:], value)}


FULL = {
    **service(
        type="LoadBalancer",
        clusterIPs=["172.30.0.1"],
        externalIPs=["1.2.3.4"],
        loadBalancerSourceRanges=["10.0.0.0/8"],
        sessionAffinity="ClientIP",
        sessionAffinityConfig={"clientIP": {"timeoutSeconds": 5}},
        podCIDRs=["10.0.0.0/8"],
        cidrs=["10.0.0.0/8"],
        taints=[{"key": "a"}],
        nodeName="n",
    ),
    "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]}, "podIPs": [{"ip": "10.0.0.1"}]},
    "addressType": "IPv4",
    "ports": [{"name": "a", "port": 80, "protocol": "TCP"}],
    "endpoints": [
        {
            "addresses": ["10.0.0.1"],
            "conditions": {"ready": True, "serving": True},
            "nodeName": "n",
            "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "n"}]},
        }
    ],
    "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}],
}


def _keys(tree: Any) -> set[str]:
    """Every field name in a tree."""
    if isinstance(tree, list):
        return {key for one in tree for key in _keys(one)}
    return {*tree, *(key for one in tree.values() for key in _keys(one))} if isinstance(tree, dict) else set()


@given(st.sampled_from(KINDS), st.lists(st.integers(0, 20), min_size=1, max_size=6), JSON)
@settings(max_examples=600, deadline=None)
def test_one_wrong_value_anywhere_is_an_object_error_or_nothing(kind: Kind[Any], path: list[int], value: Any) -> None:
    """And JSON and tree agree on which."""
    tree = _mutated(FULL, path, value)
    if isinstance(tree, dict):
        assert outcome(kind, tree) == outcome(kind, json.dumps(tree).encode())


def outcome(kind: Kind[Any], raw: Any) -> Any:
    """The object, or what is wrong with it."""
    try:
        return kind.decode(raw)
    except ObjectError as error:
        return str(error)


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(sorted(_keys(FULL))), JSON, max_size=5))
@settings(max_examples=300, deadline=None)
def test_any_json_is_decoded_or_is_an_object_error(kind: Kind[Any], tree: Tree) -> None:
    assert outcome(kind, tree) == outcome(kind, json.dumps(tree).encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_are_an_object_error(raw: bytes) -> None:
    for kind in KINDS:
        outcome(kind, raw)


def test_every_kind_is_tried_here() -> None:
    assert [v for v in vars(decode).values() if isinstance(v, Kind)] == KINDS
