"""Go's text/template, as CoreDNS users write it: a text with actions → nodes, of which answers are made.

A template is read once, when the Corefile is, and every word in it that is not known is an error then, not an answer
that is wrong later. `define`, `template` and `block` are not known: a record is one line. What nodes make of values is
`fairway.dns.go_template_run`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn

from fairway.dns.go_template_run import (
    FUNCTIONS,
    Branch,
    Call,
    Chain,
    Command,
    Inner,
    Jump,
    Loop,
    Node,
    Pipeline,
    Show,
    TemplateError,
    Variable,
    expand,
)

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<raw>`[^`]*`)|(?P<char>'(?:[^'\\]|\\.)+')
    |(?P<number>[+-]?(?:0[xX]_*[0-9a-fA-F][0-9a-fA-F_]*|0[bB]_*[01][01_]*|0[oO]_*[0-7][0-7_]*|\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+))
    |(?P<variable>\$\w*)|(?P<field>\.[A-Za-z_]\w*)|(?P<word>\.|[A-Za-z_]\w*)|(?P<mark>:=|=|\||\(|\)|,)""",
    re.VERBOSE,
)
_ACTION = re.compile(r"""((?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|/\*.*?\*/|[^"`])*?)\}\}""", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_LITERALS = {"true": True, "false": False, "nil": None}
_OPENING = frozenset({"if", "with", "range"})


class _Token(NamedTuple):
    kind: str
    text: str
    is_joined: bool
    """Nothing stands between it and the one before."""


class GoTemplate:
    """One template."""

    def __init__(self, text: str) -> None:
        """Raises TemplateError."""
        self.text = text
        self._parts = list(self._split(text))
        self._at = 0
        self._variables = ["$"]
        self._loops = 0
        self._nodes, end = self._read()
        if end:
            self._fail(f"{end} without a beginning")

    def expand(self, values: Mapping[str, object]) -> str:
        """Fill it in. Raises TemplateError."""
        return expand(self._nodes, values)

    def _fail(self, problem: str) -> NoReturn:
        raise TemplateError(f"{self.text!r}: {problem}")

    def _split(self, text: str) -> Iterator[tuple[bool, str]]:
        """Texts, and actions (marked) without their braces; what `{{-` and `-}}` trim is gone."""
        at, trims = 0, False
        while (start := text.find("{{", at)) >= 0:
            match = _ACTION.match(text, start + 2)
            if match is None:
                self._fail("'{{' without '}}'")
            action, before = match[1], text[at:start]
            if re.match(r"-\s", action):
                action, before = action[1:], before.rstrip()
            yield False, before.lstrip() if trims else before
            trims = re.search(r"\s-\Z", action) is not None
            yield True, (action[:-1] if trims else action).strip()
            at = match.end()
        yield False, text[at:].lstrip() if trims else text[at:]

    # -- nodes

    def _read(self) -> tuple[tuple[Node, ...], str]:
        """Nodes up to the end or to an `else` or `end`, which is given back."""
        nodes: list[Node] = []
        depth = len(self._variables)
        while self._at < len(self._parts):
            is_action, text = self._parts[self._at]
            self._at += 1
            keyword, _, rest = text.partition(" ")
            if not is_action:
                nodes += [text] if text else []
            elif text.startswith("/*"):
                continue
            elif keyword in {"else", "end"}:
                del self._variables[depth:]
                return tuple(nodes), text
            else:
                nodes.append(self._action(keyword, text, rest))
        del self._variables[depth:]
        return tuple(nodes), ""

    def _action(self, keyword: str, text: str, rest: str) -> Node:
        if keyword in _OPENING:
            return self._branch(keyword, rest)
        if text in {"break", "continue"}:
            if not self._loops:
                self._fail(f"{text} outside of a range")
            return Jump(is_end=text == "break")
        return Show(self._pipeline(text))

    def _branch(self, keyword: str, condition: str) -> Node:
        depth = len(self._variables)
        pipeline = self._pipeline(condition, is_range=keyword == "range")
        self._loops += keyword == "range"
        then, end = self._read()
        self._loops -= keyword == "range"
        otherwise: tuple[Node, ...] = ()
        if end.startswith("else "):
            kind, _, further = end.removeprefix("else ").strip().partition(" ")
            if kind != keyword or kind == "range":
                self._fail(f"{end!r} is not known")
            otherwise = (self._branch(kind, further),)
        elif end == "else":
            otherwise, end = self._read()
            if end != "end":
                self._fail("'else' without 'end'")
        elif end != "end":
            self._fail(f"'{keyword}' without 'end'")
        del self._variables[depth:]
        if keyword == "range":
            return Loop(pipeline, then, otherwise)
        return Branch(pipeline, then, otherwise, keyword == "with")

    # -- pipelines

    def _pipeline(self, text: str, *, is_range: bool = False) -> Pipeline:
        tokens = self._tokens(text)
        if not tokens:
            self._fail("an empty action")
        names, is_new, tokens = self._declared(tokens, 2 if is_range else 1)
        commands, rest = self._commands(tokens)
        if rest:
            self._fail(f"')' without '(' in {text!r}")
        self._variables += names if is_new else ()
        return Pipeline(commands, names, is_new)

    def _tokens(self, text: str) -> list[_Token]:
        found, at, last = [], 0, -1
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                self._fail(f"{text[at:]!r} is not known")
            found.append(_Token(match.lastgroup, match[0], at == last))
            at = last = match.end()
        return found

    def _declared(self, tokens: list[_Token], most: int) -> tuple[tuple[str, ...], bool, list[_Token]]:
        """Variables in front of `:=` (new ones) or `=`, and what follows."""
        mark = next((i for i, token in enumerate(tokens) if token.text in {":=", "="}), None)
        if mark is None:
            return (), False, tokens
        names = tuple(token.text for token in tokens[:mark] if token.kind == "variable")
        commas = sum(token.text == "," for token in tokens[:mark])
        if not 0 < len(names) <= most or len(names) + commas != mark:
            self._fail(f"{' '.join(t.text for t in tokens[: mark + 1])} declares no variable")
        is_new = tokens[mark].text == ":="
        if not is_new:
            for name in names:
                self._known(name)
        return names, is_new, tokens[mark + 1 :]

    def _known(self, name: str) -> str:
        if name not in self._variables:
            self._fail(f"{name} is not known (known: {', '.join(self._variables)})")
        return name

    def _commands(self, tokens: Sequence[_Token]) -> tuple[tuple[Command, ...], list[_Token]]:
        commands: list[Command] = []
        command: list[object] = []
        left = list(tokens)
        while left and left[0].text != ")":
            token = left.pop(0)
            if token.text == "|" and token.kind == "mark":
                commands.append(tuple(command))
                command = []
                continue
            operand, left = self._operand(token, left)
            fields: list[str] = []
            while left and left[0].kind == "field" and left[0].is_joined:
                fields.append(left.pop(0).text[1:])
            command.append(Chain(operand, tuple(fields)) if fields else operand)
        commands.append(tuple(command))
        if not all(commands):
            self._fail("an empty command")
        return tuple(commands), left

    def _operand(self, token: _Token, left: list[_Token]) -> tuple[object, list[_Token]]:
        if token.text == "(" and token.kind == "mark":
            inner, left = self._commands(left)
            if not left:
                self._fail("'(' without ')'")
            return Inner(Pipeline(inner)), left[1:]
        return self._term(token), left

    def _term(self, token: _Token) -> object:
        match token.kind:
            case "string":
                return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), token.text[1:-1])
            case "raw":
                return token.text[1:-1]
            case "char":
                character = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), token.text[1:-1])
                return ord(character) if len(character) == 1 else self._fail(f"{token.text} is not one character")
            case "number":
                return _number(token.text)
            case "variable":
                return Variable(self._known(token.text))
            case "field":
                return Chain(Variable("."), (token.text[1:],))
        if token.text == ".":
            return Variable(".")
        if token.text in _LITERALS:
            return _LITERALS[token.text]
        if token.text in FUNCTIONS:
            return Call(token.text)
        return self._fail(
            f"{token.text!r} is not known (known: {', '.join(sorted(FUNCTIONS))}, fields, numbers, strings)"
        )


def _number(text: str) -> int | float:
    digits = text.replace("_", "")
    try:
        return int(digits, 0)
    except ValueError:
        return int(digits, 8) if re.fullmatch(r"[+-]?0[0-7]+", digits) else float(digits)
