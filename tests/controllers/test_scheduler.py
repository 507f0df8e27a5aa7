"""The scheduler: where pods go, and what is said when they cannot."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from controllers.kubelet import CORE, make_node, pods, set_node_ready
from controllers.memory_api import RefusedError, Tree
from controllers.simulation import Simulation
from fairway.controllers.registry import Settings, make_controllers


@pytest.fixture
def simulation() -> Simulation:
    return Simulation(make_controllers(["scheduler"], Settings()))


def make_pod(simulation: Simulation, name: str, labels: dict[str, str] | None = None, **spec: Any) -> None:
    containers = [{"name": "c", "image": "i", **spec.pop("container", {})}]
    body = {"metadata": {"name": name, "labels": labels or {}}, "spec": {"containers": containers, **spec}}
    simulation.api.handle("POST", f"{CORE}/pods", body)


def placed(simulation: Simulation) -> dict[str, str]:
    simulation.settle()
    return {one["metadata"]["name"]: one["spec"].get("nodeName", "") for one in pods(simulation)}


def condition(simulation: Simulation, name: str) -> Tree:
    pod = simulation.api.handle("GET", f"{CORE}/pods/{name}")
    return next(one for one in pod["status"]["conditions"] if one["type"] == "PodScheduled")


def required(*expressions: Tree) -> Tree:
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def test_a_pod_is_bound_and_that_is_said(simulation: Simulation) -> None:
    make_node(simulation, "node-a")
    make_pod(simulation, "web")
    assert placed(simulation) == {"web": "node-a"}
    assert [(one.reason, one.message) for one in simulation.events] == [
        ("Scheduled", "Successfully assigned shop/web to node-a")
    ]


def test_without_nodes_it_waits_and_says_why(simulation: Simulation) -> None:
    make_pod(simulation, "web")
    assert placed(simulation) == {"web": ""}
    assert condition(simulation, "web")["message"] == "no nodes available to schedule pods"
    assert [one.reason for one in simulation.events] == ["FailedScheduling"]
    make_node(simulation, "node-a")
    assert placed(simulation) == {"web": "node-a"}


def test_pods_are_spread(simulation: Simulation) -> None:
    for name in ("node-a", "node-b", "node-c"):
        make_node(simulation, name)
    for number in range(9):
        make_pod(simulation, f"web-{number}")
    assert set(Counter(placed(simulation).values()).values()) == {3}


def test_pods_are_spread_although_the_watch_is_late(simulation: Simulation) -> None:
    for name in ("node-a", "node-b"):
        make_node(simulation, name)
    make_pod(simulation, "a")
    simulation.delays = {"pods"}
    simulation.settle()
    simulation.delays = set()
    make_pod(simulation, "b")
    placed(simulation)
    simulation.deliver()
    assert sorted(placed(simulation).values()) == ["node-a", "node-b"]
    assert simulation.failures == []


def test_a_node_selector_is_obeyed(simulation: Simulation) -> None:
    make_node(simulation, "node-a")
    make_node(simulation, "node-b", labels={"disk": "fast"})
    make_pod(simulation, "web", nodeSelector={"disk": "fast"})
    assert placed(simulation) == {"web": "node-b"}


def test_affinity_to_a_host_name_is_obeyed(simulation: Simulation) -> None:
    for name in ("node-a", "node-b"):
        make_node(simulation, name)
    wanted = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-b"]}
    make_pod(simulation, "web", affinity=required(wanted))
    assert placed(simulation) == {"web": "node-b"}


def test_taints_are_obeyed_and_tolerations_too(simulation: Simulation) -> None:
    make_node(simulation, "node-a", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    make_pod(simulation, "plain")
    make_pod(simulation, "special", tolerations=[{"key": "gpu", "operator": "Exists"}])
    assert placed(simulation) == {"plain": "", "special": "node-a"}
    said = (
        "0/1 nodes are available: 1 node(s) had untolerated taint(s). "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    assert condition(simulation, "plain")["message"] == said


def test_a_cordoned_node_gets_nothing(simulation: Simulation) -> None:
    make_node(simulation, "node-a", unschedulable=True)
    make_pod(simulation, "web")
    assert placed(simulation) == {"web": ""}


def test_a_full_node_gets_nothing(simulation: Simulation) -> None:
    make_node(simulation, "node-a")
    node = simulation.api.handle("GET", "/api/v1/nodes/node-a")
    node["status"]["allocatable"] = {"cpu": "1", "pods": "10"}
    simulation.api.handle("PUT", "/api/v1/nodes/node-a/status", node)
    for name in ("a", "b"):
        make_pod(simulation, name, container={"resources": {"requests": {"cpu": "600m"}}})
    assert placed(simulation) == {"a": "node-a", "b": ""}
    assert "1 Insufficient cpu" in condition(simulation, "b")["message"]
    simulation.api.handle("DELETE", f"{CORE}/pods/a", {"gracePeriodSeconds": 0})
    assert placed(simulation) == {"b": "node-a"}


def test_one_host_port_is_given_once_a_node(simulation: Simulation) -> None:
    make_node(simulation, "node-a")
    for name in ("a", "b"):
        make_pod(simulation, name, container={"ports": [{"containerPort": 80, "hostPort": 80}]})
    assert placed(simulation) == {"a": "node-a", "b": ""}


def test_a_spread_that_must_hold_holds(simulation: Simulation) -> None:
    make_node(simulation, "node-a", labels={"zone": "1"})
    make_node(simulation, "node-b", labels={"zone": "2"}, unschedulable=True)
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    for name in ("a", "b"):
        make_pod(simulation, name, {"app": "web"}, topologySpreadConstraints=[constraint])
    assert placed(simulation) == {"a": "node-a", "b": ""}


def test_pods_that_do_not_stand_each_other_are_kept_apart(simulation: Simulation) -> None:
    for name in ("node-a", "node-b"):
        make_node(simulation, name)
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    for name in ("a", "b", "c"):
        make_pod(simulation, name, {"app": "web"}, affinity=anti)
    assert sorted(placed(simulation).values()) == ["", "node-a", "node-b"]


def test_another_schedulers_pods_and_gated_ones_are_left_alone(simulation: Simulation) -> None:
    make_node(simulation, "node-a")
    make_pod(simulation, "other", schedulerName="mine")
    make_pod(simulation, "gated", schedulingGates=[{"name": "wait"}])
    assert placed(simulation) == {"other": "", "gated": ""}
    assert simulation.events == []


def test_the_same_refusal_is_not_repeated_with_every_change(simulation: Simulation) -> None:
    make_node(simulation, "node-a", unschedulable=True)
    make_pod(simulation, "web")
    simulation.settle()
    for _ in range(3):
        simulation.pass_time(1)
        set_node_ready(simulation, "node-a", "True")
        simulation.settle()
    assert [one.reason for one in simulation.events] == ["FailedScheduling"]


def test_a_binding_that_comes_too_late_does_not_hold_up_the_others(simulation: Simulation) -> None:
    make_node(simulation, "node-a")
    refusals = [RefusedError(409, "Conflict", "pod is already assigned")]
    simulation.api.refuse = lambda _method, path: refusals.pop() if refusals and path.endswith("a/binding") else None
    for name in ("a", "b"):
        make_pod(simulation, name)
    assert placed(simulation)["b"] == "node-a"
