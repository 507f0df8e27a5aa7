# ruff: noqa: E501 - long lists of short values
"""Broken bodies, queries, paths and headers by the thousand: an answer each time, and never a defect of our own."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from api_cases import load
from api_world import World, events
from fairway.apiserver.request import Response, WatchStream

JUNK: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, 2**31, 2**63, 2**70, 1e308, "", "x", "a" * 300, "\0", "\ud7ff", "é", "../..", "%2f",
    "1.2.3.4", "::1", "fd00::1%eth0", "10.0.0.0/8", "10.0.0.0/99", "999.1.1.1", "None", "25%", "-5Mi", "1e400", "0x1",
    "2026-13-45T00:00:00Z", "2026-01-01T00:00:00+25:00", [], {}, [[]], [None], [{}], {"": ""}, {"a": None}, {"$patch": "delete"},
    {"$patch": "nope"}, [{"$patch": "replace"}], {"$retainKeys": ["a"]}, {"$setElementOrder/ports": [{"port": 80}]},
]  # fmt: skip
QUERIES = {
    "labelSelector": ["a=b", "a in (b", "!", "a,,b", "a notin ()", "x>1", "(", ",", "a=b=c", "é=1", "a" * 400],
    "fieldSelector": ["metadata.name=a", "a", "=", "a==b", "a!=", "spec.nodeName=x,status.phase!=y", "\\", "a=\\,b"],
    "resourceVersion": ["0", "1", "-1", "x", "99999999999", "1.5", ""],
    "resourceVersionMatch": ["Exact", "NotOlderThan", "x"],
    "limit": ["0", "1", "-1", "x", "99999999999999999999"],
    "continue": ["", "x", "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ", "!!", "bnVsbA", "W10", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTAsInN0YXJ0IjoiYSJ9"],
    "watch": ["1", "0", "true", "x"],
    "sendInitialEvents": ["true", "false"],
    "timeoutSeconds": ["1", "-1", "x"],
    "dryRun": ["All", "x", ""],
    "fieldValidation": ["Strict", "Warn", "Ignore", "x"],
    "fieldManager": ["m", "", "é", "\n", "a" * 200],
    "force": ["true", "x"],
    "propagationPolicy": ["Orphan", "Foreground", "Background", "x"],
    "gracePeriodSeconds": ["0", "-1", "x"],
    "pretty": ["true"],
    "includeObject": ["None", "Object", "Metadata", "x"],
}  # fmt: skip
MEDIA = [
    "application/json", "application/yaml", "application/merge-patch+json", "application/strategic-merge-patch+json",
    "application/json-patch+json", "application/apply-patch+yaml", "application/vnd.kubernetes.protobuf", "text/plain", "", ";",
]  # fmt: skip
ACCEPT = [
    "application/json", "*/*", "", "text/html", "application/json;as=Table;v=v1;g=meta.k8s.io", ";;q=x,", "application/yaml",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf",
]  # fmt: skip
OWN_DEFECT = "the server met an error of its own"


class Fuzzer:
    """Requests of the recorded cases, broken at random places."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World()
        self.world.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "ns"}})
        raw = [s["request"] for c in load() for s in c["steps"] if "request" in s]
        text = json.dumps(raw).replace("${ns}", "ns").replace("${rand}", "r")
        self.requests: list[dict[str, Any]] = json.loads(text)

    def run(self, count: int) -> None:
        for number in range(count):
            if number % 500 == 499:
                self.world.ok("DELETE", "/api/v1/namespaces/ns/configmaps")
            self._one()

    def _one(self) -> None:
        pick = self.random
        request = copy.deepcopy(pick.choice(self.requests))
        method = (
            request.get("method", "GET")
            if pick.random() < 0.8
            else pick.choice(["PUT", "PATCH", "DELETE", "POST", "HEAD"])
        )
        body = self._body(request)
        headers = dict(request.get("headers") or {})
        if pick.random() < 0.25:
            headers["content-type"] = pick.choice(MEDIA)
        if pick.random() < 0.2:
            headers["accept"] = pick.choice(ACCEPT)
        query = {k: str(v) for k, v in (request.get("query") or {}).items()}
        while pick.random() < 0.35:
            name = pick.choice(list(QUERIES))
            query[name] = pick.choice(QUERIES[name])
        path = request["path"] if pick.random() < 0.9 else self._path(request["path"])
        answer = self.world.send(method, path, body, headers=headers, query=query)
        self._check(answer, (method, path, query, headers, body))

    def _check(self, answer: Any, sent: Any) -> None:
        if isinstance(answer, WatchStream):
            events(answer)
            answer.close()
        elif isinstance(answer, Response):
            assert OWN_DEFECT.encode() not in answer.body, sent
            assert 200 <= answer.code < 600
            if answer.content_type == "application/json" and answer.body:
                json.loads(answer.body)

    def _body(self, request: dict[str, Any]) -> Any:
        pick = self.random
        body = request.get("body")
        if body is None:
            return None
        if pick.random() < 0.7:
            body = self._broken(body)
        raw = json.dumps(body).encode()
        if pick.random() < 0.05:
            at = pick.randrange(len(raw))
            raw = raw[:at] + pick.choice([b"", b"}", b"\xff", b'"', b"\0", b"[" * 3000]) + raw[at + 1 :]
        return raw

    def _broken(self, body: Any) -> Any:
        for _ in range(self.random.choice([1, 1, 2, 4])):
            spots = list(_spots(body))
            if not spots:
                return self.random.choice(JUNK)
            holder, key = self.random.choice(spots)
            if self.random.random() < 0.2:
                del holder[key]
            elif self.random.random() < 0.2 and isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            else:
                holder[key] = copy.deepcopy(self.random.choice(JUNK))
        return body

    def _path(self, path: str) -> str:
        parts = path.split("/")
        at = self.random.randrange(len(parts))
        parts[at] = self.random.choice(
            ["", "x", "..", "pods", "status", "scale", "watch", "a/b", "é", "services:80", "proxy", "exec"]
        )
        return "/".join(parts) or "/"


def _spots(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from _spots(value[key])
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield value, i
            yield from _spots(item)


@pytest.mark.parametrize("seed", range(4))
def test_broken_requests_never_meet_a_defect(seed: int) -> None:
    Fuzzer(seed).run(1000)


@pytest.mark.slow
def test_hundred_thousand_broken_requests_never_meet_a_defect() -> None:
    for seed in range(100, 120):
        Fuzzer(seed).run(5000)
