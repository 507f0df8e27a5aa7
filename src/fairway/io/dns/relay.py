"""Passes DNS messages on, unread: from nodes to resolvers on the host's loopback, where nodes cannot reach."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import cast

from fairway.values.errors import ConfigError

log = logging.getLogger(__name__)

SECONDS = 5.0
"""How long an answer is waited for before the next resolver is asked."""
LONGEST = 65535
MOST_WAITING = 512
"""Questions under way; more are dropped, and asked again by whoever wants to know."""


class _Question(asyncio.DatagramProtocol):
    """One question under way to one resolver."""

    def __init__(self, data: bytes, answered: asyncio.Future[bytes]) -> None:
        self._data = data
        self._answered = answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.DatagramTransport", transport).sendto(self._data)

    def datagram_received(self, data: bytes, _: object) -> None:
        if not self._answered.done() and data[:2] == self._data[:2]:
            self._answered.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(error)


class Relay(asyncio.DatagramProtocol):
    """Listens at one address, UDP and TCP. Resolvers are asked in their order."""

    def __init__(self, host: str, resolvers: Sequence[str], port: int = 53, resolver_port: int = 53) -> None:
        self._place = (host, port)
        self._resolvers = [(one, resolver_port) for one in resolvers]
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises ConfigError when the address cannot be had."""
        try:
            self._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: self, local_addr=self._place
            )
            self._tcp = await asyncio.start_server(self._serve, *self._place)
        except OSError as error:
            await self.close()
            raise ConfigError(f"DNS relay on {self._place[0]} port {self._place[1]}: {error.strerror}") from None

    async def close(self) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if len(self._tasks) < MOST_WAITING:
            task = asyncio.ensure_future(self._answer(data, address))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, address: tuple[str, int]) -> None:
        for resolver in self._resolvers:
            try:
                answer = await _ask(data, resolver)
            except (OSError, TimeoutError) as error:
                log.debug("resolver=%s error='%s'", resolver[0], error)
                continue
            if self._udp is not None and not self._udp.is_closing():
                self._udp.sendto(answer, address)
            return

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for resolver in self._resolvers:
                try:
                    async with asyncio.timeout(SECONDS):
                        upstream = await asyncio.open_connection(*resolver)
                except (OSError, TimeoutError):
                    continue
                await _join((reader, writer), upstream)
                return
        finally:
            writer.close()


async def _ask(data: bytes, resolver: tuple[str, int]) -> bytes:
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Question(data, answered), remote_addr=resolver
    )
    try:
        async with asyncio.timeout(SECONDS):
            return await answered
    finally:
        transport.close()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(client: Streams, upstream: Streams) -> None:
    """Copy both ways until either side ends."""
    ways = [
        asyncio.ensure_future(_copy(client[0], upstream[1])),
        asyncio.ensure_future(_copy(upstream[0], client[1])),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        upstream[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(LONGEST):
            writer.write(data)
            await writer.drain()
