"""Regular expressions as Go reads them."""

from __future__ import annotations

import warnings

import pytest

from fairway.config.go_regexp import compile_pattern
from fairway.values.errors import InvalidValueError


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (r"^[[:alpha:]]+-[[:digit:]_]+$", "ab-1_2", True),
        (r"^[^[:space:].]+\.$", "ab.", True),
        (r"^\Qa.b\E$", "a.b", True),
        (r"^\Qa.b\E$", "axb", False),
        (r"\Qa.b", "xa.by", True),
        (r"a\z", "ba", True),
        (r"\\z", "\\z", True),
        (r"[[a]", "[", True),
        (r"(?i)^AB$", "ab", True),
        (r"(?P<n>\d+)", "²", False),
        (r"^\w$", "é", False),
        (r"[]a]", "]", True),
    ],
)
def test_what_matches(pattern: str, text: str, matches: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (compile_pattern(pattern).search(text) is not None) == matches


@pytest.mark.parametrize("pattern", ["(", "[[:nonsense:]]", "a" * 10_001, "(?P<a>x)(?P<a>y)", "*"])
def test_what_is_no_expression(pattern: str) -> None:
    with pytest.raises(InvalidValueError):
        compile_pattern(pattern)
