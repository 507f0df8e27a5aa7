"""One gRPC call, grpc.health.v1.Health/Check, as HTTP/2 frames (RFC 9113): the request's bytes, the answer's meaning.

Enough of HTTP/2 for one stream: headers go out as literals (RFC 7541, 6.2.2), and of the answer only DATA is looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 1, 1, 4, 8
_LARGEST: Final = 1 << 20


class Reply(Enum):
    """`HealthCheckResponse.ServingStatus`, and an answer without one: a refusal in the trailers."""

    UNKNOWN = "UNKNOWN"
    SERVING = "SERVING"
    NOT_SERVING = "NOT_SERVING"
    SERVICE_UNKNOWN = "SERVICE_UNKNOWN"
    REFUSED = "REFUSED"


_NUMBERS: Final = {0: Reply.UNKNOWN, 1: Reply.SERVING, 2: Reply.NOT_SERVING, 3: Reply.SERVICE_UNKNOWN}


def health_request(authority: str, service: str) -> bytes:
    """All that the client sends: preface, settings, the one request."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
        "user-agent": "kube-probe/1.36",
    }
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in headers.items())
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    body = b"\0" + struct.pack(">I", len(message)) + message
    return (
        PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, block)
        + _frame(_DATA, _END_STREAM, 1, body)
    )


async def read_reply(read: Callable[[int], Awaitable[bytes]], write: Callable[[bytes], object]) -> Reply:
    """Read frames until the answer is known. Raises ValueError for what is no HTTP/2."""
    body = b""
    while True:
        head = await read(9)
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        if size > _LARGEST:
            raise ValueError("the server does not speak HTTP/2")
        payload = await read(size)
        if kind == _SETTINGS and not flags & _ACK:
            write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            write(_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA:
            body += payload[1 : size - payload[0]] if flags & _PADDED else payload
        if kind in (_RST_STREAM, _GOAWAY) or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            return _status(body)


def _status(body: bytes) -> Reply:
    """Of a length-prefixed HealthCheckResponse; the zero value is not on the wire."""
    if len(body) < 5:
        return Reply.REFUSED
    message = body[5:]
    return _NUMBERS.get(message[1] if len(message) > 1 and message[0] == 0x08 else 0, Reply.UNKNOWN)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _text(value: str) -> bytes:
    """A string of HPACK, not compressed: 7-bit prefix length."""
    data = value.encode()
    if len(data) < 127:
        return bytes((len(data),)) + data
    return b"\x7f" + _varint(len(data) - 127) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
