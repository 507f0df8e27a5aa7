"""TCP and TLS listening: many queries on one connection, answered as soon as each is ready (RFC 7766, RFC 7858)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import Final

from fairway.config.corefile_settings import TlsSettings
from fairway.dns.model import Transport
from fairway.dns.server import Peer, Server
from fairway.io.dns.addresses import ListenAddress, unmapped
from fairway.io.dns.udp import open_tcp
from fairway.values.errors import ConfigError

log = logging.getLogger(__name__)

FIRST_READ: Final = 3.0
IDLE: Final = 10.0
"""As CoreDNS: the first query must come soon, later ones may take longer."""
MAX_PIPELINED: Final = 128
"""Queries of one connection that are answered at the same time; more wait in the socket."""


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """A server's context of certificate, key and perhaps the clients' authority. Raises ConfigError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.files[0], settings.files[1])
        if settings.client_auth != "nocert":
            context.load_verify_locations(settings.files[2])
            is_needed = settings.client_auth == "require_and_verify"
            context.verify_mode = ssl.CERT_REQUIRED if is_needed else ssl.CERT_OPTIONAL
        if settings.key_log:
            context.keylog_filename = settings.key_log
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls {' '.join(settings.files)}: {error}") from None
    return context


class StreamListener:
    """Answers what comes over TCP or TLS to one address by `server`, which may be exchanged at any time."""

    def __init__(self, address: ListenAddress, server: Server, context: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.server = server
        self._context = context
        self._socket = open_tcp(address)
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to answer."""
        self._listener = await asyncio.start_server(self._serve, sock=self._socket, ssl=self._context)

    async def close(self) -> None:
        """End listening and all connections."""
        if self._listener is not None:
            self._listener.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await _Connection(self, reader, writer).run()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client went away or said nothing: nobody is left to be told
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()


class _Connection:
    def __init__(self, listener: StreamListener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._listener = listener
        self._reader = reader
        self._writer = writer
        client, local = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        transport = Transport.TLS if listener.address.is_tls else Transport.TCP
        self._peer = Peer(transport, unmapped(client[0]), client[1], unmapped(local[0]), local[1])
        self._slots = asyncio.Semaphore(MAX_PIPELINED)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        seconds = FIRST_READ
        try:
            while True:
                async with asyncio.timeout(seconds):
                    size = int.from_bytes(await self._reader.readexactly(2), "big")
                    data = await self._reader.readexactly(size)
                seconds = IDLE
                await self._slots.acquire()
                task = asyncio.create_task(self._answer(data))
                self._tasks.add(task)
                task.add_done_callback(self._finished)
        except asyncio.IncompleteReadError:
            # The client has closed its side: what it asked before is still answered (RFC 7766, section 6.2.3).
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            for task in self._tasks:
                task.cancel()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and task.exception() is not None:
            self._writer.close()

    async def _answer(self, data: bytes) -> None:
        for message in await self._listener.server.answer(data, self._peer):
            self._writer.write(len(message).to_bytes(2, "big") + message)
            await self._writer.drain()
