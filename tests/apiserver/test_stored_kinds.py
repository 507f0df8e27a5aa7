"""Kinds that Fairway keeps for others: served like all, and honest about doing nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api_world import World
from fairway.apiserver.kinds.stored import ROWS
from fairway.apiserver.request import Response

TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
SPECS: dict[str, dict[str, Any]] = {
    "PodTemplate": {"template": TEMPLATE},
    "Job": {"spec": {"template": TEMPLATE}},
    "CronJob": {"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}}},
    "HorizontalPodAutoscaler": {"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}},
    "RoleBinding": {"roleRef": {"kind": "Role", "name": "r"}},
    "ClusterRoleBinding": {"roleRef": {"kind": "ClusterRole", "name": "r"}},
}


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r.type_key}/{r.version}")
def test_kind_is_stored_shown_and_gone(row: Any) -> None:
    world = World()
    root = f"/apis/{row.group}/{row.version}" if row.group else "/api/v1"
    folder = f"{root}/namespaces/default/{row.plural}" if row.namespaced else f"{root}/{row.plural}"
    kind = row.type_key.split(".")[1]
    made = world.ok("POST", folder, {"metadata": {"name": "x"}, **SPECS.get(kind, {})})
    assert made["kind"] == kind
    table = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    rows = world.ok("GET", folder, headers=table)["rows"]
    assert [r["cells"][0] for r in rows] == ["x"]
    assert row.plural in {r["name"] for r in world.ok("GET", root)["resources"]}
    world.ok("DELETE", f"{folder}/x")
    assert world.call("GET", f"{folder}/x")[0] == 404


def test_a_job_says_that_nobody_runs_it() -> None:
    answer = World().send("POST", "/apis/batch/v1/namespaces/default/jobs", {"metadata": {"name": "j"}, **SPECS["Job"]})
    assert isinstance(answer, Response)
    assert dict(answer.headers)["Warning"] == '299 - "Job is only stored here: no controller runs its pods"'


def test_a_scaler_of_v1_is_one_of_v2() -> None:
    world = World()
    root = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
    spec = {**SPECS["HorizontalPodAutoscaler"]["spec"], "targetCPUUtilizationPercentage": 60}
    world.ok("POST", root.format("v1"), {"metadata": {"name": "h"}, "spec": spec})
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}
    later = world.ok("GET", root.format("v2") + "/h")
    assert later["spec"]["metrics"] == [{"type": "Resource", "resource": metric}]
    assert world.ok("GET", root.format("v1") + "/h")["spec"]["targetCPUUtilizationPercentage"] == 60


def test_a_priority_class_gives_pods_their_number() -> None:
    world = World()
    world.ok("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "high"}, "value": 1000})
    spec = {**TEMPLATE["spec"], "priorityClassName": "high"}
    pod = world.ok("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "p"}, "spec": spec})
    assert pod["spec"]["priority"] == 1000
    spec["priorityClassName"] = "nope"
    code, answer = world.call("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "q"}, "spec": spec})
    assert (code, answer["message"]) == (403, 'pods "q" is forbidden: no PriorityClass with name nope was found')


def test_strict_errors_come_in_the_order_of_the_body() -> None:
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"nope":1,"data":{"k":"v"},"data":{"k":"w"}}'
    answer = World().send("POST", "/api/v1/namespaces/default/configmaps", body, query={"fieldValidation": "Strict"})
    assert isinstance(answer, Response)
    assert 'unknown field "nope", duplicate field "data"' in json.loads(answer.body)["message"]


def test_keys_that_stand_twice_in_yaml_are_told_by_line() -> None:
    body = b"\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n  k: w\n"
    path = "/api/v1/namespaces/default/configmaps/a"
    headers = {"content-type": "application/apply-patch+yaml"}
    query = {"fieldManager": "m", "fieldValidation": "Strict"}
    code, answer = World().call("PATCH", path, body, headers=headers, query=query)
    assert code == 400
    assert answer["message"].endswith('yaml: unmarshal errors:\n  line 8: key "k" already set in map')


@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        ("$retainKeys", (400, "invalid patch format of retainKeys")),
        ("$deleteFromPrimitiveList/externalIPs", (200, None)),
        ("$setElementOrder/ports", (500, "expected a []interface {}, but received a int64")),
    ],
)
def test_directives_of_a_patch_that_are_no_lists(directive: str, expected: tuple[int, str | None]) -> None:
    world = World()
    path = "/api/v1/namespaces/default/services"
    world.ok("POST", path, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    headers = {"content-type": "application/strategic-merge-patch+json"}
    code, answer = world.call("PATCH", f"{path}/s", {"spec": {directive: -1}}, headers=headers)
    assert (code, answer.get("message")) == expected
