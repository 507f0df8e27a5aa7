"""The Kubernetes API over HTTP: requests, lists and watches as raw JSON, refusals as `fairway.kube.status` errors.

Decides how bytes travel: connections, credentials, rate limit, time-outs, where an answer is cut into objects. Does not
decode objects, and does not decide what to ask next or when to try again. Importing this costs aiohttp (0.2 s): import
it where a client is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

import fairway
from fairway.agents.api import Query, WatchEvent
from fairway.io.kube.connection import Connection
from fairway.io.kube.credentials import Proof, credentials_for
from fairway.io.kube.proxies import proxy_from_environment
from fairway.io.kube.ratelimit import DEFAULT_BURST, DEFAULT_QPS, TokenBucket
from fairway.io.kube.split import ListSplitter, WatchSplitter
from fairway.io.kube.tls import TlsContexts
from fairway.kube.status import ApiStatusError, ApiUnreachableError, UnauthorizedError, status_error

CONNECT_TIMEOUT: Final = 10.0
READ_TIMEOUT: Final = 60.0
"""Without a byte of an answer that is under way or awaited."""
WATCH_GRACE: Final = 30.0
"""After `timeoutSeconds` the server should have closed the watch; so much later it is taken for dead."""
DEAD_AFTER: Final = 30
"""Seconds until a peer that answers no keepalive, or acknowledges no data, is taken for dead."""
LARGEST_ERROR: Final = 64 * 1024

MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"


class ApiClient:
    """Talks to one API server. Bodies are JSON bytes both ways; paths are `Kind.path` or `object_path`.

    Fulfils `fairway.agents.api.ApiReader`. Use as an async context manager, or `close` it.
    """

    def __init__(
        self, connection: Connection, *, qps: float = DEFAULT_QPS, burst: int = DEFAULT_BURST, user_agent: str = ""
    ) -> None:
        self.connection = connection
        self._credentials = credentials_for(connection)
        self._tls = TlsContexts(connection.tls) if connection.server.startswith("https:") else None
        self._bucket = TokenBucket(qps, burst, time.monotonic)
        self._proxy = connection.proxy_url or proxy_from_environment(connection.server, os.environ)
        self._headers = [
            ("Accept", "application/json"),
            # Compressing costs the server and us more than the bytes cost a local network.
            ("Accept-Encoding", "identity"),
            ("User-Agent", user_agent or f"fairway/{fairway.__version__}"),
            *connection.impersonate,
        ]
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ApiClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all connections. The client opens new ones when it is used again."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # -- single objects

    async def get(self, path: str, query: Query | None = None) -> bytes:
        """Read one object (or anything else that answers at a path)."""
        return await self.request("GET", path, query)

    async def create(self, path: str, body: bytes, query: Query | None = None) -> bytes:
        """Create an object in the collection at `path`; return it as it then is."""
        return await self.request("POST", path, query, body)

    async def update(self, path: str, body: bytes, query: Query | None = None) -> bytes:
        """Replace the object at `path`; its resourceVersion, if it has one, must still be the present one."""
        return await self.request("PUT", path, query, body)

    async def patch(self, path: str, body: bytes, kind: str = MERGE_PATCH, query: Query | None = None) -> bytes:
        """Change the object at `path`."""
        return await self.request("PATCH", path, query, body, content_type=kind)

    async def delete(self, path: str, query: Query | None = None, body: bytes = b"") -> bytes:
        """Delete the object at `path`; `body` are DeleteOptions."""
        return await self.request("DELETE", path, query, body)

    async def request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: bytes = b"",
        *,
        content_type: str = "application/json",
    ) -> bytes:
        """Send one request and return the whole answer. Raises ApiStatusError or ApiUnreachableError."""
        exchange = _Exchange(method, path, query or {}, body, content_type)
        async with self._answer(exchange) as response:
            try:
                return await response.read()
            except _FOREIGN as error:
                raise self.ours(exchange, error) from None

    # -- collections

    @contextlib.asynccontextmanager
    async def open_list(self, path: str, query: Query) -> AsyncIterator[ListAnswer]:
        """Ask for a list or a page of it; objects come while the answer still arrives."""
        exchange = _Exchange("GET", path, query)
        async with self._answer(exchange) as response:
            yield ListAnswer(_Body(self, exchange, response))

    @contextlib.asynccontextmanager
    async def open_watch(self, path: str, query: Query) -> AsyncIterator[AsyncIterator[list[WatchEvent]]]:
        """Ask for a watch; what arrived in one read comes as one batch. The iterator ends when the server closes."""
        seconds = float(query.get("timeoutSeconds", "0"))
        wait = seconds + WATCH_GRACE if seconds else 0.0
        exchange = _Exchange("GET", path, {"watch": "1", **query}, wait=wait)
        async with self._answer(exchange) as response:
            # No generator in between: each one costs a step of the interpreter's for every event.
            yield _WatchAnswer(_Body(self, exchange, response))

    # -- one exchange

    @contextlib.asynccontextmanager
    async def _answer(self, exchange: _Exchange) -> AsyncIterator[aiohttp.ClientResponse]:
        proof = await self._credentials.proof()
        response = await self._send(exchange, proof)
        try:
            if response.status == 401 and self._credentials.rejected(proof):
                response.close()
                proof = await self._credentials.proof()
                response = await self._send(exchange, proof)
            if response.status >= 400:
                raise await self._refusal(exchange, response)
            yield response
        except UnauthorizedError:
            self._credentials.rejected(proof)
            raise
        finally:
            # An answer that was read to its end leaves the connection for the next request, any other closes it.
            response.release()

    async def _send(self, exchange: _Exchange, proof: Proof) -> aiohttp.ClientResponse:
        if delay := self._bucket.take():
            await asyncio.sleep(delay)
        options: dict[str, Any] = {"proxy": self._proxy} if self._proxy else {}
        if self._tls is not None:
            options["ssl"] = self._tls.context(proof)
            if self.connection.tls.server_name:
                options["server_hostname"] = self.connection.tls.server_name
        headers = [*self._headers]
        if exchange.body:
            headers.append(("Content-Type", exchange.content_type))
        if proof.authorization:
            headers.append(("Authorization", proof.authorization))
        parameters = f"?{urlencode(exchange.query)}" if exchange.query else ""
        try:
            return await self._opened().request(
                exchange.method,
                URL(f"{self.connection.server}{exchange.path}{parameters}", encoded=True),
                data=exchange.body or None,
                headers=headers,
                timeout=aiohttp.ClientTimeout(None, sock_connect=CONNECT_TIMEOUT, sock_read=exchange.wait or None),
                allow_redirects=False,
                **options,
            )
        except _FOREIGN as error:
            raise self.ours(exchange, error) from None
        except ValueError as error:
            # A token with a line break in it, a host name that is none.
            raise ApiUnreachableError(f"{self.connection.server}: {exchange}: cannot be sent: {error}") from None

    async def _refusal(self, exchange: _Exchange, response: aiohttp.ClientResponse) -> ApiStatusError:
        try:
            body = await response.content.read(LARGEST_ERROR)
        except _FOREIGN:
            body = b""  # the code alone says enough
        error = status_error(body, response.status, str(exchange))
        after = response.headers.get("Retry-After", "")
        if not error.retry_after and after.isdigit():
            error.retry_after = int(after)
        return error

    def ours(self, exchange: _Exchange, error: Exception) -> ApiUnreachableError:
        """Foreign errors become ours, in this one place."""
        where = f"{self.connection.server}: {exchange}"
        match error:
            case aiohttp.ClientConnectorCertificateError():
                return ApiUnreachableError(f"{where}: {error.certificate_error}")
            case ssl.SSLError() | aiohttp.ClientConnectorSSLError():
                return ApiUnreachableError(f"{where}: TLS: {error}")
            case TimeoutError():
                return ApiUnreachableError(f"{where}: no answer in time")
            case OSError() if error.errno and error.errno > 0:
                return ApiUnreachableError(f"{where}: {os.strerror(error.errno)}")
            case OSError() if error.strerror:
                return ApiUnreachableError(f"{where}: {error.strerror}")
        return ApiUnreachableError(f"{where}: {str(error) or type(error).__name__}")

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, socket_factory=_socket),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
                read_bufsize=512 * 1024,
                skip_auto_headers=("User-Agent", "Content-Type"),
            )
        return self._session


_FOREIGN: Final = (aiohttp.ClientError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class _Exchange:
    method: str
    path: str
    query: Query
    body: bytes = b""
    content_type: str = "application/json"
    wait: float = READ_TIMEOUT

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class _Body:
    """The bytes of an answer as they arrive, with our errors."""

    def __init__(self, client: ApiClient, exchange: _Exchange, response: aiohttp.ClientResponse) -> None:
        self._client = client
        self._exchange = exchange
        self._content = response.content

    async def read(self) -> bytes:
        """All that has arrived; waits for some; empty at the end."""
        try:
            return await self._content.readany()
        except _FOREIGN as error:
            raise self._client.ours(self._exchange, error) from None


class ListAnswer:
    """A list as it arrives; fulfils `fairway.agents.api.ListStream`."""

    def __init__(self, body: _Body) -> None:
        self._body = body
        self._splitter = ListSplitter()

    async def __aiter__(self) -> AsyncIterator[list[msgspec.Raw]]:
        while data := await self._body.read():
            if items := self._splitter.feed(data):
                yield items
        if items := self._splitter.close():
            yield items

    @property
    def resource_version(self) -> str:
        """Of the whole list, once it has been read."""
        return self._splitter.resource_version

    @property
    def continue_token(self) -> str:
        """Names the next page; empty on the last."""
        return self._splitter.continue_token


class _WatchAnswer:
    def __init__(self, body: _Body) -> None:
        self._body = body
        self._splitter = WatchSplitter()

    def __aiter__(self) -> _WatchAnswer:
        return self

    async def __anext__(self) -> list[WatchEvent]:
        while self._splitter.error is None:
            data = await self._body.read()
            if not data:
                if self._splitter.has_rest:
                    raise ApiUnreachableError("the watch was cut in the middle of an event")
                raise StopAsyncIteration
            if events := self._splitter.feed(data):
                return events
        raise self._splitter.error


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices a peer that vanished without a word: a watch may else stay silent for ten minutes."""
    family, kind, proto = address[:3]
    made = socket.socket(family, kind, proto)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_AFTER // 2)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, DEAD_AFTER // 6)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER * 1000)
    return made


def object_path(collection: str, name: str, namespace: str = "", subresource: str = "") -> str:
    """`/api/v1/namespaces/NS/services/NAME/status` from the path of a kind; names are quoted."""
    root, _, plural = collection.rpartition("/")
    scope = f"{root}/namespaces/{quote(namespace, safe='')}/{plural}" if namespace else collection
    path = f"{scope}/{quote(name, safe='')}" if name else scope
    return f"{path}/{subresource}" if subresource else path
