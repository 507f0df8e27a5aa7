"""Label and field selectors: their grammar with the API's own error words, and what they match.

Refuses to know which fields a kind can be selected by; callers pass the values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fairway.apiserver.fielderrors import FieldError, invalid
from fairway.apiserver.names import label_value_errors, qualified_name_errors


class SelectorError(ValueError):
    """The text is no selector; the words are the API's."""


class Requirement(NamedTuple):
    """One condition on one label. Operators: in, notin, exists, !, gt, lt (= and != are in and notin of one)."""

    key: str
    operator: str
    values: frozenset[str]

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        if value is None or not re.fullmatch(r"[+-]?\d+", value):
            return False
        limit = int(next(iter(self.values)))
        return int(value) > limit if self.operator == "gt" else int(value) < limit


LabelSelector = tuple[Requirement, ...]
_SPECIAL = "=!(),<>"
_TOKENS = ("=", "==", "!=", "in", "notin", "!", "(", ")", ",", ">", "<")


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    return all(r.matches(labels) for r in selector)


class _Lexer:
    """Tokens: (kind, text), kind being the operator itself, `id` or `end`; `value` context reads words as values."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            if text[at] in " \t\r\n":
                at += 1
                continue
            start = at
            special = text[at] in _SPECIAL
            while at < len(text) and text[at] not in " \t\r\n" and (text[at] in _SPECIAL) == special:
                at += 1
                if special and text[start:at] not in _TOKENS:
                    break
            self._add(text[start:at], special)
        self.tokens.append(("end", ""))
        self.at = 0

    def _add(self, word: str, special: bool) -> None:
        if not special:
            self.tokens.append((word if word in ("in", "notin") else "id", word))
            return
        while word:
            best = max((t for t in _TOKENS if word.startswith(t) and t not in ("in", "notin")), key=len)
            self.tokens.append((best, best))
            word = word[len(best) :]

    def peek(self, values: bool = False) -> tuple[str, str]:
        kind, text = self.tokens[self.at]
        return ("id" if values and kind in ("in", "notin") else kind, text)

    def take(self, values: bool = False) -> tuple[str, str]:
        token = self.peek(values)
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token


def parse_labels(text: str) -> LabelSelector:
    """A label selector such as `a=b,c in (d, e),!f`."""
    lexer = _Lexer(text)
    out: list[Requirement] = []
    while True:
        kind, word = lexer.peek()
        if kind in ("id", "!", "in", "notin"):
            try:
                out.append(_requirement(lexer))
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            kind, word = lexer.take()
            if kind == "end":
                return tuple(sorted(out))
            if kind != ",":
                raise SelectorError(f"found '{word}', expected: ',' or 'end of string'")
            following, next_word = lexer.peek()
            if following not in ("id", "!", "in", "notin"):
                raise SelectorError(f"found '{next_word}', expected: identifier after ','")
        elif kind == "end":
            return tuple(sorted(out))
        else:
            raise SelectorError(f"found '{word}', expected: !, identifier, or 'end of string'")


def _requirement(lexer: _Lexer) -> Requirement:
    operator = ""
    if lexer.peek()[0] == "!":
        lexer.take()
        operator = "!"
    kind, key = lexer.take(True)
    if kind != "id":
        raise SelectorError(f"found '{key}', expected: identifier")
    _check(qualified_name_errors("<nil>", key))  # the path that the real server leaves out
    if operator or lexer.peek()[0] in ("end", ","):
        return Requirement(key, operator or "exists", frozenset())
    kind, word = lexer.take()
    if kind not in ("=", "==", "!=", "in", "notin", ">", "<"):
        raise SelectorError(f"found '{word}', expected: in, notin, =, ==, !=, gt, lt")
    values = _values(lexer) if kind in ("in", "notin") else frozenset({_value(lexer)})
    for i, value in enumerate(sorted(values)):
        if kind in "<>" and not re.fullmatch(r"[+-]?\d+", value):
            _check([invalid(f"values[{i}]", value, "for 'Gt', 'Lt' operators, the value must be an integer")])
        _check([invalid(f"values[{i}][{key}]", value, message) for message in label_value_errors(value)])
    return Requirement(key, {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}.get(kind, kind), values)


def _check(errors: list[FieldError]) -> None:
    if errors:
        raise SelectorError(str(errors[0]) if len(errors) == 1 else f"[{', '.join(map(str, errors))}]")


def _value(lexer: _Lexer) -> str:
    kind, word = lexer.peek(True)
    if kind in ("end", ","):
        return ""
    lexer.take(True)
    if kind != "id":
        raise SelectorError(f"found '{word}', expected: identifier")
    return word


def _values(lexer: _Lexer) -> frozenset[str]:
    kind, word = lexer.take(True)
    if kind != "(":
        raise SelectorError(f"found '{word}' expected: '('")
    found: set[str] = set()
    kind, word = lexer.peek(True)
    if kind == ")":
        lexer.take()
        return frozenset({""})
    if kind not in ("id", ","):
        raise SelectorError(f"found '{word}', expected: ',', ')' or identifier")
    while True:
        kind, word = lexer.take(True)
        if kind == "id":
            found.add(word)
            kind, word = lexer.take(True)
        else:
            found.add("")
        if kind == ")":
            return frozenset(found)
        if kind != ",":
            raise SelectorError(f"found '{word}', expected: ',' or ')'")


# ---- fields ----------------------------------------------------------------------------------------------------
class FieldTerm(NamedTuple):
    """One condition on one field."""

    field: str
    value: str
    equal: bool


FieldSelector = tuple[FieldTerm, ...]


def parse_fields(text: str) -> FieldSelector:
    """A field selector such as `metadata.name=a,status.phase!=Running`; `\\,` and `\\=` are escaped."""
    out: list[FieldTerm] = []
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        match = re.fullmatch(r"((?:[^\\=!]|\\.|!(?!=))*?)(!=|==|=)(.*)", part, re.DOTALL)
        if match is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        out.append(FieldTerm(match[1], _unescaped(match[3]), match[2] != "!="))
    return tuple(out)


def _unescaped(value: str) -> str:
    out, at = "", 0
    while at < len(value):
        pair = value[at : at + 2]
        if pair[0] == "\\" and pair[1:] not in ("\\", ",", "="):
            raise SelectorError(f"invalid field selector: invalid escape sequence: {pair}")
        if pair[0] == "=":
            raise SelectorError(f"invalid field selector: unescaped character in value: {ord('=')}")
        out, at = out + pair[-1 if pair[0] == "\\" else 0], at + (2 if pair[0] == "\\" else 1)
    return out


def fields_match(selector: FieldSelector, value_of: Callable[[str], str]) -> bool:
    return all((value_of(t.field) == t.value) == t.equal for t in selector)
