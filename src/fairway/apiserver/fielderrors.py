"""Validation errors of single fields, in the words that the Kubernetes API uses.

Decides how a bad value reads; refuses to know which object the field belongs to (that is `errors.invalid`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple


class FieldError(NamedTuple):
    """One cause of a 422: the path, the API's name of the reason, and the text after the path."""

    reason: str
    field: str
    body: str

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


_WORDS = {
    "FieldValueNotFound": "Not found",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "InternalError": "Internal error",
    "FieldValueTypeInvalid": "Invalid value",
}


_ESCAPES = dict(zip('\a\b\f\n\r\t\v"\\', (f"\\{c}" for c in 'abfnrtv"\\'), strict=True))


def quote(text: str) -> str:
    """As Go's strconv.Quote."""
    if text.isalnum():
        return f'"{text}"'
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escaped(ord(c))) for c in text) + '"'


def _escaped(code: int) -> str:
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def show(value: Any) -> str:
    """A bad value in a message: strings quoted, the rest as compact JSON."""
    if isinstance(value, str):
        return quote(value)
    # Go escapes <, > and & in JSON.
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _with_detail(reason: str, shown: str, detail: str) -> str:
    head = f"{_WORDS[reason]}: {shown}" if shown else _WORDS[reason]
    return f"{head}: {detail}" if detail else head


def required(path: str, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", path, _with_detail("FieldValueRequired", "", detail))


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", path, _with_detail("FieldValueInvalid", show(value), detail))


def type_invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueTypeInvalid", path, _with_detail("FieldValueTypeInvalid", show(value), detail))


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", path, _with_detail("FieldValueDuplicate", show(value), ""))


def not_found(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", path, _with_detail("FieldValueNotFound", show(value), ""))


def unsupported(path: str, value: Any, supported: Iterable[str]) -> FieldError:
    detail = "supported values: " + ", ".join(quote(s) for s in supported)
    return FieldError("FieldValueNotSupported", path, _with_detail("FieldValueNotSupported", show(value), detail))


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", path, _with_detail("FieldValueForbidden", "", detail))


def too_many(path: str, count: int, limit: int) -> FieldError:
    items = "item" if limit == 1 else "items"
    return FieldError(
        "FieldValueTooMany", path, _with_detail("FieldValueTooMany", str(count), f"must have at most {limit} {items}")
    )


def too_long(path: str, limit: int) -> FieldError:
    return FieldError(
        "FieldValueTooLong", path, _with_detail("FieldValueTooLong", "", f"may not be more than {limit} bytes")
    )


def internal(path: str, detail: str) -> FieldError:
    return FieldError("InternalError", path, _with_detail("InternalError", "", detail))
