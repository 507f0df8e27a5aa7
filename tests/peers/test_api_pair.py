"""Every kind, put through every verb on our server and on the real one: the answers are the same, field by field.

`KNOWN` has what differs on purpose or is a quirk of the real server that helps nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_pair import Difference, Pair, Step, both_servers
from peer import peer

pytestmark = pytest.mark.peers
peer("kube-apiserver")
peer("etcd")

KINDS: dict[str, Any] = json.loads(Path(__file__).with_name("api_kinds.json").read_text())
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"

# (case, place of the difference)
KNOWN = (
    (r"", r"columnDefinitions\[\]\.description"),
    (r"", r"managedFields(\[\])?\.(time|fieldsV1\.f:(endpoints|ports))$"),
    # What the server itself did before: who owns its defaults of nodes and pods, and the list of its own objects.
    (r"status/(nodes|pods)", r"managedFields"),
    (r"list/", r"(body\.metadata\.resourceVersion|body\.metadata\.remainingItemCount)$"),
    # v1's old annotation is not in the real server's internal form, so its tables do not have it.
    (r"/daemonsets", r"annotations"),
    # Its RawExtension is compared by its bytes, which a patch changes.
    (r"/controllerrevisions", r""),
    # A null and an empty list in a spec are two specs to it.
    (r"/networkpolicies", r""),
    # The new Event is checked by old rules in an order of their own; addresses have no generated names.
    (r"(minimal|apply)/events-new", r""),
    (r"minimal/ipaddresses", r""),
    (r"verbs/endpoints", r"warnings"),
    (r"verbs/", r"(message|causes)"),
)


def is_known(case: str, difference: Difference) -> bool:
    return any(re.search(c, case) and re.search(p, difference.place) for c, p in KNOWN)


def life(path: str, one: str, body: Any) -> list[Step]:
    meta = body["metadata"]

    def put(**more: Any) -> Step:
        return Step("PUT", one, {**body, "metadata": {**meta, **more}})

    return [
        Step("POST", path, body),
        Step("POST", path, body),
        Step("GET", one),
        Step("GET", one, accept=TABLE),
        Step("GET", one, accept=PARTIAL),
        Step("PATCH", one, {"metadata": {"labels": {"l": "1"}}}, MERGE),
        Step("PATCH", one, {"metadata": {"annotations": {"l": "1"}}}, STRATEGIC),
        Step("PATCH", one, [{"op": "add", "path": "/metadata/labels/x", "value": "y"}], JSON_PATCH),
        Step("PATCH", one, [{"op": "test", "path": "/metadata/labels/x", "value": "z"}], JSON_PATCH),
        Step("PATCH", one, [{"op": "remove", "path": "/metadata/nope"}], JSON_PATCH),
        Step("PATCH", one, {"metadata": {"labels": {"l": None, "x": None}}}, MERGE, {"dryRun": "All"}),
        put(labels={"put": "1"}),
        put(resourceVersion="${version}"),
        put(resourceVersion="1"),
        put(uid="x"),
        Step("DELETE", one, {"preconditions": {"uid": "x"}}),
        Step("DELETE", one, query={"dryRun": "All"}),
        Step("DELETE", one),
        Step("GET", one),
        Step("DELETE", one),
    ]


def minimal(path: str, one: str, body: Any) -> list[Step]:
    head = {"apiVersion": body["apiVersion"], "kind": body["kind"]}
    metas = ({"name": body["metadata"]["name"]}, {}, {"name": "A_b"}, {"name": "a" * 254}, {"generateName": "gen-"})
    bad = ({"labels": {"a/b/c": "d"}}, {"finalizers": ["x"]}, {"resourceVersion": "5"}, {"labels": {"a": "b c"}})
    steps = [Step("POST", path, {**head, "metadata": meta}) for meta in metas]
    steps += [Step("POST", path, {**body, "metadata": {**body["metadata"], **more}}) for more in bad]
    steps += [Step("POST", path, text=text) for text in ("", "null", "{", "hello")]
    return [*steps, Step("POST", path, {**body, "bogus": 1}, query={"fieldValidation": "Strict"})]


def applied(path: str, one: str, body: Any) -> list[Step]:
    name = body["metadata"]["name"]
    bare = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": {"name": name}}
    whole = {**body, "metadata": {"name": name}}

    def apply(document: Any, manager: str, **query: str) -> Step:
        return Step("PATCH", one, document, APPLY, {"fieldManager": manager, **query})

    def labelled(value: str) -> Any:
        return {**whole, "metadata": {"name": name, "labels": {"x": value}}}

    return [
        apply(whole, "one"),
        apply(whole, "one"),
        apply(labelled("1"), "two"),
        apply(labelled("2"), "three"),
        apply(labelled("2"), "three", force="true"),
        apply(bare, "one"),
        apply(bare, "two"),
        apply(bare, "three"),
        Step("GET", one),
        Step("PATCH", one, {"metadata": {"managedFields": [{}]}}, MERGE),
        Step("PATCH", one, {"metadata": {"labels": {"m": "n"}}}, MERGE),
        apply({**whole, "metadata": {"name": name, "labels": {"m": "o"}}}, "one"),
    ]


def status(path: str, one: str, body: Any) -> list[Step]:
    condition = {
        "type": "T",
        "status": "True",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "R",
        "message": "",
    }
    return [
        Step("POST", path, body),
        Step("GET", f"{one}/status"),
        Step("PUT", f"{one}/status", {**body, "status": {"conditions": [condition]}}),
        Step("PATCH", f"{one}/status", {"metadata": {"labels": {"via": "status"}}}, MERGE),
        Step("GET", one),
        Step("DELETE", f"{one}/status"),
        Step("GET", f"{one}/nope"),
    ]


def listed(path: str, one: str, body: Any) -> list[Step]:
    queries: tuple[dict[str, str], ...] = (
        {"fieldSelector": "spec.x=b"},
        {"fieldSelector": "metadata.name"},
        {"labelSelector": "a in (b"},
        {"resourceVersion": "1", "resourceVersionMatch": "Nope"},
        {"resourceVersionMatch": "Exact"},
        {"continue": "x"},
        {"limit": "x"},
        {"sendInitialEvents": "true"},
        {"watch": "1", "timeoutSeconds": "1", "resourceVersion": "x"},
        {"watch": "1", "sendInitialEvents": "true", "timeoutSeconds": "1", "resourceVersionMatch": "Exact"},
    )
    wrong = Step("GET", path, query={"includeObject": "Nope"}, accept=TABLE)
    return [*(Step("GET", path, query=query) for query in queries), wrong]


def verbs(path: str, one: str, body: Any) -> list[Step]:
    return [
        Step("PUT", path, body),
        Step("POST", one, body),
        Step("PATCH", one, {}, MERGE),
        Step("PATCH", one, {}, "text/plain"),
        Step("PATCH", one, {}, APPLY),
        Step("PUT", one, {**body, "metadata": {"name": "other"}}),
        Step("POST", path, body),
        Step("PATCH", one, text="{", content_type=MERGE),
        Step("PATCH", one, text="[]", content_type=MERGE),
        Step("PATCH", one, {"kind": "Other"}, STRATEGIC),
        Step("PATCH", one, {"metadata": {"name": "other"}}, MERGE),
        Step("PATCH", one, {"metadata": {"resourceVersion": "1"}}, MERGE),
        Step("PATCH", one, {"metadata": {"finalizers": ["a.b/c"]}}, STRATEGIC),
        Step("DELETE", one, query={"propagationPolicy": "Foreground"}),
        Step("PATCH", one, {"metadata": {"finalizers": ["new.one/x"]}}, MERGE),
        Step("PATCH", one, {"metadata": {"finalizers": None}}, MERGE),
        Step("GET", one),
    ]


CASES = {"life": life, "minimal": minimal, "apply": applied, "status": status, "list": listed, "verbs": verbs}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with both_servers(tmp_path_factory.mktemp("pair")) as one:
        yield one


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_answers_are_the_same(pair: Pair, case: str, kind: str) -> None:
    row = KINDS[kind]
    one = f"{row['path']}/{row['object']['metadata']['name']}"
    steps = CASES[case](row["path"], one, row["object"])
    if not row["namespaced"]:
        steps += [Step("PATCH", one, {"metadata": {"finalizers": None}}, MERGE), Step("DELETE", one)]
    found = pair.play(f"{case}-{kind}", steps)
    wrong = [d for d in found if not is_known(f"{case}/{kind}", d)]
    assert not wrong, "\n".join(f"{d.step.method} {d.step.path} {d.place}\n  {d.ours}\n  {d.theirs}" for d in wrong)
