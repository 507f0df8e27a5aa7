"""JSONPath as printer columns and selectable fields use it (client-go's util/jsonpath): steps, ranges and filters."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from fairway.apiserver.cel.numbers import go_float

Values = list[Any]
Step = Callable[[Values], Values]
Find = Callable[[Any], Values]
_TOKEN = re.compile(
    r"""(?P<deep>\.\.)|\.(?P<any>\*)|\.?(?P<name>(?:\\.|[^.\[\]\s(){}'"=!<>,\\?@:*])+)"""
    r"""|\[\s*(?P<quoted>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")\s*\]|\[\?\((?P<filter>(?:[^()'"]|'[^']*'|"[^"]*")*)\)\]"""
    r"""|\[(?P<index>[-\d:,\s*]+)\]""",
    re.VERBOSE,
)
_FILTER = re.compile(r"""^\s*(?P<left>.+?)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<right>.+?))?\s*$""")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class JsonPathError(ValueError):
    """The text is no path."""


def compiled(path: str) -> Find:
    """All values at a path; a missing key has none. Raises JsonPathError."""
    text = path.removeprefix("$").removeprefix("@")
    steps: list[Step] = []
    at = 0
    while at < len(text) and text[at:] != ".":
        found = _TOKEN.match(text, at)
        if found is None:
            raise JsonPathError(f"unrecognized character in action: {text[at]!r}")
        steps.append(_step(found))
        at = found.end()

    def find(value: Any) -> Values:
        values = [value]
        for step in steps:
            values = step(values)
        return values

    return find


def _step(found: re.Match[str]) -> Step:
    if found["deep"]:
        return lambda values: [v for value in values for v in _descendants(value)]
    if found["any"]:
        return lambda values: [v for value in values for v in _children(value)]
    if found["filter"] is not None:
        keep = _filter(found["filter"])
        return lambda values: [v for value in values for v in _items(value) if keep(v)]
    if found["index"] is not None:
        return _index(found["index"].strip())
    name = re.sub(r"\\(.)", r"\1", found["name"] or found["quoted"][1:-1])
    return lambda values: [v[name] for v in values if isinstance(v, dict) and name in v]


def _children(value: Any) -> Values:
    return list(value.values()) if isinstance(value, dict) else _items(value)


def _items(value: Any) -> Values:
    return value if isinstance(value, list) else []


def _descendants(value: Any) -> Values:
    return [value, *(d for c in _children(value) for d in _descendants(c))]


def _index(text: str) -> Step:
    if text == "*":
        return lambda values: [v for value in values for v in _children(value)]
    if ":" in text:
        start, stop, step = ([int(p) if p.strip() else None for p in text.split(":")] + [None])[:3]
        return lambda values: [v for value in values for v in _items(value)[start:stop:step]]
    places = [int(p) for p in text.split(",")]
    return lambda values: [
        _items(value)[p] for value in values for p in places if -len(_items(value)) <= p < len(_items(value))
    ]


# ---- filters ----------------------------------------------------------------------------------------------------
def _operand(text: str) -> Find:
    if text[0] in "'\"":
        literal: Any = text[1:-1]
        return lambda _v: [literal]
    if text[0] in "@$":
        return compiled(text[1:])
    try:
        number: Any = {"true": True, "false": False}.get(text) if text in ("true", "false") else json.loads(text)
    except ValueError:
        raise JsonPathError(f"unrecognized filter operand {text!r}") from None
    return lambda _v: [number]


def _filter(text: str) -> Callable[[Any], bool]:
    found = _FILTER.match(text)
    if found is None:
        raise JsonPathError("empty filter")
    left = _operand(found["left"])
    if not found["op"]:
        return lambda v: bool(left(v))
    right, compare = _operand(found["right"]), _COMPARE[found["op"]]

    def keep(value: Any) -> bool:
        a, b = left(value), right(value)
        if len(a) != 1 or len(b) != 1 or isinstance(a[0], str) != isinstance(b[0], str):
            return False
        try:
            return compare(a[0], b[0])
        except TypeError:
            return False

    return keep


# ---- as text ----------------------------------------------------------------------------------------------------
def text(value: Any) -> str:
    """A value as `kubectl get -o jsonpath` prints it."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case float():
            return go_float(value)
        case dict() | list():
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return str(value)
