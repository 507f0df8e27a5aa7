"""Requests that the API server sends on: to a pod's node (log, exec, attach, port-forward), to a node, pod or Service.

An upgraded connection is spliced: what the client and the other end speak is not known here. A plain answer comes back
as it is, but for the links of a page, which must lead through the proxy again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from typing import NamedTuple

import h11

from fairway.apiserver import errors
from fairway.apiserver.context import encode
from fairway.apiserver.request import Location, Upgrade
from fairway.io.http.duplex import Duplex
from fairway.io.http.links import through_proxy
from fairway.io.http.wire_head import head

DIAL_SECONDS = 10.0
_DROPPED = ("host", "authorization", "connection", "content-length", "transfer-encoding", "keep-alive", "expect")
_HOP = ("connection", "content-length", "keep-alive", "proxy-connection", "transfer-encoding")
_PAGE = 8 << 20
"""Bytes of a page whose links are rewritten; a longer one passes as it is."""


class DialError(Exception):
    """Nobody answers there; the message is what Go's net package says."""


class Proxy:
    """Sends requests on. `kubelets` is the TLS of the API server as a client of kubelets, None to have none."""

    def __init__(self, kubelets: ssl.SSLContext | None) -> None:
        self._kubelets = kubelets
        self._anybody = _any_certificate()

    async def open(self, upgrade: Upgrade, duplex: Duplex) -> None:
        location = upgrade.location
        assert location is not None
        try:
            reader, writer = await self._dial(location)
        except DialError as error:
            await _refuse(duplex, _unreached(upgrade, location, str(error)))
            return
        exchange = _Exchange(upgrade, location, reader, writer, duplex)
        try:
            await exchange.run()
        finally:
            writer.close()

    async def _dial(self, location: Location) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = (self._kubelets if location.is_node else None) or self._anybody
        to = f"dial tcp {location.authority}"
        try:
            opening = asyncio.open_connection(
                location.host, location.port, ssl=tls if location.scheme == "https" else None
            )
            return await asyncio.wait_for(opening, DIAL_SECONDS)
        except TimeoutError:
            raise DialError(f"{to}: i/o timeout") from None
        except ssl.SSLError as error:
            raise DialError(f"tls: {error.reason or error}") from None
        except socket.gaierror:
            raise DialError(f"dial tcp: lookup {location.host}: no such host") from None
        except OSError as error:
            words = os.strerror(error.errno).lower() if error.errno else str(error)
            raise DialError(f"{to}: connect: {words}") from None


def _any_certificate() -> ssl.SSLContext:
    """Pods have certificates that nobody signed; the real server's proxy does not check them either."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _unreached(upgrade: Upgrade, location: Location, words: str) -> errors.ApiError:
    """The answer when nobody is there, as kube-apiserver words it for each kind of request."""
    if upgrade.kind == "log":
        return errors.plain_internal(f'Get "https://{location.authority}{location.path}": {words}')
    if upgrade.kind == "proxy":
        return errors.service_unavailable(f"error trying to reach service: {words}")
    return errors.plain_internal(f"error dialing backend: {words}")


async def _refuse(duplex: Duplex, error: errors.ApiError) -> None:
    body = encode(error.status())
    await duplex.write(head(error.code, "application/json", (), len(body), keep=False) + body)


class _Head(NamedTuple):
    code: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]

    def first(self, name: bytes) -> str:
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name), "")

    def encode(self, extra: tuple[tuple[bytes, bytes], ...]) -> bytes:
        kept = [(k, v) for k, v in self.headers if k.lower().decode("latin-1") not in _HOP]
        lines = [b"HTTP/1.1 %d %s" % (self.code, self.reason)]
        lines += [k + b": " + v for k, v in (*kept, *extra, (b"Connection", b"close"))]
        return b"\r\n".join(lines) + b"\r\n\r\n"


class _Exchange:
    """One request and its answer, or two ends spliced."""

    def __init__(
        self,
        upgrade: Upgrade,
        location: Location,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        duplex: Duplex,
    ) -> None:
        self._upgrade, self._location = upgrade, location
        self._reader, self._writer, self._duplex = reader, writer, duplex

    async def run(self) -> None:
        wants_upgrade = "upgrade" in self._upgrade.request.headers
        self._writer.write(self._request(wants_upgrade=wants_upgrade))
        await self._writer.drain()
        back = asyncio.ensure_future(self._splice() if wants_upgrade else self._answer())
        forth = asyncio.ensure_future(self._more())
        await asyncio.wait({back, forth}, return_when=asyncio.FIRST_COMPLETED)
        for task in (forth, back):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await task

    def _request(self, *, wants_upgrade: bool) -> bytes:
        request, location = self._upgrade.request, self._location
        lines = [f"{request.method} {location.path} HTTP/1.1", f"Host: {location.authority}"]
        lines += [f"{k}: {v}" for k, v in request.headers.items() if k not in _DROPPED]
        lines.append("Connection: Upgrade" if wants_upgrade else "Connection: close")
        if request.body or request.method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(request.body)}")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + request.body

    async def _splice(self) -> None:
        while data := await self._reader.read(65536):
            await self._duplex.write(data)

    async def _more(self) -> None:
        while data := await self._duplex.read():
            self._writer.write(data)
            await self._writer.drain()

    # ---- plain answers ----------------------------------------------------------------------------------------
    async def _answer(self) -> None:
        events = self._events()
        try:
            got = await anext(events)
            assert isinstance(got, h11.Response)
        except (h11.RemoteProtocolError, StopAsyncIteration, OSError) as error:
            await _refuse(self._duplex, errors.service_unavailable(f"error trying to reach service: {error}"))
            return
        answer = _Head(got.status_code, got.reason, [(k, v) for k, v in got.headers.raw_items()])
        if self._upgrade.kind == "log" and not 200 <= answer.code < 300:
            await self._refuse_log(answer.code, events)
        else:
            await self._send(answer, events)

    async def _events(self) -> AsyncIterator[h11.Event]:
        """The answer's head, its data, its end."""
        http = h11.Connection(h11.CLIENT)
        http.send(h11.Request(method=self._upgrade.request.method, target="/", headers=[("Host", "x")]))
        http.send(h11.EndOfMessage())
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await self._reader.read(65536))
            elif isinstance(event, h11.Response | h11.Data):
                yield event
            elif not isinstance(event, h11.InformationalResponse):
                return

    async def _refuse_log(self, code: int, events: AsyncIterator[h11.Event]) -> None:
        text = b"".join([bytes(e.data) async for e in events if isinstance(e, h11.Data)]).decode("utf-8", "replace")
        name = self._upgrade.name
        match code:
            case 400:
                error = errors.bad_request(text)
            case 500:
                error = errors.internal(text)
            case 404:
                words = f"the server could not find the requested resource ( pods/log {name})"
                error = errors.ApiError(404, "NotFound", words, {"name": name, "kind": "pods/log"})
            case _:
                words = f"the server responded with the status code {code} but did not return more information"
                error = errors.ApiError(code, "", f"{words} ( pods/log {name})", {"name": name, "kind": "pods/log"})
        await _refuse(self._duplex, error)

    async def _send(self, answer: _Head, events: AsyncIterator[h11.Event]) -> None:
        if self._upgrade.kind == "proxy":
            answer = self._rewritten(answer)
            if answer.first(b"content-type").partition(";")[0].strip() == "text/html" and _is_short(answer):
                await self._send_page(answer, events)
                return
        length = answer.first(b"content-length")
        how = (b"Content-Length", length.encode()) if length else (b"Transfer-Encoding", b"chunked")
        is_bare = self._upgrade.request.method == "HEAD" or answer.code in (204, 304)
        await self._duplex.write(answer.encode(() if is_bare and not length else (how,)))
        async for event in events:
            if isinstance(event, h11.Data) and event.data:
                data = bytes(event.data)
                await self._duplex.write(data if length else b"%x\r\n%s\r\n" % (len(data), data))
        if not length and not is_bare:
            await self._duplex.write(b"0\r\n\r\n")

    async def _send_page(self, answer: _Head, events: AsyncIterator[h11.Event]) -> None:
        page = b"".join([bytes(e.data) async for e in events if isinstance(e, h11.Data)])
        if self._upgrade.request.method != "HEAD":
            page = through_proxy(
                page.decode("utf-8", "surrogateescape"), self._upgrade.prefix, self._location.authority
            ).encode("utf-8", "surrogateescape")
        await self._duplex.write(answer.encode(((b"Content-Length", str(len(page)).encode()),)) + page)

    def _rewritten(self, answer: _Head) -> _Head:
        """A redirect of the other end to itself leads through the proxy, too."""
        from fairway.io.http.links import rewrite

        def one(name: bytes, value: bytes) -> bytes:
            if name.lower() != b"location":
                return value
            return rewrite(value.decode("latin-1"), self._upgrade.prefix, self._location.authority).encode("latin-1")

        return answer._replace(headers=[(k, one(k, v)) for k, v in answer.headers])


def _is_short(answer: _Head) -> bool:
    length = answer.first(b"content-length")
    return not answer.first(b"content-encoding") and (not length.isdigit() or int(length) <= _PAGE)
