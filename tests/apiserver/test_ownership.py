"""Field managers over time: who owns what after updates, applies, resets and many writers."""

from __future__ import annotations

from typing import Any

from api_world import World

MAPS = "/api/v1/namespaces/default/configmaps"
ONE = f"{MAPS}/a"
APPLY = {"content-type": "application/apply-patch+yaml"}
MERGE = {"content-type": "application/merge-patch+json"}


def config(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


def apply(world: World, body: dict[str, Any], manager: str, **query: str) -> tuple[int, Any]:
    return world.call("PATCH", ONE, body, headers=APPLY, query={"fieldManager": manager, **query})


def merge(world: World, body: dict[str, Any], manager: str) -> Any:
    return world.ok("PATCH", ONE, body, headers=MERGE, query={"fieldManager": manager})


def owners(obj: Any) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", [])}


def test_what_is_reset_on_a_create_is_owned_by_nobody() -> None:
    world = World()
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {
        "metadata": {"name": "d", "deletionTimestamp": "2001-01-01T00:00:00Z"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
        "status": {"replicas": 5},
    }
    made = world.ok("POST", "/apis/apps/v1/namespaces/default/deployments", body)
    assert set(owners(made)["tests"]) == {"f:spec"}


def test_an_emptied_record_is_followed_again_from_the_first_apply_on() -> None:
    world = World()
    world.ok("POST", MAPS, config(k="v"))
    assert "managedFields" not in merge(world, {"metadata": {"managedFields": [{}]}}, "x")["metadata"]
    assert "managedFields" not in merge(world, {"data": {"l": "m"}}, "y")["metadata"]
    code, answer = apply(world, config(k="w"), "one")
    assert code == 409
    assert answer["details"]["causes"][0]["message"] == 'conflict with "before-first-apply" using v1'
    _, forced = apply(world, config(k="w"), "one", force="true")
    assert owners(forced) == {"one": {"f:data": {"f:k": {}}}, "before-first-apply": {"f:data": {".": {}, "f:l": {}}}}


def test_a_field_goes_whole_when_its_only_applier_lets_go_of_what_was_below_it() -> None:
    world = World()
    apply(world, config(k="v"), "one")
    merge(world, {"metadata": {"labels": {"x": "y"}}}, "two")
    _, left = apply(world, {**config(), "data": None}, "one")
    assert "data" not in left
    assert left["metadata"]["labels"] == {"x": "y"}
    assert left["metadata"]["uid"]


def test_more_than_ten_updaters_are_folded_oldest_first() -> None:
    world = World()
    world.ok("POST", MAPS, config(k="v"))
    for number in range(11):
        world.env.time += 10
        last = merge(world, {"data": {f"k{number}": "v"}}, f"m{number}")
    names = list(owners(last))
    assert len(names) == 10
    assert "ancient-changes" in names
    assert "m10" in names
    assert "m2" in names
    assert "tests" not in names
    assert "m0" not in names


def test_two_conflicts_are_told_a_line_each() -> None:
    world = World()
    apply(world, config(k="v"), "one")
    apply(world, {**config(k="v"), "metadata": {"name": "a", "labels": {"l": "1"}}}, "two")
    _, answer = apply(world, {**config(k="w"), "metadata": {"name": "a", "labels": {"l": "2"}}}, "three")
    assert answer["message"] == (
        'Apply failed with 3 conflicts: conflicts with "one":\n- .data.k\nconflicts with "two":\n- .data.k\n'
        "- .metadata.labels.l"
    )


def test_list_items_with_one_key_are_refused_by_name() -> None:
    world = World()
    ports = [{"port": 80}, {"port": 80}]
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}}
    path = "/api/v1/namespaces/default/services/s"
    code, answer = world.call("PATCH", path, body, headers=APPLY, query={"fieldManager": "m"})
    assert code == 500
    assert answer["message"].endswith('.spec.ports: duplicate entries for key [port=80,protocol="TCP"]')


def test_of_equal_owner_references_one_is_kept() -> None:
    world = World()
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u1"}
    other = {**ref, "controller": True}
    body = {**config(), "metadata": {"name": "a", "ownerReferences": [ref, ref, other, other]}}
    answer = world.send("POST", MAPS, body)
    (warning,) = [text for name, text in answer.headers if name == "Warning"]
    assert warning.endswith('duplicate UID(s) observed: u1, u1"')
    held = world.ok("GET", ONE)
    assert held["metadata"]["ownerReferences"] == [ref, other]
    held["metadata"]["ownerReferences"] = [other, other]
    assert world.ok("PUT", ONE, held)["metadata"]["ownerReferences"] == [other]
    assert merge(world, {"metadata": {"ownerReferences": [ref, ref]}}, "m")["metadata"]["ownerReferences"] == [ref]
