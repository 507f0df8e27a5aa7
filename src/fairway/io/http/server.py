"""Small HTTP/1.1 servers for health, metrics and health check node ports.

h11 reads and writes the protocol; this module moves its bytes. Ports that are open to the world ask for what it does
besides: a client that sends half a request, reads nothing or holds a connection idle is dropped in time, and
connections are counted. What is answered is not known here. (docs/decisions/ says why this is not aiohttp's server.)
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

import h11

from fairway.io.http.message import Answer, Handler, Request
from fairway.values.address import Address
from fairway.values.errors import FairwayError

log = logging.getLogger(__name__)

HEADER_LIMIT = 16 * 1024
REQUEST_SECONDS = 10.0
"""For a whole request to arrive, the first one and each one after."""
CONNECTION_LIMIT = 256
"""Open at a time and server; further ones are closed at once."""
BODY_LIMIT = 1024 * 1024
RETRY_SECONDS = 5.0
"""Between two tries to listen, as in kube-proxy."""


class ListenError(FairwayError):
    """An address cannot be listened on; the message says which and why."""


def open_socket(address: Address, port: int, *, both_families: bool = False) -> socket.socket:
    """A listening TCP socket. `both_families`: an unspecified IPv6 address takes IPv4 as well. Raises ListenError."""
    is_v6 = len(address) == 16
    sock = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not (both_families and not any(address)))
        sock.bind((str(address), port))
        sock.listen(128)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ListenError(f"listen tcp{6 if is_v6 else 4} {address.with_port(port)}: {error.strerror}") from None
    return sock


class HttpServer:
    """Serves one handler on any number of sockets, which come and go one by one."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._servers: dict[tuple[Address, int], asyncio.Server] = {}
        self._connections: set[_Connection] = set()

    @property
    def open(self) -> frozenset[tuple[Address, int]]:
        """Where it listens now; with the port that was given out, if 0 was asked for."""
        return frozenset(self._servers)

    async def listen(self, address: Address, port: int, *, both_families: bool = False) -> tuple[Address, int]:
        """Serve there as well. Returns where; raises ListenError."""
        sock = open_socket(address, port, both_families=both_families)
        place = (address, sock.getsockname()[1])
        self._servers[place] = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self, place), sock=sock
        )
        return place

    def close(self, address: Address, port: int) -> None:
        """Stop serving there; its connections are dropped."""
        self._servers.pop((address, port)).close()
        for connection in [c for c in self._connections if c.place == (address, port)]:
            connection.abort()

    def close_all(self) -> None:
        for address, port in list(self._servers):
            self.close(address, port)

    def admit(self, connection: _Connection) -> bool:
        if len(self._connections) >= CONNECTION_LIMIT:
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: _Connection) -> None:
        self._connections.discard(connection)

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        return self._handler(request)


class _Connection(asyncio.Protocol):
    """One client. Requests are answered one after the other."""

    def __init__(self, server: HttpServer, place: tuple[Address, int]) -> None:
        self.place = place
        self._server = server
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_LIMIT)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._local = place
        self._body = 0
        self._is_full = False
        self._is_closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        if not self._server.admit(self):
            self._transport.abort()
            return
        name = transport.get_extra_info("sockname")
        host = str(name[0]).partition("%")[0]
        self._local = (Address.parse(host), int(name[1]))
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # a client that vanishes is nobody's fault
        self._server.leave(self)
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()
        self._transport = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._advance()

    def eof_received(self) -> bool:
        self._http.receive_data(b"")
        self._advance()
        return self._task is not None  # an answer that is being made is still sent

    def pause_writing(self) -> None:
        """The client does not read: read no more from it, nor answer what it sent ahead."""
        self._is_full = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_full = False
        if self._transport is not None and self._task is None:
            self._transport.resume_reading()
        self._advance()

    def _wait_for_request(self) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _advance(self) -> None:
        """Take events from h11 until it needs more bytes, or an answer is being made."""
        while not (self._transport is None or self._task or self._is_full or self._is_closing):
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint or 400)
                return
            if event is h11.NEED_DATA or event is h11.PAUSED:
                self._continue_body()
                return
            self._take(event)

    def _continue_body(self) -> None:
        if self._http.they_are_waiting_for_100_continue and self._transport is not None:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            self._transport.write(self._http.send(go_on) or b"")

    def _take(self, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]) -> None:
        match event:
            case h11.Request():
                self._request = event
                self._body = 0
            case h11.Data():
                self._body += len(event.data)
                if self._body > BODY_LIMIT:
                    self._refuse(413)
            case h11.EndOfMessage():
                self._stop_timer()
                self._answer(self._request)
            case h11.ConnectionClosed():
                self._close()

    def _answer(self, raw: h11.Request) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw.headers}
        method, target = raw.method.decode("latin-1"), raw.target.decode("latin-1")
        request = Request.of(method, target, headers, self._local)
        try:
            answer = self._server.answer(request)
        except Exception:
            log.exception("request failed path=%s", request.path)
            answer = _BROKEN
        if isinstance(answer, Answer):
            self._send(request, answer)
        elif inspect.isawaitable(answer):
            self._task = asyncio.ensure_future(self._answer_later(request, answer))
            if self._transport is not None:
                self._transport.pause_reading()

    async def _answer_later(self, request: Request, awaitable: Awaitable[Answer]) -> None:
        try:
            answer = await awaitable
        except Exception:
            log.exception("request failed path=%s", request.path)
            answer = _BROKEN
        self._task = None
        self._send(request, answer)
        if self._transport is not None and not (self._is_full or self._is_closing):
            self._transport.resume_reading()
        self._advance()

    def _send(self, request: Request, answer: Answer) -> None:
        if self._transport is None:
            return
        head = h11.Response(status_code=answer.status, headers=_headers(answer), reason=_reason(answer.status))
        body = b"" if request.method == "HEAD" else answer.body
        parts = [
            self._http.send(head),
            self._http.send(h11.Data(data=body)) if body else b"",
            self._http.send(h11.EndOfMessage()),
        ]
        self._transport.write(b"".join(part for part in parts if part))
        if self._http.our_state is h11.MUST_CLOSE:
            self._close()
        else:
            self._http.start_next_cycle()
            self._wait_for_request()

    def _refuse(self, status: int) -> None:
        """What the client sent is no request, or too much."""
        if self._transport is not None and self._http.our_state in _CAN_ANSWER:
            answer = Answer.text(status, f"{status}\n")
            headers = [*_headers(answer), ("Connection", "close")]
            head = self._http.send(h11.Response(status_code=status, headers=headers, reason=_reason(status))) or b""
            self._transport.write(head + answer.body)
        self._close()

    def _close(self) -> None:
        """Send what is still to be sent, for as long as a request may take, and end."""
        self._is_closing = True
        if self._transport is not None:
            self._wait_for_request()
            self._transport.close()


_CAN_ANSWER = (h11.IDLE, h11.SEND_RESPONSE)
_BROKEN = Answer.text(500, "500 internal error\n")


def _reason(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode()


def _headers(answer: Answer) -> list[tuple[str, str]]:
    return [
        ("Content-Type", answer.content_type),
        ("X-Content-Type-Options", "nosniff"),
        *answer.headers,
        ("Date", formatdate(usegmt=True)),
        ("Content-Length", str(len(answer.body))),
    ]


async def serve(
    handler: Handler,
    address: Address,
    port: int,
    *,
    is_hard: bool = False,
    report: Callable[[ListenError], None] = lambda _: None,
) -> None:
    """Serve until cancelled. An address that cannot be listened on is reported, and tried again every 5 s.

    With `is_hard` (bindAddressHardFail) ListenError is raised instead. `[::]` takes IPv4 as well.
    """
    server = HttpServer(handler)
    try:
        while True:
            try:
                await server.listen(address, port, both_families=True)
                break
            except ListenError as error:
                report(error)
                if is_hard:
                    raise
            await asyncio.sleep(RETRY_SECONDS)
        await asyncio.get_running_loop().create_future()
    finally:
        server.close_all()
