"""A connection that has been taken over from HTTP: bytes in, bytes out, with back-pressure both ways."""

from __future__ import annotations

import asyncio


class Duplex:
    """What a stream has of its connection. The HTTP server feeds it; whoever serves the stream reads and writes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._reader = asyncio.StreamReader()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._lost = asyncio.Event()

    # ---- the server's side ------------------------------------------------------------------------------------
    def feed(self, data: bytes) -> None:
        if data:
            self._reader.feed_data(data)

    def pause(self) -> None:
        self._may_write.clear()

    def resume(self) -> None:
        self._may_write.set()

    def lose(self) -> None:
        self._lost.set()
        self._reader.feed_eof()
        self._may_write.set()

    # ---- the stream's side ------------------------------------------------------------------------------------
    async def read(self) -> bytes:
        """What has come; nothing when the peer is gone."""
        return await self._reader.read(65536)

    async def lost(self) -> None:
        """Returns when the peer is gone."""
        await self._lost.wait()

    async def write(self, data: bytes) -> None:
        """Send, waiting while the peer is slow; raises ConnectionError when it is gone."""
        if self._lost.is_set() or self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)
        if not self._may_write.is_set():
            await self._may_write.wait()
