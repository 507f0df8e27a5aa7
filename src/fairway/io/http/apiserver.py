"""The API server's HTTP: what its connections share, and when their answers may leave.

All requests that arrive in one turn of the loop share one commit: their answers leave after it, so nobody hears of a
write that a crash could take back. Reads wait in the same line, for they may have seen such a write.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time

from fairway.apiserver import errors, texts
from fairway.apiserver.api import Api
from fairway.apiserver.context import encode
from fairway.apiserver.request import Answer, Request, Response, Upgrade, User
from fairway.apiserver.store import Journal, Row, Store
from fairway.io.http.connection import TOO_LARGE, Connection, StreamOpener, StreamTasks
from fairway.io.http.duplex import Duplex

_log = logging.getLogger(__name__)
_TOO_LARGE = errors.ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728", {"causes": []})


class Committer:
    """Makes each turn's writes durable, then lets the turn's answers go."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store, self._journal = store, journal
        self._held: list[tuple[Connection, Answer]] = []
        self._scheduled = False

    @property
    def busy(self) -> bool:
        """Is something waiting for a commit?"""
        return bool(self._held) or self._store.dirty

    def hold(self, connection: Connection, answer: Answer) -> None:
        self._held.append((connection, answer))
        self.schedule()

    def schedule(self) -> None:
        """Commit at the end of this turn; for writes that no client asked for, too."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        self._scheduled = False
        held, self._held = self._held, []
        failure = self._commit()
        for connection, answer in held:
            connection.finish(failure if failure is not None else answer)

    def _commit(self) -> Response | None:
        changes, forgotten = self._store.take_pending(time.time())
        if not changes:
            return None
        rows = [Row(c.version, c.resource, c.key, c.data, c.deleted, c.at) for c in changes]
        try:
            self._journal.append(rows, forgotten, self._store.compacted)
        except OSError as error:
            self._store.rollback(changes, forgotten)
            _log.error("commit failed changes=%d reason=%s", len(changes), error)
            return Response(500, encode(errors.internal(str(error)).status()))
        self._store.publish(changes)
        return None


class HttpServer:
    """Listens; holds what the connections share."""

    def __init__(self, api: Api, committer: Committer, opener: StreamOpener) -> None:
        self.api, self.committer = api, committer
        self.connections: set[Connection] = set()
        self._streams = StreamTasks(opener)
        self._servers: list[asyncio.Server] = []

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Serve on a socket that listens; may be called for several."""
        loop = asyncio.get_running_loop()
        made = await loop.create_server(lambda: Connection(self), sock=listener, ssl=tls, backlog=512)
        self._servers.append(made)

    async def stop(self) -> None:
        """No new connections; watches end well; what is held is committed."""
        for server in self._servers:
            server.close()
        self.committer.flush()
        for connection in tuple(self.connections):
            connection.close()
        self._streams.cancel()
        await asyncio.sleep(0)

    # ---- Host -------------------------------------------------------------------------------------------------
    def serve(self, connection: Connection, request: Request, certificate: User | None) -> None:
        if self.committer.busy and ("watch" in request.query or "/watch/" in request.path):
            self.committer.flush()
        answer = self._answer(request, certificate)
        if self.committer.busy:
            self.committer.hold(connection, answer)
        else:
            connection.finish(answer)

    def _answer(self, request: Request, certificate: User | None) -> Answer:
        if TOO_LARGE in request.query:
            return texts.written(Response(413, encode(_TOO_LARGE.status())), request)
        try:
            request.user = self.api.authenticate(request, certificate)
        except errors.ApiError as error:
            return texts.written(Response(error.code, encode(error.status())), request)
        answer = self.api.handle(request)
        return texts.written(answer, request) if isinstance(answer, Response) else answer

    def open_stream(self, connection: Connection, upgrade: Upgrade, duplex: Duplex) -> None:
        self._streams.begin(connection, upgrade, duplex)
