"""This node as the plan sees it, from configuration, Node object and interfaces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairway.agents.node_view import NodeViews, build_view
from fairway.config.proxy.load import load
from fairway.config.proxy.settings import ProxySettings
from fairway.kube.cluster import Node, ServiceCIDR
from fairway.plan.view import DetectLocal, Detector, NodeView
from fairway.state.tables import State, Writer
from fairway.values.address import Address, Family, Prefix

INTERFACES = [
    Address.parse(a)
    for a in ("127.0.0.1", "::1", "169.254.1.1", "192.168.0.2", "192.168.1.2", "fe80::1", "2001:db8::1")
]
NODE = Node("node-1", (("topology.kubernetes.io/zone", "zone-a"),))


def settings(**fields: Any) -> ProxySettings:
    head = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables"}
    return load(json.dumps({**head, **fields})).settings


def view(node: Node = NODE, family: Family = Family.IPV4, **fields: Any) -> NodeView:
    cidrs = [Prefix.parse("172.30.0.0/16"), Prefix.parse("fd00:96::/108")]
    return build_view(settings(**fields), family, node, INTERFACES, cidrs)


def texts(values: Any) -> list[str]:
    return [str(value) for value in values]


def test_each_family_has_its_own_half() -> None:
    four, six = view(), view(family=Family.IPV6)
    assert texts(four.addresses) == ["127.0.0.1", "169.254.1.1", "192.168.0.2", "192.168.1.2"]
    assert texts(six.addresses) == ["::1", "2001:db8::1", "fe80::1"]
    assert (texts(four.service_cidrs), texts(six.service_cidrs)) == (["172.30.0.0/16"], ["fd00:96::/108"])
    assert (four.name, four.zone, six.zone) == ("node-1", "zone-a", "zone-a")


OTHER = Node("node-1", addresses=(Address.parse("2001:db8::1"), Address.parse("192.168.1.2")))


@pytest.mark.parametrize(
    ("node", "fields", "expected"),
    [
        (OTHER, {"bindAddress": "192.168.0.2"}, "192.168.0.2"),
        (OTHER, {"bindAddress": "0.0.0.0"}, "192.168.1.2"),
        (OTHER, {"bindAddress": "2001:db8::1"}, "192.168.1.2"),
        (OTHER, {}, "192.168.1.2"),
        (NODE, {}, "192.168.0.2"),
    ],
)
def test_the_primary_address(node: Node, fields: dict[str, Any], expected: str) -> None:
    """bindAddress, else the Node object's, else the first that is neither loopback nor link-local."""
    assert str(view(node, **fields).primary) == expected


def test_node_ports_are_on_the_primary_address_unless_told_otherwise() -> None:
    assert texts(view().node_port_addresses) == ["192.168.0.2"]
    everywhere = view(nodePortAddresses=["0.0.0.0/0"]).node_port_addresses
    assert {"192.168.0.2", "192.168.1.2"} <= set(texts(everywhere))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Detector()),
        ({"clusterCIDR": "10.0.0.0/8"}, Detector(DetectLocal.PREFIXES, (Prefix.parse("10.0.0.0/8"),))),
        ({"clusterCIDR": "fd00::/8"}, Detector()),
        ({"detectLocalMode": "NodeCIDR"}, Detector(DetectLocal.PREFIXES, (Prefix.parse("10.1.0.0/24"),))),
        (
            {"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": "cbr0"}},
            Detector(DetectLocal.INTERFACE, interface="cbr0"),
        ),
        (
            {"detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": "veth"}},
            Detector(DetectLocal.INTERFACE_PREFIX, interface="veth"),
        ),
    ],
)
def test_detectors(fields: dict[str, Any], expected: Detector) -> None:
    node = Node("node-1", pod_cidrs=(Prefix.parse("10.1.0.0/24"), Prefix.parse("fd00:1::/64")))
    assert view(node, **fields).detector == expected


def test_masquerade_all() -> None:
    assert view(nftables={"masqueradeAll": True}).masquerade_all
    assert not view().masquerade_all


def test_views_follow_what_they_are_made_of_and_stay_the_same_object_otherwise() -> None:
    state = State()
    writer = Writer(state)
    views = NodeViews(settings(), "node-1", state, INTERFACES)
    first = views.view(Family.IPV4)
    assert (first.name, first.zone, first.service_cidrs) == ("node-1", "", ())
    assert views.view(Family.IPV4) is first
    writer.put_node(NODE)
    second = views.view(Family.IPV4)
    assert second.zone == "zone-a"
    writer.put_node(Node("somebody-else"))
    assert views.view(Family.IPV4) is second
    writer.put_service_cidr(ServiceCIDR("kubernetes", (Prefix.parse("172.30.0.0/16"),)))
    assert texts(views.view(Family.IPV4).service_cidrs) == ["172.30.0.0/16"]
    views.addresses = (*views.addresses, Address.parse("192.168.9.9"))
    assert Address.parse("192.168.9.9") in views.view(Family.IPV4).addresses
    writer.remove_node("node-1")
    assert views.view(Family.IPV4).zone == ""
