"""DaemonSets in counted time."""

from __future__ import annotations

import pytest

from controllers.kubelet import make_node, make_set, patch, pods, settle, status, template
from controllers.memory_api import Tree
from controllers.simulation import Simulation
from fairway.controllers.registry import Settings, make_controllers

TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}


@pytest.fixture
def simulation() -> Simulation:
    made = Simulation(make_controllers(["daemonset-controller", "scheduler"], Settings()))
    for name in ("node-a", "node-b", "node-c"):
        make_node(made, name)
    return made


def placed(simulation: Simulation) -> dict[str, str]:
    return {one["spec"]["nodeName"]: one["spec"]["containers"][0]["image"] for one in pods(simulation)}


def rolling(**numbers: int | str) -> Tree:
    return {"type": "RollingUpdate", "rollingUpdate": numbers}


def test_every_node_has_one_pod(simulation: Simulation) -> None:
    make_set(simulation, "daemonsets")
    settle(simulation)
    assert placed(simulation) == {"node-a": "v1", "node-b": "v1", "node-c": "v1"}
    found = status(simulation, "daemonsets")
    assert (found["desiredNumberScheduled"], found["numberReady"], found["numberMisscheduled"]) == (3, 3, 0)


def test_a_node_that_joins_gets_one_too(simulation: Simulation) -> None:
    make_set(simulation, "daemonsets")
    settle(simulation)
    make_node(simulation, "node-d")
    settle(simulation)
    assert "node-d" in placed(simulation)


def test_taints_that_are_not_tolerated_keep_pods_away(simulation: Simulation) -> None:
    make_node(simulation, "node-d", taints=[TAINT])
    make_set(simulation, "daemonsets")
    settle(simulation)
    assert sorted(placed(simulation)) == ["node-a", "node-b", "node-c"]


def test_a_cordon_does_not(simulation: Simulation) -> None:
    make_node(simulation, "node-d", unschedulable=True)
    make_set(simulation, "daemonsets")
    settle(simulation)
    assert "node-d" in placed(simulation)


def test_a_node_selector_chooses_the_nodes(simulation: Simulation) -> None:
    make_node(simulation, "node-d", labels={"disk": "fast"})
    chosen = template()
    chosen["spec"]["nodeSelector"] = {"disk": "fast"}
    make_set(simulation, "daemonsets", template=chosen)
    settle(simulation)
    assert list(placed(simulation)) == ["node-d"]


def test_an_update_replaces_as_many_as_may_be_missing(simulation: Simulation) -> None:
    make_set(simulation, "daemonsets", updateStrategy=rolling(maxUnavailable=2, maxSurge=0))
    settle(simulation)
    patch(simulation, "daemonsets", "web", template=template("v2"))
    simulation.settle()
    assert sum("deletionTimestamp" in one["metadata"] for one in pods(simulation)) == 2
    settle(simulation)
    assert set(placed(simulation).values()) == {"v2"}


def test_a_surge_makes_the_successor_first(simulation: Simulation) -> None:
    make_set(simulation, "daemonsets", updateStrategy=rolling(maxUnavailable=0, maxSurge=1))
    settle(simulation)
    patch(simulation, "daemonsets", "web", template=template("v2"))
    simulation.settle()
    assert len(pods(simulation)) == 4
    assert not any("deletionTimestamp" in one["metadata"] for one in pods(simulation))
    settle(simulation)
    assert placed(simulation) == {"node-a": "v2", "node-b": "v2", "node-c": "v2"}
    assert len(pods(simulation)) == 3


def test_a_broken_update_stops(simulation: Simulation) -> None:
    make_set(simulation, "daemonsets", updateStrategy=rolling(maxUnavailable=1, maxSurge=0))
    settle(simulation)
    patch(simulation, "daemonsets", "web", template=template("broken"))
    settle(simulation, broken="broken")
    assert sorted(placed(simulation).values()) == ["broken", "v1", "v1"]


def test_a_failed_pod_is_made_anew_and_said_so(simulation: Simulation) -> None:
    make_set(simulation, "daemonsets")
    settle(simulation)
    pod = pods(simulation)[0]
    path = f"/api/v1/namespaces/shop/pods/{pod['metadata']['name']}/status"
    simulation.api.handle("PUT", path, {**pod, "status": {"phase": "Failed"}})
    settle(simulation)
    assert len(pods(simulation)) == 3
    assert "FailedDaemonPod" in [one.reason for one in simulation.events]


def test_failed_pods_are_made_anew_ever_more_slowly(simulation: Simulation) -> None:
    chosen = template()
    chosen["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "node-a"}
    make_set(simulation, "daemonsets", template=chosen)
    waits = []
    for _ in range(4):
        settle(simulation)
        start = simulation.api.now
        fail_the_only_one(simulation)
        simulation.settle()
        while any(one["status"].get("phase") == "Failed" and not leaves(one) for one in pods(simulation)):
            simulation.pass_time(0.5)
        waits.append((simulation.api.now - start).total_seconds())
    assert waits == [0.0, 1.0, 2.0, 4.0]


def fail_the_only_one(simulation: Simulation) -> None:
    (pod,) = pods(simulation)
    path = f"/api/v1/namespaces/shop/pods/{pod['metadata']['name']}/status"
    simulation.api.handle("PUT", path, {**pod, "status": {"phase": "Failed"}})


def leaves(pod: Tree) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def test_the_generation_of_the_template_is_told_not_that_of_the_set(simulation: Simulation) -> None:
    body = {"template": template(), "selector": {"matchLabels": {"app": "web"}}}
    metadata = {"name": "web", "annotations": {"deprecated.daemonset.template.generation": "7"}}
    simulation.api.handle("POST", "/apis/apps/v1/namespaces/shop/daemonsets", {"metadata": metadata, "spec": body})
    settle(simulation)
    assert {one["metadata"]["labels"]["pod-template-generation"] for one in pods(simulation)} == {"7"}


def test_in_a_surge_a_pod_that_is_not_ready_does_not_outlive_its_successor(simulation: Simulation) -> None:
    make_set(simulation, "daemonsets", updateStrategy=rolling(maxUnavailable=0, maxSurge=1))
    simulation.settle()
    patch(simulation, "daemonsets", "web", template=template("v2"))
    simulation.settle()
    staying = [one["spec"]["containers"][0]["image"] for one in pods(simulation) if not leaves(one)]
    assert staying == ["v2", "v2", "v2"]


def test_revisions_that_pods_have_count_for_the_limit(simulation: Simulation) -> None:
    make_set(simulation, "daemonsets", updateStrategy={"type": "OnDelete"}, revisionHistoryLimit=1)
    settle(simulation)
    for image in ("v2", "v3"):
        patch(simulation, "daemonsets", "web", template=template(image))
        settle(simulation)
    found = simulation.api.handle("GET", "/apis/apps/v1/namespaces/shop/controllerrevisions")["items"]
    assert sorted(one["revision"] for one in found) == [1, 3]
