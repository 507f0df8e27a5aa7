"""What a cluster puts on its host, and that it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster_host import ClusterHost

pytestmark = pytest.mark.kernel
SHOWN = (
    ("nft", "list", "ruleset"),
    ("ip", "-4", "route"),
    ("ip", "-6", "route"),
    ("ip", "nexthop"),
    ("ip", "-br", "link"),
    ("ip", "netns"),
)


def test_a_cluster_leaves_its_host_as_it_was(tmp_path: Path) -> None:
    with ClusterHost(tmp_path) as host:
        before = [host.run(*command) for command in SHOWN]
        host.up("--nodes", "1", "--ip-family", "dual")
        during = [host.run(*command) for command in SHOWN]
        assert all(now != then for now, then in zip(during, before, strict=True))
        assert "table ip fw-egress" in during[0]
        assert "table ip6 fw-egress" in during[0]
        assert all(f"{network} nhid" in during[1] for network in ("10.96.0.0/16", "10.97.0.0/24"))
        host.down()
        assert [host.run(*command) for command in SHOWN] == before
