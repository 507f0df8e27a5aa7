"""Regular expressions of a Corefile are Go's: told to Python, with what Python writes differently."""

from __future__ import annotations

import re
from functools import lru_cache

from fairway.values.errors import InvalidValueError
from fairway.values.posix import POSIX_CLASSES

MAX_LENGTH = 10_000

_DIFFERENT = re.compile(r"\\Q(?P<literal>.*?)(?:\\E|\Z)|\\(?P<escaped>.)|\[:(?P<not>\^?)(?P<class>\w+):\]", re.DOTALL)


def python_pattern(pattern: str) -> str:
    """`(?P<name>` is the same in both; `\\z`, `\\Q…\\E` and `[[:alpha:]]` are not. Raises InvalidValueError."""

    def told(match: re.Match[str]) -> str:
        if match["literal"] is not None:
            return re.escape(match["literal"])
        if match["escaped"]:
            return r"\Z" if match["escaped"] == "z" else match[0]
        if match["class"] not in POSIX_CLASSES or match["not"]:
            raise InvalidValueError(f"{pattern!r}: {match[0]} is not known (known: {', '.join(sorted(POSIX_CLASSES))})")
        return POSIX_CLASSES[match["class"]]

    # A bracket in a set stands for itself in both; Python warns that it may not for ever.
    return re.sub(r"(?<!\\)\[(\^?)\[", r"[\1\\[", _DIFFERENT.sub(told, pattern))


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Raises InvalidValueError."""
    if len(pattern) > MAX_LENGTH:
        raise InvalidValueError(f"a regular expression of {len(pattern)} characters, more than {MAX_LENGTH}")
    try:
        return re.compile(python_pattern(pattern), re.ASCII)
    except re.error as error:
        raise InvalidValueError(f"{pattern!r} is not a regular expression: {error}") from None
