"""The recorded API cases (`api.json`, whose `about` explains the form, and others), played on a `World`."""

from __future__ import annotations

import base64
import ipaddress
import json
import random
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from api_world import TOKEN, World, events
from fairway.apiserver.request import Response, WatchStream
from fairway.apiserver.texts import as_yaml

CASES = Path(__file__).parent / "apiserver" / "cases"
FILES = ("api.json", "asked.json", "kinds.json")
SKIPPED = {"protobuf-answers", "anonymous", "go-words", "controllers"}
_ABSENT = object()
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_AGE = re.compile(r"(<unknown>|<invalid>|(\d+[ydhms]){1,2})")


class Difference(NamedTuple):
    """Where an answer is not what was recorded."""

    step: int
    path: str
    wanted: Any
    got: Any


def load() -> list[dict[str, Any]]:
    """Cases that a server without anonymous access, in Python, is held to."""
    cases = [case for name in FILES for case in json.loads((CASES / name).read_text())["cases"]]
    return [c for c in cases if not SKIPPED & {*c.get("needs", ()), *c.get("tags", ())}]


def fill(value: Any, names: dict[str, Any]) -> Any:
    """Saved values in place of ${name}."""
    if isinstance(value, dict):
        return {fill(k, names): fill(v, names) for k, v in value.items()}
    if isinstance(value, list):
        return [fill(v, names) for v in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\$\{(\w+)\}", value)
    if whole and whole[1] in names:
        return names[whole[1]]
    return re.sub(r"\$\{(\w+)\}", lambda m: str(names.get(m[1], m[0])), value)


def find(value: Any, path: str) -> Any:
    """A value by a path such as `metadata.resourceVersion` or `spec.ports[0].nodePort`."""
    for step in re.findall(r"[^.\[\]]+", path):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def _fits(words: str, got: Any) -> bool:
    number = isinstance(got, int) and not isinstance(got, bool)
    text = got if isinstance(got, str) else ""
    if words.startswith("ip in "):
        return bool(text) and ipaddress.ip_address(text) in ipaddress.ip_network(words[6:])
    if words.startswith("int "):
        low, high = map(int, words[4:].split(".."))
        return number and low <= got <= high
    return {
        "": True,
        "uid": bool(_UUID.fullmatch(text)),
        "rv": text.isdigit() and text != "0",
        "time": bool(_TIME.fullmatch(text)),
        "age": bool(_AGE.fullmatch(text)),
        "string": text != "",
        "int": number,
        "bool": isinstance(got, bool),
        "list": isinstance(got, list),
        "object": isinstance(got, dict),
    }[words]


class Comparison:
    """One expectation against one answer; `names` gains what `$save` keeps."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names

    def differ(self, want: Any, got: Any, path: str, exact: bool) -> Iterator[tuple[str, Any, Any]]:
        if isinstance(want, dict) and any(k.startswith("$") for k in want):
            yield from self._operators(want, got, path, exact)
        elif isinstance(want, dict):
            yield from self._objects(want, got, path, exact)
        elif isinstance(want, list):
            if not isinstance(got, list) or len(want) != len(got):
                yield path, want, got
                return
            for i, (w, g) in enumerate(zip(want, got, strict=True)):
                yield from self.differ(w, g, f"{path}[{i}]", exact)
        elif isinstance(want, bool) != isinstance(got, bool) or want != got:
            yield path, want, got

    def same(self, want: Any, got: Any, exact: bool) -> bool:
        return not any(Comparison(dict(self.names)).differ(want, got, "", exact))

    def _objects(self, want: Any, got: Any, path: str, exact: bool) -> Iterator[tuple[str, Any, Any]]:
        if not isinstance(got, dict):
            yield path, want, got
            return
        for key, w in want.items():
            g = got.get(key, _ABSENT)
            if not (w is None and g in (None, _ABSENT)):
                yield from self.differ(w, g, f"{path}.{key}", exact)
        for key, g in got.items():
            if exact and key not in want and g is not None and key not in ("managedFields", "selfLink"):
                yield f"{path}.{key}", "(absent)", g

    def _operators(self, want: Any, got: Any, path: str, exact: bool) -> Iterator[tuple[str, Any, Any]]:
        absent = got is _ABSENT or got is None
        if "$optional" in want:
            if not absent:
                yield from self.differ(want["$optional"], got, path, exact)
            return
        if "$absent" in want:
            if not absent:
                yield path, "(absent)", got
            return
        if got is _ABSENT or not self._scalar(want, got, exact):
            yield path, want, None if got is _ABSENT else got
            return
        for key, whole in (("$partial", False), ("$exact", True)):
            if key in want:
                yield from self.differ(want[key], got, path, whole)
        for key in ("$set", "$has"):
            if key in want:
                yield from self._sets(want[key], got, path, exact, key == "$set")
        if "$save" in want:
            self.names[want["$save"]] = got

    def _scalar(self, want: Any, got: Any, exact: bool) -> bool:
        if "$any" in want and not _fits(want["$any"], got):
            return False
        if "$ref" in want and got != self.names.get(want["$ref"]):
            return False
        if "$re" in want and not (isinstance(got, str) and re.fullmatch(want["$re"], got, re.DOTALL)):
            return False
        return "$oneof" not in want or any(self.same(w, got, exact) for w in want["$oneof"])

    def _sets(self, wanted: Any, got: Any, path: str, exact: bool, whole: bool) -> Iterator[tuple[str, Any, Any]]:
        if not isinstance(got, list) or (whole and len(got) != len(wanted)):
            yield path, wanted, got
            return
        left = list(got)
        for w in wanted:
            match = next((g for g in left if self.same(w, g, exact)), _ABSENT)
            if match is _ABSENT:
                yield f"{path}[?]", w, left
                return
            list(self.differ(w, match, path, exact))  # for what it saves
            left.remove(match)


class Player:
    """One case on one world."""

    def __init__(self, world: World, case: dict[str, Any]) -> None:
        self.world, self.case = world, case
        rand = "".join(random.Random(case["id"]).choices(string.ascii_lowercase, k=6))
        self.names: dict[str, Any] = {"rand": rand, "ns": f"ns-{rand}"}
        self.watches: dict[str, WatchStream] = {}

    def play(self) -> list[Difference]:
        """Differences of the first step that has any."""
        if self.case.get("namespace") is not False:
            self.world.ok("POST", "/api/v1/namespaces", {"metadata": {"name": self.names["ns"]}})
        for number, step in enumerate(self.case["steps"]):
            found = [Difference(number, *d) for d in self._step(step)]
            if found:
                return found
        return []

    def _step(self, step: dict[str, Any]) -> list[tuple[str, Any, Any]]:
        if "sleep_s" in step:
            self.world.env.time += step["sleep_s"]
        elif "close_watch" in step:
            self.watches.pop(step["close_watch"]).close()
        elif "open_watch" in step:
            stream = self._send(step["request"])
            assert isinstance(stream, WatchStream)
            self.watches[step["open_watch"]] = stream
        elif "read_watch" in step:
            return self._compare(step, 200, {}, events(self.watches[step["read_watch"]]))
        else:
            return self._request(step)
        return []

    def _send(self, raw: dict[str, Any]) -> Any:
        request = fill(raw, self.names)
        body: Any = request.get("body")
        if "body_text" in request:
            body = request["body_text"].encode()
        elif "body_raw_base64" in request:
            body = base64.b64decode(request["body_raw_base64"])
        auth = request.get("auth", "user")
        token = {"user": TOKEN, "none": None}.get(auth, auth.removeprefix("token:"))
        headers = {"User-Agent": "api-cases/1", "Accept": "application/json", **(request.get("headers") or {})}
        more = {
            "query": {k: v if isinstance(v, list) else str(v) for k, v in (request.get("query") or {}).items()},
            "headers": headers,
            "token": token,
        }
        return self.world.send(request.get("method", "GET"), request["path"], body, **more)

    def _request(self, step: dict[str, Any]) -> list[tuple[str, Any, Any]]:
        answer = self._send(step["request"])
        if isinstance(answer, WatchStream):
            found = events(answer)
            answer.close()
            return self._compare(step, 200, {"content-type": [answer.content_type]} | _warnings(answer.headers), found)
        assert isinstance(answer, Response)
        if answer.content_type == "application/yaml":
            answer = as_yaml(answer)
        body: Any = answer.body.decode("utf-8", "replace")
        if body[:1] == "{":
            body = json.loads(body)
        headers = {"content-type": [answer.content_type]} | _warnings(answer.headers)
        found = self._compare(step, answer.code, headers, body)
        for name, path in (step.get("save") or {}).items():
            self.names[name] = find(body, path)
        return found

    def _compare(
        self, step: dict[str, Any], code: int, headers: dict[str, list[str]], body: Any
    ) -> list[tuple[str, Any, Any]]:
        expect = fill(step.get("expect") or {}, self.names)
        if expect.get("status", code) != code:
            return [("status", expect["status"], (code, body))]
        exact = expect.get("match", "exact") == "exact"
        comparison = Comparison(self.names)
        out = []
        wanted = {"warning": None} | {k.lower(): v for k, v in (expect.get("headers") or {}).items()}
        for key, want in wanted.items():
            got: Any = headers.get(key, _ABSENT)
            listed = want if isinstance(want, list) else [want]
            out += list(
                comparison.differ({"$absent": True} if want is None else {"$set": listed}, got, f"header {key}", True)
            )
        if "body" in expect:
            out += list(comparison.differ(expect["body"], body, "", exact))
        if "events" in expect:
            kept = body if "BOOKMARK" in json.dumps(expect["events"]) else [e for e in body if e["type"] != "BOOKMARK"]
            out += list(comparison.differ(expect["events"], kept, "events", exact))
        return out


def _warnings(headers: tuple[tuple[str, str], ...]) -> dict[str, list[str]]:
    found = [v for k, v in headers if k == "Warning"]
    return {"warning": found} if found else {}
