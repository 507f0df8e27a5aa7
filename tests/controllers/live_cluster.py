"""The embedded API server and the controllers in a thread of their own, over HTTPS: the cases are played for real.

Fulfils what `case_player` asks of a simulation. Time stamps are counted on from an hour ago, so that two steps are
never in one second; what has to run out in real time is not played here.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from controllers.memory_api import RefusedError, Tree
from fairway.agents.controllers.manager import Manager
from fairway.cli import apiserver as command
from fairway.cli.controllers import running_controllers
from fairway.controllers.registry import Settings
from fairway.io.http.certificates import server_context
from fairway.io.kube.connection import BearerToken, Connection, Pem, TlsSettings

REST = 0.05
"""Without a change for so long, and with nothing to do, the cluster is at rest."""
LIMIT = 20.0


class LiveApi:
    """`MemoryApi.handle` over HTTPS."""

    def __init__(self, port: int, token: str, authority: str) -> None:
        self.now = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(hours=1)
        self._headers = {"Authorization": f"Bearer {token}"}
        context = ssl.create_default_context(cadata=authority)
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)

    def handle(self, method: str, path: str, body: Tree | None = None, content_type: str = "") -> Tree:
        """One request. Raises RefusedError."""
        if method == "DELETE" and body:
            body = {"apiVersion": "v1", "kind": "DeleteOptions", **body}
        data = json.dumps(body) if body is not None else None
        headers = {**self._headers, "Content-Type": content_type or "application/json"}
        self._connection.request(method, path, data, headers)
        answer = self._connection.getresponse()
        tree: Tree = json.loads(answer.read() or b"{}")
        if answer.status >= 300:
            raise RefusedError(answer.status, tree.get("reason", ""), tree.get("message", ""))
        if method == "GET" and "items" in tree:
            for one in tree["items"]:
                one.setdefault("kind", tree["kind"].removesuffix("List"))
        return tree

    def stamp(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")


class LiveCluster:
    """Server, controllers and a client."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self._folder, self._names = folder, names
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._manager: Manager
        self.api: LiveApi
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)
        self._failure: BaseException | None = None
        self._changes = 0

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(30)
        assert self._failure is None, self._failure

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        try:
            await self._run()
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._ready.set()

    async def _run(self) -> None:
        import socket

        from fairway.apiserver.context import Settings as ServerSettings
        from fairway.io.storage.journal import SqliteJournal

        self._stop = asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
        settings = ServerSettings(
            ("172.30.0.0/16", "fd00:172:30::/112"), (30000, 32767), ("127.0.0.1", port), require_accounts=True
        )
        journal = SqliteJournal(self._folder / "fairway.db")
        http_server, authority = command.build(self._folder, settings, journal)
        await http_server.start(listener, server_context(self._folder / "pki"))
        root = authority.ca.certificate
        tls = TlsSettings(Pem("the test's server", root.encode()))
        connection = Connection(f"https://127.0.0.1:{port}", tls, BearerToken(authority.token))
        async with running_controllers(self._names, connection, Settings(root_ca=root)) as running:
            await running.wait_started()
            self._manager = running.manager
            for cache in self._manager.view.caches():
                cache.listen(self._count)
            self.api = LiveApi(port, authority.token, root)
            self._ready.set()
            await self._stop.wait()
        await http_server.stop()
        journal.close()

    # -- what a simulation offers

    def settle(self) -> None:
        """Wait until the controllers have nothing to do and nothing changes any more."""
        asyncio.run_coroutine_threadsafe(self._rest(), self._loop).result(LIMIT + 5)

    async def _rest(self) -> None:
        end = time.monotonic() + LIMIT
        seen = -1
        while time.monotonic() < end and (seen != self._changes or not self._manager.is_idle):
            seen = self._changes
            await asyncio.sleep(REST)

    def _count(self, *_: object) -> None:
        self._changes += 1

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to become true."""
        end = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < end, "it did not come to pass"
            self.settle()

    def pass_time(self, seconds: float) -> None:
        """Real time is not waited for; whatever is under way may end."""
        self.settle()


@contextmanager
def live_cluster(folder: Path, names: tuple[str, ...]) -> Iterator[LiveCluster]:
    """A cluster for as long as the block lasts."""
    cluster = LiveCluster(folder, names)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()
