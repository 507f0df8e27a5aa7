"""guestbook: a primary and replicas that keep words, and a page before them."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from urllib.parse import quote

from .flags import parsed
from .serving import Handler, HttpServer, Reply, Request, failure, get, log, text


class Guestbook:
    """One node of it."""

    def __init__(self, backend_port: int) -> None:
        self._port = backend_port
        self._store: dict[str, str] = {}
        self._replicas: list[str] = []
        self._pages: dict[str, Handler] = {
            "/get": self._get,
            "/guestbook": self._forward,
            "/register": self._register,
            "/set": self._set,
        }

    def page(self, request: Request) -> Reply:
        found = self._pages.get(request.path)
        return found(request) if found is not None else failure("404 page not found", 404)

    def join(self, primary: str) -> None:
        """Register with the primary and take what it has; ends the program after 15 s without."""
        until = time.monotonic() + 15
        while time.monotonic() < until:
            try:
                with socket.create_connection((primary, self._port), 5) as probe:
                    own = probe.getsockname()[0]
                _, said = get(primary, self._port, f"/register?host={own}")
                self._store = dict(json.loads(said)["data"])
            except OSError as error:
                log(f"encountered error while registering to primary: {error}. Retrying in 1s.")
                time.sleep(1)
            else:
                log(f"Registered to node: {primary}")
                return
        log("Timed out while registering to primary.")
        sys.exit(1)

    def _register(self, request: Request) -> Reply:
        self._replicas.append(request.value("host"))
        log(f"Node '{request.value('host')}' registered.")
        return _json({"data": self._store})

    def _get(self, request: Request) -> Reply:
        key = request.value("key")
        return _json({"data": self._store.get(key, "") if key else self._store})

    def _set(self, request: Request) -> Reply:
        key, value = request.value("key"), request.value("value")
        if not key:
            return failure("cannot set with empty key.", 400)
        self._store[key] = value
        for replica in self._replicas:
            try:
                get(replica, self._port, f"/set?key={quote(key)}&value={quote(value)}")
            except OSError as error:
                return failure(f"encountered error while propagating to replica '{replica}': {error}", 417)
        return _json({"message": "Updated"})

    def _forward(self, request: Request) -> Reply:
        command, key, value = request.value("cmd").lower(), request.value("key"), request.value("value")
        if command not in ("get", "set"):
            return failure(f"unsupported cmd: '{command}'", 400)
        if command == "set" and not key:
            return failure("cannot set with empty key.", 400)
        host = "agnhost-replica" if command == "get" else "agnhost-primary"
        try:
            return text(get(host, self._port, f"/{command}?key={quote(key)}&value={quote(value)}")[1])
        except OSError as error:
            return failure(f"encountered error: {error}", 417)


def _json(body: dict[str, object]) -> Reply:
    return text(json.dumps(body, separators=(",", ":")))


def main(arguments: list[str]) -> int:
    flags = parsed(arguments, {"http-port": "80", "backend-port": "6379", "replicaof": ""})
    book = Guestbook(int(flags["backend-port"]))
    HttpServer(book.page).listen(int(flags["http-port"]))
    if flags["replicaof"]:
        book.join(flags["replicaof"])
    threading.Event().wait()
    return 0
