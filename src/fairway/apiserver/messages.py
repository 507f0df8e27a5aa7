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
        if (key, name) == _SCHEMA_FIELD:
            message[number] = MessageField(name, "sparse", _schema(), None)
        elif number:
            message[number] = _field("" if flags & INLINE else name, code)
    return message


_SCHEMA_FIELD = ("apiextensions.CustomResourceValidation", "openAPIV3Schema")
# JSONSchemaProps of apiextensions.k8s.io/v1, which is plain JSON everywhere else: name and code by field number.
_SCHEMA_PLAIN = (
    "id:s $schema:s $ref:s description:s type:s format:s title:s default:json maximum:f exclusiveMaximum:b minimum:f "
    "exclusiveMinimum:b maxLength:l minLength:l pattern:s maxItems:l minItems:l uniqueItems:b multipleOf:f enum:[json "
    "maxProperties:l minProperties:l required:[s"
)
_SCHEMA_EXTENSIONS = (
    "example:json nullable:b x-kubernetes-preserve-unknown-fields:b x-kubernetes-embedded-resource:b "
    "x-kubernetes-int-or-string:b x-kubernetes-list-map-keys:[s x-kubernetes-list-type:s x-kubernetes-map-type:s"
)
_RULE = "rule:s message:s messageExpression:s reason:s fieldPath:s optionalOldSelf:b"


def _plain(text: str, first: int = 1) -> Message:
    pairs = (part.split(":") for part in text.split())
    return {number: _field(name, code) for number, (name, code) in enumerate(pairs, first)}


@functools.cache
def _schema() -> Message:
    schema: Message = {}

    def inner(name: str) -> MessageField:
        return MessageField(name, "sparse", schema, None)

    def several(name: str, code: str, item: MessageField) -> MessageField:
        return MessageField(name, code, None, item)

    def choice(name: str, other: MessageField, *, schema_number: int) -> MessageField:
        return MessageField(name, "choice", {schema_number: inner("schema"), 3 - schema_number: other}, None)

    allows = MessageField("allows", "b", None, None)
    schema |= _plain(_SCHEMA_PLAIN)
    schema[24] = choice("items", several("schemas", "list", inner("")), schema_number=1)
    for number, name in ((25, "allOf"), (26, "oneOf"), (27, "anyOf")):
        schema[number] = several(name, "list", inner(""))
    schema[28] = inner("not")
    for number, name in ((29, "properties"), (31, "patternProperties"), (34, "definitions")):
        schema[number] = several(name, "map", inner(""))
    for number, name in ((30, "additionalProperties"), (33, "additionalItems")):
        schema[number] = choice(name, allows, schema_number=2)
    names = several("names", "list", MessageField("", "s", None, None))
    schema[32] = several("dependencies", "map", choice("", names, schema_number=1))
    schema[35] = MessageField("externalDocs", "sparse", _plain("description:s url:s"), None)
    schema |= _plain(_SCHEMA_EXTENSIONS, 36)
    rule = MessageField("", "sparse", _plain(_RULE), None)
    schema[44] = several("x-kubernetes-validations", "list", rule)
    return schema


def _field(name: str, code: str) -> MessageField:
    if code[0] == "[":
        return MessageField(name, "list", None, _field(name, code[1:]))
    if code[0] == "{":
        return MessageField(name, "map", None, _field(name, code[1:]))
    if code[0] == "#":
        return MessageField(name, "struct", _message(code[1:]), None)
    return MessageField(name, code, None, None)
