"""HTTP/1.1 for the API server, on asyncio's Protocol: requests in, answers and watches out.

All requests that arrive in one turn of the loop share one commit: their answers leave after it, so nobody hears of a
write that a crash could take back. Reads wait in the same line, for they may have seen such a write.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections import deque
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, unquote

import httptools

from fairway.apiserver import errors
from fairway.apiserver.api import Api, as_yaml
from fairway.apiserver.context import encode
from fairway.apiserver.request import Answer, Request, Response, Upgrade, User, WatchStream
from fairway.apiserver.store import Journal, Row, Store
from fairway.apiserver.watching import BOOKMARK_SECONDS
from fairway.io.http.duplex import Duplex
from fairway.io.http.wire_head import head

_log = logging.getLogger(__name__)
MOST_BODY = 3 * 1024 * 1024
_TOO_LARGE = errors.ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728", {"causes": []})


class StreamOpener(Protocol):
    """Whoever speaks with pods: takes over a connection whose request has been read and checked."""

    async def open(self, upgrade: Upgrade, duplex: Duplex) -> None:
        """Serve the stream to its end; the connection is closed by whoever called."""


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


class Connection(asyncio.Protocol):
    """One client. Requests of one connection are answered in their order."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._certificate: User | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._waiting: deque[Request] = deque()
        self._busy = False
        self._keep = True
        self._watch: _Watch | None = None
        self._method = "GET"
        self._leftover = b""
        self._duplex: Duplex | None = None

    # ---- asyncio ----------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._server.connections.add(self)
        tls = self._transport.get_extra_info("ssl_object")
        self._certificate = certificate_user(tls) if tls is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._watch is not None:
            self._watch.end()
        if self._duplex is not None:
            self._duplex.lose()

    def data_received(self, data: bytes) -> None:
        if self._duplex is not None:
            self._duplex.feed(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._keep = False
            self._write(Response(400, b"400 Bad Request", "text/plain; charset=utf-8"))

    def _after_upgrade(self, rest: bytes) -> None:
        """What came behind an upgrade request is the stream's, which may have begun already."""
        if self._duplex is not None:
            self._duplex.feed(rest)
        else:
            self._leftover = rest

    def pause_writing(self) -> None:
        if self._watch is not None:
            self._watch.paused = True
        if self._duplex is not None:
            self._duplex.pause()

    def resume_writing(self) -> None:
        if self._watch is not None:
            self._watch.resume()
        if self._duplex is not None:
            self._duplex.resume()

    # ---- the parser -------------------------------------------------------------------------------------------
    def on_message_begin(self) -> None:
        self._url, self._headers, self._body, self._size = b"", {}, [], 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = f"{known},{text}" if known is not None else text

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= MOST_BODY:
            self._body.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.partition(b"?")
        request = Request(
            self._parser.get_method().decode(),
            unquote(path.decode("latin-1")),
            parse_qs(query.decode("latin-1"), keep_blank_values=True) if query else {},
            self._headers,
            b"".join(self._body),
        )
        if self._size > MOST_BODY:
            request.query["\0too-large"] = [""]
        if not self._parser.should_keep_alive() or self._parser.should_upgrade():
            request.headers["connection"] = "close"  # what an upgrade does not become is the last answer here
        self._waiting.append(request)
        self._next()

    # ---- requests ---------------------------------------------------------------------------------------------
    def _next(self) -> None:
        while self._waiting and not self._busy:
            request = self._waiting.popleft()
            self._busy = True
            self._method = request.method
            self._keep = "close" not in request.headers.get("connection", "").lower()
            self._serve(request)

    def _serve(self, request: Request) -> None:
        server = self._server
        if server.committer.busy and ("watch" in request.query or "/watch/" in request.path):
            server.committer.flush()
        answer = self._answer(request)
        if server.committer.busy:
            server.committer.hold(self, answer)
        else:
            self.finish(answer)

    def _answer(self, request: Request) -> Answer:
        if "\0too-large" in request.query:
            return Response(413, encode(_TOO_LARGE.status()))
        api = self._server.api
        try:
            request.user = api.authenticate(request, self._certificate)
        except errors.ApiError as error:
            return Response(error.code, encode(error.status()))
        answer = api.handle(request)
        if isinstance(answer, Response) and answer.content_type == "application/yaml":
            return as_yaml(answer)
        return answer

    def finish(self, answer: Answer) -> None:
        """Send an answer, or begin its stream; then the next request."""
        if self._transport.is_closing():
            if isinstance(answer, WatchStream):
                answer.close()
            return
        if isinstance(answer, Response):
            self._write(answer)
        elif isinstance(answer, WatchStream):
            self._watch = _Watch(self, self._transport, answer)
            return
        else:
            self._duplex = Duplex(self._transport)
            self._duplex.feed(self._leftover)
            self._server.open_stream(self, answer, self._duplex)
            return
        self._busy = False
        self._next()

    def watch_ended(self, clean: bool) -> None:
        self._watch = None
        if not clean or not self._keep:
            self._transport.close()
            return
        self._busy = False
        self._next()

    def _write(self, answer: Response) -> None:
        body = b"" if self._method == "HEAD" else answer.body
        self._transport.write(
            head(answer.code, answer.content_type, answer.headers, len(answer.body), keep=self._keep) + body
        )
        if not self._keep:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def refuse_stream(self, answer: Response) -> None:
        """There is no stream after all: an answer, and the end."""
        self._duplex, self._keep = None, False
        self._write(answer)

    def hang_up(self) -> None:
        self._transport.close()

    def close(self) -> None:
        """End well: watches get their last chunk."""
        if self._watch is not None:
            self._watch.finish()
        self._transport.close()


class _Watch:
    """The writing side of one watch."""

    def __init__(self, connection: Connection, transport: asyncio.Transport, stream: WatchStream) -> None:
        self._connection, self._transport, self._stream = connection, transport, stream
        self.paused = False
        self._over = False
        loop = asyncio.get_running_loop()
        transport.write(head(200, stream.content_type, stream.headers, None, keep=True))
        stream.attach(self._wake)
        self._timer = loop.call_later(stream.timeout, self.finish)
        self._bookmarks = loop.call_later(BOOKMARK_SECONDS, self._bookmark)
        self._wake()

    def _bookmark(self) -> None:
        self._stream.bookmark()
        self._wake()
        self._bookmarks = asyncio.get_running_loop().call_later(BOOKMARK_SECONDS, self._bookmark)

    def _wake(self) -> None:
        if self.paused or self._over:
            return
        data = self._stream.pull()
        if data:
            self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))
        if self._stream.ended():
            self.finish()

    def resume(self) -> None:
        self.paused = False
        self._wake()

    def finish(self) -> None:
        """The last chunk; the connection lives on."""
        if self._over:
            return
        self.end()
        self._transport.write(b"0\r\n\r\n")
        self._connection.watch_ended(True)

    def end(self) -> None:
        self._over = True
        self._timer.cancel()
        self._bookmarks.cancel()
        self._stream.close()


def certificate_user(tls: ssl.SSLObject) -> User | None:
    """CN is the name, each O a group; only certificates of our CA get this far."""
    certificate = tls.getpeercert()
    if not certificate:
        return None
    subject: Any = certificate.get("subject", ())
    pairs = [pair for rdn in subject for pair in rdn]
    name = next((str(v) for k, v in pairs if k == "commonName"), "")
    groups = tuple(str(v) for k, v in pairs if k == "organizationName")
    return User(name, (*groups, "system:authenticated")) if name else None


class HttpServer:
    """Listens; holds what the connections share."""

    def __init__(self, api: Api, committer: Committer, opener: StreamOpener | None = None) -> None:
        self.api, self.committer = api, committer
        self.connections: set[Connection] = set()
        self._opener = opener
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Serve on a socket that listens."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), sock=listener, ssl=tls, backlog=512)

    async def stop(self) -> None:
        """No new connections; watches end well; what is held is committed."""
        if self._server is not None:
            self._server.close()
        self.committer.flush()
        for connection in tuple(self.connections):
            connection.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.sleep(0)

    # ---- streams ----------------------------------------------------------------------------------------------
    def open_stream(self, connection: Connection, upgrade: Upgrade, duplex: Duplex) -> None:
        if self._opener is None:
            error = errors.service_unavailable("no pods run here: this server has no node to speak with")
            connection.refuse_stream(Response(error.code, encode(error.status())))
            return
        task = asyncio.get_running_loop().create_task(self._run_stream(self._opener, connection, upgrade, duplex))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_stream(self, opener: StreamOpener, connection: Connection, upgrade: Upgrade, duplex: Duplex) -> None:
        try:
            await opener.open(upgrade, duplex)
        except Exception:
            _log.exception("stream failed kind=%s pod=%s/%s", upgrade.kind, upgrade.namespace, upgrade.name)
        finally:
            connection.hang_up()
