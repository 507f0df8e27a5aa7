"""Ask a real kube-apiserver the requests of a file of API cases, and write its answers into the file as expectations.

    python tests/record_api_cases.py tests/apiserver/cases/asked.json

The file has the form of `api.json`. A case with `"owners": true` keeps metadata.managedFields, others leave it out.
What no two runs have in common (uids, versions, times, allocated addresses) becomes an operator of the comparison
language; a value that an earlier answer had becomes a reference to it, so that it still counts whether two are equal.
"""

from __future__ import annotations

import base64
import http.client
import json
import random
import re
import ssl
import string
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from api_cases import fill, find
from kube_apiserver import TOKEN, kube_apiserver

ISSUER = "https://kubernetes.default.svc.cluster.local"
CIDRS = "172.30.0.0/16,fd00:172:30::/112"
_UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_AGE = re.compile(r"<unknown>|<invalid>|(?:\d+[ydhms]){1,2}")
_IPV4, _IPV6 = re.compile(r"172\.30\.\d+\.\d+"), re.compile(r"fd00:172:30::[0-9a-f]+")
_VERSION = re.compile(r'resourceVersion(?:: |\\":\\)"\d+|in record \(\d+\)')
_DYNAMIC = re.compile(f"{_UID.pattern}|{_TIME.pattern}|{_VERSION.pattern}|\\$\\{{\\w+\\}}")
_PATTERNS = ((_UID, r"[0-9a-f-]{36}"), (_TIME, r"[0-9T:.-]+Z"))
_SCHEME = re.compile(r' in scheme "[^"]*"')  # a place in Go's source
_DUMP = "(allow it to be set to 1 if it was previously negative)"
Json = dict[str, Any]


class Server:
    """The real one; a connection for each request, so that an unread body harms nothing."""

    def __init__(self, address: str) -> None:
        self._url = urlsplit(address)
        self._context = ssl.create_default_context()
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE

    def send(self, request: Json) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        host, port = self._url.hostname or "", self._url.port
        connection = http.client.HTTPSConnection(host, port, context=self._context, timeout=60)
        headers = {"Accept": "application/json", "User-Agent": "api-cases/1", "Authorization": f"Bearer {TOKEN}"}
        auth = request.get("auth", "user")
        if auth == "none":
            del headers["Authorization"]
        elif auth != "user":
            headers["Authorization"] = f"Bearer {auth.removeprefix('token:')}"
        body = _body(request)
        if body is not None:
            headers["Content-Type"] = "application/json"
        headers = {k: v for k, v in {**headers, **(request.get("headers") or {})}.items() if v is not None}
        query = urlencode(request.get("query") or {}, doseq=True)
        target = quote(request["path"], safe="/%:@!$&'()*+,;=~") + (f"?{query}" if query else "")
        connection.request(request.get("method", "GET"), target, body, headers)
        return connection, connection.getresponse()


def _body(request: Json) -> bytes | None:
    if "body_raw_base64" in request:
        return base64.b64decode(request["body_raw_base64"])
    if "body_text" in request:
        return str(request["body_text"]).encode()
    return json.dumps(request["body"]).encode() if "body" in request else None


class Recorder:
    """One case."""

    def __init__(self, server: Server, case: Json) -> None:
        self.server, self.case = server, case
        rand = "".join(random.choices(string.ascii_lowercase, k=6))
        self.names: Json = {"rand": rand, "ns": f"ns-{rand}"}
        self.known: dict[str, str] = {}
        self.sent = ""
        self.made: list[str] = []
        self.watches: dict[str, http.client.HTTPResponse] = {}

    def record(self) -> Json:
        if self.case.get("namespace") is not False:
            body = {"metadata": {"name": self.names["ns"]}}
            self.server.send({"method": "POST", "path": "/api/v1/namespaces", "body": body})[1].read()
        done = {**self.case, "steps": [self._step({**s}) for s in self.case["steps"]]}
        for path in reversed(self.made):  # what is of the whole cluster would be seen by other cases
            self.server.send({"method": "DELETE", "path": path, "query": {"gracePeriodSeconds": "0"}})[1].read()
        return done

    def _step(self, step: Json) -> Json:
        if "open_watch" in step:
            _, self.watches[step["open_watch"]] = self.server.send(fill(step["request"], self.names))
        elif "read_watch" in step:
            stream = self.watches[step["read_watch"]]
            events = [json.loads(stream.readline()) for _ in range(step["count"])]
            step["expect"] = {"events": self._general(events, "")}
        elif "request" in step:
            step["expect"] = self._answer(step)
        return step

    def _answer(self, step: Json) -> Json:
        request = fill(step["request"], self.names)
        self.sent += json.dumps(request)
        connection, answer = self.server.send(request)
        raw = answer.read()
        connection.close()
        headers = {k: v for k in ("Content-Type", "Warning") if (v := answer.headers.get_all(k))}
        out: Json = {"status": answer.status}
        if headers:
            out["headers"] = {k: self._general(v if len(v) > 1 else v[0], "") for k, v in headers.items()}
        if request.get("stream") and answer.status == 200:
            out["events"] = self._general([json.loads(line) for line in raw.splitlines() if line.strip()], "")
            return out
        if request.get("method") == "HEAD":
            return out
        text = raw.decode("utf-8", "replace")
        body: Any = json.loads(text) if text[:1] == "{" else text
        if answer.status == 201 and isinstance(body, dict) and "name" in body.get("metadata", {}):
            self.made.append(f"{request['path']}/{body['metadata']['name']}")
        general = self._body_of(body)
        for name, path in (step.get("save") or {}).items():
            self.names[name] = find(body, path)
            self.known.setdefault(str(self.names[name]), name)
        return {**out, "body": general}

    def _body_of(self, body: Any) -> Any:
        if isinstance(body, dict) and ("items" in body or "rows" in body) and body.get("metadata"):
            known = self._general({**body, "metadata": {**body["metadata"], "resourceVersion": "0"}}, "")
            known["metadata"]["resourceVersion"] = {"$any": "rv"}  # of the whole server
            return known
        return self._general(body, "")

    # ---- what is the same in each run ---------------------------------------------------------------------------
    def _general(self, value: Any, path: str) -> Any:
        if isinstance(value, dict) and value.get("type") == "BOOKMARK":
            value = json.loads(json.dumps(value))
            value["object"]["metadata"]["resourceVersion"] = "0"
            out = self._general({**value, "type": "BOOKMARK "}, path)
            out["type"], out["object"]["metadata"]["resourceVersion"] = "BOOKMARK", {"$any": "rv"}
            return out
        if isinstance(value, dict):
            kept = {k: v for k, v in value.items() if k != "managedFields" or self.case.get("owners")}
            out = {self._named(k): self._general(v, f"{path}.{k}") for k, v in kept.items()}
            if value.get("generateName") and value.get("name", "").startswith(value["generateName"]):
                out["name"] = {"$re": re.escape(value["generateName"]) + "[a-z0-9]{5}"}
            if path.endswith("columnDefinitions"):
                out["description"] = {"$any": ""}
            return out
        if isinstance(value, list):
            if path.endswith((".causes", ".managedFields")) and len(value) > 1:
                return {"$set": [self._general(v, path) for v in value]}
            return [self._general(v, path) for v in value]
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, int) and not isinstance(value, bool) and 30000 <= value <= 32767:
            return value if str(value) in self.sent else {"$any": "int 30000..32767"}
        return value

    def _named(self, text: str) -> str:
        return text.replace(self.names["ns"], "${ns}").replace(self.names["rand"], "${rand}")

    def _kept(self, text: str, kind: str) -> Json:
        if text in self.known:
            return {"$ref": self.known[text]}
        self.known[text] = f"_{kind}{len(self.known)}"
        return {"$any": kind, "$save": self.known[text]}

    def _text(self, text: str, path: str) -> Any:
        is_version = path.endswith(".resourceVersion") and text.isdigit() and text != "0"
        if is_version and (text in self.known or text not in self.sent):
            return self._kept(text, "rv")
        if path.endswith((".continue", "status.token")):
            return {"$any": "string"}
        if text in self.sent and len(text) > 3:
            return self._named(text)
        for pattern, words in ((_IPV4, "ip in 172.30.0.0/16"), (_IPV6, "ip in fd00:172:30::/112"), (_TIME, "time")):
            if pattern.fullmatch(text):
                return {"$any": words}
        if _UID.fullmatch(text):
            return self._kept(text, "uid")
        if path.endswith(".cells") and _AGE.fullmatch(text):
            return {"$any": "age"}
        if path.endswith(".description"):
            return {"$any": ""}
        return self._pattern(self._named(text))

    def _pattern(self, text: str) -> Any:
        """Text with a regular expression where it has something of this run inside, or a dump of Go's structs."""
        head, mark, dump = text.partition(_DUMP)
        if dump:
            return {"$re": re.escape(head + mark) + ".*"}
        for value, name in self.known.items():
            if len(value) > 20:
                text = text.replace(value, f"${{{name}}}")
        text = _SCHEME.sub("", text)
        if not any(p.search(text) for p in (_UID, _TIME, _VERSION)) or _DYNAMIC.fullmatch(text):
            return text
        out, at = "", 0
        for match in _DYNAMIC.finditer(text):
            out += re.escape(text[at : match.start()]) + _fixed(match[0])
            at = match.end()
        return {"$re": out + re.escape(text[at:])}


def _fixed(text: str) -> str:
    """A regular expression for something of this run."""
    if text.startswith("${"):
        return text
    for pattern, fixed in _PATTERNS:
        if pattern.fullmatch(text):
            return fixed
    return re.sub(r"\d+", r"\\d+", re.escape(text))


def main() -> None:
    path = Path(sys.argv[1])
    document = json.loads(path.read_text())
    with (
        tempfile.TemporaryDirectory() as folder,
        kube_apiserver(Path(folder), CIDRS, service_account_issuer=ISSUER) as real,
    ):
        server = Server(real.connection.server)
        cases = [Recorder(server, case).record() for case in document["cases"]]
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
    path.write_text(f'{{"about": {json.dumps(document["about"])},\n"cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
