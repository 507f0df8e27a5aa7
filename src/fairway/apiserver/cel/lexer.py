"""Text to tokens (the grammar of cel-spec's langdef)."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from fairway.apiserver.cel.errors import Issue
from fairway.apiserver.cel.numbers import UInt

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>[rR]?[bB]?[rR]?(?:\"\"\"(?s:.)*?(?<!\\)\"\"\"|'''(?s:.)*?(?<!\\)'''))
    |(?P<raw>(?:[rR][bB]?|[bB][rR])(?:"[^"\n]*"|'[^'\n]*'))
    |(?P<plain>[bB]?(?:"(?:\\[abfnrtv\\?"'`xXuU0-3]|[^"\\\n])*"|'(?:\\[abfnrtv\\?"'`xXuU0-3]|[^'\\\n])*'))
    |(?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
    |(?P<uint>(?:0x[0-9a-fA-F]+|\d+)[uU])
    |(?P<int>0x[0-9a-fA-F]+|\d+)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<quoted>`[A-Za-z0-9_.\-/ ]+`)
    |(?P<op>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE,
)
_WRONG = re.compile(r"""'(?:[^'\\\n])*(?:\\.?)?|"(?:[^"\\\n])*(?:\\.?)?|[=&|].?|.""", re.DOTALL)
_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "?": 63, '"': 34, "'": 39, "`": 96}
_HEX = "[0-9a-fA-F]"
_ESCAPE = re.compile(rf"""\\(?:([abfnrtv\\?"'`])|[xX]({_HEX}{{2}})|u({_HEX}{{4}})|U({_HEX}{{8}})|([0-3][0-7]{{2}}))""")


class Token(NamedTuple):
    """`kind` is literal, name, op or end; a literal carries its value."""

    kind: str
    text: str
    place: int
    value: Any = None


def tokens(text: str) -> tuple[list[Token], list[Issue]]:
    """All tokens and an end; what is no token is an issue."""
    out: list[Token] = []
    issues: list[Issue] = []
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            wrong = _WRONG.match(text, place)
            assert wrong is not None
            issues.append(Issue(place, f"Syntax error: token recognition error at: '{wrong[0]}'"))
            place = wrong.end()
            continue
        place = found.end()
        kind = found.lastgroup or ""
        if kind != "space":
            out.append(_token(kind, found[0], found.start(), issues))
    out.append(Token("end", "<EOF>", len(text)))
    return out, issues


def _token(kind: str, text: str, place: int, issues: list[Issue]) -> Token:
    match kind:
        case "name" | "op":
            return Token(kind, text, place)
        case "quoted":
            return Token("name", text[1:-1], place, True)
        case "float":
            return Token("literal", text, place, float(text))
        case "int" | "uint":
            return Token("literal", text, place, _whole(kind, text, place, issues))
    return Token("literal", text, place, _unquoted(text, place, issues))


def _whole(kind: str, text: str, place: int, issues: list[Issue]) -> int:
    digits = text.rstrip("uU")
    value = int(digits, 16 if digits.startswith("0x") else 10)
    if kind == "uint":
        if value >= 1 << 64:
            issues.append(Issue(place, "invalid uint literal"))
        return UInt(value)
    return value  # whether it is one of int64 the parser knows: a sign may stand before it


def _unquoted(text: str, place: int, issues: list[Issue]) -> str | bytes:
    body = text.lstrip("rRbB")
    prefix = text[: len(text) - len(body)].lower()
    width = 3 if body[:3] in ('"""', "'''") else 1
    inner = body[width:-width]
    if "r" in prefix:
        return inner.encode() if "b" in prefix else inner
    if re.search(r"\\", _ESCAPE.sub("", inner)):
        issues.append(Issue(place, "invalid string literal" if "b" not in prefix else "invalid bytes literal"))
        return inner
    if "b" in prefix:
        return b"".join(_bytes_parts(inner))
    return _ESCAPE.sub(lambda m: chr(_code(m)), inner)


def _code(found: re.Match[str]) -> int:
    simple, short, four, eight, octal = found.groups()
    return _ESCAPES[simple] if simple else int(octal, 8) if octal else int(short or four or eight, 16)


def _bytes_parts(inner: str) -> list[bytes]:
    """In bytes, \\x and octal escapes are bytes, all else is UTF-8."""
    out, last = [], 0
    for found in _ESCAPE.finditer(inner):
        out.append(inner[last : found.start()].encode())
        code = _code(found)
        out.append(chr(code).encode() if found[3] or found[4] else bytes((code,)))
        last = found.end()
    return [*out, inner[last:].encode()]
