"""What CoreDNS users write of Go's text/template: fields, pipelines, `if`, `with`, and the functions that names need.

A template is read once, when the Corefile is, and every word in it that is not known is an error then, not an answer
that is wrong later. `range`, `define` and variables are not known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fairway.values.errors import FairwayError


class TemplateError(FairwayError):
    """A template cannot be read, or makes no record; the message says which and why."""


@dataclass(frozen=True, slots=True)
class _Show:
    pipeline: tuple[tuple[object, ...], ...]


@dataclass(frozen=True, slots=True)
class _Branch:
    """`if` and `with`: the first part when the pipeline gives something, else the second."""

    pipeline: tuple[tuple[object, ...], ...]
    then: tuple[object, ...]
    otherwise: tuple[object, ...]
    is_with: bool


@dataclass(frozen=True, slots=True)
class _Field:
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Call:
    name: str


@dataclass(frozen=True, slots=True)
class _Inner:
    pipeline: tuple[tuple[object, ...], ...]


_ACTION = re.compile(r"(\s*)\{\{-\s+(.*?)\s*(?:\s-\}\}(\s*)|\}\})|()\{\{\s*(.*?)\s*(?:\s-\}\}(\s*)|\}\})", re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|[()|]|[^\s()|"`]+')
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


class GoTemplate:
    """One template."""

    def __init__(self, text: str) -> None:
        """Raises TemplateError."""
        self.text = text
        parts: list[str] = []
        at = 0
        for match in _ACTION.finditer(text):
            parts += [text[at : match.start()], match[2] if match[2] is not None else match[5]]
            at = match.end()
        parts.append(text[at:])
        if any("{{" in part for part in parts[::2]):
            raise TemplateError(f"{text!r}: '{{{{' without '}}}}'")
        self._parts = parts
        self._at = 0
        self._nodes, end = self._read()
        if end:
            self._fail(f"{end} without a beginning")

    def expand(self, values: Mapping[str, object]) -> str:
        """Fill it in. Raises TemplateError."""
        return _expand(self._nodes, values)

    def _fail(self, problem: str) -> NoReturn:
        raise TemplateError(f"{self.text!r}: {problem}")

    def _read(self) -> tuple[tuple[object, ...], str]:
        """Nodes up to the end or to an `else` or `end`, which is given back."""
        nodes: list[object] = []
        while True:
            if self._parts[self._at]:
                nodes.append(self._parts[self._at])
            if self._at + 1 >= len(self._parts):
                return tuple(nodes), ""
            action = self._parts[self._at + 1]
            self._at += 2
            keyword, _, rest = action.partition(" ")
            if action.startswith("/*"):
                continue
            if keyword in {"else", "end"}:
                return tuple(nodes), action
            if keyword in {"if", "with"}:
                nodes.append(self._branch(rest, is_with=keyword == "with"))
            else:
                nodes.append(_Show(self._pipeline(action)))

    def _branch(self, condition: str, *, is_with: bool) -> _Branch:
        pipeline = self._pipeline(condition)
        then, end = self._read()
        otherwise: tuple[object, ...] = ()
        if end.startswith("else "):
            _keyword, rest = end.split(" ", 1)
            kind, _, further = rest.strip().partition(" ")
            if kind not in {"if", "with"}:
                self._fail(f"{end!r} is not known")
            otherwise = (self._branch(further, is_with=kind == "with"),)
        elif end == "else":
            otherwise, end = self._read()
            if end != "end":
                self._fail("'else' without 'end'")
        elif end != "end":
            self._fail("'if' without 'end'")
        return _Branch(pipeline, then, otherwise, is_with)

    def _pipeline(self, text: str) -> tuple[tuple[object, ...], ...]:
        words = _WORD.findall(text)
        if not words:
            self._fail("an empty action")
        pipeline, rest = self._commands(words)
        if rest:
            self._fail(f"')' without '(' in {text!r}")
        return pipeline

    def _commands(self, words: Sequence[str]) -> tuple[tuple[tuple[object, ...], ...], list[str]]:
        commands: list[tuple[object, ...]] = []
        command: list[object] = []
        left = list(words)
        while left:
            word = left.pop(0)
            if word == ")":
                left.insert(0, word)
                break
            if word == "|":
                commands.append(tuple(command))
                command = []
            elif word == "(":
                inner, left = self._commands(left)
                if left[:1] != [")"]:
                    self._fail("'(' without ')'")
                left.pop(0)
                command.append(_Inner(inner))
            else:
                command.append(self._operand(word))
        commands.append(tuple(command))
        if not all(commands):
            self._fail("an empty command")
        return tuple(commands), left

    def _operand(self, word: str) -> object:
        if word[0] == '"':
            return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), word[1:-1])
        if word[0] == "`":
            return word[1:-1]
        if re.fullmatch(r"-?\d+", word):
            return int(word)
        if word in {"true", "false"}:
            return word == "true"
        if word.startswith("."):
            return _Field(tuple(part for part in word.split(".") if part))
        if word in _FUNCTIONS:
            return _Call(word)
        return self._fail(f"{word!r} is not known (known: {', '.join(sorted(_FUNCTIONS))}, fields, numbers, strings)")


def _expand(nodes: Sequence[object], dot: object) -> str:
    parts: list[str] = []
    for node in nodes:
        match node:
            case str():
                parts.append(node)
            case _Show(pipeline):
                parts.append(_shown(_evaluate(pipeline, dot)))
            case _Branch(pipeline, then, otherwise, is_with):
                value = _evaluate(pipeline, dot)
                parts.append(_expand(then, value if is_with else dot) if value else _expand(otherwise, dot))
    return "".join(parts)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + " ".join(map(_shown, value)) + "]" if isinstance(value, list) else str(value)


def _evaluate(pipeline: Sequence[Sequence[object]], dot: object) -> Any:
    value: Any = None
    for number, command in enumerate(pipeline):
        first, *arguments = command
        given = [_value(one, dot) for one in arguments] + ([value] if number else [])
        if isinstance(first, _Call):
            value = _call(first.name, given)
        elif isinstance(first, _Field) and first.path == ("Meta",) and len(given) == 1:
            value = ""  # there is no metadata here: as if no plugin had given any
        elif given:
            raise TemplateError(f"{first!r} takes no arguments")
        else:
            value = _value(first, dot)
    return value


def _call(name: str, given: list[Any]) -> Any:
    try:
        return _FUNCTIONS[name](*given)
    except (TypeError, ValueError, LookupError) as error:
        raise TemplateError(f"{name} {' '.join(map(repr, given))}: {error}") from None


def _value(operand: object, dot: object) -> Any:
    match operand:
        case _Field(path):
            found: Any = dot
            for part in path:
                if not isinstance(found, Mapping):
                    raise TemplateError(f".{'.'.join(path)}: not known here")
                if part not in found and found is dot and len(path) == 1:
                    raise TemplateError(f".{part}: not known (known: {', '.join(sorted(found))})")
                found = found.get(part, "")
            return found
        case _Inner(pipeline):
            return _evaluate(pipeline, dot)
        case _Call(name):
            return _call(name, [])
    return operand


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(str(key), "") if isinstance(value, Mapping) else value[key]
    return value


def _parse_int(text: str, base: int, bits: int) -> int:
    number = int(text, base)
    if number < 0 or (bits and number >= 2**bits):
        raise ValueError(f"{text} does not fit {bits} bits")
    return number


def _printf(form: str, *values: Any) -> str:
    given = list(values)

    def put(verb: re.Match[str]) -> str:
        if verb[2] == "%":
            return "%"
        value = given.pop(0) if given else "%!(MISSING)"
        if verb[2] == "q":
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
        if verb[2] in "vs":
            return f"%{verb[1]}s" % _shown(value)
        return f"%{verb[1]}{verb[2]}" % value

    return re.sub(r"%([-+0-9.]*)([a-zA-Z%])", put, form)


def _equals(first: Any, *others: Any) -> bool:
    return any(first == other for other in others)


def _and(*values: Any) -> Any:
    return next((v for v in values if not v), values[-1])


def _or(*values: Any) -> Any:
    return next((v for v in values if v), values[-1])


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": _and,
    "eq": _equals,
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
    "index": _index,
    "le": lambda a, b: a <= b,
    "len": len,
    "lt": lambda a, b: a < b,
    "ne": lambda a, b: a != b,
    "not": lambda a: not a,
    "or": _or,
    "parseInt": _parse_int,
    "print": lambda *values: "".join(map(_shown, values)),
    "printf": _printf,
    "slice": lambda value, *ends: value[slice(*ends)] if len(ends) != 1 else value[ends[0] :],
}
