"""WebSocket (RFC 6455), the server's side: handshake answer and frames; no extensions."""

from __future__ import annotations

import base64
import enum
import hashlib
from typing import NamedTuple

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MOST_PAYLOAD = 32 << 20


class Opcode(enum.IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class WebSocketError(ValueError):
    """The peer broke the protocol; the close code says how."""

    def __init__(self, message: str, code: int = 1002) -> None:
        super().__init__(message)
        self.code = code


class Message(NamedTuple):
    """A whole message, or a control frame."""

    opcode: Opcode
    payload: bytes


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324 - RFC 6455 says SHA-1


def encode(opcode: Opcode, payload: bytes) -> bytes:
    """One unmasked frame, as servers send."""
    size = len(payload)
    head = bytes([0x80 | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 1 << 16:
        return head + b"\x7e" + size.to_bytes(2, "big") + payload
    return head + b"\x7f" + size.to_bytes(8, "big") + payload


def encode_masked(opcode: Opcode, payload: bytes, mask: bytes) -> bytes:
    """One masked frame, as clients send."""
    frame = bytearray(encode(opcode, b"\0" * len(payload)))
    frame[1] |= 0x80
    start = len(frame) - len(payload)
    return bytes(frame[:start]) + mask + _unmask(payload, mask)


def close_payload(code: int, reason: str = "") -> bytes:
    return code.to_bytes(2, "big") + reason.encode()[:120]


def _unmask(data: bytes, mask: bytes) -> bytes:
    if not data:
        return b""
    long_mask = int.from_bytes((mask * (len(data) // 4 + 1))[: len(data)], "big")
    return (int.from_bytes(data, "big") ^ long_mask).to_bytes(len(data), "big")


class Decoder:
    """Bytes in, messages out; fragments are put together, control frames come between them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._opcode = Opcode.BINARY

    def feed(self, data: bytes) -> list[Message]:
        self._buffer += data
        out: list[Message] = []
        while (message := self._next()) is not None:
            if message.opcode != Opcode.CONTINUATION:
                out.append(message)
        return out

    def _next(self) -> Message | None:
        """The next frame's message; CONTINUATION stands for a fragment that is not the last."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, at = buffer[1] & 0x7F, 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            if len(buffer) < 2 + wide:
                return None
            size, at = int.from_bytes(buffer[2 : 2 + wide], "big"), 2 + wide
        if size > MOST_PAYLOAD:
            raise WebSocketError("message too large", 1009)
        if not buffer[1] & 0x80:
            raise WebSocketError("a client's frame is not masked")
        if len(buffer) < at + 4 + size:
            return None
        payload = _unmask(bytes(buffer[at + 4 : at + 4 + size]), bytes(buffer[at : at + 4]))
        first = buffer[0]
        del buffer[: at + 4 + size]
        return self._frame(first, payload)

    def _frame(self, first: int, payload: bytes) -> Message:
        if first & 0x70:
            raise WebSocketError("reserved bits are set")
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError:
            raise WebSocketError("unknown opcode") from None
        if opcode >= Opcode.CLOSE:
            if not first & 0x80 or len(payload) > 125:
                raise WebSocketError("a control frame is fragmented or too long")
            return Message(opcode, payload)
        if (opcode == Opcode.CONTINUATION) != bool(self._parts):
            raise WebSocketError("a fragment without its beginning, or a message inside another")
        if opcode != Opcode.CONTINUATION:
            self._opcode = opcode
        self._parts.append(payload)
        if not first & 0x80:
            return Message(Opcode.CONTINUATION, b"")
        whole, self._parts = b"".join(self._parts), []
        return Message(self._opcode, whole)
