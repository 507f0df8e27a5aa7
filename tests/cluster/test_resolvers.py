"""Which name servers nodes can ask."""

from __future__ import annotations

import pytest

from fairway.cluster.resolvers import Resolvers, plan_resolvers
from fairway.values.address import Address, Prefix

RELAY = Address.parse("10.245.0.1")
CLUSTER = [Prefix.parse("10.96.0.0/16"), Prefix.parse("10.245.0.0/24")]


@pytest.mark.parametrize(
    ("own", "behind", "expected"),
    [
        (["192.0.2.1", "2001:db8::1"], [], Resolvers(("192.0.2.1", "2001:db8::1"))),
        (["127.0.0.53"], ["192.0.2.1"], Resolvers(("192.0.2.1",))),
        (["127.0.0.1", "192.0.2.1"], ["192.0.2.9"], Resolvers(("192.0.2.1",))),
        (["127.0.0.1", "::1"], [], Resolvers(("10.245.0.1",), ("127.0.0.1", "::1"))),
        (["127.0.0.53"], ["127.0.0.1"], Resolvers(("10.245.0.1",), ("127.0.0.53",))),
        (["10.96.0.10"], [], Resolvers(())),
        (["10.96.0.10", "192.0.2.1"], [], Resolvers(("192.0.2.1",))),
        (["fe80::1%eth0"], [], Resolvers(())),
        (["nonsense"], [], Resolvers(())),
        ([], [], Resolvers(())),
    ],
)
def test_nodes_ask_what_they_can_reach(own: list[str], behind: list[str], expected: Resolvers) -> None:
    assert plan_resolvers(own, behind, RELAY, CLUSTER) == expected
