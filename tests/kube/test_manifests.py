"""Manifest files to objects with their places; what is wrong harms nothing else."""

from __future__ import annotations

import json

import pytest

from fairway.kube.manifests import read_manifest
from fairway.values.names import ObjectName

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\n"


TRAP = (
    "a.yaml: document 2 (line 5): Service x: metadata.namespace: text is expected, not true"
    " (y, yes, on mean that too in YAML 1.1: quote them)"
)


def names(text: str, file: str = "a.yaml") -> list[str]:
    manifest = read_manifest(file, text.encode())
    assert manifest.errors == ()
    return [f"{one.kind} {one.name}" for one in manifest.objects]


def one_error(text: str, file: str = "a.yaml") -> str:
    manifest = read_manifest(file, text.encode())
    (error,) = manifest.errors
    assert not manifest.is_whole
    return error


WAYS = {
    "documents": f"{SERVICE % 'a'}---\n{SERVICE % 'b'}",
    "empty documents": f"---\n{SERVICE % 'a'}---\n---\n# nothing\n---\n{SERVICE % 'b'}---\n",
    "comments on marks": f"--- # first\n{SERVICE % 'a'}--- # second\n{SERVICE % 'b'}",
    "DOS": f"\ufeff{SERVICE % 'a'}---\r\n{SERVICE % 'b'}".replace("\n", "\r\n"),
    "JSON in YAML": '{"apiVersion": "v1", "kind": "Service",\n"metadata": {"name": "a", "namespace": "shop"}}'
    f"\n---\n{SERVICE % 'b'}",
    "lists in lists": """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: a, namespace: shop}}
- apiVersion: v1
  kind: List
  items: [{apiVersion: v1, kind: Service, metadata: {name: b, namespace: shop}}]
""",
    "a typed list": """
apiVersion: v1
kind: ServiceList
items:
- metadata: {name: a, namespace: shop}
- metadata: {name: b, namespace: shop}
""",
}


@pytest.mark.parametrize("text", WAYS.values(), ids=WAYS)
def test_every_way_to_write_two_services_gives_two_services(text: str) -> None:
    assert names(text) == ["Service shop/a", "Service shop/b"]


def test_json_files_hold_one_value_or_many() -> None:
    one = json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}, indent=1)
    assert names(one, "x.json") == ["Service a"]
    assert names(f"{one}\n{one}", "x.json") == ["Service a", "Service a"]
    assert names("  ", "x.json") == []


def test_marks_within_text_do_not_cut() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n    ---\n    kind: Service\n"
    assert names(text) == ["ConfigMap a"]


def test_places_name_file_document_line_and_item() -> None:
    item = "- {apiVersion: v1, kind: Service, metadata: {name: b}}"
    text = f"# head\n{SERVICE % 'a'}---\n\napiVersion: v1\nkind: List\nitems:\n{item}\n"
    first, second = read_manifest("f.yaml", text.encode()).objects
    assert str(first.place) == "f.yaml: document 1 (line 1)"
    assert str(second.place) == "f.yaml: document 2 (line 7): items[0]"
    assert second.name == ObjectName("", "b")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: [1", "a.yaml: document 2 (line 5): line 6, column 1: did not find expected ',' or ']'"),
        ("a: 1\na: 2", "a.yaml: document 2 (line 5): line 6, column 1: the key 'a' stands twice"),
        ("- 1", "a.yaml: document 2 (line 5): an object is expected, not a list"),
        ("hello", "a.yaml: document 2 (line 5): an object is expected, not text ('hello')"),
        ("apiVersion: v1", "a.yaml: document 2 (line 5): kind: missing"),
        ("kind: Service", "a.yaml: document 2 (line 5): apiVersion: missing"),
        ("kind: 5\napiVersion: v1", "a.yaml: document 2 (line 5): kind: text is expected, not 5"),
        ("kind: Service\napiVersion: v1", "a.yaml: document 2 (line 5): Service: metadata: missing"),
        (
            "kind: Service\napiVersion: v1\nmetadata: {name: 7}",
            "a.yaml: document 2 (line 5): Service: metadata.name: text is expected, not 7",
        ),
        ("kind: Service\napiVersion: v1\nmetadata: {name: x, namespace: yes}", TRAP),
        ("kind: List\napiVersion: v1\nitems: 5", "a.yaml: document 2 (line 5): items: a list is expected"),
        (
            "kind: List\napiVersion: v1\nitems: [5]",
            "a.yaml: document 2 (line 5): items[0]: an object is expected, not 5",
        ),
        ('{"a": 1, ]', "a.yaml: document 2 (line 5): line 5, column 10: did not find expected node content"),
        ("a: .inf", "a.yaml: document 2 (line 5): line 5, column 4: .inf has no place in an API object"),
    ],
)
def test_error_names_its_place_and_the_other_documents_stand(text: str, error: str) -> None:
    whole = f"{SERVICE % 'a'}---\n{text}\n---\n{SERVICE % 'b'}"
    manifest = read_manifest("a.yaml", whole.encode())
    assert [one.name.name for one in manifest.objects] == ["a", "b"]
    assert manifest.errors == (error,)
    assert not manifest.is_whole


def test_broken_json_names_line_and_column() -> None:
    assert one_error('{"a": 1,\n "b" 2}', "x.json") == (
        "x.json: document 1 (line 1): line 2, column 6: expecting ':' delimiter"
    )


def test_bytes_that_are_no_text_are_an_error_of_the_file() -> None:
    assert read_manifest("a.yaml", b"kind: \xff").errors == ("a.yaml: not UTF-8 text: byte 6: invalid start byte",)


def test_unwanted_kinds_are_passed_over_without_a_word() -> None:
    text = f"kind: Kustomization\napiVersion: kustomize.config.k8s.io/v1beta1\n---\n{SERVICE % 'a'}"
    manifest = read_manifest("a.yaml", text.encode(), lambda _version, kind: kind == "Service")
    assert [one.name.name for one in manifest.objects] == ["a"]
    assert manifest.errors == ()
    assert manifest.is_whole


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, '{"a":' * 100_000, "{a: " * 5000 + "}" * 5000])
@pytest.mark.parametrize("file", ["a.yaml", "a.json"])
def test_depth_is_an_error_not_a_crash(text: str, file: str) -> None:
    assert read_manifest(file, text.encode()).errors != ()


@pytest.mark.parametrize("file", ["a.yaml", "a.json"])
def test_number_of_ten_thousand_digits_is_no_crash(file: str) -> None:
    text = f'{{"kind": "Service", "apiVersion": "v1", "metadata": {{"name": "a", "x": {"1" * 10_000}}}}}'
    manifest = read_manifest(file, text.encode())
    assert len(manifest.objects) + len(manifest.errors) == 1


def test_ten_thousand_documents_take_time_in_proportion() -> None:
    text = "---\n".join(SERVICE % f"s{i}" for i in range(10_000))
    manifest = read_manifest("a.yaml", text.encode())
    assert len(manifest.objects) == 10_000
    assert manifest.objects[-1].place.line == 39_997
