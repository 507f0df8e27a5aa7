"""Services with many pods: what is kept from one look to the next changes nothing but the time that a look takes."""

from __future__ import annotations

import random

import pytest

from controllers.kubelet import make_node
from controllers.memory_api import Tree
from controllers.simulation import Simulation
from controllers.test_endpoint_cases import CONTROLLERS
from fairway.controllers.registry import Settings, make_controllers

CORE = "/api/v1/namespaces/shop"
PODS = 130


def simulate(before: Simulation | None = None) -> Simulation:
    return Simulation(make_controllers(CONTROLLERS, Settings()), before.api if before else None)


@pytest.fixture
def simulation() -> Simulation:
    made = simulate()
    for name in ("node-a", "node-b"):
        make_node(made, name, labels={"topology.kubernetes.io/zone": f"zone-{name}"})
    for number in range(PODS):
        made.api.handle("POST", f"{CORE}/pods", pod(number))
        made.api.handle("PUT", f"{CORE}/pods/p{number}/status", pod(number))
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}], "ipFamilies": ["IPv4", "IPv6"]}
    made.api.handle("POST", f"{CORE}/services", {"metadata": {"name": "web"}, "spec": spec})
    made.settle()
    return made


def pod(number: int, *, ready: bool = True) -> Tree:
    ports = [{"name": "http", "containerPort": 8080 + number % 2}]
    addresses = [{"ip": f"10.0.0.{number + 1}"}, {"ip": f"fd00::{number + 1:x}"}]
    return {
        "metadata": {"name": f"p{number}", "labels": {"app": "web"}},
        "spec": {
            "nodeName": f"node-{'ab'[number % 2]}",
            "containers": [{"name": "c", "image": "i", "ports": ports}],
        },
        "status": {
            "phase": "Running",
            "podIPs": addresses,
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    }


def change(simulation: Simulation, dice: random.Random) -> None:
    """Something that may happen to a pod, a node or the Service."""
    number = dice.randrange(PODS)
    path = f"{CORE}/pods/p{number}"
    match dice.randrange(8):
        case 0:
            merge(simulation, f"{CORE}/services/web", {"metadata": {"labels": {"v": str(dice.randrange(9))}}})
        case 1:
            target = dice.choice(("http", 8080, 9000))
            merge(simulation, f"{CORE}/services/web", {"spec": {"ports": [{"port": 80, "targetPort": target}]}})
        case 2:
            merge(simulation, f"{CORE}/services/web", {"spec": {"publishNotReadyAddresses": dice.random() < 0.5}})
        case 3:
            zone = {"topology.kubernetes.io/zone": f"zone-{dice.randrange(3)}"}
            merge(simulation, "/api/v1/nodes/node-a", {"metadata": {"labels": zone}})
        case 4:
            merge(simulation, path, {"metadata": {"labels": {"app": dice.choice(("web", "db"))}}})
        case _:
            held = simulation.api.handle("GET", path)
            status = {**pod(number, ready=dice.random() < 0.5)["status"], "phase": dice.choice(("Running", "Failed"))}
            simulation.api.handle("PUT", f"{path}/status", {**held, "status": status})
    simulation.settle()


def merge(simulation: Simulation, path: str, body: Tree) -> None:
    simulation.api.handle("PATCH", path, body, "application/merge-patch+json")


def state(simulation: Simulation) -> list[Tree]:
    paths = (f"{CORE}/endpoints", "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices")
    return [one for path in paths for one in simulation.api.handle("GET", path)["items"]]


def test_a_controller_that_knows_nothing_of_before_would_have_written_the_same(simulation: Simulation) -> None:
    dice = random.Random(4)
    for _ in range(20):
        change(simulation, dice)
        # Zones that changed show at the Service's next look: what comes now is such a look for both.
        merge(simulation, f"{CORE}/services/web", {"metadata": {"labels": {"look": str(dice.random())}}})
        simulation.settle()
        before = state(simulation)
        simulate(simulation).settle()
        assert state(simulation) == before
