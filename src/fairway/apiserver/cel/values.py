"""Values that JSON does not have, and when two values are equal."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, NamedTuple

from fairway.apiserver.cel.errors import EvaluationError
from fairway.apiserver.cel.numbers import UInt, fixed
from fairway.apiserver.cel.types import Type

_NANO = 1_000_000_000
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 1_000_000, "s": _NANO, "m": 60 * _NANO, "h": 3600 * _NANO}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)")
_FIRST, _LAST = -62135596800, 253402300799
_MOST = (1 << 63) - 1


class Duration(NamedTuple):
    """A span of time in nanoseconds."""

    nanos: int

    def text(self) -> str:
        return fixed(self.nanos / _NANO) + "s"


class Timestamp(NamedTuple):
    """An instant, in nanoseconds since 1970."""

    nanos: int

    def moment(self) -> dt.datetime:
        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=self.nanos // _NANO)

    def text(self) -> str:
        rest = f".{self.nanos % _NANO:09d}".rstrip("0") if self.nanos % _NANO else ""
        return f"{self.moment():%Y-%m-%dT%H:%M:%S}{rest}Z"


def duration(nanos: int) -> Duration:
    if abs(nanos) > _MOST:
        raise EvaluationError("duration overflow")
    return Duration(nanos)


def timestamp(nanos: int) -> Timestamp:
    if not _FIRST <= nanos // _NANO <= _LAST:
        raise EvaluationError("timestamp overflow")
    return Timestamp(nanos)


def parse_duration(text: str) -> Duration | None:
    """Go's time.ParseDuration."""
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return Duration(0)
    total, place = 0, 0
    while place < len(body):
        found = _PART.match(body, place)
        if found is None:
            return None
        whole, _, part = found[1].partition(".")
        unit = _UNITS[found[2]]
        total += int(whole or 0) * unit + (int(part) * unit // 10 ** len(part) if part else 0)
        place = found.end()
    if not body or total > _MOST:
        return None
    return Duration(-total if text[0] == "-" else total)


def parse_timestamp(text: str) -> Timestamp | None:
    """RFC 3339."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        return None
    try:
        year, month, day, hour, minute, second = (int(g) for g in found.groups()[:6])
        moment = dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
    except ValueError:
        return None
    offset = 0
    if found[8] != "Z":
        offset = (int(found[8][1:3]) * 3600 + int(found[8][4:]) * 60) * (-1 if found[8][0] == "-" else 1)
    seconds = int(moment.timestamp()) - offset
    return Timestamp(seconds * _NANO + int((found[7] or "0").ljust(9, "0")))


class Optional:
    """A value or none, of `optional.of` and `.?`."""

    __slots__ = ("held",)

    def __init__(self, held: tuple[Any, ...]) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Optional) or len(self.held) != len(other.held):
            return False
        return not self.held or equal(self.held[0], other.held[0])

    __hash__ = None  # type: ignore[assignment]

    def value(self) -> Any:
        if not self.held:
            raise EvaluationError("optional.none() dereference")
        return self.held[0]


NONE = Optional(())


def some(value: Any) -> Optional:
    return Optional((value,))


_KINDS: dict[type, str] = {
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null",
    list: "list",
    dict: "map",
    Duration: "duration",
    Timestamp: "timestamp",
    Optional: "optional",
    Type: "type",
}
_NUMBERS = (int, float, UInt)
NAMES = {"null": "null_type", "duration": "google.protobuf.Duration", "timestamp": "google.protobuf.Timestamp"}


def kind_of(value: Any) -> str:
    """The kind of a value's type; what a library made is opaque."""
    return _KINDS.get(type(value), "opaque")


def type_name(value: Any) -> str:
    """The name of a value's type in messages."""
    kind = kind_of(value)
    return str(value.type_name) if kind == "opaque" else NAMES.get(kind, kind)


def equal(a: Any, b: Any) -> bool:
    """== without a schema: numbers compare across types, nothing else does."""
    kind, other = type(a), type(b)
    if kind is not other:
        return kind in _NUMBERS and other in _NUMBERS and a == b
    if kind is list:
        return len(a) == len(b) and all(map(equal, a, b))
    if kind is dict:
        return len(a) == len(b) and all(k in b and equal(v, b[k]) for k, v in a.items())
    return bool(a == b)


def contains(container: Any, item: Any) -> bool:
    """`in`: an element of a list, a key of a map."""
    if isinstance(container, dict):
        return find(container, item) is not _MISSING
    if type(item) is str and container and type(container[0]) is str:
        return item in container
    return any(equal(item, c) for c in container)


_MISSING: Any = object()


def find(mapping: dict[Any, Any], key: Any) -> Any:
    """The value of a key, or `_MISSING`; whole numbers find each other across types, true is not 1."""
    if type(key) is float and not key.is_integer():
        return _MISSING
    if key in mapping and isinstance(key, bool) == isinstance(next(k for k in mapping if k == key), bool):
        return mapping[key]
    return _MISSING


def item(mapping: dict[Any, Any], key: Any) -> Any:
    if type(key) is str:
        if key in mapping:
            return mapping[key]
    elif (found := find(mapping, key)) is not _MISSING:
        return found
    raise EvaluationError(f"no such key: {text(key)}")


def element(items: list[Any], index: float) -> Any:
    at = int(index)
    if at != index:
        raise EvaluationError(f"unsupported index value {text(index)} in list")
    if 0 <= at < len(items):
        return items[at]
    raise EvaluationError(f"index out of bounds: {at}")


def optional_item(container: Any, key: Any) -> Optional:
    if isinstance(container, Optional):
        return optional_item(container.held[0], key) if container.held else NONE
    try:
        return some(item(container, key) if isinstance(container, dict) else element(container, key))
    except EvaluationError:
        return NONE


def text(value: Any) -> str:
    """As Go's %v shows a value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
