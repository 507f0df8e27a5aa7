"""Operators and functions of expressions, as https://expr-lang.org defines them, for the values that questions have."""

from __future__ import annotations

import base64
import json
import math
import operator
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fairway.config.go_regexp import compile_pattern
from fairway.dns.go_values import go_text
from fairway.values.errors import FairwayError


class ExpressionError(FairwayError):
    """An expression cannot be read, or has no value; the message says which and why."""


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExpressionError(f"{value!r} is not a number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ExpressionError(f"{value!r} is not a string")
    return value


def _numeric(run: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: run(_number(a), _number(b))


def _plus(a: Any, b: Any) -> Any:
    if isinstance(a, str) and isinstance(b, str):
        return a + b
    return _number(a) + _number(b)


def _compared(run: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(a: Any, b: Any) -> bool:
        if isinstance(a, str) and isinstance(b, str):
            return run(a, b)
        return run(_number(a), _number(b))

    return compare


def _equal(a: Any, b: Any) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _modulo(a: Any, b: Any) -> int:
    if not isinstance(a, int) or not isinstance(b, int):
        raise ExpressionError("% takes whole numbers")
    return int(math.fmod(a, b))


def _quotient(a: Any, b: Any) -> float:
    """Of floats, as all division is: there is one by 0, too (IEEE 754)."""
    if b:
        return float(a / b)
    return math.copysign(math.inf, a) if a else math.nan


def _within(item: Any, items: Any) -> bool:
    if items is None:
        return False
    if isinstance(items, str):
        raise ExpressionError("'in' takes an array or a map")
    return any(_equal(item, one) for one in items)


def _of_texts(run: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return lambda a, b: False if a is None or b is None else run(_text(a), _text(b))


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": _equal,
    "!=": lambda a, b: not _equal(a, b),
    "<": _compared(operator.lt),
    "<=": _compared(operator.le),
    ">": _compared(operator.gt),
    ">=": _compared(operator.ge),
    "+": _plus,
    "-": _numeric(operator.sub),
    "*": _numeric(operator.mul),
    "/": _numeric(_quotient),
    "%": _modulo,
    "**": _numeric(lambda a, b: float(a) ** b),
    "^": _numeric(lambda a, b: float(a) ** b),
    "..": lambda a, b: list(range(a, b + 1)),
    "in": _within,
    "matches": _of_texts(lambda text, pattern: compile_pattern(pattern).search(text) is not None),
    "contains": _of_texts(lambda text, part: part in text),
    "startsWith": _of_texts(str.startswith),
    "endsWith": _of_texts(str.endswith),
}


def _integer(value: Any) -> int:
    if isinstance(value, str):
        # Go's Atoi: no spaces, no underscores.
        if not value.lstrip("+-").isdecimal() or len(value) - len(value.lstrip("+-")) > 1:
            raise ExpressionError(f"invalid operation: int({value})")
        return int(value)
    return int(_number(value))


def _length(value: Any) -> int:
    return len(value.encode()) if isinstance(value, str) else len(value)


def _trim(text: str, cutset: str | None = None) -> str:
    return _text(text).strip(cutset)


def _split(text: str, separator: str, most: int = -1) -> list[str]:
    parts = list(text) if separator == "" else text.split(separator)
    return [*parts[: most - 1], separator.join(parts[most - 1 :])] if 0 < most < len(parts) else parts


def _first(items: Any) -> Any:
    return items[0] if items else None


def _flat(values: Iterable[Any]) -> list[Any]:
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def _get(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    return value[key] if -len(value) <= key < len(value) else None


def _unique(items: list[Any]) -> list[Any]:
    return [one for place, one in enumerate(items) if one not in items[:place]]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": lambda value: abs(_number(value)),
    "ceil": lambda value: float(math.ceil(value)),
    "concat": lambda *lists: [one for part in lists for one in part],
    "first": _first,
    "flatten": _flat,
    "float": float,
    "floor": lambda value: float(math.floor(value)),
    "fromBase64": lambda text: base64.b64decode(text, validate=True).decode(),
    "fromJSON": json.loads,
    "get": _get,
    "hasPrefix": lambda text, part: _text(text).startswith(part),
    "hasSuffix": lambda text, part: _text(text).endswith(part),
    "indexOf": lambda text, part: _text(text).find(part),
    "int": _integer,
    "join": lambda items, separator="": separator.join(map(_text, items)),
    "keys": list,
    "last": lambda items: items[-1] if items else None,
    "lastIndexOf": lambda text, part: _text(text).rfind(part),
    "len": _length,
    "lower": lambda text: _text(text).lower(),
    "max": lambda *values: max(map(_number, _flat(values))),
    "mean": lambda *values: statistics.fmean(_flat(values)) if _flat(values) else 0.0,
    "median": lambda *values: float(statistics.median(_flat(values))) if _flat(values) else 0.0,
    "min": lambda *values: min(map(_number, _flat(values))),
    "repeat": lambda text, times: _text(text) * times,
    "replace": lambda text, old, new: _text(text).replace(old, new),
    "reverse": lambda items: items[::-1],
    "round": lambda value: float(math.floor(abs(value) + 0.5)) * (1 if value >= 0 else -1),
    "sort": lambda items, order="asc": sorted(items, reverse=order == "desc"),
    "split": _split,
    "splitAfter": lambda text, separator: [part for part in _after(text, separator) if part or not text],
    "string": go_text,
    "sum": lambda items: sum(map(_number, items)),
    "take": lambda items, count: items[:count],
    "toBase64": lambda text: base64.b64encode(text.encode()).decode(),
    "toJSON": lambda value: json.dumps(value, indent=2),
    "trim": _trim,
    "trimPrefix": lambda text, part=" ": _text(text).removeprefix(part),
    "trimSuffix": lambda text, part=" ": _text(text).removesuffix(part),
    "uniq": _unique,
    "upper": lambda text: _text(text).upper(),
    "values": lambda value: list(value.values()),
}


def _after(text: str, separator: str) -> list[str]:
    parts = text.split(separator)
    return [*(part + separator for part in parts[:-1]), parts[-1]]


def _find(items: Iterable[Any], holds: Callable[[Any], Any]) -> Any:
    return next((item for item in items if holds(item)), None)


PREDICATES: dict[str, Callable[[Iterable[Any], Callable[[Any], Any]], Any]] = {
    "all": lambda items, holds: all(map(holds, items)),
    "any": lambda items, holds: any(map(holds, items)),
    "count": lambda items, holds: sum(map(bool, map(holds, items))),
    "filter": lambda items, holds: list(filter(holds, items)),
    "find": _find,
    "findIndex": lambda items, holds: next((i for i, item in enumerate(items) if holds(item)), None),
    "map": lambda items, made: list(map(made, items)),
    "none": lambda items, holds: not any(map(holds, items)),
    "one": lambda items, holds: sum(map(bool, map(holds, items))) == 1,
}
"""Functions whose second argument is asked of each item."""
