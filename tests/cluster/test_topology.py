from __future__ import annotations

import pytest

from fairway.cluster.topology import Machine, Ranges, Route, node_object, plan
from fairway.values.address import Address, Prefix
from fairway.values.errors import ConfigError


def ranges(underlay: str = "172.31.255.0/24,fd00:1::/64", pods: str = "10.244.0.0/16,fd00:2::/48") -> Ranges:
    both = [tuple(Prefix.parse(one) for one in text.split(",")) for text in (underlay, pods)]
    return Ranges(both[0], both[1])


def test_nodes_lie_in_zones_in_turn_and_have_ranges_of_their_own() -> None:
    nodes = plan(4, ranges()).nodes
    assert [node.zone for node in nodes] == ["zone-a", "zone-b", "zone-c", "zone-a"]
    assert [[str(one) for one in node.pod_ranges] for node in nodes[:2]] == [
        ["10.244.0.0/24", "fd00:2::/64"],
        ["10.244.1.0/24", "fd00:2:0:1::/64"],
    ]
    assert [str(node.addresses[0]) for node in nodes] == [f"172.31.255.{n}" for n in (2, 3, 4, 5)]
    assert [str(one) for one in nodes[1].gateways] == ["10.244.1.1", "fd00:2:0:1::1"]


def test_every_node_has_a_route_to_the_pods_of_every_other_and_none_to_its_own() -> None:
    made = plan(3, ranges("172.31.255.0/24", "10.244.0.0/16"))
    assert made.routes_of(made.nodes[0]) == (
        Route(Prefix.parse("10.244.1.0/24"), Address.parse("172.31.255.3")),
        Route(Prefix.parse("10.244.2.0/24"), Address.parse("172.31.255.4")),
    )
    assert [str(route.to) for route in made.host_routes] == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]


def test_names_addresses_and_ranges_are_unique_in_a_large_cluster() -> None:
    nodes = plan(200, ranges()).nodes
    for values in ([n.name for n in nodes], [n.namespace for n in nodes], [n.link for n in nodes]):
        assert len(set(values)) == 200
    assert len({one for node in nodes for one in (*node.addresses, *node.pod_ranges)}) == 800


@pytest.mark.parametrize(
    ("count", "underlay", "pods", "words"),
    [
        (0, "172.31.255.0/24", "10.244.0.0/16", "--nodes: 0"),
        (6, "172.31.255.0/29", "10.244.0.0/16", "room for 5 nodes"),
        (3, "172.31.255.0/24", "10.244.0.0/23", "no room for 3 ranges of /24"),
        (1, "172.31.255.0/24", "10.244.0.0/25", "no room for 1 ranges of /24"),
        (1, "10.0.0.0/8", "10.244.0.0/16", "overlap"),
        (1, "172.31.255.0/24", "fd00::/48", "families"),
    ],
)
def test_what_does_not_fit_is_named(count: int, underlay: str, pods: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(count, ranges(underlay, pods))


def test_a_full_underlay_is_used_to_its_last_address() -> None:
    assert str(plan(5, ranges("172.31.255.0/29", "10.244.0.0/16")).nodes[-1].addresses[0]) == "172.31.255.6"


def test_the_node_object_says_where_it_lies() -> None:
    tree = node_object(plan(1, ranges()).nodes[0], Machine(2, 4 << 30, "amd64", "6.1", "Debian"), "v1.36.3")
    assert tree["metadata"]["labels"]["topology.kubernetes.io/zone"] == "zone-a"
    assert tree["spec"]["podCIDRs"] == ["10.244.0.0/24", "fd00:2::/64"]
    assert tree["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
    assert tree["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.3"
    assert tree["status"]["capacity"] == {"cpu": "2", "memory": "4194304Ki", "pods": "110"}
