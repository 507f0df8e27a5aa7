"""Regular expressions of a Corefile are Go's: told to Python, with what Python writes differently."""

from __future__ import annotations

import re

from fairway.values.errors import InvalidValueError

MAX_LENGTH = 10_000


def python_pattern(pattern: str) -> str:
    """`(?P<name>` is the same in both; `\\z` is `\\Z`, and `$` without a flag is the end alone."""
    return pattern.replace("\\z", "\\Z")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Raises InvalidValueError."""
    if len(pattern) > MAX_LENGTH:
        raise InvalidValueError(f"a regular expression of {len(pattern)} characters, more than {MAX_LENGTH}")
    try:
        return re.compile(python_pattern(pattern))
    except re.error as error:
        raise InvalidValueError(f"{pattern!r} is not a regular expression: {error}") from None
