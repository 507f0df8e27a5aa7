"""The same requests to two API servers, and what differs between their answers.

What no two servers have in common is made alike first: uids, versions and times become numbers by order of appearance,
so that it still shows whether two of them are equal.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from api_process import running
from kube_apiserver import TOKEN, kube_apiserver

CIDRS = "172.30.0.0/16,fd00:172:30::/112"
Json = dict[str, Any]
_UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_AGE = re.compile(r'"(?:<unknown>|<invalid>|(?:\d+[ydhms]){1,2})"')
_VERSION = re.compile(r'"resourceVersion":"(\d+)"')
_ADDRESS = re.compile(r"172\.30\.\d+\.\d+|fd00:172:30::[0-9a-f]*")
_PORT = re.compile(r"\b3[0-2]\d\d\d\b")
_GENERATED = re.compile(r"(gen-|Gen_|g{58})[a-z0-9]{5}")
_CONTINUE = re.compile(r'"continue":"[^"]+"')
_DUMP = re.compile(r"(if it was previously negative\)).*?(?=(?<!\\)\"[,}])")  # of Go's structs
_SCHEME = re.compile(r" in scheme \\\"[^\"]*\\\"")  # a place in Go's source


class Step(NamedTuple):
    """One request; `${name}` stands for a value of an earlier answer or of the run."""

    method: str
    path: str
    body: Any = None
    content_type: str = ""
    query: Json | None = None
    accept: str = "application/json"
    text: str | None = None


class Difference(NamedTuple):
    """Where two answers to one step are not alike."""

    step: Step
    place: str
    ours: Any
    theirs: Any


class Server:
    """One of the two."""

    def __init__(self, port: int, token: str) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
        self._token = token

    def send(self, step: Step) -> tuple[int, Json, list[str]]:
        """Status, document and warnings."""
        headers = {"Accept": step.accept, "User-Agent": "pair/1", "Authorization": f"Bearer {self._token}"}
        data = step.text if step.text is not None else json.dumps(step.body) if step.body is not None else None
        if data is not None:
            headers["Content-Type"] = step.content_type or "application/json"
        query = f"?{urlencode(step.query, doseq=True)}" if step.query else ""
        self._connection.request(step.method, quote(step.path, safe="/%:,") + query, data, headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        try:
            document = json.loads(raw)
        except ValueError:
            document = {"text": raw.decode(errors="replace")}
        return answer.status, document, answer.headers.get_all("Warning") or []


def _is_given_out(port: str) -> bool:
    """The ends of the range stand in messages, what is beyond it says that it is none."""
    return 30000 < int(port) < 32767


class _Alike:
    """One server's answers of one case, without what is its own."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, str]] = {}
        self._sent = ""

    def _numbered(self, kind: str, text: str) -> str:
        table = self._seen.setdefault(kind, {})
        return table.setdefault(text, f"{kind}{len(table)}")

    def sends(self, step: Step) -> None:
        """What a request says itself is compared as it is."""
        self._sent += json.dumps(step)

    def text(self, text: str) -> str:
        def mark(kind: str) -> Any:
            return lambda m: m[0] if m[0] in self._sent else self._numbered(kind, m[0])

        text = _TIME.sub(lambda m: m[0] if m[0] in self._sent else "TIME", _UID.sub(mark("UID"), text))
        text = _VERSION.sub(lambda m: f'"resourceVersion":"{self._numbered("V", m[1]) if m[1] != "0" else 0}"', text)
        text = _CONTINUE.sub('"continue":"C"', _AGE.sub('"AGE"', _ADDRESS.sub(mark("IP"), text)))
        text = _PORT.sub(lambda m: "39999" if _is_given_out(m[0]) and m[0] not in self._sent else m[0], text)
        return _DUMP.sub(r"\1", _SCHEME.sub("", _GENERATED.sub(r"\1*", text)))

    def answer(self, code: int, document: Json, warnings: list[str]) -> Json:
        text = self.text(json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
        body = json.loads(text)
        causes = (body.get("details") or {}).get("causes") if isinstance(body, dict) else None
        if causes:
            causes.sort(key=lambda c: json.dumps(c, sort_keys=True))
        return {"status": code, "warnings": sorted(map(self.text, warnings)), "body": body}


def _walk(ours: Any, theirs: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            yield from _walk(ours.get(key), theirs.get(key), f"{place}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for left, right in zip(ours, theirs, strict=True):
            yield from _walk(left, right, f"{place}[]")
    elif ours != theirs or isinstance(ours, bool) != isinstance(theirs, bool):
        yield place, ours, theirs


def _filled(value: Any, known: Json) -> Any:
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\}", lambda m: str(known.get(m[1], m[0])), value)
    if isinstance(value, dict):
        return {_filled(k, known): _filled(v, known) for k, v in value.items()}
    return [_filled(v, known) for v in value] if isinstance(value, list) else value


class Pair:
    """Two servers that are asked the same."""

    def __init__(self, ours: Server, theirs: Server) -> None:
        self.theirs = theirs
        self._servers = (ours, theirs)

    def play(self, run: str, steps: list[Step]) -> list[Difference]:
        """All steps in a namespace of their own, until the servers part ways (a different status)."""
        namespace = f"ns-{run}"
        for server in self._servers:
            server.send(Step("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}))
        known: list[Json] = [{"rand": run, "ns": namespace}, {"rand": run, "ns": namespace}]
        alike = (_Alike(), _Alike())
        found: list[Difference] = []
        for step in steps:
            answers = []
            for server, values, one in zip(self._servers, known, alike, strict=True):
                filled = Step(*(_filled(part, values) for part in step))
                one.sends(filled)
                code, document, warnings = server.send(filled)
                values["version"] = (document.get("metadata") or {}).get("resourceVersion") or values.get("version", "")
                answers.append(one.answer(code, document, warnings))
            parts = [Difference(step, *part) for part in _walk(*answers)]
            found += parts
            if any(part.place == ".status" for part in parts):
                break
        return found


@contextlib.contextmanager
def both_servers(folder: Path) -> Iterator[Pair]:
    """Ours and the real one, with the same ranges of Services, as long as the context lasts."""
    places = [folder / "theirs", folder / "ours"]
    for place in places:
        place.mkdir()
    with (
        kube_apiserver(places[0], service_cidrs=CIDRS) as theirs,
        running(places[1], "--service-cidr", CIDRS) as ours,
    ):
        port = int(theirs.connection.server.rpartition(":")[2])
        assert ours.port is not None
        yield Pair(Server(ours.port, ours.token), Server(port, TOKEN))
