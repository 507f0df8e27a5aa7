"""SPDY/3.1 frames, as kubectl still speaks them for exec and port-forward; both ends.

Decides how frames look; refuses to know what streams are for. Header blocks share one zlib state for each direction,
so frames must be encoded in the order in which they are sent.
"""

from __future__ import annotations

import enum
import struct
import zlib
from typing import NamedTuple

# The dictionary of SPDY/3 (section 2.6.10.1): words with their lengths, then numbers and dates as they are.
_WORDS = (
    "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|"
    "accept-ranges|age|allow|authorization|cache-control|connection|content-base|content-encoding|"
    "content-language|content-length|content-location|content-md5|content-range|content-type|date|etag|"
    "expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|"
    "last-modified|location|max-forwards|pragma|proxy-authenticate|proxy-authorization|range|referer|"
    "retry-after|server|te|trailer|transfer-encoding|upgrade|user-agent|vary|via|warning|"
    "www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|keep-alive|origin"
)

_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Au"
    "thoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidd"
    "en404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr Ma"
    "y Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,imag"
    "e/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicpri"
    "vatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)

DICTIONARY = b"".join(len(w).to_bytes(4, "big") + w.encode() for w in _WORDS.split("|")) + _TAIL.encode()

MOST_FRAME = 1 << 20
FIN = 0x01


class SpdyError(ValueError):
    """The peer broke the protocol."""


class Kind(enum.IntEnum):
    """Control frames; DATA is ours, it has no number on the wire."""

    DATA = 0
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class Frame(NamedTuple):
    """One frame. `number` is a ping's id, a reset's status or a window's increase."""

    kind: Kind
    stream: int = 0
    flags: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    data: bytes = b""
    number: int = 0

    @property
    def is_last(self) -> bool:
        return bool(self.flags & FIN)

    def header(self, name: str) -> str:
        return next((v for k, v in self.headers if k == name), "")


class Codec:
    """One connection's state: header compression each way, and what has not come whole yet."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._buffer = bytearray()

    # ---- out --------------------------------------------------------------------------------------------------
    def encode(self, frame: Frame) -> bytes:
        stream = struct.pack(">I", frame.stream)
        match frame.kind:
            case Kind.DATA:
                return stream + self._size(frame.flags, len(frame.data)) + frame.data
            case Kind.SYN_STREAM:
                body = stream + b"\0\0\0\0\0\0" + self._pack(frame.headers)
            case Kind.SYN_REPLY | Kind.HEADERS:
                body = stream + self._pack(frame.headers)
            case Kind.RST_STREAM | Kind.WINDOW_UPDATE:
                body = stream + struct.pack(">I", frame.number)
            case Kind.GOAWAY:
                body = stream + struct.pack(">I", frame.number)
            case Kind.PING:
                body = struct.pack(">I", frame.number)
            case _:
                body = struct.pack(">I", 0)
        return struct.pack(">HH", 0x8003, frame.kind) + self._size(frame.flags, len(body)) + body

    @staticmethod
    def _size(flags: int, size: int) -> bytes:
        return struct.pack(">I", flags << 24 | size)

    def _pack(self, headers: tuple[tuple[str, str], ...]) -> bytes:
        block = struct.pack(">I", len(headers))
        for name, value in headers:
            for text in (name.lower().encode(), value.encode()):
                block += struct.pack(">I", len(text)) + text
        return self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    # ---- in ---------------------------------------------------------------------------------------------------
    def feed(self, data: bytes) -> list[Frame]:
        """All frames that are whole now; unknown control frames are passed over."""
        self._buffer += data
        out: list[Frame] = []
        while len(self._buffer) >= 8:
            size = int.from_bytes(self._buffer[5:8], "big")
            if size > MOST_FRAME:
                raise SpdyError("frame too large")
            if len(self._buffer) < 8 + size:
                break
            head, body = bytes(self._buffer[:8]), bytes(self._buffer[8 : 8 + size])
            del self._buffer[: 8 + size]
            frame = self._frame(head, body)
            if frame is not None:
                out.append(frame)
        return out

    def _frame(self, head: bytes, body: bytes) -> Frame | None:
        first, flags = struct.unpack(">I", head[:4])[0], head[4]
        if not first & 0x80000000:
            return Frame(Kind.DATA, first & 0x7FFFFFFF, flags, data=body)
        if first >> 16 != 0x8003:
            raise SpdyError("not SPDY/3")
        try:
            kind = Kind(first & 0xFFFF)
        except ValueError:
            return None
        if kind is Kind.SETTINGS:
            return None
        try:
            return self._control(kind, flags, body)
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyError(f"{kind.name}: {error}") from None

    def _control(self, kind: Kind, flags: int, body: bytes) -> Frame:
        stream = struct.unpack_from(">I", body)[0] & 0x7FFFFFFF
        if kind is Kind.PING:
            return Frame(kind, 0, flags, number=struct.unpack_from(">I", body)[0])
        if kind is Kind.SYN_STREAM:
            return Frame(kind, stream, flags, self._unpack(body[10:]))
        if kind in (Kind.SYN_REPLY, Kind.HEADERS):
            return Frame(kind, stream, flags, self._unpack(body[4:]))
        return Frame(kind, stream, flags, number=struct.unpack_from(">I", body, 4)[0])

    def _unpack(self, data: bytes) -> tuple[tuple[str, str], ...]:
        block = self._inflate.decompress(data, MOST_FRAME)
        count, at = struct.unpack_from(">I", block)[0], 4
        texts: list[str] = []
        for _ in range(2 * count):
            size = struct.unpack_from(">I", block, at)[0]
            texts.append(block[at + 4 : at + 4 + size].decode())
            at += 4 + size
        return tuple(zip(texts[::2], texts[1::2], strict=True))
