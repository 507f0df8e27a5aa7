"""Expressions of a Corefile (`template`'s `var` and `expr`): read once, then asked of each question.

The language is that of https://expr-lang.org as far as questions need it: literals, arithmetic, comparison, `in`,
`matches` and their like, `?:`, `??`, pipes, arrays, maps, indexes, functions, and predicates with `#`. A name that
nobody has defined is an error when the Corefile is read. What functions do is `fairway.dns.expression_functions`'.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fairway.dns.expression_functions import FUNCTIONS, OPERATORS, PREDICATES, ExpressionError

Scope = Mapping[str, Any]
Node = Callable[[Scope], Any]
"""Gives the value in a scope of names. Raises ExpressionError."""

_BINARY = {
    "|": 0, "or": 10, "||": 10, "and": 15, "&&": 15, "==": 20, "!=": 20, "<": 20, ">": 20, ">=": 20, "<=": 20,
    "in": 20, "matches": 20, "contains": 20, "startsWith": 20, "endsWith": 20, "..": 25, "+": 30, "-": 30, "*": 60,
    "/": 60, "%": 60, "**": 100, "^": 100, "??": 500,
}  # fmt: skip
_RIGHT = frozenset({"**", "^"})
_UNARY = {"not": 50, "!": 50, "-": 90, "+": 90}
_NEGATABLE = frozenset({"in", "matches", "contains", "startsWith", "endsWith"})
KEYWORDS = frozenset({"true", "false", "nil", "not", "or", "and", "let", "if", "else", *_NEGATABLE})
_LITERALS = {"true": True, "false": False, "nil": None}
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)
    |(?P<float>\d[\d_]*\.\d[\d_]*(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+)
    |(?P<int>0[xX]_*[0-9a-fA-F][0-9a-fA-F_]*|0[oO]_*[0-7][0-7_]*|0[bB]_*[01][01_]*|\d[\d_]*)
    |(?P<name>[A-Za-z_$][A-Za-z0-9_$]*)
    |(?P<mark>\?\.|\?\?|\*\*|\.\.|==|!=|<=|>=|&&|\|\||[-+*/%^<>!?:.,()\[\]{}|\#;=]))""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


_END = _Token("end", "the end")


class Expression:
    """One expression, over names that are values and names that are functions."""

    def __init__(self, text: str, values: Collection[str], functions: Collection[str]) -> None:
        """Raises ExpressionError."""
        self.text = text
        self._values = set(values)
        self._functions = {*functions, *FUNCTIONS, *PREDICATES}
        self._tokens = self._split(text)
        self._at = 0
        self._is_inside_predicate = False
        self._node = self._expression(0)
        if self._now is not _END:
            self._fail(f"{self._now.text!r} is one word too many")

    def __call__(self, scope: Scope) -> Any:
        """The value, where names have these values. Raises ExpressionError."""
        try:
            return self._node(scope)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise ExpressionError(f"{self.text}: {error}") from None

    # -- words

    def _split(self, text: str) -> list[_Token]:
        found, at = [], 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                self._fail(f"{text[at:].strip()[:20]!r} is not known")
            assert match.lastgroup is not None
            found.append(_Token(match.lastgroup, match[match.lastgroup]))
            at = match.end()
        return found

    @property
    def _now(self) -> _Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _take(self) -> _Token:
        token = self._now
        self._at += 1
        return token

    def _accept(self, text: str) -> bool:
        if self._now.kind in {"mark", "name"} and self._now.text == text:
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            self._fail(f"expected {text!r}, not {self._now.text!r}")

    def _fail(self, problem: str) -> NoReturn:
        raise ExpressionError(f"{self.text}: {problem}")

    # -- operators, by precedence

    def _expression(self, least: int) -> Node:
        if least == 0 and self._accept("let"):
            return self._let()
        left = self._primary()
        while True:
            is_negated = self._now.text == "not" and self._peek() in _NEGATABLE
            operator = self._peek() if is_negated else self._now.text
            if self._now.kind not in {"mark", "name"} or _BINARY.get(operator, -1) < least:
                break
            self._at += 1 + is_negated
            left = self._binary(operator, left)
            left = _negated(left) if is_negated else left
        return self._choice(left) if least == 0 else left

    def _peek(self) -> str:
        return self._tokens[self._at + 1].text if self._at + 1 < len(self._tokens) else ""

    def _binary(self, operator: str, left: Node) -> Node:
        if operator == "|":
            return self._called(self._take().text, left)
        step = _BINARY[operator] + (operator not in _RIGHT)
        right = self._expression(step)
        match operator:
            case "and" | "&&":
                return lambda scope: _boolean(left(scope)) and _boolean(right(scope))
            case "or" | "||":
                return lambda scope: _boolean(left(scope)) or _boolean(right(scope))
            case "??":
                return lambda scope: right(scope) if (value := left(scope)) is None else value
        run = OPERATORS[operator]
        return lambda scope: run(left(scope), right(scope))

    def _choice(self, condition: Node) -> Node:
        if not self._accept("?"):
            return condition
        if self._accept(":"):  # a ?: b
            otherwise = self._expression(0)
            return lambda scope: condition(scope) or otherwise(scope)
        then = self._expression(0)
        self._expect(":")
        otherwise = self._expression(0)
        return lambda scope: then(scope) if _boolean(condition(scope)) else otherwise(scope)

    def _let(self) -> Node:
        name = self._take().text
        self._expect("=")
        value = self._expression(0)
        self._expect(";")
        is_new = name not in self._values
        self._values.add(name)
        body = self._expression(0)
        if is_new:
            self._values.discard(name)
        return lambda scope: body({**scope, name: value(scope)})

    # -- operands

    def _primary(self) -> Node:
        token = self._take()
        if token.text in _UNARY and token.kind in {"mark", "name"}:
            operand = self._expression(_UNARY[token.text])
            return self._unary(token.text, operand)
        return self._postfix(self._operand(token))

    @staticmethod
    def _unary(operator: str, operand: Node) -> Node:
        if operator in {"not", "!"}:
            return _negated(operand)
        return (lambda scope: -operand(scope)) if operator == "-" else (lambda scope: +operand(scope))

    def _operand(self, token: _Token) -> Node:
        match token.kind:
            case "string":
                return _constant(_unquoted(token.text))
            case "int":
                digits = token.text.replace("_", "")
                return _constant(int(digits, 10 if digits.isdecimal() else 0))
            case "float":
                return _constant(float(token.text.replace("_", "")))
            case "name":
                return self._named(token.text)
        match token.text:
            case "(":
                inner = self._expression(0)
                self._expect(")")
                return inner
            case "[":
                return _array(self._list("]"))
            case "{":
                return self._map()
            case "#" if self._is_inside_predicate:
                return lambda scope: scope["#"]
            case "." if self._is_inside_predicate:
                name = self._take().text
                return lambda scope: _member(scope["#"], name)
        return self._fail(f"{token.text!r} where a value should be")

    def _named(self, name: str) -> Node:
        if name in _LITERALS:
            return _constant(_LITERALS[name])
        if self._now.text == "(":
            return self._called(name)
        if name not in self._values:
            known = ", ".join(sorted((*self._values, *self._functions)))
            self._fail(f"{name!r} is not known (known: {known})")
        return lambda scope: scope[name]

    def _called(self, name: str, first: Node | None = None) -> Node:
        if name not in self._functions:
            self._fail(f"{name!r} is not known (known: {', '.join(sorted(self._functions))})")
        given, is_open = ([first] if first is not None else []), self._accept("(")
        if first is None and not is_open:
            self._fail(f"expected '(' after {name!r}")
        if name in PREDICATES:
            return self._predicate(name, given)
        given += self._list(")") if is_open else []
        own = FUNCTIONS.get(name)
        if own is not None:
            return lambda scope: own(*(one(scope) for one in given))
        return lambda scope: scope[name](*(one(scope) for one in given))

    def _predicate(self, name: str, given: list[Node]) -> Node:
        if not given:
            given = [self._expression(0)]
            self._expect(",")
        has_braces, outer = self._accept("{"), self._is_inside_predicate
        self._is_inside_predicate = True
        condition = self._expression(0)
        self._is_inside_predicate = outer
        if has_braces:
            self._expect("}")
        self._expect(")")
        run, items = PREDICATES[name], given[0]
        return lambda scope: run(items(scope), lambda item: condition({**scope, "#": item}))

    def _list(self, end: str) -> list[Node]:
        found: list[Node] = []
        while not self._accept(end):
            if found:
                self._expect(",")
                if self._accept(end):
                    break
            found.append(self._expression(0))
        return found

    def _map(self) -> Node:
        pairs: list[tuple[Node, Node]] = []
        while not self._accept("}"):
            if pairs:
                self._expect(",")
            token = self._take()
            if token.kind not in {"name", "string", "int"}:
                self._fail(f"{token.text!r} is not a key")
            key = _constant(_unquoted(token.text) if token.kind == "string" else token.text)
            self._expect(":")
            pairs.append((key, self._expression(0)))
        return lambda scope: {key(scope): value(scope) for key, value in pairs}

    def _postfix(self, node: Node) -> Node:
        while True:
            if self._accept("."):
                node = _of(node, self._take().text, is_optional=False)
            elif self._accept("?."):
                node = _of(node, self._take().text, is_optional=True)
            elif self._now.kind == "mark" and self._accept("["):
                node = self._index(node)
            else:
                return node

    def _index(self, node: Node) -> Node:
        first = None if self._now.text == ":" else self._expression(0)
        if not self._accept(":"):
            self._expect("]")
            assert first is not None
            return lambda scope: _item(node(scope), first(scope))
        last = None if self._now.text == "]" else self._expression(0)
        self._expect("]")
        return lambda scope: node(scope)[slice(first and first(scope), last and last(scope))]


def _constant(value: Any) -> Node:
    return lambda _scope: value


def _array(items: Sequence[Node]) -> Node:
    return lambda scope: [one(scope) for one in items]


def _negated(node: Node) -> Node:
    return lambda scope: not _boolean(node(scope))


def _of(node: Node, name: str, *, is_optional: bool) -> Node:
    def run(scope: Scope) -> Any:
        value = node(scope)
        return None if value is None and is_optional else _member(value, name)

    return run


def _member(value: Any, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise ExpressionError(f"{value!r} has no .{name}")
    return value.get(name)


def _item(value: Any, key: Any) -> Any:
    return value.get(key) if isinstance(value, Mapping) else value[key]


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError(f"{value!r} is neither true nor false")
    return value


def _unquoted(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text[1:-1], flags=re.DOTALL)
