"""Names in a whole cluster, as pods and the host ask for them."""

from __future__ import annotations

import pytest

from cluster_host import ClusterHost, until
from e2e.test_services import make

pytestmark = pytest.mark.kernel
DIG = ("dig", "+short", "+time=2", "+tries=1")
DOMAIN = "default.svc.cluster.local"


def dig(cluster: ClusterHost, *words: str) -> list[str]:
    return cluster.inside("client", *DIG, *words).split("\n")[:-1]


def test_a_name_is_known_as_soon_as_its_service_is(cluster: ClusterHost) -> None:
    for number in range(5):
        ip = make(cluster, f"quick-{number}", "IPv4")["spec"]["clusterIP"]
        assert cluster.inside("client", "getent", "ahostsv4", f"quick-{number}").split()[0] == ip


def test_every_pod_is_answered_on_its_own_node(cluster: ClusterHost) -> None:
    for slice_ in cluster.get("endpointslices", "-n", "kube-system")["items"]:
        assert all(one["hints"]["forNodes"] == [{"name": one["nodeName"]}] for one in slice_["endpoints"])
    counted = {node: queries(cluster, node) for node in ("node-1", "node-3")}
    for _ in range(20):
        dig(cluster, f"kubernetes.{DOMAIN}")
    assert queries(cluster, "node-3") >= counted["node-3"] + 20
    assert queries(cluster, "node-1") == counted["node-1"]


def queries(cluster: ClusterHost, node: str) -> float:
    """How many questions a node's server was asked."""
    address = cluster.get("node", node)["status"]["addresses"][0]["address"]
    text = cluster.run("curl", "-s", f"http://{address}:9153/metrics")
    lines = [line for line in text.splitlines() if line.startswith("coredns_dns_requests_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_names_have_both_families_and_come_back_from_addresses(cluster: ClusterHost) -> None:
    ips = make(cluster, "named", "IPv4", "IPv6")["spec"]["clusterIPs"]
    until(lambda: dig(cluster, "A", f"named.{DOMAIN}") == ips[:1], "A")
    assert dig(cluster, "AAAA", f"named.{DOMAIN}") == ips[1:]
    assert [dig(cluster, "-x", ip) for ip in ips] == [[f"named.{DOMAIN}."]] * 2
    assert dig(cluster, "SRV", f"_http._tcp.named.{DOMAIN}")[0].split()[2:] == ["80", f"named.{DOMAIN}."]


def test_a_headless_service_names_its_pods(cluster: ClusterHost) -> None:
    make(cluster, "headless", "IPv4", clusterIP="None")
    ips = {cluster.get("pod", name)["status"]["podIP"] for name in ("echo-1", "echo-2")}
    until(lambda: set(dig(cluster, f"headless.{DOMAIN}")) == ips, "both pods")


def test_an_external_name_is_another_name(cluster: ClusterHost) -> None:
    spec = {"type": "ExternalName", "externalName": "example.org"}
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "away"}, "spec": spec})
    until(lambda: dig(cluster, "CNAME", f"away.{DOMAIN}") == ["example.org."], "the other name")


def test_the_host_asks_the_clusters_dns(cluster: ClusterHost) -> None:
    assert cluster.run(*DIG, "@10.96.0.10", f"kubernetes.{DOMAIN}") == "10.96.0.1\n"
    assert cluster.run(*DIG, "@fd00:10:96::a", f"kubernetes.{DOMAIN}") == "10.96.0.1\n"
    assert cluster.run(*DIG, "+tcp", "@10.96.0.10", f"kubernetes.{DOMAIN}") == "10.96.0.1\n"


def test_a_pod_asks_its_nodes_server_at_the_local_address_without_conntrack(cluster: ClusterHost) -> None:
    assert dig(cluster, "@169.254.20.10", f"kubernetes.{DOMAIN}") == ["10.96.0.1"]
    assert "169.254.20.10" not in cluster.on_node("node-3", "conntrack", "-L")
