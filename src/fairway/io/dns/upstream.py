"""One server to forward to: UDP with a port of its own per query, TCP and TLS with kept connections.

Answers are matched by id and question, from a connected socket with a random port and id, so that nobody off the path
can slip one in (RFC 5452). Which upstream to ask, and what a failure means, is `fairway.dns.forward`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
import time
from dataclasses import replace
from typing import NamedTuple

from fairway.config.corefile_settings import ForwardSettings, UpstreamAddress
from fairway.dns.forward import UpstreamError
from fairway.values.errors import FairwayError
from fairway.values.rrtypes import QR, TC
from fairway.wire.dns_message import HEADER, Message, read_message, read_question, write_message

MAX_IDLE = 16
"""TCP or TLS connections kept for later."""


class _Kept(NamedTuple):
    """A connection for later: since when it is idle, and since when it is there at all."""

    idle: float
    opened: float
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class NetworkUpstream:
    """Asks one server over the network."""

    def __init__(
        self, address: UpstreamAddress, settings: ForwardSettings, context: ssl.SSLContext | None = None
    ) -> None:
        self.address = address
        self._settings = settings
        self._context = context
        self._idle: list[_Kept] = []

    @property
    def name(self) -> str:
        host = f"[{self.address.host}]" if ":" in self.address.host else self.address.host
        return f"{'tls://' if self.address.is_tls else ''}{host}:{self.address.port}"

    async def exchange(self, query: Message, *, stream: bool, seconds: float) -> Message:
        """Ask once. Raises UpstreamError."""
        query = replace(query, id=secrets.randbelow(65536))
        # A task of its own: the caller may be driven outside of one until it first waits.
        if stream or self.address.is_tls:
            return await asyncio.ensure_future(self._over_stream(query, seconds))
        return await self._over_udp(query, seconds)

    # -- UDP

    async def _over_udp(self, query: Message, seconds: float) -> Message:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self.address.host else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise UpstreamError(f"{self.name}: {error.strerror}") from None
        answered: asyncio.Future[Message] = loop.create_future()

        def readable() -> None:
            try:
                data = sock.recv(65535)
            except BlockingIOError:
                return
            except OSError as error:
                _fail(answered, UpstreamError(f"{self.name}: {error.strerror}"))
                return
            message = _matching(data, query)
            if message is not None and not answered.done():
                answered.set_result(message)

        timer = loop.call_later(
            seconds, lambda: _fail(answered, UpstreamError(f"{self.name}: no answer in {seconds:g} s"))
        )
        try:
            if self._settings.source:
                sock.bind((self._settings.source, 0))
            sock.connect((self.address.host, self.address.port))
            loop.add_reader(sock.fileno(), readable)
            sock.send(write_message(query))
            return await answered
        except OSError as error:
            raise UpstreamError(f"{self.name}: {error.strerror}") from None
        finally:
            timer.cancel()
            loop.remove_reader(sock.fileno())
            sock.close()

    # -- TCP and TLS

    async def _over_stream(self, query: Message, seconds: float) -> Message:
        try:
            async with asyncio.timeout(seconds):
                return await self._ask_stream(query)
        except TimeoutError:
            raise UpstreamError(f"{self.name}: no answer in {seconds:g} s") from None
        except (OSError, EOFError, ssl.SSLError) as error:
            raise UpstreamError(f"{self.name}: {error}") from None

    async def _ask_stream(self, query: Message) -> Message:
        kept = self._take_idle()
        if kept is not None:
            # The server may have closed a kept connection meanwhile: that is no failure of the server.
            with contextlib.suppress(OSError, EOFError, ssl.SSLError):
                return await self._converse(kept, query)
        context = self._context if self.address.is_tls else None
        name = (self.address.server_name or self.address.host) if context else None
        reader, writer = await asyncio.open_connection(
            self.address.host,
            self.address.port,
            ssl=context,
            server_hostname=name,
            local_addr=(self._settings.source, 0) if self._settings.source else None,
        )
        now = time.monotonic()
        return await self._converse(_Kept(now, now, reader, writer), query)

    async def _converse(self, connection: _Kept, query: Message) -> Message:
        data, reader, writer = write_message(query), connection.reader, connection.writer
        try:
            writer.write(len(data).to_bytes(2, "big") + data)
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                message = _matching(await reader.readexactly(size), query)
                if message is not None:
                    break
        except BaseException:
            writer.close()
            raise
        if len(self._idle) < (self._settings.max_idle or MAX_IDLE):
            self._idle.append(connection._replace(idle=time.monotonic()))
        else:
            writer.close()
        return message

    def _take_idle(self) -> _Kept | None:
        settings, now = self._settings, time.monotonic()
        while self._idle:
            one = self._idle.pop()
            is_young = now - one.idle < settings.expire and not 0 < settings.max_age <= now - one.opened
            if is_young and not one.reader.at_eof() and not one.writer.is_closing():
                return one
            one.writer.close()
        return None

    def close(self) -> None:
        """End all kept connections."""
        for one in self._idle:
            one.writer.close()
        self._idle.clear()


def _fail(answered: asyncio.Future[Message], error: Exception) -> None:
    if not answered.done():
        answered.set_exception(error)


def _matching(data: bytes, query: Message) -> Message | None:
    """The answer to the query, or None for anything else that came. An answer cut short by its sender is still one."""
    if len(data) < HEADER.size or int.from_bytes(data[:2], "big") != query.id or not data[2] & 0x80:
        return None
    try:
        message = read_message(data)
    except FairwayError:
        return _truncated(data, query)
    asked = query.question
    if message.question is None or asked is None:
        return message if not message.answer else None
    same = message.question.name.lower() == asked.name.lower() and message.question.type == asked.type
    return message if same else None


def _truncated(data: bytes, query: Message) -> Message | None:
    flags = int.from_bytes(data[2:4], "big")
    if not flags & TC:
        return None
    try:
        question, _ = read_question(data)
    except FairwayError:
        return None
    is_ours = query.question is not None and question.name.lower() == query.question.name.lower()
    return Message(query.id, flags | QR, question) if is_ours else None
