"""A kubelet for all nodes: placed pods run and are ready, deleted ones go. And ways to make things."""

from __future__ import annotations

from typing import Any

from controllers.memory_api import Tree
from controllers.simulation import Simulation

APPS = "/apis/apps/v1/namespaces/shop"
CORE = "/api/v1/namespaces/shop"


def pods(simulation: Simulation, **labels: str) -> list[Tree]:
    """The pods, by name."""
    found = simulation.api.handle("GET", "/api/v1/pods")["items"]
    return [one for one in found if labels.items() <= (one["metadata"].get("labels") or {}).items()]


def names(trees: list[Tree]) -> list[str]:
    return [one["metadata"]["name"] for one in trees]


def run_pods(simulation: Simulation, *, broken: str = "") -> bool:
    """One round of all kubelets; pods with the image `broken` never become ready. Returns whether anything changed."""
    changed = False
    for pod in pods(simulation):
        meta, path = (
            pod["metadata"],
            f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}",
        )
        if meta.get("deletionTimestamp"):
            simulation.api.handle("DELETE", path, {"gracePeriodSeconds": 0})
            changed = True
        elif pod["spec"].get("nodeName") and (pod.get("status") or {}).get("phase", "Pending") == "Pending":
            is_ready = pod["spec"]["containers"][0].get("image") != broken
            condition = {
                "type": "Ready",
                "status": "True" if is_ready else "False",
                "lastTransitionTime": simulation.api.stamp(),
            }
            pod["status"] = {**(pod.get("status") or {}), "phase": "Running", "conditions": [condition]}
            simulation.api.handle("PUT", f"{path}/status", pod)
            changed = True
    return changed


def settle(simulation: Simulation, *, broken: str = "") -> None:
    """Controllers and kubelets until nothing moves."""
    simulation.settle()
    while run_pods(simulation, broken=broken):
        simulation.settle()


def make_node(simulation: Simulation, name: str, *, labels: dict[str, str] | None = None, **spec: Any) -> None:
    """A ready node."""
    metadata = {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}}
    simulation.api.handle("POST", "/api/v1/nodes", {"kind": "Node", "metadata": metadata, "spec": spec})
    set_node_ready(simulation, name, "True")


def set_node_ready(simulation: Simulation, name: str, status: str, heartbeat: str = "") -> None:
    path = f"/api/v1/nodes/{name}"
    node = simulation.api.handle("GET", path)
    stamp = simulation.api.stamp()
    ready = {
        "type": "Ready",
        "status": status,
        "lastTransitionTime": stamp,
        "lastHeartbeatTime": heartbeat or stamp,
    }
    node["status"] = {"conditions": [ready]}
    simulation.api.handle("PUT", f"{path}/status", node)


def template(image: str = "v1", **labels: str) -> Tree:
    return {"metadata": {"labels": labels or {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}


def make_set(simulation: Simulation, plural: str, name: str = "web", **spec: Any) -> Tree:
    """A workload object with a selector for its template."""
    body = {
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec},
    }
    return simulation.api.handle("POST", f"{APPS}/{plural}", body)


def patch(simulation: Simulation, plural: str, name: str, **spec: Any) -> Tree:
    path = f"{APPS}/{plural}/{name}"
    return simulation.api.handle("PATCH", path, {"spec": spec}, "application/merge-patch+json")


def status(simulation: Simulation, plural: str, name: str = "web") -> Tree:
    found: Tree = simulation.api.handle("GET", f"{APPS}/{plural}/{name}")["status"]
    return found
