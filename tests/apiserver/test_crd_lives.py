"""Definitions with several versions, scales, selectable fields and names of others; and how they end."""

from __future__ import annotations

from typing import Any

import pytest

from api_world import World

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TOYS = "/apis/example.com/v1/namespaces/default/toys"
MERGE = {"content-type": "application/merge-patch+json"}
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
INT, TEXT = {"type": "integer"}, {"type": "string"}


def schema(**spec: Any) -> dict[str, Any]:
    status = {"type": "object", "properties": {"count": INT, "picks": TEXT}}
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": spec}, "status": status}}


def version(name: str, form: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": form}, **more}


def definition(*versions: dict[str, Any], group: str = "example.com", **names: Any) -> dict[str, Any]:
    given = {"plural": "toys", "kind": "Toy", **names}
    spec = {"group": group, "scope": "Namespaced", "names": given, "versions": list(versions)}
    return {"metadata": {"name": f"{given['plural']}.{group}"}, "spec": spec}


def toy(name: str = "t", version: str = "v1", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"example.com/{version}", "kind": "Toy", "metadata": {"name": name}, "spec": spec}


def world(*versions: dict[str, Any], **more: Any) -> World:
    made = World()
    made.ok("POST", CRDS, definition(*versions, **more))
    return made


def test_another_version_shows_the_fields_that_it_knows() -> None:
    w = world(version("v1", schema(a=TEXT, b=TEXT)), version("v2", schema(a=TEXT, c={**TEXT, "default": "x"})))
    w.ok("POST", TOYS, toy(a="1", b="2"))

    assert w.ok("GET", TOYS.replace("v1", "v2") + "/t")["spec"] == {"a": "1"}
    assert w.ok("POST", TOYS.replace("v1", "v2"), toy("u", "v2", a="3"))["spec"] == {"a": "3"}
    assert w.ok("GET", TOYS + "/u")["spec"] == {"a": "3"}


def test_defaults_of_the_storage_version_are_in_every_version() -> None:
    w = world(version("v1", schema(port={**INT, "default": 179})), version("v2", schema(port=INT)))

    assert w.ok("POST", TOYS.replace("v1", "v2"), toy("u", "v2"))["spec"] == {"port": 179}


def test_a_version_that_is_not_served_is_not_there() -> None:
    w = world(version("v1", schema()), {**version("v2", schema()), "served": False})

    assert w.send("GET", TOYS.replace("v1", "v2")).code == 404  # type: ignore[union-attr]


def test_a_deprecated_version_warns_on_every_request() -> None:
    w = world(version("v1", schema(), deprecated=True))

    assert ("Warning", '299 - "example.com/v1 Toy is deprecated"') in w.send("GET", TOYS).headers  # type: ignore[union-attr]


def test_scale_reads_and_writes_where_the_definition_says() -> None:
    paths = {
        "specReplicasPath": ".spec.size.many",
        "statusReplicasPath": ".status.count",
        "labelSelectorPath": ".status.picks",
    }
    form = schema(size={"type": "object", "properties": {"many": INT}})
    w = world(version("v1", form, subresources={"status": {}, "scale": paths}))
    w.ok("POST", TOYS, toy(size={"many": 2}))
    w.ok("PATCH", f"{TOYS}/t/status", {"status": {"count": 1, "picks": "a=b"}}, headers=MERGE)

    seen = w.ok("GET", f"{TOYS}/t/scale")
    w.ok("PATCH", f"{TOYS}/t/scale", {"spec": {"replicas": 5}}, headers=MERGE)

    assert (seen["spec"], seen["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "a=b"})
    assert w.ok("GET", f"{TOYS}/t")["spec"] == {"size": {"many": 5}}
    code, answer = w.call("PATCH", f"{TOYS}/t/scale", {"spec": {"replicas": -1}}, headers=MERGE)
    assert (code, answer["details"]["causes"][0]["field"]) == (422, ".spec.size.many")


def test_lists_can_select_by_the_fields_that_the_definition_names() -> None:
    fields = [{"jsonPath": ".spec.a"}, {"jsonPath": ".spec.on"}]
    w = world(version("v1", schema(a=TEXT, on={"type": "boolean"}), selectableFields=fields))
    w.ok("POST", TOYS, toy("one", a="x", on=True))
    w.ok("POST", TOYS, toy("two", a="y"))

    def names(selector: str) -> list[str]:
        found = w.ok("GET", TOYS, query={"fieldSelector": selector})["items"]
        return [i["metadata"]["name"] for i in found]

    assert (names("spec.a=x"), names("spec.a!=x"), names("spec.on=true")) == (["one"], ["two"], ["one"])
    code, answer = w.call("GET", TOYS, query={"fieldSelector": "spec.b=x"})
    assert (code, answer["message"]) == (400, "field label not supported: spec.b")


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ({"type": "integer", "jsonPath": ".spec.n"}, 3),
        ({"type": "number", "jsonPath": ".spec.f"}, 1.5),
        ({"type": "string", "jsonPath": ".spec.f"}, "1.5"),
        ({"type": "boolean", "jsonPath": ".spec.on"}, True),
        ({"type": "string", "jsonPath": ".spec.on"}, "true"),
        ({"type": "integer", "jsonPath": ".spec.word"}, None),
        ({"type": "date", "jsonPath": ".spec.word"}, "<invalid>"),
        ({"type": "string", "jsonPath": ".spec.gone"}, None),
        ({"type": "string", "jsonPath": ".spec.items[0].k"}, "a"),
        ({"type": "string", "jsonPath": ".spec.items[-1].k"}, "b"),
        ({"type": "string", "jsonPath": ".spec.items[*].k"}, "a"),
        ({"type": "string", "jsonPath": '.spec.items[?(@.k=="b")].v'}, "2"),
        ({"type": "string", "jsonPath": ".spec.items[?(@.n>1)].k"}, "b"),
        ({"type": "string", "jsonPath": ".spec.items[0]"}, '{"k":"a","n":1}'),
        ({"type": "string", "jsonPath": r".metadata.labels.a\.b/c"}, "lab"),
        ({"type": "string", "jsonPath": ".metadata.labels['a.b/c']"}, "lab"),
    ],
)
def test_printer_columns_show_what_their_path_finds(column: dict[str, Any], cell: Any) -> None:
    form = schema(free={"type": "object"})
    form["properties"]["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    w = world(version("v1", form, additionalPrinterColumns=[{"name": "C", **column}]))
    items = [{"k": "a", "n": 1}, {"k": "b", "n": 2, "v": "2"}]
    body = toy(n=3, f=1.5, on=True, word="hello", items=items)
    body["metadata"]["labels"] = {"a.b/c": "lab"}
    w.ok("POST", TOYS, body)

    assert w.ok("GET", TOYS, headers=TABLE)["rows"][0]["cells"] == ["t", cell]


def test_embedded_resources_keep_their_metadata_in_form() -> None:
    inside = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    w = world(version("v1", schema(pod=inside)))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "odd": 1}, "spec": {"any": 1}}

    made = w.ok("POST", TOYS, toy(pod=pod))
    code, answer = w.call("POST", TOYS, toy("u", pod={"kind": "a_b", "metadata": {"labels": {"a b": "c"}}}))

    assert made["spec"]["pod"] == {**pod, "metadata": {"name": "p"}}
    fields = sorted(c["field"] for c in answer["details"]["causes"])
    assert (code, fields) == (422, ["spec.pod.apiVersion", "spec.pod.kind", "spec.pod.metadata.labels"])


def test_names_of_another_definition_are_not_accepted_and_nothing_is_served() -> None:
    w = world(version("v1", schema()), shortNames=["ty"])

    made = w.ok("POST", CRDS, definition(version("v1", schema()), plural="things", kind="Toy", shortNames=["ty"]))

    conditions = {c["type"]: (c["status"], c["reason"]) for c in made["status"]["conditions"]}
    assert conditions == {"NamesAccepted": ("False", "ListKindConflict"), "Established": ("False", "NotAccepted")}
    assert w.send("GET", TOYS.replace("toys", "things")).code == 404  # type: ignore[union-attr]


def test_a_group_of_the_project_needs_an_approval() -> None:
    w = World()
    body = definition(version("v1", schema()), group="toys.k8s.io")

    code, answer = w.call("POST", CRDS, body)
    body["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://example.com/1"}
    made = w.ok("POST", CRDS, body)

    assert (code, answer["details"]["causes"][0]["reason"]) == (422, "FieldValueRequired")
    found = {c["type"]: c["message"] for c in made["status"]["conditions"]}
    assert found["KubernetesAPIApprovalPolicyConformant"] == "approved in https://example.com/1"


def test_a_version_that_objects_are_stored_in_cannot_go() -> None:
    w = world(version("v1", schema()), version("v2", schema()))
    only = {**version("v2", schema()), "storage": True}

    code, answer = w.call("PATCH", f"{CRDS}/toys.example.com", {"spec": {"versions": [only]}}, headers=MERGE)

    assert (code, answer["details"]["causes"][0]["field"]) == (422, "status.storedVersions[0]")


def test_a_definition_waits_for_its_last_object() -> None:
    w = world(version("v1", schema()))
    kept = toy("kept")
    kept["metadata"]["finalizers"] = ["example.com/wait"]
    w.ok("POST", TOYS, kept)
    w.ok("POST", TOYS, toy("plain"))

    answer = w.ok("DELETE", f"{CRDS}/toys.example.com")
    left = [i["metadata"]["name"] for i in w.ok("GET", TOYS)["items"]]
    code, refused = w.call("POST", TOYS, toy("new"))

    assert answer["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert (left, code) == (["kept"], 403)
    assert "create not allowed while custom resource definition is terminating" in refused["message"]
    w.ok("PATCH", f"{TOYS}/kept", {"metadata": {"finalizers": None}}, headers=MERGE)
    assert w.send("GET", f"{CRDS}/toys.example.com").code == 404  # type: ignore[union-attr]
    assert w.send("GET", TOYS).code == 404  # type: ignore[union-attr]


def test_apply_checks_the_types_of_fields() -> None:
    w = world(version("v1", schema(a=TEXT, n=INT)))
    apply = {"content-type": "application/apply-patch+yaml"}

    code, answer = w.call("PATCH", f"{TOYS}/t", toy(a=1), headers=apply, query={"fieldManager": "m"})

    assert code == 500
    assert ".spec.a: expected string, got &value.valueUnstructured{Value:1}" in answer["message"]


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"type": "object", "properties": {"a": {"description": "no type"}}}, "properties[spec].properties[a].type"),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, "properties[spec].properties[a].items"),
        ({"type": "object", "anyOf": [{"type": "object"}]}, "properties[spec].anyOf[0].type"),
        ({"type": "object", "properties": {"a": {**TEXT, "default": 5}}}, "properties[spec].properties[a].default"),
        ({"type": "object", "properties": {"a": {**TEXT, "pattern": "("}}}, "properties[spec].properties[a].pattern"),
        (
            {"type": "object", "properties": {"a": {**TEXT, "x-kubernetes-list-type": "set"}}},
            "properties[spec].properties[a].type",
        ),
    ],
)
def test_a_schema_that_is_not_structural_is_refused_where_it_is_wrong(form: dict[str, Any], field: str) -> None:
    whole = schema()
    whole["properties"]["spec"] = form

    code, answer = World().call("POST", CRDS, definition(version("v1", whole)))

    assert (code, [c["field"] for c in answer["details"]["causes"]]) == (
        422,
        [f"spec.validation.openAPIV3Schema.{field}"],
    )
