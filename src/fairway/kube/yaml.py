"""YAML text as kubectl reads it, to the tree that the same text in JSON would give.

kubectl reads YAML 1.1 through sigs.k8s.io/yaml, which differs from PyYAML's idea of YAML 1.1: `y` and `n` are
booleans, `1e3` is a number, `12:30` and `2001-01-01` are strings, `08` is 8. One manifest must mean the same in both,
traps (`on`, octal `0777`) included. Stricter here: a key that stands twice is an error, since one of its values would
be lost without a word; aliases may not blow a small text up; nesting has a limit.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import re
from collections.abc import Callable
from typing import Any, Final

import yaml

from fairway.values.errors import InvalidValueError

GROWTH: Final = 1_000_000
"""So many nodes may come of aliases; a Service needs none."""
DEPTH: Final = 200
"""Levels of nesting; API objects have about fifteen."""

_BOOLEANS: Final = {
    word: value
    for value, words in ((True, ("y", "yes", "true", "on")), (False, ("n", "no", "false", "off")))
    for lower in words
    for word in (lower, lower.capitalize(), lower.upper())
}
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_INFINITE: Final = frozenset(
    sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN")
)
_DEEP_LINE: Final = re.compile(rf"^[ ?:-]{{{DEPTH}}}", re.MULTILINE)
_INTEGER: Final = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)\Z")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NUMBER_STARTS: Final = frozenset("+-.0123456789")
_PLAIN: Final = "?"
_TAG: Final = "tag:yaml.org,2002:"


class YAMLError(InvalidValueError):
    """The text is not the YAML that an API object may be written in; the message has line and column."""

    def __init__(self, problem: str, line: int = 0, column: int = 0) -> None:
        self.problem = problem
        self.line = line
        self.column = column
        """Both counted from 1; 0 when they are not known."""
        super().__init__(f"line {line}, column {column}: {problem}" if line else problem)


class _Untagged:
    """In place of PyYAML's resolver: says only whether a scalar stood plain; `_scalar` does the rest."""

    def resolve(self, kind: type[yaml.Node], _value: str | None, implicit: Any) -> str:
        if kind is not yaml.ScalarNode:
            return _PLAIN
        return _PLAIN if implicit[0] else _TAG + "str"

    def descend_resolver(self, _node: Any, _index: Any) -> None: ...

    def ascend_resolver(self) -> None: ...

    def check_resolver_prefix(self, *_: Any) -> bool:
        return True


def _composer() -> Callable[[str], Any]:
    """The parser that makes nodes: libyaml's when PyYAML has it (ten times as fast), else PyYAML's own."""
    if getattr(yaml, "__with_libyaml__", False):
        return type("_Fast", (importlib.import_module("yaml._yaml").CParser, _Untagged), {})
    parts = (yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.composer.Composer)

    def begin(self: Any, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        for part in parts[1:]:
            part.__init__(self)

    return type("_Plain", (*parts, _Untagged), {"__init__": begin})


_compose: Final = _composer()


def read_yaml(text: str) -> object:
    """Read one YAML document; None when it holds nothing. Raises YAMLError."""
    try:
        _refuse_depth(text)
        parser = _compose(text)
        try:
            node = parser.get_single_node()
        finally:
            parser.dispose()
    except yaml.MarkedYAMLError as error:
        raise _marked(error) from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise YAMLError(" ".join(str(error).split())) from None
    if node is None:
        return None
    return _Builder().build(node)


def _refuse_depth(text: str) -> None:
    """Raise on nesting that would overflow the C stack: libyaml's parser is safe there, PyYAML's composer is not."""
    if text.count("[") + text.count("{") <= DEPTH and not _DEEP_LINE.search(text):
        return
    parser = _compose(text)
    depth = 0
    try:
        while parser.check_event():
            event = parser.get_event()
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > DEPTH:
                mark = event.start_mark
                raise YAMLError(f"nested more than {DEPTH} levels deep", mark.line + 1, mark.column + 1)
    finally:
        parser.dispose()


def _marked(error: yaml.MarkedYAMLError) -> YAMLError:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "cannot be read"
    return YAMLError(problem, mark.line + 1, mark.column + 1) if mark else YAMLError(problem)


class _Builder:
    """Nodes to dicts, lists and scalars."""

    def __init__(self) -> None:
        self._made: dict[yaml.Node, tuple[object, int]] = {}
        self._nodes = 0

    def build(self, node: yaml.Node) -> object:
        """The value of a node; anchors are built once and shared."""
        if isinstance(node, yaml.ScalarNode):
            self._nodes += 1
            return _scalar(node)
        known = self._made.get(node)
        if known is not None:
            value, cost = known
            if value is _PENDING:
                raise _error(node, "an alias that contains itself")
            # A shared value is shared in memory, not in what is made of it: count it each time it is used.
            self._grow(node, cost)
            return value
        self._made[node] = (_PENDING, 0)
        before = self._nodes
        self._grow(node, 1)
        value = self._mapping(node) if isinstance(node, yaml.MappingNode) else [self.build(n) for n in node.value]
        self._made[node] = (value, self._nodes - before)
        return value

    def _grow(self, node: yaml.Node, by: int) -> None:
        self._nodes += by
        if self._nodes > GROWTH and len(self._made) * 10 < self._nodes:
            raise _error(node, "aliases make this text grow too large")

    def _mapping(self, node: yaml.MappingNode) -> dict[str, object]:
        made: dict[str, object] = {}
        merged: dict[str, object] = {}
        for key_node, value_node in node.value:
            if key_node.value == "<<" and key_node.tag == _PLAIN:
                self._merge(value_node, merged)
                continue
            key = _key(key_node)
            if key in made:
                raise _error(key_node, f"the key {key!r} stands twice")
            made[key] = self.build(value_node)
        return {**merged, **made} if merged else made

    def _merge(self, node: yaml.Node, merged: dict[str, object]) -> None:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            value = self.build(source)
            if not isinstance(value, dict):
                raise _error(source, "'<<' merges mappings only")
            for key, one in value.items():
                merged.setdefault(key, one)


_PENDING: Final = object()


def _error(node: yaml.Node, problem: str) -> YAMLError:
    return YAMLError(problem, node.start_mark.line + 1, node.start_mark.column + 1)


def _key(node: yaml.Node) -> str:
    """JSON has text keys only; `on: x` therefore has the key "true", as for kubectl."""
    value = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
    raise _error(node, "a key must be text")


def _scalar(node: yaml.ScalarNode) -> object:
    text, tag = node.value, node.tag
    if tag == _PLAIN:
        return _plain(text, node)
    if tag == _TAG + "binary":
        try:
            return base64.b64decode(text, validate=False).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise _error(node, "!!binary that is no base64 of UTF-8 text") from None
    # An explicit !!int, !!bool … reads the text as if it stood plain; foreign tags are ignored, as kubectl does.
    if tag in _READ_PLAIN:
        return _plain(text, node)
    return text


_READ_PLAIN: Final = frozenset(_TAG + name for name in ("int", "float", "bool", "null"))


def _plain(text: str, node: yaml.ScalarNode) -> object:
    if text[:1] in _NUMBER_STARTS:
        return _number(text, node)
    if text in _NULLS:
        return None
    return _BOOLEANS.get(text, text)


def _number(text: str, node: yaml.ScalarNode) -> object:
    if text in _INFINITE:
        raise _error(node, f"{text} has no place in an API object")
    digits = text.replace("_", "")
    if _INTEGER.match(digits):
        # An octal may stand as 0777 too, which Python refuses to guess.
        plain = re.sub(r"\A([-+]?)0([0-7]+)\Z", r"\g<1>0o\g<2>", digits)
        # So many digits are no integer of 64 bits in any base, and Python refuses to read thousands of them.
        value = int(plain, 0) if len(plain) < 70 else 1 << 64
        if -(1 << 63) <= value < 1 << 64:
            return value
        if not _FLOAT.match(digits):
            return text
        number = float(digits)
    elif _FLOAT.match(digits):
        number = float(digits)
    else:
        return text
    if number in (float("inf"), float("-inf")):
        return text
    return int(number) if number.is_integer() and abs(number) < 1e21 else number
