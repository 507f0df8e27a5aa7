"""Nodes that fall silent, and what becomes of their pods."""

from __future__ import annotations

import pytest

from controllers.kubelet import CORE, make_node, pods, run_pods, set_node_ready
from controllers.memory_api import Tree
from controllers.simulation import Simulation
from fairway.controllers.registry import Settings, make_controllers

NAMES = ("node-lifecycle-controller", "taint-eviction-controller", "pod-garbage-collector-controller")


@pytest.fixture
def simulation() -> Simulation:
    made = Simulation(make_controllers(NAMES, Settings()))
    for name in ("node-a", "node-b"):
        make_node(made, name)
    make_pod(made, "web", "node-a", seconds=30)
    run_pods(made)
    made.settle()
    return made


def make_pod(simulation: Simulation, name: str, node: str, seconds: int | None) -> None:
    keys = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    tolerations = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds} for key in keys
    ]
    spec = {
        "nodeName": node,
        "containers": [{"name": "c", "image": "i"}],
        "tolerations": tolerations if seconds else [],
    }
    simulation.api.handle("POST", f"{CORE}/pods", {"metadata": {"name": name}, "spec": spec})


def beat(simulation: Simulation, *nodes: str, seconds: int) -> None:
    """Time passes in which only these nodes give signs of life."""
    for _ in range(seconds // 10):
        simulation.pass_time(10)
        for name in nodes:
            set_node_ready(simulation, name, "True")
        simulation.settle()


def node(simulation: Simulation, name: str) -> Tree:
    return simulation.api.handle("GET", f"/api/v1/nodes/{name}")


def ready(tree: Tree) -> str:
    return next(one["status"] for one in tree["status"]["conditions"] if one["type"] == "Ready")


def taints(tree: Tree) -> list[tuple[str, str]]:
    return sorted((one["key"].rpartition("/")[2], one["effect"]) for one in tree["spec"].get("taints") or [])


def test_a_node_that_speaks_stays_ready(simulation: Simulation) -> None:
    beat(simulation, "node-a", "node-b", seconds=200)
    assert ready(node(simulation, "node-a")) == "True"
    assert taints(node(simulation, "node-a")) == []


def test_a_lease_that_is_renewed_is_a_sign_of_life(simulation: Simulation) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    for number in range(20):
        body = {"metadata": {"name": "node-a"}, "spec": {"renewTime": f"2026-01-01T00:{number:02d}:00.000000Z"}}
        if number:
            simulation.api.handle("PATCH", f"{path}/node-a", body, "application/merge-patch+json")
        else:
            simulation.api.handle("POST", path, body)
        beat(simulation, "node-b", seconds=10)
    assert ready(node(simulation, "node-a")) == "True"


def test_a_silent_node_is_unknown_and_tainted(simulation: Simulation) -> None:
    beat(simulation, "node-b", seconds=60)
    found = node(simulation, "node-a")
    assert ready(found) == "Unknown"
    assert taints(found) == [("unreachable", "NoExecute"), ("unreachable", "NoSchedule")]
    assert "NodeNotReady" in [one.reason for one in simulation.events]


def test_its_pods_are_not_ready_any_more(simulation: Simulation) -> None:
    beat(simulation, "node-b", seconds=60)
    assert ready(pods(simulation)[0]) == "False"


def test_its_pods_go_when_their_toleration_ends(simulation: Simulation) -> None:
    beat(simulation, "node-b", seconds=70)
    assert "deletionTimestamp" not in pods(simulation)[0]["metadata"]
    beat(simulation, "node-b", seconds=30)
    assert "deletionTimestamp" in pods(simulation)[0]["metadata"]
    assert "TaintManagerEviction" in [one.reason for one in simulation.events]


def test_a_node_that_comes_back_loses_its_taints_and_keeps_its_pods(simulation: Simulation) -> None:
    beat(simulation, "node-b", seconds=60)
    beat(simulation, "node-a", "node-b", seconds=100)
    assert taints(node(simulation, "node-a")) == []
    assert "deletionTimestamp" not in pods(simulation)[0]["metadata"]


def test_when_all_are_silent_nobody_is_sent_away(simulation: Simulation) -> None:
    simulation.pass_time(400)
    assert taints(node(simulation, "node-a")) == [("unreachable", "NoSchedule")]
    assert "deletionTimestamp" not in pods(simulation)[0]["metadata"]


def test_a_cordon_is_a_taint(simulation: Simulation) -> None:
    merge = "application/merge-patch+json"
    simulation.api.handle("PATCH", "/api/v1/nodes/node-a", {"spec": {"unschedulable": True}}, merge)
    simulation.settle()
    assert taints(node(simulation, "node-a")) == [("unschedulable", "NoSchedule")]
    simulation.api.handle("PATCH", "/api/v1/nodes/node-a", {"spec": {"unschedulable": None}}, merge)
    simulation.settle()
    assert taints(node(simulation, "node-a")) == []


def test_foreign_taints_stay(simulation: Simulation) -> None:
    body = {"spec": {"taints": [{"key": "mine", "effect": "NoExecute"}]}}
    simulation.api.handle("PATCH", "/api/v1/nodes/node-b", body, "application/merge-patch+json")
    beat(simulation, "node-b", seconds=100)
    assert taints(node(simulation, "node-b")) == [("mine", "NoExecute")]


def test_pods_of_a_deleted_node_go_after_a_while(simulation: Simulation) -> None:
    simulation.api.handle("DELETE", "/api/v1/nodes/node-a")
    simulation.pass_time(30)
    assert len(pods(simulation)) == 1
    simulation.pass_time(20)
    assert pods(simulation) == []


def test_pods_of_a_node_that_comes_again_stay(simulation: Simulation) -> None:
    simulation.api.handle("DELETE", "/api/v1/nodes/node-a")
    simulation.pass_time(30)
    make_node(simulation, "node-a")
    beat(simulation, "node-a", "node-b", seconds=100)
    assert len(pods(simulation)) == 1


def test_a_deleted_pod_that_never_had_a_node_goes_at_once(simulation: Simulation) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}]}
    body = {"metadata": {"name": "lost", "finalizers": ["x/y"]}, "spec": spec}
    simulation.api.handle("POST", f"{CORE}/pods", body)
    simulation.api.handle("DELETE", f"{CORE}/pods/lost")
    patch = {"metadata": {"finalizers": None, "deletionGracePeriodSeconds": 30}}
    simulation.api.handle("PATCH", f"{CORE}/pods/lost", patch, "application/merge-patch+json")
    simulation.settle()
    assert [one["metadata"]["name"] for one in pods(simulation)] == ["web"]
