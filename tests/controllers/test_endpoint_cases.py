"""The recorded behaviour of the real controllers, played on the pure cores and an API in memory, in counted time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controllers.case_player import Player
from controllers.memory_api import KINDS
from controllers.simulation import Simulation
from fairway.controllers.registry import Settings, make_controllers

FOLDER = Path(__file__).parent / "cases"
CASES = json.loads((FOLDER / "endpoints.json").read_text(encoding="utf-8"))
SIBLINGS = json.loads((FOLDER / "siblings.json").read_text(encoding="utf-8"))
PLAYED = [one for one in (*CASES["cases"], *SIBLINGS["cases"]) if "quirk" not in one]
CONTROLLERS = (
    "endpointslice-controller",
    "endpoints-controller",
    "endpointslice-mirroring-controller",
    "replicaset-controller",
    "deployment-controller",
    "garbage-collector-controller",
)


@pytest.mark.parametrize("case", PLAYED, ids=lambda case: case["id"])
def test_ends_as_the_real_controllers_do(case: dict[str, Any]) -> None:
    simulation = Simulation(make_controllers(CONTROLLERS, Settings()))
    assert Player(case, CASES["defaults"], simulation).play() == []


def test_a_slice_that_lost_its_manager_is_replaced_at_once() -> None:
    simulation, player = _played("repair-managed-by-removed", steps=1)
    lost = player.list("EndpointSlice")[0]
    del lost["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
    player.put("EndpointSlice", lost)
    simulation.settle()
    slices = {one["metadata"]["name"]: one for one in player.list("EndpointSlice")}
    stray = slices.pop(lost["metadata"]["name"])
    assert "endpointslice.kubernetes.io/managed-by" not in stray["metadata"]["labels"]
    assert [one["endpoints"] for one in slices.values()] == [lost["endpoints"]]


def test_a_pod_without_a_node_does_not_freeze_the_endpoints_of_the_others() -> None:
    _, player = _played("nodes-no-node-name", steps=1)
    subsets = player.list("Endpoints")[0]["subsets"]
    addresses = [one for subset in subsets for one in subset["addresses"]]
    assert any("nodeName" not in one for one in addresses)
    assert any(one.get("nodeName") for one in addresses)


def test_endpoints_without_a_service_go_only_when_they_are_found_at_the_start() -> None:
    made = {"metadata": {"name": "web", "labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}}}
    folder = "/api/v1/namespaces/case/endpoints"
    before = Simulation(make_controllers(CONTROLLERS, Settings()))
    before.api.handle("POST", folder, made)
    before.settle()
    assert len(before.api.handle("GET", folder)["items"]) == 1
    Simulation(make_controllers(CONTROLLERS, Settings()), before.api).settle()
    assert before.api.handle("GET", folder)["items"] == []


def _played(case_id: str, steps: int) -> tuple[Simulation, Player]:
    case = next(one for one in CASES["cases"] if one["id"] == case_id)
    simulation = Simulation(make_controllers(CONTROLLERS, Settings()))
    player = Player(case, CASES["defaults"], simulation)
    for node in CASES["defaults"]["nodes"]:
        player.apply(node, "case")
    for step in case["steps"][:steps]:
        player.play_step(step)
        simulation.settle()
    return simulation, player


class LateSimulation(Simulation):
    """No watch tells of anything before all that could be done without it is done."""

    def __init__(self) -> None:
        super().__init__(make_controllers(CONTROLLERS, Settings()))
        self.delays = set(KINDS)

    def settle(self) -> None:
        super().settle()
        while self.has_news:
            self.deliver()
            super().settle()


@pytest.mark.parametrize("case", PLAYED[::4], ids=lambda case: case["id"])
def test_ends_the_same_when_every_watch_is_late(case: dict[str, Any]) -> None:
    assert Player(case, CASES["defaults"], LateSimulation()).play() == []
