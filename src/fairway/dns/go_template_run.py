"""What the nodes of a Go template make of values: fields, pipelines, branches, loops, functions.

Values are Python's; `Fields` stands for a Go struct, where a field that does not exist is an error, a plain mapping for
a Go map, where it is no value.
"""

from __future__ import annotations

import html
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairway.dns.go_values import NO_VALUE, go_printf, go_text
from fairway.values.errors import FairwayError


class TemplateError(FairwayError):
    """A template cannot be read, or makes no record; the message says which and why."""


class Fields(dict[str, Any]):
    """A struct."""


Command = tuple[object, ...]
"""Operands: the first may be a function or a method, which the others are given to."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    commands: tuple[Command, ...]
    names: tuple[str, ...] = ()
    """Variables that its value is given to."""
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Show:
    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Branch:
    """`if` and `with`: the first part when the pipeline gives something, else the second."""

    pipeline: Pipeline
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    is_with: bool


@dataclass(frozen=True, slots=True)
class Loop:
    """`range`: the first part for each, the second when there is none."""

    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Jump:
    """`break`, or `continue`."""

    is_end: bool


Node = str | Show | Branch | Loop | Jump


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`, `$` or the dot."""

    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Fields of a value."""

    base: object
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    name: str


@dataclass(frozen=True, slots=True)
class Inner:
    pipeline: Pipeline


class _NoValue:
    """What a map has where it has nothing."""

    def __bool__(self) -> bool:
        return False


NOTHING = _NoValue()


class _JumpError(Exception):
    def __init__(self, is_end: bool) -> None:
        super().__init__()
        self.is_end = is_end


def expand(nodes: Sequence[Node], values: Mapping[str, object]) -> str:
    """Fill a template in. Raises TemplateError."""
    run = _Run(Fields(values))
    run.nodes(nodes)
    return "".join(run.parts)


class _Run:
    def __init__(self, values: Fields) -> None:
        self.parts: list[str] = []
        self._variables: list[tuple[str, Any]] = [("$", values), (".", values)]

    def nodes(self, nodes: Iterable[Node]) -> None:
        depth = len(self._variables)
        try:
            for node in nodes:
                self._node(node)
        finally:
            del self._variables[depth:]

    def _node(self, node: Node) -> None:
        match node:
            case str():
                self.parts.append(node)
            case Show(pipeline):
                value = self._pipeline(pipeline)
                if not pipeline.names:
                    self.parts.append(NO_VALUE if value is NOTHING or value is None else go_text(value))
            case Branch():
                self._branch(node)
            case Loop():
                self._loop(node)
            case Jump(is_end):
                raise _JumpError(is_end)

    def _branch(self, node: Branch) -> None:
        depth = len(self._variables)
        value = self._pipeline(node.pipeline)
        if value and node.is_with:
            self._variables.append((".", value))
        self.nodes(node.then if value else node.otherwise)
        del self._variables[depth:]

    def _loop(self, node: Loop) -> None:
        pairs = _pairs(self._pipeline(Pipeline(node.pipeline.commands)))
        names = node.pipeline.names
        if not pairs:
            self.nodes(node.otherwise)
        depth = len(self._variables)
        for key, value in pairs:
            given = (value,) if len(names) < 2 else (key, value)
            self._variables += [*zip(names, given, strict=False), (".", value)]
            try:
                self.nodes(node.body)
            except _JumpError as jump:
                if jump.is_end:
                    break
            finally:
                del self._variables[depth:]

    # -- pipelines

    def _pipeline(self, pipeline: Pipeline) -> Any:
        value: Any = NOTHING
        for number, command in enumerate(pipeline.commands):
            value = self._command(command, (value,) if number else ())
        for name in pipeline.names:
            if pipeline.is_new:
                self._variables.append((name, value))
            else:
                place = next(i for i in range(len(self._variables) - 1, -1, -1) if self._variables[i][0] == name)
                self._variables[place] = (name, value)
        return value

    def _command(self, command: Command, last: tuple[Any, ...]) -> Any:
        first, *arguments = command
        if isinstance(first, Call) and first.name in {"and", "or"}:
            return self._decided(first.name == "or", arguments, last)
        given = [*(self._value(one) for one in arguments), *last]
        if isinstance(first, Call):
            return _called(first.name, FUNCTIONS[first.name], given)
        value = self._value(first, is_called=True)
        if callable(value):
            return _called("the method", value, given)
        if given:
            raise TemplateError(f"{_name(first)} takes no arguments")
        return value

    def _decided(self, wanted: bool, arguments: list[object], last: tuple[Any, ...]) -> Any:
        """`and`, `or`: the first value that decides, else the last; the others are not looked at."""
        value: Any = NOTHING
        for one in arguments:
            value = self._value(one)
            if bool(value) == wanted:
                return value
        return last[0] if last else value

    def _value(self, operand: object, *, is_called: bool = False) -> Any:
        match operand:
            case Variable(name):
                return next(value for key, value in reversed(self._variables) if key == name)
            case Chain(base, fields):
                value = self._value(base)
                for field in fields:
                    value = _field(value, field)
                return value if is_called or not callable(value) else _called("the method", value, [])
            case Inner(pipeline):
                return self._pipeline(pipeline)
            case Call(name):
                return _called(name, FUNCTIONS[name], [])
        return operand


def _field(value: Any, name: str) -> Any:
    if isinstance(value, Fields):
        if name not in value:
            raise TemplateError(f".{name}: not known (known: {', '.join(sorted(value))})")
        return value[name]
    if isinstance(value, Mapping):
        return value.get(name, NOTHING)
    raise TemplateError(f".{name}: not known here")


def _name(operand: object) -> str:
    return "." + ".".join(operand.fields) if isinstance(operand, Chain) else repr(operand)


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if value is NOTHING or value is None:
        return []
    if isinstance(value, Mapping):
        return sorted(value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return [(i, i) for i in range(value)]
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    raise TemplateError(f"range can't iterate over {go_text(value)}")


def _called(name: str, function: Callable[..., Any], given: list[Any]) -> Any:
    try:
        return function(*given)
    except (TypeError, ValueError, LookupError) as error:
        raise TemplateError(f"{name} {' '.join(map(repr, given))}: {error}") from None


# -- functions


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            # A missing key gives the zero value, unlike a field.
            value = value.get(key, "")
        elif isinstance(key, int) and 0 <= key < len(value):
            value = value.encode()[key] if isinstance(value, str) else value[key]
        else:
            raise IndexError(f"index out of range: {go_text(key)}")
    return value


def _slice(value: Any, *ends: Any) -> Any:
    first, last = (*ends, len(value))[:2] if ends else (0, len(value))
    if not 0 <= first <= last <= len(value):
        raise IndexError(f"index out of range: {first}:{last}")
    return value[first:last]


def _parse_int(text: str, base: int, bits: int) -> int:
    number = int(text, base)
    if number < 0 or not text.isalnum() or (bits and number >= 2**bits):
        raise ValueError(f"{text} is no number of {bits} bits")
    return number


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind.__name__
    raise TypeError(f"{go_text(value)} cannot be compared")


def _same_kind(first: Any, second: Any) -> None:
    if _kind(first) != _kind(second):
        raise TypeError("incompatible types for comparison")


def _equals(first: Any, *others: Any) -> bool:
    if not others:
        raise TypeError("missing argument for comparison")
    for other in others:
        _same_kind(first, other)
    return any(first == other for other in others)


def _less(first: Any, second: Any) -> bool:
    _same_kind(first, second)
    if isinstance(first, bool):
        raise TypeError("invalid type for comparison")
    return bool(first < second)


def _print(*values: Any) -> str:
    """As fmt.Sprint: a space where neither neighbour is a string."""
    parts = ""
    for number, value in enumerate(values):
        is_apart = number and not isinstance(value, str) and not isinstance(values[number - 1], str)
        parts += (" " if is_apart else "") + go_text(value)
    return parts


def _length(value: Any) -> int:
    return len(value.encode()) if isinstance(value, str) else len(value)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": lambda *values: values[-1],  # decided before it is called
    "eq": _equals,
    "ge": lambda a, b: not _less(a, b),
    "gt": lambda a, b: not _less(a, b) and a != b,
    "html": lambda *values: html.escape(_print(*values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "index": _index,
    "le": lambda a, b: _less(a, b) or a == b,
    "len": _length,
    "lt": _less,
    "ne": lambda a, b: not _equals(a, b),
    "not": lambda value: not value,
    "or": lambda *values: values[-1],
    "parseInt": _parse_int,
    "print": _print,
    "printf": go_printf,
    "println": lambda *values: " ".join(map(go_text, values)) + "\n",
    "slice": _slice,
    "urlquery": lambda *values: urllib.parse.quote_plus(_print(*values)),
}
