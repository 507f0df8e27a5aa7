"""Paths of fields in rules and selectable fields: `.spec.ports` and `['name']`, checked against a schema."""

from __future__ import annotations

import re

from fairway.apiserver.schema import Json

_TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|[.\[\]]|[^.\[\]]+")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


class FieldPathError(ValueError):
    """The text is no path, or leads nowhere in the schema."""


def normalized(text: str, schema: Json) -> str:
    """The path as errors show it (`.spec.a`, `[key]`); raises FieldPathError."""
    return resolved(text, schema)[0]


def resolved(text: str, schema: Json, *, brackets: bool = True) -> tuple[str, Json]:
    """The normal form of a path and the schema that it leads to."""
    tokens = _TOKEN.findall(text)
    out, at = "", 0
    while at < len(tokens):
        part = tokens[at]
        if part == ".":
            if at + 1 >= len(tokens):
                raise FieldPathError("unexpected end of JSON path")
            name, at = tokens[at + 1], at + 2
        elif part == "[":
            if not brackets:
                raise FieldPathError("array notation is not allowed")
            name, at = _bracketed(tokens, at)
        else:
            raise FieldPathError(f"expected [ or . but got: {part}")
        step, schema = _step(name, schema)
        out += step
    return out, schema


def _bracketed(tokens: list[str], at: int) -> tuple[str, int]:
    if at + 1 >= len(tokens):
        raise FieldPathError("unexpected end of JSON path")
    quoted = tokens[at + 1]
    if len(quoted) < 2 or quoted[0] != "'" or quoted[-1] != "'":
        raise FieldPathError(f"expected single quoted string but got {quoted}")
    if at + 2 >= len(tokens):
        raise FieldPathError("unexpected end of JSON path")
    if tokens[at + 2] != "]":
        raise FieldPathError(f"expected ] but got {tokens[at + 2]}")
    return re.sub(r"\\(.)", _unescaped, quoted[1:-1]), at + 3


def _unescaped(found: re.Match[str]) -> str:
    if found[1] not in _ESCAPES:
        raise FieldPathError(f"invalid string literal: invalid escape char {found[0]}")
    return _ESCAPES[found[1]]


def _step(name: str, schema: Json) -> tuple[str, Json]:
    properties, extra = schema.get("properties"), schema.get("additionalProperties")
    if properties is not None:
        if name not in properties:
            raise FieldPathError("does not refer to a valid field")
        return f".{name}", properties[name]
    if isinstance(extra, dict):
        return f"[{name}]", extra
    raise FieldPathError("does not refer to a valid field")
