"""UDP listening in plain Python: one socket, read by the event loop.

A query that can be answered without waiting is answered at once; one that waits for an upstream becomes a task, so that
it holds up nobody. Replies leave from the address that was asked, whatever address the socket is bound to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

from fairway.dns.model import Transport
from fairway.dns.server import Peer, Server
from fairway.io.dns.addresses import ListenAddress, unmapped
from fairway.values.errors import ConfigError

log = logging.getLogger(__name__)

BATCH = 64
"""Datagrams read before the event loop gets its turn."""
BUFFER = 4 * 1024 * 1024
_SO_RCVBUFFORCE = 33
_IP_PKTINFO = 8
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50
_IN_PKTINFO = struct.Struct("=i4s4s")
_IN6_PKTINFO = struct.Struct("=16sI")
_ANCILLARY = 128


def open_udp(address: ListenAddress, *, shared: bool = True) -> socket.socket:
    """A bound UDP socket that says for each datagram which local address it came to. Raises ConfigError."""
    sock = _open(address, socket.SOCK_DGRAM, shared=shared)
    set_buffer(sock, socket.SO_RCVBUF, _SO_RCVBUFFORCE)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    elif address.host == "::":
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    return sock


def set_buffer(sock: socket.socket, option: int, force: int) -> None:
    """Room for a burst; without CAP_NET_ADMIN as much of it as the machine allows everybody (`net.core.rmem_max`)."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, BUFFER)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)


def open_tcp(address: ListenAddress) -> socket.socket:
    """A listening TCP socket. Raises ConfigError."""
    sock = _open(address, socket.SOCK_STREAM, shared=True)
    sock.listen(1024)
    return sock


def _open(address: ListenAddress, kind: socket.SocketKind, *, shared: bool) -> socket.socket:
    host = address.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.socket(family, kind)
    except OSError:
        if host != "::":
            raise ConfigError(f"listen {address}: this machine has no IPv6") from None
        sock, host = socket.socket(socket.AF_INET, kind), "0.0.0.0"  # noqa: S104 - as configured
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        if kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # An address that comes later (a node-local listener's) can be bound now.
        sock.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, 78, 1)  # IPV6_FREEBIND
        sock.bind((host, address.port))
    except OSError as error:
        sock.close()
        raise ConfigError(f"listen {address}: {error.strerror}") from None
    sock.setblocking(False)
    return sock


class Origin:
    """Where a datagram came from and to: enough to answer it."""

    __slots__ = ("client", "local", "reply_to", "socket")

    def __init__(
        self, via: socket.socket, client: tuple[Any, ...], local: bytes, reply_to: list[tuple[int, int, bytes]]
    ) -> None:
        self.socket = via
        self.client = client
        self.local = local
        self.reply_to = reply_to


def read_origin(
    via: socket.socket, ancillary: list[tuple[int, int, bytes]], client: tuple[Any, ...], bound: bytes
) -> Origin:
    """Take the local address from the packet information; without any it is the bound one."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _index, local, _destination = _IN_PKTINFO.unpack_from(data)
            return Origin(via, client, local, [(level, kind, _IN_PKTINFO.pack(0, local, bytes(4)))])
        if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
            local, index = _IN6_PKTINFO.unpack_from(data)
            # The interface matters for link-local addresses alone; for others the route decides.
            index = index if local[0] == 0xFE and local[1] & 0xC0 == 0x80 else 0
            plain = local[12:] if local.startswith(bytes(10) + b"\xff\xff") else local
            return Origin(via, client, plain, [(level, kind, _IN6_PKTINFO.pack(local, index))])
    return Origin(via, client, bound, [])


class Answering:
    """Answers datagrams by `server`, which may be exchanged at any time."""

    def __init__(self, address: ListenAddress, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.address = address
        self.server = server
        self._loop = loop
        self._waiting: set[_Driven] = set()

    def handle(self, data: bytes, origin: Origin) -> None:
        """Answer one datagram, now or later."""
        peer = Peer(Transport.UDP, unmapped(origin.client[0]), origin.client[1], origin.local, self.address.port)
        one = _Driven(self.server.answer(data, peer), origin, self)
        self._waiting.add(one)
        one.go_on()

    def soon(self, work: Callable[[], None]) -> None:
        """When others have had their turn."""
        self._loop.call_soon(work)

    async def _finish(self) -> None:
        """Until what is under way is answered."""
        while self._waiting:
            await asyncio.gather(*(one.finished(self._loop) for one in self._waiting), return_exceptions=True)

    def done(self, one: _Driven, replies: list[bytes]) -> None:
        """Send what one datagram is answered with."""
        self._waiting.discard(one)
        origin = one.origin
        for reply in replies:
            # A full send buffer or an unreachable client: to both, the client's retry is the answer.
            with contextlib.suppress(OSError):
                origin.socket.sendmsg([reply], origin.reply_to, socket.MSG_DONTWAIT, origin.client)


class _Driven:
    """A coroutine that goes on when what it waits for is done: what a task is, for a third of its price.

    It is no task, so `asyncio.timeout` and the like need one of their own in there.
    """

    __slots__ = ("_answering", "_finished", "_work", "origin")

    def __init__(self, work: Coroutine[Any, Any, list[bytes]], origin: Origin, answering: Answering) -> None:
        self._work = work
        self.origin = origin
        self._answering = answering
        self._finished: asyncio.Future[None] | None = None

    def go_on(self, _done: object = None) -> None:
        """To its end, or to where it waits next."""
        try:
            waits_for = self._work.send(None)
        except StopIteration as end:
            self._end(end.value)
        except Exception:
            log.exception("msg='a fault while answering'")
            self._end([])
        else:
            self._wait_for(waits_for)

    def _wait_for(self, future: Any) -> None:
        if future is None:  # `sleep(0)`: others first
            self._answering.soon(self.go_on)
            return
        future._asyncio_future_blocking = False  # noqa: SLF001 - how a task says that it has seen the future
        future.add_done_callback(self.go_on)

    def finished(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Done when the answer is sent."""
        self._finished = self._finished or loop.create_future()
        return self._finished

    def _end(self, replies: list[bytes]) -> None:
        self._answering.done(self, replies)
        if self._finished is not None:
            self._finished.set_result(None)


class UdpListener(Answering):
    """One socket, read by the event loop."""

    def __init__(self, address: ListenAddress, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(address, server, loop)
        self.socket = open_udp(address)
        self._bound = unmapped(self.socket.getsockname()[0])

    def start(self) -> None:
        """Begin to answer."""
        self._loop.add_reader(self.socket.fileno(), self._readable)

    async def close(self) -> None:
        """Stop reading; answers under way are still sent."""
        self._loop.remove_reader(self.socket.fileno())
        await self._finish()
        self.socket.close()

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                data, ancillary, _flags, client = self.socket.recvmsg(65535, _ANCILLARY)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.debug("listen=%s error='%s'", self.address, error)  # an ICMP error of an earlier reply
                continue
            self.handle(data, read_origin(self.socket, ancillary, client, self._bound))
