"""Protobuf bodies, with a table of messages of its own; the API's table is tested with kubectl's recorded bodies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.wire.protobuf import MAGIC, Message, MessageField, ProtobufError, decode_message, decode_object, fields

PORT: Message = {
    1: MessageField("name", "s", None, None),
    3: MessageField("port", "i", None, None),
    4: MessageField("targetPort", "intorstr", None, None),
}
SPEC: Message = {
    1: MessageField("ports", "list", None, MessageField("ports", "struct", PORT, None)),
    2: MessageField("selector", "map", None, MessageField("selector", "s", None, None)),
    5: MessageField("at", "time", None, None),
    6: MessageField("data", "y", None, None),
    7: MessageField("on", "b", None, None),
    8: MessageField("", "struct", {1: MessageField("inlined", "s", None, None)}, None),
    9: MessageField("share", "quantity", None, None),
}


def number(tag: int, value: int) -> bytes:
    return varint(tag << 3) + varint(value)


def text(tag: int, value: bytes) -> bytes:
    return varint(tag << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (text(1, text(1, b"a") + number(3, 80)), {"ports": [{"name": "a", "port": 80}]}),
        (text(1, number(3, -1)), {"ports": [{"port": -1}]}),
        (text(1, text(4, number(1, 1) + text(3, b"http"))), {"ports": [{"targetPort": "http"}]}),
        (text(1, text(4, number(2, 8080))), {"ports": [{"targetPort": 8080}]}),
        (text(2, text(1, b"k") + text(2, b"v")) + text(2, text(1, b"e")), {"selector": {"k": "v", "e": ""}}),
        (text(5, number(1, 1_700_000_000)), {"at": "2023-11-14T22:13:20Z"}),
        (text(6, b"\x00\x01"), {"data": "AAE="}),
        (number(7, 1), {"on": True}),
        (text(8, text(1, b"x")), {"inlined": "x"}),
        (text(9, text(1, b"500m")), {"share": "500m"}),
        (text(99, b"unknown") + number(98, 5), {}),
    ],
)
def test_values_become_json(raw: bytes, wanted: dict[str, object]) -> None:
    assert decode_message(raw, SPEC) == wanted


def test_envelope_names_the_kind() -> None:
    meta = text(1, b"v1") + text(2, b"Thing")
    body = MAGIC + text(1, meta) + text(2, number(7, 1))

    assert decode_object(body, lambda *_: SPEC) == {"apiVersion": "v1", "kind": "Thing", "on": True}


@pytest.mark.parametrize("body", [b"", b"{}", MAGIC[:3], b"k8s\x01"])
def test_body_without_the_prefix_is_refused(body: bytes) -> None:
    with pytest.raises(ProtobufError, match="expected prefix"):
        decode_object(body, lambda *_: SPEC)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ProtobufError, match='no kind "Thing"'):
        decode_object(MAGIC + text(1, text(2, b"Thing")), lambda *_: None)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    try:
        decode_message(data, SPEC)
        list(fields(data))
    except ProtobufError:
        pass
