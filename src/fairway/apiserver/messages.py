"""Protobuf messages of the API's types, made from the field numbers in the table of types."""

from __future__ import annotations

import functools

from fairway.apiserver.schema import INLINE, kind_types, rows
from fairway.wire.protobuf import Message, MessageField


@functools.cache
def message_of(api_version: str, kind: str) -> Message | None:
    """The message of a top-level kind."""
    key = kind_types().get((api_version, kind))
    return _message(key) if key is not None else None


_messages: dict[str, Message] = {}


def _message(key: str) -> Message:
    if key in _messages:
        return _messages[key]
    message = _messages.setdefault(key, {})
    for row in rows()[key]["fields"]:
        name, _, code, flags, number = row[:5]
        if number:
            message[number] = _field("" if flags & INLINE else name, code)
    return message


def _field(name: str, code: str) -> MessageField:
    if code[0] == "[":
        return MessageField(name, "list", None, _field(name, code[1:]))
    if code[0] == "{":
        return MessageField(name, "map", None, _field(name, code[1:]))
    if code[0] == "#":
        return MessageField(name, "struct", _message(code[1:]), None)
    return MessageField(name, code, None, None)
