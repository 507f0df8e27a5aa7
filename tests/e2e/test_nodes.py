"""Nodes and the pods on them: who they are, how they reach each other, and what the commands say of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster_host import ClusterHost

pytestmark = pytest.mark.kernel
NODES = ["node-1", "node-2", "node-3"]
PODS = (
    ["10.244.0.0/24", "fd00:10:244::/64"],
    ["10.244.1.0/24", "fd00:10:244:1::/64"],
    ["10.244.2.0/24", "fd00:10:244:2::/64"],
)
FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])


def addresses(cluster: ClusterHost, pod: str) -> list[str]:
    return [one["ip"] for one in cluster.get("pod", pod)["status"]["podIPs"]]


def seen_by(cluster: ClusterHost, client: str, address: str) -> str:
    """The source that a pod saw when another asked it."""
    shown = f"[{address}]" if ":" in address else address
    said = cluster.inside(client, "curl", "-sg", "--max-time", "5", f"http://{shown}:8080/clientip")
    return said.rpartition(":")[0].strip("[]")


def test_nodes_are_ready_in_a_zone_each_with_ranges_and_leases(cluster: ClusterHost) -> None:
    nodes = cluster.get("nodes")["items"]
    assert [one["metadata"]["name"] for one in nodes] == NODES
    zones = [one["metadata"]["labels"]["topology.kubernetes.io/zone"] for one in nodes]
    assert zones == ["zone-a", "zone-b", "zone-c"]
    assert [one["spec"]["podCIDRs"] for one in nodes] == list(PODS)
    for one in nodes:
        ready = next(each for each in one["status"]["conditions"] if each["type"] == "Ready")
        assert ready["status"] == "True"
    leases = cluster.get("leases", "-n", "kube-node-lease")["items"]
    assert sorted(one["spec"]["holderIdentity"] for one in leases) == NODES


@FAMILIES
def test_pods_of_one_node_and_of_two_see_each_others_addresses(cluster: ClusterHost, family: int) -> None:
    first, second = addresses(cluster, "echo-1"), addresses(cluster, "echo-2")
    assert seen_by(cluster, "echo-1", second[family]) == first[family]
    assert seen_by(cluster, "echo-2", first[family]) == second[family]
    assert seen_by(cluster, "echo-1", first[family]) == first[family]
    assert seen_by(cluster, "client", first[family]) == addresses(cluster, "client")[family]


def test_a_pod_of_the_nodes_network_may_listen_where_it_likes(cluster: ClusterHost) -> None:
    arguments = ["netexec", "--http-port=8080", "--udp-port=-1"]
    ready = {"httpGet": {"path": "/hostname", "port": 8080}, "periodSeconds": 1}
    container = {"name": "web", "image": "agnhost", "args": arguments, "readinessProbe": ready}
    spec = {"nodeName": "node-3", "hostNetwork": True, "terminationGracePeriodSeconds": 0, "containers": [container]}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "on-the-node"}, "spec": spec})
    cluster.kubectl("wait", "pod/on-the-node", "--for=condition=Ready", "--timeout=20s")
    assert addresses(cluster, "on-the-node") == ["10.245.0.4", "fd00:10:245::4"]
    assert cluster.run("curl", "-s", "--max-time", "5", "http://10.245.0.4:8080/hostname") == "node-3"
    cluster.kubectl("delete", "pod", "on-the-node")


def test_status_tells_every_process_and_that_all_is_well(cluster: ClusterHost) -> None:
    done = cluster.fairway("status", "-o", "json")
    assert done.returncode == 0
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["schema"] == "fairway.cluster-status/v1"
    assert [part["name"] for part in answer["parts"]] == ["supervisor", "control-plane", *NODES]
    assert (answer["ready"], answer["troubles"]) == (True, [])


def test_a_second_up_says_what_runs_and_changes_nothing(cluster: ClusterHost) -> None:
    before = cluster.parts()
    done = cluster.fairway("up")
    assert (done.returncode, "runs already: node-1, node-2, node-3" in done.stderr) == (0, True)
    done = cluster.fairway("up", "--nodes", "5", "-o", "json")
    assert "keeps the settings that it was started with" in done.stderr
    assert json.loads(done.stdout)["started"] is False
    assert cluster.parts() == before


def test_a_command_runs_in_a_nodes_network(cluster: ClusterHost) -> None:
    done = cluster.fairway("node", "exec", "node-2", "--", "ip", "-o", "-4", "addr", "show", "eth0")
    assert "10.245.0.3/24" in done.stdout
    refused = cluster.fairway("node", "exec", "node-9", "--", "true")
    assert refused.returncode == 2
    assert "'node-9' is no node of this cluster (there is: node-1, node-2, node-3)" in refused.stderr


def test_a_path_is_explained_on_a_live_node(cluster: ClusterHost) -> None:
    question = "pod/default/echo-1 -> svc/kube-system/kube-dns:dns/udp"
    done = cluster.fairway("explain", "--on", "node-1", "-o", "json", question)
    assert done.returncode == 0, done.stderr + done.stdout
    answer = json.loads(done.stdout)
    assert answer["agrees"] is True
    assert [one["address"] for one in answer["backends"]] == ["10.245.0.2"]


def test_the_clusters_kubeconfig_is_printed_and_works(cluster: ClusterHost) -> None:
    text = cluster.fairway("kubeconfig").stdout
    assert "server: https://127.0.0.1:6443" in text
    assert cluster.fairway("kubectl", "config", "current-context").stdout.strip() == "fairway"
