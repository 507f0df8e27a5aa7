"""The HTTP servers of `fairway proxy` and of the real kube-proxy, asked the same, each in a namespace of its own."""

import re

import pytest

from fake_storage import NODES
from peer import peer
from peer_proxy import FAIRWAY, NODE_IP, node, proxy_process

pytestmark = pytest.mark.peers
KUBE_PROXY = peer("kube-proxy")
TAINT = {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}
PATHS = [
    (10256, "/healthz", "127.0.0.1"),
    (10256, "/livez", "127.0.0.1"),
    (10256, "/", "127.0.0.1"),
    (10249, "/healthz", "127.0.0.1"),
    (10249, "/proxyMode", "127.0.0.1"),
    (10249, "/livez", "127.0.0.1"),
    (10249, "/debug/pprof/", "127.0.0.1"),
    (30010, "/", NODE_IP),
    (30010, "/any/path", NODE_IP),
]
CHANGES_WITH_TIME = {"Date", "Content-Length"}
ONLY_OURS = {"apiServer"}
WITHOUT_MEANING_HERE = {"kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total"}


def shape(reply):
    """What must be equal: status, headers, and a body with times and numbers left out."""
    headers = {name: value for name, value in reply.headers.items() if name not in CHANGES_WITH_TIME}
    if headers.get("Content-Type") != "application/json":
        return reply.status, headers, reply.text
    keys = [(key, type(value).__name__) for key, value in reply.json.items() if key not in ONLY_OURS]
    healthy = {key: value for key, value in reply.json.items() if isinstance(value, bool | int)}
    return reply.status, headers, keys, healthy, sorted(reply.json.get("status", {}))


def names(metrics):
    return set(re.findall(r"^# TYPE (kubeproxy_\w+ \w+)$", metrics, re.MULTILINE))


def everything(folder, command):
    """What a proxy answers, on an eligible node and on one that leaves."""
    folder.mkdir()
    with proxy_process(folder, command) as proxy:
        proxy.until(lambda: proxy.status(30010, "/", NODE_IP) == 200)
        proxy.until(lambda: proxy.status(10256, "/healthz") == 200)
        plain = {(port, path): shape(proxy.ask(port, path, host)) for port, path, host in PATHS}
        heads = {(port, path): shape(proxy.ask(port, path, host, "HEAD"))[:2] for port, path, host in PATHS[3:6]}
        check = proxy.ask(30010, "/", NODE_IP).body
        metrics = names(proxy.ask(10249, "/metrics").text)
        config = proxy.ask(10249, "/configz").json["kubeproxy.config.k8s.io"]
        proxy.api.put(NODES, node(taints=[TAINT]))
        proxy.until(lambda: proxy.status(10256, "/healthz") == 503)
        leaving = [shape(proxy.ask(10256, path)) for path in ("/healthz", "/livez")]
    return {"plain": plain, "head": heads, "check": check, "leaving": leaving}, metrics, config


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("http")
    return everything(folder / "theirs", (KUBE_PROXY,)), everything(folder / "ours", FAIRWAY)


def test_answers_are_the_same(both):
    (theirs, _, _), (ours, _, _) = both
    assert ours == theirs


def test_every_metric_that_kube_proxy_serves_is_served_with_its_type(both):
    (_, theirs, _), (_, ours, _) = both
    assert {name for name in theirs if name.split()[0] not in WITHOUT_MEANING_HERE} <= ours


def test_configz_has_kube_proxys_fields_and_values_in_effect(both):
    (_, _, theirs), (_, _, ours) = both
    assert {key: ours.get(key) for key in theirs if key not in {"iptables", "ipvs", "clientConnection", "logging"}} == {
        key: value for key, value in theirs.items() if key not in {"iptables", "ipvs", "clientConnection", "logging"}
    }
    assert set(theirs["iptables"]) == set(ours["iptables"])
    assert set(theirs["ipvs"]) == set(ours["ipvs"])
