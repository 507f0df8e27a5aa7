"""CustomResourceDefinitions as client-go sends them: the schema inside is a protobuf message of its own."""

from __future__ import annotations

from fairway.apiserver.messages import message_of
from fairway.wire.protobuf import decode_message


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes(_varint(number << 3)) + bytes(_varint(value))
    return bytes(_varint(number << 3 | 2)) + bytes(_varint(len(value))) + value


def _varint(value: int) -> list[int]:
    out = []
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return [*out, value]


def decoded(schema: bytes) -> object:
    """A definition's schema after the way through all the messages around it."""
    message = message_of("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    assert message is not None
    version = field(1, b"v1") + field(4, field(1, schema))
    found = decode_message(field(2, field(7, version)), message)
    return found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


EMPTY = field(1, b"") + field(5, b"object") + field(10, 0) + field(15, b"")


def test_empty_texts_and_false_flags_are_left_out() -> None:
    assert decoded(EMPTY + field(38, 1)) == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def test_a_false_default_stays() -> None:
    assert decoded(field(5, b"boolean") + field(8, field(1, b"false"))) == {"type": "boolean", "default": False}


def test_properties_items_and_the_rest_nest() -> None:
    item = field(24, field(1, EMPTY))
    entry = field(29, field(1, b"list") + field(2, field(5, b"array") + item))
    rule = field(44, field(1, b"self.x > 1") + field(2, b""))
    more = field(30, field(1, 0) + field(2, EMPTY))
    assert decoded(EMPTY + entry + rule + more) == {
        "type": "object",
        "properties": {"list": {"type": "array", "items": {"type": "object"}}},
        "additionalProperties": {"type": "object"},
        "x-kubernetes-validations": [{"rule": "self.x > 1"}],
    }


def test_no_more_properties_is_false() -> None:
    assert decoded(EMPTY + field(30, field(1, 0))) == {"type": "object", "additionalProperties": False}
