"""HTTP/1.1 on asyncio's Protocol: requests in; answers, watches and taken-over connections out.

Shared by the API server and a node's own API. Decides how bytes become requests and answers become bytes; who may ask
and what is answered is the `Host`'s.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, unquote

import httptools

from fairway.apiserver.request import BOOKMARK_SECONDS, Answer, Request, Response, Upgrade, User, WatchStream
from fairway.io.http.duplex import Duplex
from fairway.io.http.wire_head import head

_log = logging.getLogger(__name__)
MOST_BODY = 3 * 1024 * 1024
TOO_LARGE = "\0too-large"
"""A query option that marks a request whose body was cut: no client can send it."""


class StreamOpener(Protocol):
    """Whoever speaks with pods: takes over a connection whose request has been read and checked."""

    async def open(self, upgrade: Upgrade, duplex: Duplex) -> None:
        """Serve the stream to its end; the connection is closed by whoever called."""


class Host(Protocol):
    """Whose connections these are."""

    connections: set[Connection]

    def serve(self, connection: Connection, request: Request, certificate: User | None) -> None:
        """Answer by the connection's `finish`, now or later."""

    def open_stream(self, connection: Connection, upgrade: Upgrade, duplex: Duplex) -> None:
        """The connection now belongs to a stream; `hang_up` when it is over."""


class StreamTasks:
    """Streams that are open, one task each; each connection is closed when its stream is over."""

    def __init__(self, opener: StreamOpener) -> None:
        self._opener = opener
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, connection: Connection, upgrade: Upgrade, duplex: Duplex) -> None:
        task = asyncio.get_running_loop().create_task(self._run(connection, upgrade, duplex))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """End them all."""
        for task in tuple(self._tasks):
            task.cancel()

    async def _run(self, connection: Connection, upgrade: Upgrade, duplex: Duplex) -> None:
        try:
            await self._opener.open(upgrade, duplex)
        except Exception:
            _log.exception("stream failed kind=%s pod=%s/%s", upgrade.kind, upgrade.namespace, upgrade.name)
        finally:
            connection.hang_up()


class Connection(asyncio.Protocol):
    """One client. Requests of one connection are answered in their order."""

    def __init__(self, server: Host) -> None:
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
            request.query[TOO_LARGE] = [""]
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
            self._server.serve(self, request, self._certificate)

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
        if self._over:
            return
        if self.paused:
            if self._stream.ended():  # it fell too far behind, and does not read that, either
                self._connection.abort()
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
