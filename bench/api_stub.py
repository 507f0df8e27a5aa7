"""A Kubernetes API for measurements: lists and watches of a few kinds over plain HTTP, from memory, without storage."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

Object = dict[str, Any]
SERVICES = "/api/v1/services"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
NODES = "/api/v1/nodes"
SERVICE_CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
_KINDS = {
    SERVICES: ("v1", "Service"),
    SLICES: ("discovery.k8s.io/v1", "EndpointSlice"),
    NODES: ("v1", "Node"),
    SERVICE_CIDRS: ("networking.k8s.io/v1", "ServiceCIDR"),
}


class ApiStub:
    """Serves `objects` as first lists on a free port of loopback; `push` sends watch events."""

    def __init__(self, objects: Mapping[str, Sequence[Object]]) -> None:
        self._first = {path: list(objects.get(path, ())) for path in _KINDS}
        self._lists = {path: self._list(path) for path in _KINDS}
        self._watchers: dict[str, list[Any]] = {path: [] for path in _KINDS}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def kubeconfig(self) -> Object:
        """How to reach it."""
        server = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": {"server": server}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "users": [{"name": "bench", "user": {}}],
            "current-context": "bench",
        }

    def push(self, path: str, *objects: Object) -> None:
        """Tell the watchers of `path` that these objects changed, in one write."""
        lines = (json.dumps({"type": "MODIFIED", "object": one}).encode() + b"\n" for one in objects)
        data = b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in lines)
        for stream in self._watchers[path]:
            stream.write(data)
            stream.flush()

    def _list(self, path: str) -> bytes:
        version, kind = _KINDS[path]
        items = self._first[path]
        body = {"kind": f"{kind}List", "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": items}
        return json.dumps(body).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def reply(self, code: int, body: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                url = urlparse(self.path)
                query = parse_qs(url.query)
                if url.path == "/version":
                    self.reply(200, b'{"major": "1", "minor": "36", "gitVersion": "v1.36.3"}')
                elif url.path not in _KINDS:
                    self._reply_one(url.path)
                elif not query.get("watch"):
                    self.reply(200, stub._lists[url.path])
                elif query.get("sendInitialEvents"):
                    self.reply(422, _status(422, "Invalid"))
                else:
                    self._watch(url.path)

            def _reply_one(self, path: str) -> None:
                folder, _, name = path.rpartition("/")
                found = [one for one in stub._first.get(folder, ()) if one["metadata"]["name"] == name]
                if found:
                    self.reply(200, json.dumps(found[0]).encode())
                else:
                    self.reply(404, _status(404, "NotFound"))

            def _watch(self, path: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.flush()
                stub._watchers[path].append(self.wfile)
                threading.Event().wait()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.reply(201, b'{"kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"}}')

        return Handler


def _status(code: int, reason: str) -> bytes:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
    return json.dumps(body).encode()
