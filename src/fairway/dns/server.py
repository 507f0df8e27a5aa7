"""Bytes of a query → bytes of its answer: what is malformed, which server block answers, and how the reply looks.

Decides acceptance (FORMERR, NOTIMP, silence), EDNS, class and zone. What a name means is the plugins' business. Pure:
a coroutine that waits only where a plugin waits for an upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from fairway.dns.model import Handler, Reply, Request, Transport, refusal
from fairway.dns.records import Resolved
from fairway.values.domain import ROOT, Name, suffixes
from fairway.values.rrtypes import AA, AD, CD, CLASS_IN, QR, RA, RD, TC, Opcode, Rcode, RRType
from fairway.wire.dns_message import (
    HEADER,
    MAX_MESSAGE,
    Edns,
    MalformedMessageError,
    Message,
    Question,
    read_message,
    write_message,
)

MAX_DEPTH = 9
"""Names that point to names that point to … through the whole server."""


class Peer(NamedTuple):
    """Who asks, and where it came in. Addresses are packed, IPv4 as 4 bytes."""

    transport: Transport = Transport.UDP
    client: bytes = b"\x7f\0\0\1"
    client_port: int = 0
    local: bytes = b"\x7f\0\0\1"
    local_port: int = 53


class Observer(Protocol):
    """Hears of every answer: metrics."""

    def answered(self, labels: tuple[str, str], request: Request, reply: Reply, size: int, seconds: float) -> None:
        """Labels: server (`dns://:53`) and zone, as CoreDNS' metrics call them; size is that of the reply."""
        ...


class Block(NamedTuple):
    """A server block as it answers: its first plugin, and how metrics call it."""

    zone: Name
    chain: Handler | None
    label: str
    takes_classes: bool = False
    """A plugin wants questions of other classes than IN: then all blocks of the address get them, as with CoreDNS."""


class Server:
    """All server blocks that share one listening address."""

    def __init__(
        self,
        label: str,
        blocks: Sequence[Block],
        observers: Sequence[Observer] = (),
        now: Callable[[], float] = lambda: 0.0,
        options: frozenset[int] = frozenset(),
    ) -> None:
        self.label = label
        self._blocks = {block.zone: block for block in blocks}
        self._takes_classes = any(block.takes_classes for block in blocks)
        self._observers = observers
        self._now = now
        self._options = options
        """EDNS options that a plugin knows: the only ones that are sent back as they came."""
        self.report: Callable[[Request, Exception], None] = lambda _request, error: _raise(error)

    async def answer(self, data: bytes, peer: Peer) -> list[bytes]:
        """Messages to send back: none for what is to be ignored, several only for a zone transfer."""
        if len(data) < HEADER.size or data[2] & 0x80:
            return []
        refused = refuse(data)
        if refused is not None:
            return [refused]
        try:
            message = read_message(data)
        except MalformedMessageError:
            return [_header_only(data, Rcode.FORMERR, Opcode.QUERY)]
        request, start = _request(message, peer, len(data)), self._now()
        block = self._block(request)
        reply = await self._reply(request, block)
        written = self._written(message, request, reply)
        labels, size = (self.label, block.label if block else "dropped"), sum(map(len, written))
        seconds = self._now() - start
        for observer in self._observers:
            observer.answered(labels, request, reply, size, seconds)
        return written

    async def _reply(self, request: Request, block: Block | None) -> Reply:
        """The reply to a request, refused if nobody serves its zone."""
        if request.rclass != CLASS_IN and not self._takes_classes:
            return refusal(Rcode.REFUSED)
        if request.edns is not None and request.edns.version:
            return refusal(Rcode.BADVERS)
        if block is None or block.chain is None:
            return refusal(Rcode.REFUSED)
        try:
            return await block.chain.serve(request)
        except Exception as error:
            self.report(request, error)
            return refusal(Rcode.SERVFAIL, f"fault: {error}")

    async def resolve(self, request: Request, name: Name, rtype: int) -> Resolved:
        """Ask for a name that an answer points to, as the same client would."""
        if request.depth >= MAX_DEPTH:
            return Resolved()
        asked = replace(
            request,
            name=name,
            key=name.lower(),
            type=rtype,
            rclass=CLASS_IN,
            transport=Transport.INTERNAL,
            depth=request.depth + 1,
        )
        block = self._block(asked)
        if block is None or block.chain is None:
            return Resolved(rcode=Rcode.REFUSED)
        reply = await block.chain.serve(asked)
        return Resolved(tuple(reply.answer), reply.tc, reply.rcode)

    def _block(self, request: Request) -> Block | None:
        found: Block | None = None
        for suffix in suffixes(request.key):
            block = self._blocks.get(suffix) if suffix != ROOT else None
            if block is None:
                continue
            if request.type != RRType.DS or block.chain is None:
                return block
            # A DS record belongs to the parent: go on looking, and take this one only if there is no other.
            found = block
        return found or self._blocks.get(ROOT)

    def _written(self, message: Message, request: Request, reply: Reply) -> list[bytes]:
        if reply.rcode == DROP:
            return []
        edns = self._edns(request, reply)
        flags = _flags(request, reply)
        limit = request.limit
        first = Message(message.id, flags, message.question, reply.answer, reply.authority, reply.additional, edns)
        further = (Message(message.id, flags, message.question, records) for records in reply.stream or ())
        return [write_message(first, limit), *(write_message(one, MAX_MESSAGE) for one in further)]

    def _edns(self, request: Request, reply: Reply) -> Edns | None:
        asked = request.edns
        if asked is None:
            return None
        if reply.rcode == Rcode.BADVERS:
            return Edns(0, False, 0, (), Rcode.BADVERS >> 4)
        options = reply.options
        if options is None:
            options = tuple(option for option in asked.options if option[0] in self._options)
        return Edns(asked.size, asked.do, 0, options, reply.rcode >> 4)


DROP = -1
"""As a response code: no answer at all (`acl … drop`)."""


def refuse(data: bytes) -> bytes | None:
    """What a header alone forbids, before anything else is read."""
    _id, flags, questions, answers, authorities, additionals = HEADER.unpack_from(data)
    opcode = flags >> 11 & 15
    if opcode not in {Opcode.QUERY, Opcode.NOTIFY}:
        return _header_only(data, Rcode.NOTIMP, opcode)
    if questions != 1 or answers > 1 or authorities > 1 or additionals > 2:
        return _header_only(data, Rcode.FORMERR, Opcode.QUERY)
    return None


def read_request(data: bytes) -> Request | None:
    """The question of a query that was answered already; None for bytes that are none."""
    try:
        return _request(read_message(data), Peer(), len(data))
    except MalformedMessageError:
        return None


def _header_only(data: bytes, rcode: int, opcode: int) -> bytes:
    number, flags = HEADER.unpack_from(data)[:2]
    return HEADER.pack(number, QR | opcode << 11 | flags & (RD | CD) | rcode, 0, 0, 0, 0)


def _request(message: Message, peer: Peer, size: int) -> Request:
    question = message.question or Question(ROOT, 0, 0)
    return Request(
        question.name,
        question.name.lower(),
        question.type,
        question.rclass,
        message.id,
        message.flags,
        message.edns,
        tuple(message.authority),
        peer.transport,
        peer.client,
        peer.client_port,
        peer.local,
        peer.local_port,
        size,
    )


def _flags(request: Request, reply: Reply) -> int:
    echoed = request.flags & (RD | CD) if reply.echoed is None else reply.echoed
    flags = QR | echoed | request.opcode << 11 | reply.rcode & 15
    for bit, is_set in ((AA, reply.aa), (TC, reply.tc), (RA, reply.ra), (AD, reply.ad)):
        if is_set:
            flags |= bit
    return flags


def _raise(error: Exception) -> None:
    raise error
