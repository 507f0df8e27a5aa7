"""What the recorded cases do not show of ReplicaSets and ReplicationControllers: refusals, and late news."""

from __future__ import annotations

from typing import Any

from controllers.kubelet import CORE, make_set, patch, pods, status, template
from controllers.memory_api import RefusedError
from controllers.simulation import Simulation
from fairway.controllers.registry import Settings, make_controllers

SETS = "/apis/apps/v1/namespaces/shop/replicasets"


def simulate(*names: str) -> Simulation:
    return Simulation(make_controllers(names, Settings()))


def refuse_pods(simulation: Simulation, message: str) -> None:
    refusal = RefusedError(403, "Forbidden", message)

    def refuse(method: str, path: str) -> RefusedError | None:
        return refusal if method == "POST" and path.endswith("/pods") else None

    simulation.api.refuse = refuse


def conditions(simulation: Simulation, plural: str) -> dict[str, tuple[str, str]]:
    found: list[dict[str, Any]] = status(simulation, plural).get("conditions") or []
    return {one["type"]: (one["status"], one["reason"]) for one in found}


def test_pods_that_cannot_be_made_are_said_so_until_they_can() -> None:
    simulation = simulate("replicaset-controller", "deployment-controller")
    refuse_pods(simulation, "exceeded quota")
    make_set(simulation, "deployments", replicas=2)
    simulation.settle()
    simulation.pass_time(1)
    assert conditions(simulation, "deployments")["ReplicaFailure"] == ("True", "FailedCreate")
    assert "Error creating: exceeded quota" in [one.message for one in simulation.events]
    simulation.api.refuse = lambda _method, _path: None
    simulation.pass_time(60)
    assert len(pods(simulation)) == 2
    assert "ReplicaFailure" not in conditions(simulation, "deployments")


def test_late_news_makes_no_pod_twice_and_deletes_none_twice() -> None:
    simulation = simulate("replicaset-controller")
    simulation.delays = {"pods"}
    make_set(simulation, "replicasets", replicas=5)
    simulation.settle()
    patch(simulation, "replicasets", "web", replicas=2)
    simulation.pass_time(10)
    assert len(pods(simulation)) == 2
    simulation.deliver()
    simulation.settle()
    assert len(pods(simulation)) == 2
    assert simulation.failures == []


def test_a_replication_controller_keeps_its_pods() -> None:
    simulation = simulate("replicationcontroller-controller")
    body = {"metadata": {"name": "web"}, "spec": {"replicas": 3, "selector": {"app": "web"}, "template": template()}}
    simulation.api.handle("POST", f"{CORE}/replicationcontrollers", body)
    simulation.settle()
    assert {one["metadata"]["ownerReferences"][0]["kind"] for one in pods(simulation)} == {"ReplicationController"}
    simulation.api.handle("DELETE", f"{CORE}/pods/{pods(simulation)[0]['metadata']['name']}")
    simulation.settle()
    held = simulation.api.handle("GET", f"{CORE}/replicationcontrollers/web")
    assert held["status"]["replicas"] == 3
    assert "terminatingReplicas" not in held["status"]


def test_a_name_that_is_taken_is_not_the_deployments_set() -> None:
    first = simulate("deployment-controller")
    make_set(first, "deployments", replicas=1)
    first.settle()
    (made,) = first.api.handle("GET", SETS)["items"]
    simulation = simulate("deployment-controller")
    taken = {"selector": {"matchLabels": {"app": "other"}}, "template": template("other", app="other")}
    make_set(simulation, "replicasets", made["metadata"]["name"], **taken)
    make_set(simulation, "deployments", replicas=1)
    simulation.pass_time(5)
    assert status(simulation, "deployments")["collisionCount"] == 1
    assert len(simulation.api.handle("GET", SETS)["items"]) == 2
