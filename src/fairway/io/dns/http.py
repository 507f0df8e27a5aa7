"""A few fixed paths over HTTP: health, readiness, metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from fairway.values.errors import ConfigError

Page = Callable[[], tuple[int, str, bytes]]
"""Gives status, content type and body."""
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
READ_SECONDS = 5.0


class SmallHttpServer:
    """Serves pages by path on one address (`:8080`, `localhost:9153`)."""

    def __init__(self, address: str, pages: dict[str, Page]) -> None:
        self.address = address
        self.pages = pages
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to serve. Raises ConfigError when the address cannot be had."""
        host, _, port = self.address.rpartition(":")
        try:
            self._server = await asyncio.start_server(self._serve, host.strip("[]") or None, int(port), reuse_port=True)
        except (OSError, ValueError) as error:
            raise ConfigError(f"listen http {self.address}: {error}") from None

    async def close(self) -> None:
        """End serving."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                while await self._one(reader, writer):
                    pass
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # whoever asked went away or spoke no HTTP
        finally:
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, version = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        page = self.pages.get(target.partition("?")[0])
        if method not in {"GET", "HEAD"}:
            status, kind, body = 405, "text/plain", b"GET only\n"
        elif page is None:
            status, kind, body = 404, "text/plain", b"404 page not found\n"
        else:
            status, kind, body = page()
        keeps = version == "HTTP/1.1" and b"connection: close" not in head.lower()
        answer = (
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n{'' if keeps else 'Connection: close' + chr(13) + chr(10)}\r\n"
        )
        writer.write(answer.encode() + (b"" if method == "HEAD" else body))
        await writer.drain()
        return keeps
