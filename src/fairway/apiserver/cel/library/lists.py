"""Lists: Kubernetes' own functions, cel-go's list extension (version 3) and its sets."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from fairway.apiserver.cel.errors import EvaluationError
from fairway.apiserver.cel.numbers import UInt, natural, whole
from fairway.apiserver.cel.values import Duration, contains, duration, equal

Values = list[Any]
_COMPARABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")


def _extreme(name: str, pick: Callable[[Values], Any]) -> Callable[[Values], Any]:
    def run(values: Values) -> Any:
        if not values:
            raise EvaluationError(f"{name} called on empty list")
        return pick(values)

    return run


def _sorted(values: Values) -> Values:
    if len({type(v) for v in values}) > 1:
        raise EvaluationError("list elements must have the same type")
    return sorted(values)


_SUMS: dict[str, Callable[[Values], Any]] = {
    "int": lambda v: whole(sum(v)),
    "uint": lambda v: natural(sum(map(int, v))) if v else UInt(0),
    "double": lambda v: float(sum(v)),
    "duration": lambda v: duration(sum(d.nanos for d in v)) if v else Duration(0),
}


def _of_comparable() -> dict[str, Callable[..., Any]]:
    out: dict[str, Callable[..., Any]] = {}
    for kind in _COMPARABLE:
        out[f"list({kind}):isSorted() -> bool"] = lambda v: all(a <= b for a, b in itertools.pairwise(v))
        out[f"list({kind}):max() -> {kind}"] = _extreme("max", max)
        out[f"list({kind}):min() -> {kind}"] = _extreme("min", min)
        out[f"list({kind}):sort() -> list({kind})"] = _sorted
    for kind, run in _SUMS.items():
        out[f"list({kind}):sum() -> {kind}"] = run
    return out


def _slice(values: Values, start: int, end: int) -> Values:
    head = f"cannot slice({start}, {end}), "
    if start < 0 or end < 0:
        raise EvaluationError(head + "negative indexes not supported")
    if start > end:
        raise EvaluationError(head + "start index must be less than or equal to end index")
    if end > len(values):
        raise EvaluationError(head + f"list is length {len(values)}")
    return values[start:end]


def _flat(values: Values, depth: int = 1) -> Values:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    out: Values = []
    for value in values:
        out += _flat(value, depth - 1) if isinstance(value, list) and depth else [value]
    return out


def _distinct(values: Values) -> Values:
    out: Values = []
    for value in values:
        if not any(equal(value, o) for o in out):
            out.append(value)
    return out


def _place(values: Values, item: Any, order: range) -> int:
    return next((i for i in order if equal(values[i], item)), -1)


def _range(count: int) -> Values:
    if count > 1_000_000:
        raise EvaluationError("operation cancelled: actual cost limit exceeded")
    return list(range(count))


def _holds(values: Values, others: Values) -> bool:
    return all(contains(values, o) for o in others)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_of_comparable(),
    "list(A):indexOf(A) -> int": lambda v, i: _place(v, i, range(len(v))),
    "list(A):lastIndexOf(A) -> int": lambda v, i: _place(v, i, range(len(v) - 1, -1, -1)),
    "list(A):slice(int, int) -> list(A)": _slice,
    "list(list(A)):flatten() -> list(A)": _flat,
    "list(dyn):flatten(int) -> list(dyn)": _flat,
    "list(A):reverse() -> list(A)": lambda v: v[::-1],
    "list(A):distinct() -> list(A)": _distinct,
    "lists.range(int) -> list(int)": _range,
    "sets.contains(list(A), list(A)) -> bool": _holds,
    "sets.equivalent(list(A), list(A)) -> bool": lambda a, b: _holds(a, b) and _holds(b, a),
    "sets.intersects(list(A), list(A)) -> bool": lambda a, b: any(contains(b, i) for i in a),
}
