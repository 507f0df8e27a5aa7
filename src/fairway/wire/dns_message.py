"""DNS messages: bytes to `Message` and back, with compression and truncation.

Decides what is a well-formed message and how a reply is cut to a size. Refuses to know what an answer should be.
Records carry their rdata as uncompressed wire bytes, so that most of them pass through without being looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fairway.values.domain import MAX_NAME, ROOT, Name
from fairway.values.errors import FairwayError
from fairway.values.rrtypes import CLASS_IN, DO, TC, RRType

HEADER = struct.Struct("!6H")
_FIXED = struct.Struct("!HHIH")
_QUESTION = struct.Struct("!HH")
MIN_UDP = 512
MAX_MESSAGE = 65535

# Where domain names stand in the rdata of the types of RFC 1035 (and SRV, whose target is never compressed on output
# but is by some old servers): bytes before the first name, number of names, bytes after.
_NAMES_IN: dict[int, tuple[int, int, int]] = {
    RRType.NS: (0, 1, 0),
    RRType.CNAME: (0, 1, 0),
    RRType.PTR: (0, 1, 0),
    RRType.MX: (2, 1, 0),
    RRType.SOA: (0, 2, 20),
    RRType.SRV: (6, 1, 0),
    39: (0, 1, 0),  # DNAME
    17: (0, 2, 0),  # RP
    18: (2, 1, 0),  # AFSDB
}
_COMPRESSIBLE = frozenset((RRType.NS, RRType.CNAME, RRType.PTR, RRType.MX, RRType.SOA))


class MalformedMessageError(FairwayError):
    """The bytes are no DNS message."""


class Record(NamedTuple):
    """One resource record; names in `rdata` are not compressed."""

    name: Name
    type: int
    ttl: int
    rdata: bytes
    rclass: int = CLASS_IN


class Question(NamedTuple):
    """Name as it was spelt, type and class."""

    name: Name
    type: int
    rclass: int = CLASS_IN


class Edns(NamedTuple):
    """An OPT record (RFC 6891)."""

    size: int = 1232
    do: bool = False
    version: int = 0
    options: tuple[tuple[int, bytes], ...] = ()
    extended_rcode: int = 0


@dataclass(slots=True)
class Message:
    """A whole message. `flags` is the header's second word with the lower four bits of the response code."""

    id: int = 0
    flags: int = 0
    question: Question | None = None
    answer: list[Record] = field(default_factory=list)
    authority: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)
    edns: Edns | None = None

    @property
    def rcode(self) -> int:
        """With the upper bits that EDNS carries."""
        return self.flags & 15 | (self.edns.extended_rcode << 4 if self.edns else 0)

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 15


# -- reading


def read_name(data: bytes, at: int) -> tuple[Name, int]:
    """The name at an offset, decompressed, and where what follows it begins. Raises MalformedMessageError."""
    parts: list[bytes] = []
    size, end, lowest = 1, 0, at
    try:
        while length := data[at]:
            if length < 64:
                size += length + 1
                if size > MAX_NAME or at + length >= len(data):
                    raise MalformedMessageError("a name that is too long or cut short")
                parts.append(data[at : at + length + 1])
                at += length + 1
            elif length >= 0xC0:
                target = (length & 0x3F) << 8 | data[at + 1]
                if target >= lowest:  # only backwards, so that no chain of pointers can loop
                    raise MalformedMessageError("a compression pointer that does not point back")
                end = end or at + 2
                at = lowest = target
            else:
                raise MalformedMessageError(f"a label of type {length:#x}")
    except IndexError:
        raise MalformedMessageError("a name that is cut short") from None
    parts.append(ROOT)
    return b"".join(parts), end or at + 1


def read_question(data: bytes, at: int = HEADER.size) -> tuple[Question, int]:
    """The question at an offset and where what follows it begins. Raises MalformedMessageError."""
    name, at = read_name(data, at)
    if at + 4 > len(data):
        raise MalformedMessageError("a question that is cut short")
    rtype, rclass = _QUESTION.unpack_from(data, at)
    return Question(name, rtype, rclass), at + 4


def read_message(data: bytes) -> Message:
    """Read a whole message; bytes after it are ignored. Raises MalformedMessageError."""
    if len(data) < HEADER.size:
        raise MalformedMessageError("shorter than a header")
    number, flags, questions, *counts = HEADER.unpack_from(data)
    message, at = Message(number, flags), HEADER.size
    for _ in range(questions):
        message.question, at = read_question(data, at)
    for section, count in zip((message.answer, message.authority, message.additional), counts, strict=True):
        for _ in range(count):
            record, at = _read_record(data, at)
            if record.type == RRType.OPT:
                message.edns = message.edns or _read_edns(record)
            else:
                section.append(record)
    return message


def _read_record(data: bytes, at: int) -> tuple[Record, int]:
    name, at = read_name(data, at)
    if at + 10 > len(data):
        raise MalformedMessageError("a record that is cut short")
    rtype, rclass, ttl, length = _FIXED.unpack_from(data, at)
    at += 10
    end = at + length
    if end > len(data):
        raise MalformedMessageError("a record that is longer than the message")
    layout = _NAMES_IN.get(rtype)
    rdata = data[at:end] if layout is None or not length else _plain_rdata(data, at, end, layout)
    return Record(name, rtype, ttl, rdata, rclass), end


def _plain_rdata(data: bytes, at: int, end: int, layout: tuple[int, int, int]) -> bytes:
    before, names, after = layout
    parts = [data[at : at + before]]
    at += before
    for _ in range(names):
        name, at = read_name(data, at)
        parts.append(name)
    if at + after != end:
        raise MalformedMessageError("rdata whose length does not fit its type")
    parts.append(data[at:end])
    return b"".join(parts)


def _read_edns(record: Record) -> Edns:
    options, at, rdata = [], 0, record.rdata
    while at + 4 <= len(rdata):
        code, length = _QUESTION.unpack_from(rdata, at)
        if at + 4 + length > len(rdata):
            raise MalformedMessageError("an EDNS option that is cut short")
        options.append((code, rdata[at + 4 : at + 4 + length]))
        at += 4 + length
    if at != len(rdata):
        raise MalformedMessageError("bytes after the last EDNS option")
    return Edns(record.rclass, bool(record.ttl & DO), record.ttl >> 16 & 255, tuple(options), record.ttl >> 24)


# -- writing


class _Writer:
    """Bytes of a message, with the places of names that later ones can point to."""

    def __init__(self, head: bytes) -> None:
        self.data = bytearray(head)
        self.places: dict[bytes, int] = {}

    def name(self, name: Name) -> None:
        at = 0
        while name[at]:
            suffix = name[at:]
            place = self.places.get(suffix)
            if place is not None:
                self.data += (0xC000 | place).to_bytes(2, "big")
                return
            if len(self.data) < 0x4000:
                self.places[suffix] = len(self.data)
            self.data += name[at : at + name[at] + 1]
            at += name[at] + 1
        self.data.append(0)

    def record(self, record: Record) -> None:
        self.name(record.name)
        self.data += _FIXED.pack(record.type, record.rclass, record.ttl, len(record.rdata))
        if record.type not in _COMPRESSIBLE:
            if record.type == RRType.SRV:
                self._note_places(record.rdata, 6)
            self.data += record.rdata
            return
        start = len(self.data)
        before, names, _after = _NAMES_IN[record.type]
        rdata, at = record.rdata, before
        self.data += rdata[:before]
        for _ in range(names):
            end = _end_of_name(rdata, at)
            self.name(rdata[at:end])
            at = end
        self.data += rdata[at:]
        self.data[start - 2 : start] = (len(self.data) - start).to_bytes(2, "big")

    def _note_places(self, rdata: bytes, at: int) -> None:
        """A SRV target must stand in full (RFC 2782), but later names may point into it: that is most of its glue."""
        start = len(self.data)
        while at < len(rdata) and rdata[at] and start + at < 0x4000:
            self.places.setdefault(rdata[at:], start + at)
            at += rdata[at] + 1

    def undo(self, size: int) -> None:
        del self.data[size:]
        self.places = {name: place for name, place in self.places.items() if place < size}


def _end_of_name(data: bytes, at: int) -> int:
    while data[at]:
        at += data[at] + 1
    return at + 1


def write_edns(edns: Edns) -> bytes:
    """The OPT record, as it stands in the additional section."""
    rdata = b"".join(_QUESTION.pack(code, len(value)) + value for code, value in edns.options)
    ttl = edns.extended_rcode << 24 | edns.version << 16 | (DO if edns.do else 0)
    return b"\0" + _FIXED.pack(RRType.OPT, edns.size, ttl, len(rdata)) + rdata


def write_message(message: Message, limit: int = MAX_MESSAGE, *, points_to_question: bool = True) -> bytes:
    """The message in at most `limit` bytes: records that do not fit are left out whole, from the first on that does
    not, and TC says so (RFC 2181, section 9). The OPT record is never left out. Where no record's name may point to
    the question's, that one can be spelt anew afterwards."""
    edns = write_edns(message.edns) if message.edns else b""
    writer = _Writer(bytes(HEADER.size))
    if message.question is not None:
        writer.name(message.question.name)
        if not points_to_question:
            writer.places.clear()
        writer.data += _QUESTION.pack(message.question.type, message.question.rclass)
    room, flags = limit - len(edns), message.flags
    counts, is_cut = [], False
    for section in (message.answer, message.authority, message.additional):
        written = 0 if is_cut else _write_section(writer, section, room)
        is_cut = is_cut or written < len(section)
        counts.append(written)
    if is_cut:
        flags |= TC
    writer.data += edns
    answer, authority, additional = counts
    questions = 1 if message.question is not None else 0
    HEADER.pack_into(writer.data, 0, message.id, flags, questions, answer, authority, additional + (1 if edns else 0))
    return bytes(writer.data)


def _write_section(writer: _Writer, section: Sequence[Record], room: int) -> int:
    for count, record in enumerate(section):
        size = len(writer.data)
        writer.record(record)
        if len(writer.data) > room:
            writer.undo(size)
            return count
    return len(section)


# -- rdata of the common types


def a_or_aaaa(name: Name, address: bytes, ttl: int) -> Record:
    """The address record of a packed address."""
    return Record(name, RRType.A if len(address) == 4 else RRType.AAAA, ttl, address)


def srv_rdata(weight: int, port: int, target: Name, priority: int = 0) -> bytes:
    return struct.pack("!HHH", priority, weight, port) + target


def soa_rdata(mname: Name, rname: Name, numbers: Iterable[int]) -> bytes:
    """`numbers`: serial, refresh, retry, expire, minimum."""
    return mname + rname + struct.pack("!5I", *numbers)


def txt_rdata(text: bytes) -> bytes:
    """One TXT record's strings, each at most 255 bytes."""
    pieces = [text[i : i + 255] for i in range(0, len(text), 255)] or [b""]
    return b"".join(bytes((len(p),)) + p for p in pieces)


def soa_serial(rdata: bytes) -> int:
    """Of a SOA record."""
    return int(struct.unpack_from("!I", rdata, len(rdata) - 20)[0])


def soa_minimum(rdata: bytes) -> int:
    """Of a SOA record: how long its absence may be believed (RFC 2308)."""
    return int(struct.unpack_from("!I", rdata, len(rdata) - 4)[0])
