"""Go's regular expressions (RE2) in Python's.

What is written the same and means something else is rewritten: `$` is the end of the text and nothing before it; so are
\\z, \\Q…\\E and classes like [[:alpha:]] and \\pL; \\d, \\w and \\s know ASCII only. An expression that Go takes and
Python cannot is refused.
"""

from __future__ import annotations

import functools
import re

from fairway.values.posix import POSIX_CLASSES

# Letters and digits of the world, near enough for schemas: Python's re has no classes of Unicode's categories.
_UNICODE = {"L": r"^\W\d_", "Lu": "A-Z\u00c0-\u00de", "Ll": "a-z\u00df-\u00ff", "N": r"\d", "Nd": r"\d"}
_PIECE = re.compile(
    r"\\Q(?P<quoted>.*?)(?:\\E|$)|\\(?P<unicode>[pP])(?:\{(?P<long>\^?\w+)\}|(?P<short>\w))|\[:(?P<posix>\^?\w+):\]"
    r"|\\x\{(?P<hex>[0-9A-Fa-f]+)\}|\\(?P<escaped>.)|(?P<group>\(\?P?<\w+>)|\(\?(?P<flags>[imsU]+)\)|(?P<other>.)",
    re.DOTALL,
)


class RegexError(ValueError):
    """The expression is not one of Go's, or one that cannot be run here."""


@functools.lru_cache(maxsize=2048)
def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern for `search`; raises RegexError."""
    try:
        return re.compile(_translated(pattern), 0 if r"\p" in pattern.lower() else re.ASCII)
    except re.error as error:
        raise RegexError(_words(pattern, error)) from None


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found anywhere, as Go's MatchString."""
    return compiled(pattern).search(text) is not None


def _words(pattern: str, error: re.error) -> str:
    """Go's words for the mistakes that are made."""
    text = error.msg
    if "unterminated subpattern" in text:
        return f"error parsing regexp: missing closing ): `{pattern}`"
    if "unbalanced parenthesis" in text:
        return f"error parsing regexp: unexpected ): `{pattern}`"
    if "unterminated character set" in text:
        return f"error parsing regexp: missing closing ]: `{pattern[error.pos or 0 :]}`"
    if "nothing to repeat" in text:
        return f"error parsing regexp: missing argument to repetition operator: `{pattern[error.pos or 0 :][:1]}`"
    return f"error parsing regexp: {text}: `{pattern}`"


def _translated(pattern: str) -> str:
    found = re.search(r"\(\?<?[=!]", pattern)
    if found is not None:
        raise RegexError(f"error parsing regexp: invalid or unsupported Perl syntax: `{found[0]}`")
    out = _Output()
    for piece in _PIECE.finditer(pattern):
        out.add(piece)
    return out.text()


class _Output:
    """What is written so far, and where: in a class or not, and within which flags.

    Flags in the middle, `(?i)`, hold to the end of their group in Go; here the rest of each alternative is put into a
    group with the flags.
    """

    def __init__(self) -> None:
        self._out: list[str] = []
        self._inside = False
        self._flags: list[list[str]] = [[]]  # of each open group, the flags set in it

    def text(self) -> str:
        return "".join(self._out) + ")" * len(self._flags[0])

    def add(self, found: re.Match[str]) -> None:
        if self._inside:
            self._in_class(found)
        elif found.lastgroup == "flags":
            self._flags[-1].append(found["flags"])
            self._out.append(f"(?{found['flags']}:")
        else:
            self._outside(found)

    def _in_class(self, found: re.Match[str]) -> None:
        fresh = self._out[-1] in ("[", "[^")
        if found[0] == "^" and self._out[-1] == "[":
            self._out[-1] = "[^"
            return
        if found[0] == "]" and not fresh:
            self._inside = False
        self._out.append(_piece(found, inside=True, fresh=fresh))

    def _outside(self, found: re.Match[str]) -> None:
        text = found[0]
        if found.lastgroup == "other" and text in "[|)":
            self._inside = text == "["
            closed = ")" * len(self._flags[-1]) if text != "[" else ""
            self._out.append(closed)
            if text == ")" and len(self._flags) > 1:
                self._flags.pop()
        if text[0] == "(":
            self._flags.append([])
        self._out.append(_piece(found, inside=False, fresh=False))
        if text == "|":
            self._out += [f"(?{f}:" for f in self._flags[-1]]


def _piece(found: re.Match[str], *, inside: bool, fresh: bool) -> str:
    kind = found.lastgroup
    match kind:
        case "quoted":
            return re.escape(found["quoted"])
        case "posix":
            return POSIX_CLASSES.get(found["posix"], "")
        case "hex":
            return re.escape(chr(int(found["hex"], 16)))
        case "long" | "short":
            body = _UNICODE.get(found["long"] or found["short"], r"^\W\d_")
            return body.lstrip("^") if inside else f"[{body}]"
        case "escaped":
            return {"z": r"\Z", "C": r"[\s\S]", "a": r"\x07"}.get(found["escaped"], found[0])
        case "group":
            return f"(?P<{found[0].split('<')[1]}"
    if found[0] == "$" and not inside:
        return r"\Z"
    if (inside and found[0] in "[&~|") or (inside and fresh and found[0] == "]"):
        return "\\" + found[0]
    return found[0]
