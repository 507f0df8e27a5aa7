"""Operators, conversions and what every CEL has."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from fairway.apiserver.cel import numbers
from fairway.apiserver.cel.errors import EvaluationError
from fairway.apiserver.cel.numbers import UInt, checked, checked_natural, go_float, natural, whole
from fairway.apiserver.cel.types import Type
from fairway.apiserver.cel.values import (
    NAMES,
    NONE,
    Duration,
    Optional,
    Timestamp,
    contains,
    duration,
    element,
    equal,
    item,
    kind_of,
    optional_item,
    parse_duration,
    parse_timestamp,
    some,
    timestamp,
    type_name,
)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def run(a: float, b: float) -> bool:
        if math.isnan(a) or math.isnan(b):
            raise EvaluationError("NaN values cannot be ordered")
        return compare(a, b)

    return run


def _comparisons() -> dict[str, Callable[..., Any]]:
    out: dict[str, Callable[..., Any]] = {}
    numeric = ("int", "uint", "double")
    for name, compare in (("<", operator.lt), ("<=", operator.le), (">", operator.gt), (">=", operator.ge)):
        for kind in ("bool", "string", "bytes", "duration", "timestamp"):
            out[f"_{name}_({kind}, {kind}) -> bool"] = compare
        for left in numeric:
            for right in numeric:
                run = _ordered(compare) if "double" in (left, right) else compare
                out[f"_{name}_({left}, {right}) -> bool"] = run
    return out


def _arithmetic() -> dict[str, Callable[..., Any]]:
    whole_ops = {"-": operator.sub, "*": operator.mul, "/": numbers.quotient, "%": numbers.remainder}
    out: dict[str, Callable[..., Any]] = {"_+_(int, int) -> int": checked(operator.add)}
    out["_+_(uint, uint) -> uint"] = checked_natural(operator.add)
    for kind in ("double", "string", "bytes", "list(A)"):
        out[f"_+_({kind}, {kind}) -> {kind}"] = operator.add
    for name, run in whole_ops.items():
        out[f"_{name}_(int, int) -> int"] = checked(run)
        out[f"_{name}_(uint, uint) -> uint"] = checked_natural(run)
    out["_-_(double, double) -> double"] = operator.sub
    out["_*_(double, double) -> double"] = operator.mul
    out["_/_(double, double) -> double"] = numbers.divided
    out["-_(int) -> int"] = lambda a: whole(-a)
    out["-_(double) -> double"] = operator.neg
    return out


# ---- conversions ------------------------------------------------------------------------------------------------
def _refused(value: Any, wanted: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from '{type_name(value)}' to '{NAMES.get(wanted, wanted)}'")


def _digits(value: str) -> bool:
    return value.lstrip("+-").isdecimal() and value.isascii() and len(value) - len(value.lstrip("+-")) <= 1


def _to_int(value: Any) -> int:
    if isinstance(value, str):
        if not _digits(value) or not -(1 << 63) <= int(value) < 1 << 63:
            raise _refused(value, "int")
        return int(value)
    if isinstance(value, Duration | Timestamp):
        return value.nanos // (1 if isinstance(value, Duration) else 1_000_000_000)
    if isinstance(value, float) and not math.isfinite(value):
        raise EvaluationError("integer overflow")
    return whole(int(value))


def _to_uint(value: Any) -> UInt:
    if isinstance(value, str):
        if not _digits(value) or value[0] in "+-" or int(value) >= 1 << 64:
            raise _refused(value, "uint")
        return UInt(int(value))
    if isinstance(value, float) and not math.isfinite(value):
        raise EvaluationError("unsigned integer overflow")
    return natural(int(value))


def _to_double(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise _refused(value, "double") from None


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise _refused(value, "bool")


def to_string(value: Any) -> str:
    """`string(x)`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return go_float(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None
    if isinstance(value, Duration | Timestamp):
        return value.text()
    if isinstance(value, Type):
        return value.name or value.kind
    return str(value)


def _to_duration(value: Any) -> Duration:
    if isinstance(value, int):
        return duration(value)
    found = value if isinstance(value, Duration) else parse_duration(value)
    if found is None:
        raise _refused(value, "duration")
    return found


def _to_timestamp(value: Any) -> Timestamp:
    if isinstance(value, int):
        return timestamp(value * 1_000_000_000)
    found = value if isinstance(value, Timestamp) else parse_timestamp(value)
    if found is None:
        raise _refused(value, "timestamp")
    return found


def type_of_value(value: Any) -> Type:
    """`type(x)`: the bare type, without what it holds."""
    kind = kind_of(value)
    if kind == "opaque":
        return Type("opaque", str(value.type_name))
    return Type(kind, NAMES.get(kind, "" if kind not in ("list", "map", "type") else kind))


def _conversions() -> dict[str, Callable[..., Any]]:
    wanted: dict[str, tuple[Callable[[Any], Any], str]] = {
        "int": (_to_int, "int uint double string duration timestamp"),
        "uint": (_to_uint, "uint int double string"),
        "double": (_to_double, "double int uint string"),
        "bool": (_to_bool, "bool string"),
        "string": (to_string, "string bool int uint double bytes duration timestamp"),
        "bytes": (lambda v: v.encode() if isinstance(v, str) else v, "bytes string"),
        "duration": (_to_duration, "duration string int"),
        "timestamp": (_to_timestamp, "timestamp string int"),
    }
    return {f"{name}({kind}) -> {name}": run for name, (run, kinds) in wanted.items() for kind in kinds.split()}


def _zero(value: Any) -> bool:
    return value is None or (kind_of(value) not in ("timestamp", "optional", "opaque", "type") and not value)


def _or_else(first: Optional, second: Optional) -> Optional:
    return first if first.held else second


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_comparisons(),
    **_arithmetic(),
    **_conversions(),
    "_==_(A, A) -> bool": equal,
    "_!=_(A, A) -> bool": lambda a, b: not equal(a, b),
    "!_(bool) -> bool": operator.not_,
    "@in(A, list(A)) -> bool": lambda a, b: contains(b, a),
    "@in(A, map(A, B)) -> bool": lambda a, b: contains(b, a),
    "_[_](list(A), int) -> A": element,
    "_[_](map(A, B), A) -> B": item,
    "_[_](optional(list(A)), int) -> optional(A)": optional_item,
    "_[_](optional(map(A, B)), A) -> optional(B)": optional_item,
    "_[?_](list(A), int) -> optional(A)": optional_item,
    "_[?_](map(A, B), A) -> optional(B)": optional_item,
    "_[?_](optional(list(A)), int) -> optional(A)": optional_item,
    "_[?_](optional(map(A, B)), A) -> optional(B)": optional_item,
    "dyn(A) -> dyn": lambda a: a,
    "type(A) -> type(A)": type_of_value,
    "size(string) -> int": len,
    "size(bytes) -> int": len,
    "size(list(A)) -> int": len,
    "size(map(A, B)) -> int": len,
    "string:size() -> int": len,
    "bytes:size() -> int": len,
    "list(A):size() -> int": len,
    "map(A, B):size() -> int": len,
    "optional.of(A) -> optional(A)": some,
    "optional.ofNonZeroValue(A) -> optional(A)": lambda a: NONE if _zero(a) else some(a),
    "optional.none() -> optional(A)": lambda: NONE,
    "optional(A):hasValue() -> bool": lambda a: bool(a.held),
    "optional(A):value() -> A": lambda a: a.value(),
    "optional(A):or(optional(A)) -> optional(A)": _or_else,
    "optional(A):orValue(A) -> A": lambda a, b: a.held[0] if a.held else b,
}
