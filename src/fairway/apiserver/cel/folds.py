"""Macros over lists and maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fairway.apiserver.cel.errors import EvaluationError
from fairway.apiserver.cel.frames import Frame, Run
from fairway.apiserver.cel.syntax import Call, Fold, ListNode, MapNode, Node, OptionalMap, Select


def size(node: Node) -> int:
    """How many parts an expression has: what a turn of a macro costs, without the macros in it."""
    match node:
        case Select():
            return 1 + size(node.operand)
        case Call():
            return 1 + sum(map(size, node.args))
        case ListNode():
            return 1 + sum(map(size, node.items))
        case MapNode():
            return 1 + sum(size(k) + size(v) for k, v, _ in node.entries)
        case Fold():
            return 1 + size(node.range) + sum(map(size, node.steps))
        case OptionalMap():
            return 1 + size(node.target) + size(node.body)
    return 1


def fold(node: Fold, over: Run, steps: list[Run], cost: int) -> Run:
    """The closure of a macro; its variables have their places in the frame."""
    turns = _one(over, node.slots[0], cost) if len(node.slots) == 1 else _two(over, node.slots, cost)
    match node.kind:
        case "all":
            return _decides(turns, steps[0], decided=False)
        case "exists":
            return _decides(turns, steps[0], decided=True)
        case "exists_one":
            return lambda f: sum(1 for _ in turns(f) if _is(steps[0](f))) == 1
        case "filter":
            return lambda f: [item for item in turns(f) if _is(steps[0](f))]
        case "map" | "transformList":
            return _mapped(turns, steps)
        case "sortBy":
            return lambda f: _sorted([(steps[0](f), i, item) for i, item in enumerate(turns(f))])
        case "transformMap":
            return lambda f: {key: steps[-1](f) for key in turns(f) if len(steps) == 1 or _is(steps[0](f))}
    return lambda f: _entries(steps[-1](f) for _ in turns(f) if len(steps) == 1 or _is(steps[0](f)))


Turns = Callable[[Frame], Iterator[Any]]


def _range(value: Any) -> Any:
    if isinstance(value, list | dict):
        return value
    raise EvaluationError("no such overload")


def _one(over: Run, slot: int, cost: int) -> Turns:
    def turns(f: Frame) -> Iterator[Any]:
        spend = f.budget.spend
        for item in _range(over(f)):
            spend(cost)
            f[slot] = item
            yield item

    return turns


def _two(over: Run, slots: list[int], cost: int) -> Turns:
    first, second = slots

    def turns(f: Frame) -> Iterator[Any]:
        value = _range(over(f))
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            f.budget.spend(cost)
            f[first], f[second] = key, item
            yield key

    return turns


def _is(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise EvaluationError("no such overload")


def _decides(turns: Turns, step: Run, *, decided: bool) -> Run:
    """all and exists: an error counts only when no item decides."""

    def run(f: Frame) -> bool:
        error: EvaluationError | None = None
        for _ in turns(f):
            try:
                if _is(step(f)) is decided:
                    return decided
            except EvaluationError as raised:
                error = error or raised
        if error is not None:
            raise error
        return not decided

    return run


def _mapped(turns: Turns, steps: list[Run]) -> Run:
    made = steps[-1]
    if len(steps) == 1:
        return lambda f: [made(f) for _ in turns(f)]
    return lambda f: [made(f) for _ in turns(f) if _is(steps[0](f))]


def _sorted(keyed: list[tuple[Any, int, Any]]) -> list[Any]:
    if len({type(key) for key, _, _ in keyed}) > 1:
        raise EvaluationError("list elements must have the same type")
    return [item for _, _, item in sorted(keyed, key=lambda k: k[:2])]


def _entries(made: Iterable[dict[Any, Any]]) -> dict[Any, Any]:
    out: dict[Any, Any] = {}
    for entry in made:
        for key, value in entry.items():
            if key in out:
                raise EvaluationError(f"insert failed: key {key} already exists")
            out[key] = value
    return out
