"""CustomResourceDefinitions: the kinds that they make are served like built-in ones, and go with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api_world import World, events
from fairway.apiserver.request import Response

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 9},
                "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                "tags": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}, "value": {"type": "string", "default": "none"}},
                    },
                },
                "port": {"x-kubernetes-int-or-string": True},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
    },
}


def definition() -> dict[str, Any]:
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Tag", "type": "string", "jsonPath": '.spec.tags[?(@.name=="main")].value', "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
    }
    names = {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "widgets.example.com"}, "spec": spec}


@pytest.fixture
def world() -> World:
    made = World()
    made.ok("POST", CRDS, definition())
    return made


def widget(name: str = "w", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": 3, **spec}}


def test_new_definition_is_established_and_discovered(world: World) -> None:
    stored = world.ok("GET", f"{CRDS}/widgets.example.com")
    listed = world.ok("GET", "/apis/example.com/v1")

    assert {c["type"]: c["status"] for c in stored["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    assert [(r["name"], r["kind"], r.get("shortNames")) for r in listed["resources"]] == [
        ("widgets", "Widget", ["wd"]),
        ("widgets/status", "Widget", None),
    ]
    assert "apis/example.com/v1" in world.ok("GET", "/openapi/v3")["paths"]


def test_schema_gives_defaults(world: World) -> None:
    made = world.ok("POST", WIDGETS, widget(tags=[{"name": "main"}]))

    assert made["spec"] == {"size": 3, "color": "red", "tags": [{"name": "main", "value": "none"}]}


def test_unknown_fields_are_dropped_with_a_warning_but_kept_where_the_schema_says_so(world: World) -> None:
    answer = world.send("POST", WIDGETS, widget(nope=1, free={"a": {"b": 1}}))

    assert isinstance(answer, Response)
    assert json.loads(answer.body)["spec"] == {"size": 3, "color": "red", "free": {"a": {"b": 1}}}
    assert ("Warning", '299 - "unknown field \\"spec.nope\\""') in answer.headers


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        ({"size": "big"}, 'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"'),
        ({"size": 0}, "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        ({"color": "green"}, 'spec.color: Unsupported value: "green": supported values: "red", "blue"'),
        ({"size": None}, "spec.size: Required value"),
        ({"tags": [{"name": "a"}, {"name": "a"}]}, 'spec.tags[1]: Duplicate value: {"name":"a"}'),
        ({"tags": [{}]}, "spec.tags[0].name: Required value"),
    ],
)
def test_invalid_object_is_refused_with_the_field(world: World, spec: dict[str, Any], cause: str) -> None:
    code, answer = world.call("POST", WIDGETS, widget(**spec))

    assert (code, answer["message"]) == (422, f'Widget.example.com "w" is invalid: {cause}')


def test_status_is_written_by_its_own_sub_resource_only(world: World) -> None:
    world.ok("POST", WIDGETS, {**widget(), "status": {"ready": True}})
    merge = {"content-type": "application/merge-patch+json"}
    world.ok("PATCH", f"{WIDGETS}/w/status", {"status": {"ready": True}, "spec": {"size": 9}}, headers=merge)

    stored = world.ok("GET", f"{WIDGETS}/w")

    assert (stored["spec"]["size"], stored["status"], stored["metadata"]["generation"]) == (3, {"ready": True}, 1)


def test_printer_columns_make_the_table(world: World) -> None:
    world.ok("POST", WIDGETS, widget(tags=[{"name": "main", "value": "x"}]))

    table = world.ok("GET", WIDGETS, headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})

    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size", "Tag", "Age"]
    assert table["rows"][0]["cells"] == ["w", 3, "x", "0s"]


def test_apply_merges_lists_by_the_keys_of_the_schema(world: World) -> None:
    apply = {"content-type": "application/apply-patch+yaml"}
    for manager, tag in (("one", "a"), ("two", "b")):
        world.ok("PATCH", f"{WIDGETS}/w", widget(tags=[{"name": tag}]), headers=apply, query={"fieldManager": manager})

    stored = world.ok("GET", f"{WIDGETS}/w")

    assert [t["name"] for t in stored["spec"]["tags"]] == ["a", "b"]


def test_strategic_merge_is_not_for_custom_resources(world: World) -> None:
    world.ok("POST", WIDGETS, widget())

    code, _ = world.call(
        "PATCH", f"{WIDGETS}/w", {}, headers={"content-type": "application/strategic-merge-patch+json"}
    )

    assert code == 415


def test_watch_shows_custom_resources(world: World) -> None:
    stream = world.watch(WIDGETS)
    world.ok("POST", WIDGETS, widget())

    assert [(e["type"], e["object"]["kind"]) for e in events(stream)] == [("ADDED", "Widget")]


def test_objects_go_with_their_definition(world: World) -> None:
    world.ok("POST", WIDGETS, widget())
    world.ok("DELETE", f"{CRDS}/widgets.example.com")

    assert world.send("GET", WIDGETS).code == 404  # type: ignore[union-attr]
    world.ok("POST", CRDS, definition())
    assert world.ok("GET", WIDGETS)["items"] == []


def test_definition_with_a_wrong_name_is_refused(world: World) -> None:
    code, answer = world.call("POST", CRDS, {**definition(), "metadata": {"name": "other.example.com"}})

    assert code == 422
    assert 'must be spec.names.plural+"."+spec.group' in answer["message"]


def test_a_default_that_comes_later_is_in_answers_about_older_objects() -> None:
    world = World()
    made = definition()
    world.ok("POST", CRDS, made)
    world.ok(
        "POST",
        WIDGETS,
        {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}},
    )
    later = {"spec": {"versions": definition()["spec"]["versions"]}}
    schema = json.loads(json.dumps(SCHEMA))
    schema["properties"]["spec"]["properties"]["shape"] = {"type": "string", "default": "round"}
    later["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": schema}
    merge = {"content-type": "application/merge-patch+json"}
    world.ok("PATCH", f"{CRDS}/widgets.example.com", later, headers=merge)
    assert world.ok("GET", f"{WIDGETS}/w")["spec"]["shape"] == "round"
    assert world.ok("GET", WIDGETS)["items"][0]["spec"]["shape"] == "round"
