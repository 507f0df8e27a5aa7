"""Custom resources on our server and on the real one: definitions, and objects at random, get the same answers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_pair import Difference, Pair, Server, Step, both_servers
from peer import peer
from random_objects import Maker

pytestmark = pytest.mark.peers
peer("kube-apiserver")
peer("etcd")
REAL = {f"{f.parent.name}/{f.stem}": f for f in sorted(Path(peer("crds")).glob("*/*.yaml"))}

CASES: dict[str, Any] = json.loads(Path(__file__).with_name("crd_cases.json").read_text())
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_TYPED = "failed to create typed patch object"
OBJECTS = 6  # of a definition's version, each changed three times
# A cost is not estimated; managers of a definition's status; a Go struct as Go prints it; a typed patch's errors, which
# Go's maps shuffle and cut short; a write that only brings a status's defaults into the storage.
KNOWN = (
    (r"^definition/cost", r""),
    (r"^definition/(rootdefault|rootadd|enumroot)", r"message$"),
    (r"^(definition|real)/", r"body\.(status|metadata)"),
    (r"^life$", r"managedFields$"),
    (r"^random$", r"resourceVersion$"),
    (r"", r"managedFields(\[\])?\.time$"),
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with both_servers(tmp_path_factory.mktemp("pair")) as one:
        yield one


def check(case: str, found: list[Difference]) -> None:
    wrong = [d for d in found if not any(re.search(c, case) and re.search(p, d.place) for c, p in KNOWN)]
    wrong = [d for d in wrong if _plain(d.ours) != _plain(d.theirs) and not str(d.ours).startswith(_TYPED)]
    assert not wrong, "\n".join(f"{d.step.method} {d.step.path} {d.place}\n  {d.ours}\n  {d.theirs}" for d in wrong)


def _plain(part: Any) -> Any:
    """Go's maps give errors in any order, so the letters of a message count; types of a schema have numbers."""
    text = re.sub(r"selfType\d+", "selfType", json.dumps(part, sort_keys=True))
    return sorted(text) if isinstance(part, str) else text


def ready(server: Server, path: str) -> None:
    """The real server serves a new resource a moment later."""
    end = time.monotonic() + 30
    while server.send(Step("GET", path))[0] != 200:
        assert time.monotonic() < end, path
        time.sleep(0.05)


@pytest.mark.parametrize("case", CASES["definitions"])
def test_definition_is_judged_alike(pair: Pair, case: str) -> None:
    step = Step("POST", CRDS, CASES["definitions"][case], query={"dryRun": "All"})

    check(f"definition/{case}", pair.play("definition", [step]))


def test_custom_resources_live_alike(pair: Pair) -> None:
    pair.play("life", [Step("POST", CRDS, CASES["lived"])])
    ready(pair.theirs, "/apis/life.example.com/v1/widgets")
    ready(pair.theirs, "/apis/life.example.com/v2/widgets")

    for step in CASES["steps"]:
        check("life", pair.play("life", [Step(**step)]))


@pytest.mark.parametrize("name", REAL)
def test_objects_of_real_definitions_get_the_same_answers(pair: Pair, name: str) -> None:
    definition = yaml.safe_load(REAL[name].read_text())
    spec, maker = definition["spec"], Maker(len(name))
    check(f"real/{name}", pair.play("real", [Step("POST", CRDS, definition)]))
    for version in (v for v in spec["versions"] if v["served"]):
        base = f"/apis/{spec['group']}/{version['name']}"
        place = f"{base}/namespaces/default" if spec["scope"] == "Namespaced" else base
        path = f"{place}/{spec['names']['plural']}"
        ready(pair.theirs, path)
        head = {"apiVersion": base.removeprefix("/apis/"), "kind": spec["names"]["kind"]}
        for number in range(OBJECTS):
            maker.wild = maker.random.choice([0, 0, 0.02, 0.1])
            check("random", pair.play("random", life(maker, path, head, version, f"r{number}")))
    gone(pair, definition["metadata"]["name"])


def life(maker: Maker, path: str, head: Any, version: Any, name: str) -> list[Step]:
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    parts = {k: v for k, v in properties.items() if k in ("spec", "status")}
    schema = {"type": "object", "properties": parts, "required": [*parts][:1]}
    made = maker.value(schema)
    made = made if isinstance(made, dict) else {}
    one, steps = f"{path}/{name}", [Step("POST", path, {**head, "metadata": {"name": name}, **made})]
    for _ in range(3):
        body = maker.altered(made, schema)
        whole = {**head, "metadata": {"name": name}, **body}
        put = {**whole, "metadata": {"name": name, "resourceVersion": "${version}"}}
        ways = [
            [Step("GET", one), Step("PUT", one, put)],
            [Step("PATCH", one, body, MERGE)],
            [Step("PATCH", one, whole, APPLY, {"fieldManager": "m", "force": "true"})],
            [Step("PATCH", f"{one}/status", body, MERGE)],
        ]
        steps += maker.random.choice(ways)
    return [*steps, Step("GET", one, accept=TABLE), Step("DELETE", one)]


def gone(pair: Pair, name: str) -> None:
    """Of both, so that another channel's definition of the same name can come."""
    pair.play("real", [Step("DELETE", f"{CRDS}/{name}")])
    end = time.monotonic() + 30
    while pair.theirs.send(Step("GET", f"{CRDS}/{name}"))[0] != 404:
        assert time.monotonic() < end, name
        time.sleep(0.05)
