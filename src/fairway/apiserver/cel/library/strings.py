"""Texts: cel-go's string functions (version 2 of its extension), regular expressions, and `format`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairway.apiserver import regexes
from fairway.apiserver.cel.errors import EvaluationError
from fairway.apiserver.cel.library.formatting import formatted

Texts = list[str]
_ESCAPES = {7: "\\a", 8: "\\b", 12: "\\f", 10: "\\n", 13: "\\r", 9: "\\t", 11: "\\v", 92: "\\\\", 34: '\\"'}
_SPACE = " \t\n\v\f\r\x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"


def _matches(text: str, pattern: str) -> bool:
    try:
        return regexes.matches(pattern, text)
    except regexes.RegexError as error:
        raise EvaluationError(str(error)) from None


def _found(text: str, pattern: str, limit: int = -1) -> Texts:
    try:
        found = [m[0] for m in regexes.compiled(pattern).finditer(text)]
    except regexes.RegexError as error:
        raise EvaluationError(f"Illegal regex: {error}") from None
    return found if limit < 0 else found[:limit]


def _index(text: str, part: str, start: int = 0) -> int:
    if not part:
        return start
    if start < 0:
        raise EvaluationError(f"index out of range: {start}")
    return text.find(part, start)


def _last_index(text: str, part: str, start: int | None = None) -> int:
    if not part:
        return len(text) if start is None else start
    if start is None:
        return text.rfind(part)
    if start < 0:
        raise EvaluationError(f"index out of range: {start}")
    return -1 if start >= len(text) else text.rfind(part, 0, start + len(part))


def _char(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def _substring(text: str, start: int, end: int | None = None) -> str:
    if end is not None and start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for place in (start, len(text) if end is None else end):
        if not 0 <= place <= len(text):
            raise EvaluationError(f"index out of range: {place}")
    return text[start:end]


def _split(text: str, separator: str, limit: int = -1) -> Texts:
    if limit == 0:
        return []
    if not separator:
        return list(text) if limit < 0 or limit >= len(text) else [*text[: limit - 1], text[limit - 1 :]]
    return text.split(separator, limit - 1 if limit > 0 else -1)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count)


def _ascii(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "".join(change(c) if c.isascii() else c for c in text)


def quoted(text: str) -> str:
    """A literal of CEL."""
    return f'"{text.translate(_ESCAPES)}"'


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "string:startsWith(string) -> bool": str.startswith,
    "string:endsWith(string) -> bool": str.endswith,
    "string:contains(string) -> bool": lambda a, b: b in a,
    "string:matches(string) -> bool": _matches,
    "matches(string, string) -> bool": _matches,
    "string:find(string) -> string": lambda a, b: next(iter(_found(a, b)), ""),
    "string:findAll(string) -> list(string)": _found,
    "string:findAll(string, int) -> list(string)": _found,
    "string:charAt(int) -> string": _char,
    "string:indexOf(string) -> int": _index,
    "string:indexOf(string, int) -> int": _index,
    "string:lastIndexOf(string) -> int": _last_index,
    "string:lastIndexOf(string, int) -> int": _last_index,
    "string:lowerAscii() -> string": _ascii(str.lower),
    "string:upperAscii() -> string": _ascii(str.upper),
    "string:replace(string, string) -> string": _replace,
    "string:replace(string, string, int) -> string": _replace,
    "string:split(string) -> list(string)": _split,
    "string:split(string, int) -> list(string)": _split,
    "string:substring(int) -> string": _substring,
    "string:substring(int, int) -> string": _substring,
    "string:trim() -> string": lambda a: a.strip(_SPACE),
    "string:format(list(dyn)) -> string": formatted,
    "strings.quote(string) -> string": quoted,
    "list(string):join() -> string": "".join,
    "list(string):join(string) -> string": lambda a, b: b.join(a),
}
