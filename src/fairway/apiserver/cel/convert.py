"""JSON as values of a type: texts with a format become what they mean, whole numbers of a `number` become doubles."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from fairway.apiserver.cel.types import Type
from fairway.apiserver.cel.values import parse_duration, parse_timestamp

Convert = Callable[[Any], Any]


def converter(type_: Type) -> Convert | None:
    """What makes a value one of the type, or None when JSON is as good."""
    match type_.kind:
        case "duration":
            return lambda v: parse_duration(v) or v if isinstance(v, str) else v
        case "timestamp":
            return lambda v: parse_timestamp(v if len(v) != 10 else f"{v}T00:00:00Z") or v if isinstance(v, str) else v
        case "bytes":
            return _bytes
        case "double":
            return lambda v: float(v) if type(v) is int else v
        case "list":
            return _each(converter(type_.params[0]))
        case "map":
            return _values(converter(type_.params[1]))
        case "object":
            return _fields({f.json_name: c for f in type_.fields.values() if (c := converter(f.type)) is not None})
    return None


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value)
    except (binascii.Error, TypeError):
        return value


def _each(inner: Convert | None) -> Convert | None:
    if inner is None:
        return None
    return lambda v: [inner(i) for i in v] if isinstance(v, list) else v


def _values(inner: Convert | None) -> Convert | None:
    if inner is None:
        return None
    return lambda v: {k: inner(i) for k, i in v.items()} if isinstance(v, dict) else v


def _fields(inner: dict[str, Convert]) -> Convert | None:
    if not inner:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: inner[k](v) if k in inner and v is not None else v for k, v in value.items()}

    return convert
