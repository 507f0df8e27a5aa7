"""One server to forward to: by UDP, and by TCP or TLS with kept connections.

Answers are matched by id and question, on a connected socket with a random port and id, so that nobody off the path
can slip one in (RFC 5452). Which upstream to ask, and what a failure means, is `fairway.dns.forward`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import sys
import time
from collections.abc import Hashable
from typing import NamedTuple

from fairway.config.corefile_settings import ForwardSettings, UpstreamAddress
from fairway.dns.forward import UpstreamError
from fairway.io.dns.upstream_udp import UdpSockets
from fairway.values.errors import FairwayError
from fairway.values.rrtypes import QR, TC, RRType
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
        self._under_way: dict[Hashable, list[asyncio.Future[Message]]] = {}
        """What is being asked, and who else waits for it."""
        self._udp = UdpSockets[Message]((address.host, address.port), settings.source, self.name)

    @property
    def name(self) -> str:
        host = f"[{self.address.host}]" if ":" in self.address.host else self.address.host
        return f"{'tls://' if self.address.is_tls else ''}{host}:{self.address.port}"

    async def exchange(self, query: Message, *, stream: bool, seconds: float) -> Message:
        """Ask once; who asks what is being asked already waits for the same answer. Raises UpstreamError.

        A popular name whose answer is over is thus fetched once, not once for every client: that keeps the burst away
        from upstream, and from whoever would guess the id of one of many like questions (RFC 5452, section 5).
        """
        if query.question is not None and query.question.type == RRType.HINFO:
            # The `loop` plugin's: it has to come back to us as often as it is sent in a circle.
            return await self._ask(query, stream=stream, seconds=seconds)
        key = (query.question, query.flags, query.edns, stream)
        others = self._under_way.get(key)
        if others is not None:
            others.append(asyncio.get_running_loop().create_future())
            return await others[-1]
        others = self._under_way[key] = []
        outcome: Message | str = f"{self.name}: given up"
        try:
            outcome = await self._ask(query, stream=stream, seconds=seconds)
        except UpstreamError as error:
            outcome = str(error)
            raise
        finally:
            del self._under_way[key]
            for one in others:
                _settle(one, outcome)
        return outcome

    async def _ask(self, query: Message, *, stream: bool, seconds: float) -> Message:
        # What a query is made of; `replace` would cost more than sending it.
        number = int.from_bytes(secrets.token_bytes(2), sys.byteorder)
        query = Message(number, query.flags, query.question, edns=query.edns)
        # A task of its own: the caller may be driven outside of one until it first waits.
        if stream or self.address.is_tls:
            return await asyncio.ensure_future(self._over_stream(query, seconds))
        return await self._over_udp(query, seconds)

    # -- UDP

    async def _over_udp(self, query: Message, seconds: float) -> Message:
        return await self._udp.ask(write_message(query), lambda data: _matching(data, query), seconds)

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
        self._udp.close()


def _settle(waiting: asyncio.Future[Message], outcome: Message | str) -> None:
    if waiting.done():
        return  # who waited has gone
    if isinstance(outcome, str):
        waiting.set_exception(UpstreamError(outcome))
        return
    # Each has lists of their own, since plugins put records into them.
    sections = list(outcome.answer), list(outcome.authority), list(outcome.additional)
    waiting.set_result(Message(outcome.id, outcome.flags, outcome.question, *sections, outcome.edns))


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
