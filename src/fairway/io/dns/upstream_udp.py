"""Questions to one upstream over UDP: sockets with a random port each, which ask one question at a time.

A socket is used again, since making one costs as much as the question, but not for long: whoever wants to slip an
answer in has to guess port and id (RFC 5452), and has only a few questions' time for the port. One on which an answer
is still to come is not used again. What an answer has to be like is the caller's decision.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from fairway.dns.forward import UpstreamError

T = TypeVar("T")

MAX_USES: Final = 32
"""Questions that one socket asks."""
MAX_IDLE: Final = 64
"""Sockets that wait for a question."""
MAX_AGE: Final = 10.0
"""Seconds for which one waits, as CoreDNS keeps its own."""


class UdpSockets(Generic[T]):
    """`read` makes an answer of a datagram, or None of what is none to `query`."""

    def __init__(self, address: tuple[str, int], source: str, name: str, max_age: float = MAX_AGE) -> None:
        self._max_age = max_age
        self._address = address
        self._source = source
        self._name = name
        self._idle: list[_Asking[T]] = []
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Sockets that wait for a question."""
        return len(self._idle)

    async def ask(self, query: bytes, read: Callable[[bytes], T | None], seconds: float) -> T:
        """Ask once. Raises UpstreamError."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[T] = loop.create_future()
        asking, timer = self._idle.pop() if self._idle else None, None
        try:
            asking = asking or _Asking(loop, self._open(), self._name)
            asking.ask(query, read, answered)
            timer = loop.call_later(seconds, self._too_late, answered, seconds)
            answer = await answered
        except OSError as error:
            raise UpstreamError(f"{self._name}: {error.strerror}") from None
        finally:
            if timer is not None:
                timer.cancel()
            if asking is not None:
                self._release(loop, asking)
        return answer

    def close(self) -> None:
        """End all that wait."""
        for one in self._idle:
            one.close()
        self._idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _open(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            if self._source:
                sock.bind((self._source, 0))
            sock.connect(self._address)
        except OSError:
            sock.close()
            raise
        return sock

    def _too_late(self, answered: asyncio.Future[T], seconds: float) -> None:
        if not answered.done():
            answered.set_exception(UpstreamError(f"{self._name}: no answer in {seconds:g} s"))

    def _release(self, loop: asyncio.AbstractEventLoop, one: _Asking[T]) -> None:
        if not one.is_reusable or len(self._idle) >= MAX_IDLE:
            one.close()
            return
        one.idle_since = time.monotonic()
        self._idle.append(one)
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._max_age, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """The last used is the next used: those that wait longest stand in front."""
        oldest = time.monotonic() - self._max_age
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).close()
        self._sweeper = loop.call_later(self._max_age, self._sweep, loop) if self._idle else None


class _Asking(Generic[T]):
    """One socket, and the question that waits for its answer there."""

    __slots__ = ("_answered", "_loop", "_name", "_read", "_socket", "_uses", "idle_since", "is_reusable")

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, name: str) -> None:
        self._loop = loop
        self._socket = sock
        self._name = name
        self._uses = 0
        self._read: Callable[[bytes], T | None] = lambda _data: None
        self._answered: asyncio.Future[T] | None = None
        self.is_reusable = False
        self.idle_since = 0.0
        loop.add_reader(sock.fileno(), self._readable)

    def ask(self, query: bytes, read: Callable[[bytes], T | None], answered: asyncio.Future[T]) -> None:
        self._uses += 1
        self._read, self._answered, self.is_reusable = read, answered, False
        self._socket.send(query)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        answered = self._answered
        try:
            data = self._socket.recv(65535)
        except BlockingIOError:
            return
        except OSError as error:
            if answered is not None and not answered.done():
                answered.set_exception(UpstreamError(f"{self._name}: {error.strerror}"))
            self.is_reusable = False
            return
        if answered is None or answered.done():
            return  # too late, or nobody asked
        answer = self._read(data)
        if answer is not None:
            answered.set_result(answer)
            self.is_reusable = self._uses < MAX_USES
