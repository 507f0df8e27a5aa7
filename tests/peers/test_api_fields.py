"""Every field of every kind with odd values, on our server and on the real one: both refuse, warn and default alike.

A sample of some hundred a kind, another each day, so that a run takes a minute; `FAIRWAY_FIELDS=all` asks all of them.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_fields import Odd, odd_objects
from api_pair import Difference, Pair, Step, both_servers
from fairway.apiserver.schema import builtin, kind_types
from peer import peer

pytestmark = pytest.mark.peers
peer("kube-apiserver")
peer("etcd")

KINDS: dict[str, Any] = json.loads(Path(__file__).with_name("api_kinds.json").read_text())
SAMPLE = 100
AT_ONCE = {"gracePeriodSeconds": "0", "propagationPolicy": "Background"}

# (kind, field): what differs on purpose, or is a quirk of the real server that helps nobody.
NOT_ASKED = (
    # Volumes of storage systems that Fairway's nodes do not have, and features that are off.
    (r"", r"volumes\[\d\]\.(iscsi|glusterfs|rbd|flexVolume|cinder|cephfs|flocker|fc|azure\w+|vsphereVolume|quobyte)"),
    (r"", r"volumes\[\d\]\.(photonPersistentDisk|portworxVolume|scaleIO|storageos|aws\w+|gce\w+)"),
    (r"", r"volumes\[\d\]\.(projected\.sources|downwardAPI\.items)"),
    (r"", r"schedulingGroup|stopSignal|resizePolicy"),
    # The real one needs a flag before pods may be privileged; names of runtimes are paths to it.
    (r"", r"(privileged|runtimeClassName|overhead)$"),
    # A null, an empty map and none are two things to its generations; causes that stand in another order.
    (r"", r"template\.metadata\.ownerReferences"),
    (r"replicationcontrollers", r"template\.metadata\.labels"),
    (r"networkpolicies", r""),
    (r"endpointslices", r"deprecatedTopology"),
    # Embedded raw data is compared by its bytes.
    (r"controllerrevisions", r""),
    (r"nodes", r"status"),
)


def is_asked(kind: str, odd: Odd) -> bool:
    return not any(re.search(k, kind) and re.search(f, odd.path) for k, f in NOT_ASKED)


def sample(kind: str, obj: Any) -> list[Odd]:
    node = builtin(kind_types()[obj["apiVersion"], obj["kind"]])
    found = [odd for odd in odd_objects(node, obj) if is_asked(kind, odd)]
    if os.environ.get("FAIRWAY_FIELDS") == "all" or len(found) <= SAMPLE:
        return found
    return random.Random(f"{kind} {dt.datetime.now(dt.UTC).date()}").sample(found, SAMPLE)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with both_servers(tmp_path_factory.mktemp("pair")) as one:
        yield one


def told(found: list[Difference]) -> str:
    kept = [d for d in found if "managedFields" not in d.place]
    return "\n".join(f"{d.place}\n  {d.ours}\n  {d.theirs}\n{d.step.method} {d.step.body}" for d in kept)


@pytest.mark.parametrize("kind", KINDS)
def test_an_odd_field_is_answered_alike_when_an_object_is_made(pair: Pair, kind: str) -> None:
    row = KINDS[kind]
    one = f"{row['path']}/{row['object']['metadata']['name']}"
    gone = Step("DELETE", one, query=AT_ONCE)
    steps = [step for odd in sample(kind, row["object"]) for step in (Step("POST", row["path"], odd.obj), gone)]

    # Addresses are compared by order of appearance: not so many at once that one comes twice by chance.
    found = [d for i in range(0, len(steps), 80) for d in pair.play(f"made-{kind}-{i}", steps[i : i + 80])]
    assert told(found) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_an_odd_field_is_answered_alike_when_an_object_is_changed(pair: Pair, kind: str) -> None:
    row = KINDS[kind]
    one = f"{row['path']}/{row['object']['metadata']['name']}"
    gone = Step("DELETE", one, query=AT_ONCE)
    changes = [Step("PUT", one, odd.obj) for odd in sample(kind, row["object"])]

    assert told(pair.play(f"changed-{kind}", [Step("POST", row["path"], row["object"]), *changes, gone])) == ""
