"""Protobuf of API objects (kubectl's request bodies): the envelope and messages, by the field numbers of a table.

Decides how wire types become JSON values; the table of messages is handed in, so that this folder knows no kind.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]
MAGIC = b"k8s\0"


class ProtobufError(ValueError):
    """The bytes are no such message."""


class MessageField(NamedTuple):
    """One field of a message: its JSON name (empty: inlined), the code of its type, what is below."""

    name: str
    code: str  # s i l b f y time microtime duration quantity intorstr json struct list map sparse choice
    below: Message | None
    item: MessageField | None


Message = dict[int, MessageField]
Table = Callable[[str, str], Message | None]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ProtobufError("unexpected EOF")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field; numbers for wire types 0, 1 and 5, bytes for 2."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            size, at = _varint(data, at)
        if size is None or at + size > len(data):
            raise ProtobufError("unexpected EOF")
        raw = data[at : at + size]
        at += size
        yield number, raw if wire == 2 else int.from_bytes(raw, "little")


def decode_object(body: bytes, table: Table) -> Json:
    """An enveloped object, with apiVersion and kind."""
    if not body.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    api_version = kind = ""
    raw = b""
    for number, value in fields(body[4:]):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            meta = {n: v for n, v in fields(value) if isinstance(v, bytes)}
            api_version, kind = meta.get(1, b"").decode(), meta.get(2, b"").decode()
        elif number == 2:
            raw = value
    message = table(api_version, kind)
    if message is None:
        raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}"')
    return {"apiVersion": api_version, "kind": kind, **decode_message(raw, message)}


def decode_message(data: bytes, message: Message) -> Json:
    out: Json = {}
    for number, value in fields(data):
        field = message.get(number)
        if field is None:
            continue
        if field.code == "list":
            assert field.item is not None
            out.setdefault(field.name, []).append(_value(value, field.item))
        elif field.code == "map":
            assert field.item is not None
            key, item = _map_entry(value, field.item)
            out.setdefault(field.name, {})[key] = item
        elif not field.name:
            out.update(_value(value, field))
        else:
            out[field.name] = _value(value, field)
    return out


def _map_entry(value: int | bytes, item: MessageField) -> tuple[str, Any]:
    if not isinstance(value, bytes):
        raise ProtobufError("proto: wrong wire type of a map")
    pair = dict(fields(value))
    key = pair.get(1, b"")
    missing: int | bytes = 0 if item.code in ("i", "l", "b") else b""
    return (key.decode() if isinstance(key, bytes) else str(key)), _value(pair.get(2, missing), item)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _value(value: int | bytes, field: MessageField) -> Any:
    code = field.code
    if code in ("i", "l"):
        return _signed(_number(value))
    if code == "b":
        return bool(_number(value))
    if code == "f":
        import struct

        return struct.unpack("<d", _number(value).to_bytes(8, "little"))[0]
    if not isinstance(value, bytes):
        raise ProtobufError("proto: wrong wire type")
    if code == "s":
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ProtobufError("proto: invalid UTF-8 in a string") from None
    if code == "y":
        return base64.b64encode(value).decode()
    if code == "struct":
        assert field.below is not None
        return decode_message(value, field.below)
    if code in ("sparse", "choice"):
        return _loose(value, field)
    return _special(value, code)


def _loose(data: bytes, field: MessageField) -> Any:
    """`sparse`: a message whose empty texts and false flags mean nothing. `choice`: the last field that is set."""
    assert field.below is not None
    found = decode_message(data, field.below)
    if field.code == "choice":
        return next(reversed(found.values()), None)
    plain = {f.name for f in field.below.values() if f.code in ("s", "b")}
    return {k: v for k, v in found.items() if v or k not in plain}


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ProtobufError("proto: wrong wire type of a number")
    return value


def _special(data: bytes, code: str) -> Any:
    parts = dict(fields(data))
    if code in ("time", "microtime"):
        return _time(parts, code)
    if code == "intorstr":
        text = parts.get(3, b"")
        return text.decode() if parts.get(1) and isinstance(text, bytes) else _signed(_number(parts.get(2, 0)))
    if code == "quantity":
        text = parts.get(1, b"")
        return text.decode() if isinstance(text, bytes) else "0"
    if code == "duration":
        return f"{_signed(_number(parts.get(1, 0))) / 1e9:g}s"
    import msgspec

    raw = parts.get(1, b"")
    try:
        return msgspec.json.decode(raw) if isinstance(raw, bytes) and raw else {}
    except msgspec.DecodeError as error:
        raise ProtobufError(str(error)) from None


def _time(parts: dict[int, int | bytes], code: str) -> str | None:
    if not parts:
        return None
    seconds, nanos = _signed(_number(parts.get(1, 0))), _number(parts.get(2, 0))
    try:
        instant = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
    except OverflowError:
        raise ProtobufError("proto: time out of range") from None
    text = instant.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{nanos // 1000:06d}Z" if code == "microtime" else f"{text}Z"
