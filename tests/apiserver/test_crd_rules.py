"""Rules of custom resources at work: when they run, what they say, and what an update lets pass."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from api_world import World
from fairway.apiserver.request import Response

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
MERGE = {"content-type": "application/merge-patch+json"}


def definition(spec: dict[str, Any], *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    inside = {"type": "object", "properties": spec, "x-kubernetes-validations": list(rules)}
    status = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    schema = {"type": "object", "properties": {"spec": inside, "status": status}, **more}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    version["subresources"] = {"status": {}}
    names = {"plural": "widgets", "kind": "Widget"}
    body = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "widgets.example.com"}, "spec": body}


def widget(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}


def made(spec: dict[str, Any], *rules: dict[str, Any], **more: Any) -> World:
    world = World()
    world.ok("POST", CRDS, definition(spec, *rules, **more))
    return world


def causes(answer: tuple[int, Any]) -> list[tuple[str, str, str]]:
    code, body = answer
    assert code == 422, body
    return [(c["reason"], c["field"], c["message"]) for c in body["details"]["causes"]]


INT, TEXT = {"type": "integer"}, {"type": "string", "maxLength": 20}


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"rule": "self.x > 3"}, ("FieldValueInvalid", "spec", "Invalid value: failed rule: self.x > 3")),
        ({"rule": "self.x > 3", "message": " too small "}, ("FieldValueInvalid", "spec", "Invalid value: too small")),
        (
            {"rule": "self.x > 3", "messageExpression": "'%d is too small'.format([self.x])"},
            ("FieldValueInvalid", "spec", "Invalid value: 1 is too small"),
        ),
        (
            {"rule": "self.x > 3", "message": "fallback", "messageExpression": "''"},
            ("FieldValueInvalid", "spec", "Invalid value: fallback"),
        ),
        (
            {"rule": "self.x > 3", "reason": "FieldValueForbidden", "fieldPath": ".x", "message": "no"},
            ("FieldValueForbidden", "spec.x", "Forbidden: no"),
        ),
        (
            {"rule": "self.x > 3", "reason": "FieldValueRequired", "message": "say more"},
            ("FieldValueRequired", "spec", "Required value: say more"),
        ),
        (
            {"rule": "self.y == 'a'", "message": "y must be a"},
            ("FieldValueInvalid", "spec", 'Invalid value: "object": no such key: y evaluating rule: y must be a'),
        ),
    ],
)
def test_a_broken_rule_is_told_in_its_own_words(rule: dict[str, Any], wanted: tuple[str, str, str]) -> None:
    world = made({"x": INT, "y": TEXT}, rule)

    assert causes(world.call("POST", WIDGETS, widget(x=1))) == [wanted]
    world.ok("POST", WIDGETS, widget(x=4, y="a"))


def test_a_rule_of_a_scalar_shows_the_value() -> None:
    world = made({"s": {**TEXT, "x-kubernetes-validations": [{"rule": "self != 'bad'", "message": "is bad"}]}})

    assert causes(world.call("POST", WIDGETS, widget(s="bad"))) == [
        ("FieldValueInvalid", "spec.s", 'Invalid value: "bad": is bad')
    ]


def test_rules_wait_until_the_object_has_the_right_form() -> None:
    world = made({"x": INT}, {"rule": "self.x > 3"})

    fields = [c[1] for c in causes(world.call("POST", WIDGETS, widget(x="1")))]

    assert fields == ["spec.x", "<nil>"]


def test_a_transition_rule_runs_on_updates_only() -> None:
    world = made({"x": INT}, {"rule": "self.x >= oldSelf.x", "message": "never less"})
    world.ok("POST", WIDGETS, widget(x=5))

    assert world.call("PATCH", f"{WIDGETS}/w", {"spec": {"x": 6}}, headers=MERGE)[0] == 200
    assert causes(world.call("PATCH", f"{WIDGETS}/w", {"spec": {"x": 1}}, headers=MERGE)) == [
        ("FieldValueInvalid", "spec", "Invalid value: never less")
    ]


def test_a_rule_with_an_optional_old_self_runs_on_creation_too() -> None:
    rule = {"rule": "self.x == oldSelf.?x.orValue(1)", "optionalOldSelf": True, "message": "starts at one and stays"}
    world = made({"x": INT}, rule)

    assert world.call("POST", WIDGETS, widget(x=2))[0] == 422
    world.ok("POST", WIDGETS, widget(x=1))
    assert world.call("PATCH", f"{WIDGETS}/w", {"spec": {"x": 2}}, headers=MERGE)[0] == 422


def test_items_of_a_list_map_are_compared_with_those_of_their_keys() -> None:
    item = {"type": "object", "required": ["k"], "properties": {"k": TEXT, "v": dict(TEXT)}}
    item["properties"]["v"]["x-kubernetes-validations"] = [{"rule": "self == oldSelf", "message": "v stays"}]
    keyed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    world = made({"l": {"type": "array", "maxItems": 5, "items": item, **keyed}})
    world.ok("POST", WIDGETS, widget(l=[{"k": "a", "v": "1"}, {"k": "b", "v": "2"}]))

    moved = {"spec": {"l": [{"k": "b", "v": "2"}, {"k": "c", "v": "new"}, {"k": "a", "v": "1"}]}}
    assert world.call("PATCH", f"{WIDGETS}/w", moved, headers=MERGE)[0] == 200
    changed = {"spec": {"l": [{"k": "b", "v": "other"}]}}
    assert causes(world.call("PATCH", f"{WIDGETS}/w", changed, headers=MERGE))[0][1] == "spec.l[0].v"


def stricter(world: World, spec: dict[str, Any], *rules: dict[str, Any]) -> None:
    versions = definition(spec, *rules)["spec"]["versions"]
    world.ok("PATCH", f"{CRDS}/widgets.example.com", {"spec": {"versions": versions}}, headers=MERGE)


def test_what_did_not_change_may_stay_wrong() -> None:
    world = made({"x": INT, "s": TEXT, "o": {"type": "object", "properties": {"y": INT}}})
    world.ok("POST", WIDGETS, widget(x=1, s="a", o={"y": 1}))
    narrow = {"type": "object", "properties": {"y": {"type": "integer", "minimum": 5}}}
    odd = {**TEXT, "x-kubernetes-validations": [{"rule": "self == 'b'", "message": "must be b"}]}
    stricter(world, {"x": INT, "s": odd, "o": narrow})

    answer = world.send("PATCH", f"{WIDGETS}/w", {"spec": {"x": 2}}, headers=MERGE)

    assert isinstance(answer, Response)
    assert answer.code == 200
    assert ("Warning", '299 - "spec.s: Invalid value: \\"a\\": must be b"') in answer.headers
    wrong = causes(world.call("PATCH", f"{WIDGETS}/w", {"spec": {"s": "c", "o": {"y": 2}}}, headers=MERGE))
    assert sorted(c[1] for c in wrong) == ["spec.o.y", "spec.s"]


def test_rules_of_the_root_see_kind_and_names() -> None:
    rule = {"rule": "self.metadata.name.startsWith('w') && self.kind == 'Widget'", "message": "odd name"}
    world = made({"x": INT}, **{"x-kubernetes-validations": [rule]})
    other = widget(x=1)
    other["metadata"]["name"] = "x"

    world.ok("POST", WIDGETS, widget(x=1))
    assert causes(world.call("POST", WIDGETS, other)) == [("FieldValueInvalid", "<nil>", "Invalid value: odd name")]


def test_rules_run_on_status_too() -> None:
    world = made({"x": INT})
    bad = copy.deepcopy(definition({"x": INT}))
    schema = bad["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["status"]["x-kubernetes-validations"] = [{"rule": "self.ready", "message": "be ready"}]
    world.ok("PATCH", f"{CRDS}/widgets.example.com", {"spec": {"versions": bad["spec"]["versions"]}}, headers=MERGE)
    world.ok("POST", WIDGETS, widget(x=1))

    answer = world.call("PATCH", f"{WIDGETS}/w/status", {"status": {"ready": False}}, headers=MERGE)

    assert causes(answer) == [("FieldValueInvalid", "status", "Invalid value: be ready")]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"rule": "self.nope"}, "undefined field 'nope'"),
        ({"rule": "self.x"}, "cel expression must evaluate to a bool"),
        ({"rule": "true", "messageExpression": "1"}, "messageExpression must evaluate to a string"),
        ({"rule": "true", "optionalOldSelf": True}, "may not be set if oldSelf is not used in rule"),
        ({"rule": "int('a') == 1"}, "program instantiation failed: type conversion error from 'string' to 'int'"),
        ({"rule": "true", "fieldPath": ".nope"}, "must be a valid path"),
        ({"rule": "true", "reason": "Because"}, "Unsupported value"),
        ({"rule": ""}, "rule is not specified"),
    ],
)
def test_a_definition_with_a_bad_rule_is_refused(rule: dict[str, Any], words: str) -> None:
    found = causes(World().call("POST", CRDS, definition({"x": INT}, rule)))

    assert [c[2] for c in found if words in c[2]], found


def test_old_self_has_no_place_in_lists_without_keys() -> None:
    item = {**TEXT, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}
    found = causes(World().call("POST", CRDS, definition({"l": {"type": "array", "maxItems": 3, "items": item}})))

    assert "oldSelf cannot be used on the uncorrelatable portion of the schema" in found[0][2]


def test_a_default_that_breaks_a_rule_is_refused() -> None:
    odd = {**TEXT, "default": "a", "x-kubernetes-validations": [{"rule": "self == 'b'"}]}
    found = causes(World().call("POST", CRDS, definition({"s": odd})))

    assert found[0][1].endswith("properties[s].default")


def test_one_object_cannot_spend_without_end() -> None:
    rule = {"rule": "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c != 1)))", "message": "slow"}
    world = made({"l": {"type": "array", "maxItems": 400, "items": INT}}, rule)

    found = causes(world.call("POST", WIDGETS, widget(l=list(range(5, 405)))))

    assert "no further validation rules will be run due to call cost exceeds limit" in found[0][2]
