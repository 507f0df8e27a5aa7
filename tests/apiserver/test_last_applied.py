"""`kubectl apply` first on the client's side, then on the server's: no conflicts, and the record follows."""

from __future__ import annotations

import json
from typing import Any

from api_world import World
from fairway.apiserver.lastapplied import ANNOTATION

MAPS = "/api/v1/namespaces/default/configmaps"
APPLY = {"content-type": "application/apply-patch+yaml"}


def config(value: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": value}}


def made_by_client_side_apply(world: World) -> None:
    body = config("v")
    body["metadata"]["annotations"] = {ANNOTATION: json.dumps(config("v"))}
    world.ok("POST", MAPS, body, query={"fieldManager": "kubectl-client-side-apply"})


def apply(world: World, body: dict[str, Any], manager: str) -> tuple[int, Any]:
    return world.call("PATCH", f"{MAPS}/a", body, headers=APPLY, query={"fieldManager": manager})


def test_what_the_record_says_is_taken_over_without_conflicts() -> None:
    world = World()
    made_by_client_side_apply(world)
    code, answer = apply(world, config("w"), "kubectl")
    assert (code, answer["data"]) == (200, {"k": "w"})
    assert json.loads(answer["metadata"]["annotations"][ANNOTATION]) == config("w")


def test_others_get_a_conflict() -> None:
    world = World()
    made_by_client_side_apply(world)
    assert apply(world, config("w"), "somebody")[0] == 409


def test_a_field_that_changed_since_the_record_is_a_conflict() -> None:
    world = World()
    made_by_client_side_apply(world)
    merge = {"content-type": "application/merge-patch+json"}
    world.ok("PATCH", f"{MAPS}/a", {"data": {"k": "x"}}, headers=merge, query={"fieldManager": "editor"})
    assert apply(world, config("w"), "kubectl")[0] == 409
