"""Go's time.ParseDuration: is a text a duration, and if not, in which words."""

from __future__ import annotations

import re

_PART = re.compile(r"(\d*)(\.\d*)?([^\d.]*)")
_UNITS = ("ns", "us", "\u00b5s", "\u03bcs", "ms", "s", "m", "h")


def duration_error(text: str) -> str:
    """What is wrong with a duration; nothing if it is one."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return ""
    wrong = f'time: invalid duration "{text}"'
    if not rest:
        return wrong
    while rest:
        match = _PART.match(rest)
        if match is None or not (match[1] or (match[2] or "").strip(".")):
            return wrong
        if not match[3]:
            return f'time: missing unit in duration "{text}"'
        if match[3] not in _UNITS:
            return f'time: unknown unit "{match[3]}" in duration "{text}"'
        rest = rest[match.end() :]
    return ""
