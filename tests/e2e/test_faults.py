"""What a cluster does when parts of it die: it mends itself, or `fairway status` names what is down and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cluster_host import ClusterHost, until

pytestmark = pytest.mark.kernel
CURL = ("curl", "-s", "--max-time", "2")
GRACE = 12


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHost]:
    """Two nodes, a web server on each behind a Service. Every test leaves it mended."""
    with ClusterHost(tmp_path_factory.mktemp("home")) as host:
        host.up("--nodes", "2", "--node-grace", str(GRACE))
        probe = {"httpGet": {"path": "/hostname", "port": 8080}, "periodSeconds": 1}
        arguments = ["netexec", "--http-port=8080"]
        container = {"name": "web", "image": "agnhost", "args": arguments, "readinessProbe": probe}
        for number in (1, 2):
            meta = {"name": f"web-{number}", "labels": {"app": "web"}}
            spec = {"nodeName": f"node-{number}", "containers": [container], "terminationGracePeriodSeconds": 1}
            host.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        ports = [{"port": 80, "targetPort": 8080}]
        service = {"clusterIP": "10.96.0.80", "selector": {"app": "web"}, "ports": ports}
        host.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service})
        host.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")
        until(lambda: answers(host) == {"web-1", "web-2"}, "both answer")
        yield host


def answers(host: ClusterHost, times: int = 8) -> set[str]:
    """Who answers behind the Service, asked from the first node: by chance one of two stays away, 1 in 2^times."""
    command = ["ip", "netns", "exec", "fw-node-1", *CURL, "http://10.96.0.80/hostname"]
    return {host.attempt(*command).stdout for _ in range(times)}


def troubles(host: ClusterHost) -> list[str]:
    """What `fairway status` finds."""
    return [one["what"] for one in json.loads(host.fairway("status", "-o", "json").stdout)["troubles"]]


@pytest.mark.parametrize("name", ["node-2", "control-plane"])
def test_a_process_that_is_killed_is_started_again_and_services_work(shop: ClusterHost, name: str) -> None:
    before = shop.parts()[name]
    shop.kill(name)
    assert shop.fairway("status", "--wait").returncode == 0
    after = shop.parts()[name]
    assert after["pid"] != before["pid"]
    assert (after["starts"], after["last_end"]) == (before["starts"] + 1, "signal 9")
    shop.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=30s")
    until(lambda: answers(shop) == {"web-1", "web-2"}, "both answer again")


def test_pods_of_other_nodes_and_the_kernels_rules_outlive_the_control_plane(shop: ClusterHost) -> None:
    processes = {name: part["pid"] for name, part in shop.parts().items()}
    shop.kill("control-plane")
    assert answers(shop) <= {"web-1", "web-2"}
    assert shop.fairway("status", "--wait").returncode == 0
    kept = {name: part["pid"] for name, part in shop.parts().items() if name != "control-plane"}
    assert kept == {name: pid for name, pid in processes.items() if name != "control-plane"}
    assert shop.get("service", "web")["spec"]["clusterIP"] == "10.96.0.80"


def test_without_its_supervisor_the_cluster_runs_on_and_up_gives_it_another(shop: ClusterHost) -> None:
    before = shop.parts()
    shop.kill("supervisor")
    status = shop.fairway("status", "-o", "json")
    assert status.returncode == 1
    (trouble,) = json.loads(status.stdout)["troubles"]
    assert trouble["what"] == "supervisor does not run"
    assert "`fairway up`" in trouble["remedy"]
    assert answers(shop) == {"web-1", "web-2"}
    shop.up()
    after = shop.parts()
    assert {name: part["pid"] for name, part in after.items() if name != "supervisor"} == {
        name: part["pid"] for name, part in before.items() if name != "supervisor"
    }
    # The new one watches what it did not start.
    shop.kill("node-1")
    assert shop.fairway("status", "--wait").returncode == 0
    until(lambda: answers(shop) == {"web-1", "web-2"}, "both answer again")


def test_a_nodes_link_may_go_down_and_come_up(shop: ClusterHost) -> None:
    shop.run("ip", "-n", "fw-node-2", "link", "set", "eth0", "down")
    until(lambda: "" in answers(shop), "the other node's pod is out of reach")
    shop.run("ip", "-n", "fw-node-2", "link", "set", "eth0", "up")
    wanted = ("10.244.0.0/24 via 10.245.0.2 dev eth0", "default via 10.245.0.1 dev eth0")
    until(lambda: all(one in shop.on_node("node-2", "ip", "-4", "route") for one in wanted), "its routes are back", 5)
    until(lambda: answers(shop) == {"web-1", "web-2"}, "both answer again")
    assert shop.fairway("status", "--wait").returncode == 0


def test_a_node_whose_namespace_was_taken_away_gets_another(shop: ClusterHost) -> None:
    before = shop.parts()
    shop.run("ip", "netns", "del", "fw-node-2")
    status = shop.fairway("status")
    assert status.returncode == 1
    assert "! the network namespace fw-node-2 is gone\n    `fairway up` starts what is missing" in status.stdout
    shop.up()
    after = shop.parts()
    assert {name for name, part in after.items() if part["pid"] != before[name]["pid"]} == {"node-2"}
    until(lambda: answers(shop) == {"web-1", "web-2"}, "both answer again", 30)


def test_a_silent_node_is_not_ready_and_its_endpoints_go_until_it_speaks_again(shop: ClusterHost) -> None:
    pid = str(shop.parts()["node-2"]["pid"])
    shop.run("kill", "-STOP", pid)
    try:
        until(lambda: answers(shop, 40) == {"web-1"}, "its endpoint goes", 3 * GRACE)
        said = "node node-2 is not ready: NodeStatusUnknown: Kubelet stopped posting node status."
        until(lambda: troubles(shop) == [said], "the node is called silent")
    finally:
        shop.run("kill", "-CONT", pid)
    until(lambda: answers(shop) == {"web-1", "web-2"}, "it is back", 3 * GRACE)


def test_a_full_disk_costs_log_lines_and_nothing_else(shop: ClusterHost) -> None:
    logs = "/run/fairway/fairway/logs"
    shop.run("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", logs)
    try:
        shop.attempt("dd", "if=/dev/zero", f"of={logs}/full", "bs=4k", "count=2")
        shop.kill("node-2")
        assert shop.fairway("status", "--wait").returncode == 0
        until(lambda: answers(shop) == {"web-1", "web-2"}, "both answer again")
    finally:
        shop.run("umount", "-l", logs)
