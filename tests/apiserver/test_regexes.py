"""Go's regular expressions mean in Python what they mean in Go."""

from __future__ import annotations

import pytest

from fairway.apiserver.regexes import RegexError, matches


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^a$", "a\n", False),
        (r"^a\z", "a", True),
        (r"^(?i)\.?[a-z]+$", ".ABC", True),
        ("a(?i)b|c", "C", True),
        ("(a(?i)b|c)d", "CD", False),
        ("(a(?i)b|c)d", "Cd", True),
        (r"\Qa.b\E", "axb", False),
        (r"\Qa.b\E", "a.b", True),
        ("[[:alpha:]]+", "é", False),
        (r"^\d$", "٣", False),
        ("[]a]", "]", True),
        ("[^]a]", "]", False),
        ("[a&&b]", "&", True),
        ("(?P<x>a)(?<y>b)", "ab", True),
        (r"\x{41}", "A", True),
        (r"[(|)$]", "$", True),
    ],
)
def test_a_pattern_finds_what_it_finds_in_go(pattern: str, text: str, found: bool) -> None:
    assert matches(pattern, text) is found


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "error parsing regexp: missing closing ): `(`"),
        ("a)", "error parsing regexp: unexpected ): `a)`"),
        ("[a", "error parsing regexp: missing closing ]: `[a`"),
        ("*", "error parsing regexp: missing argument to repetition operator: `*`"),
        ("(?=x)", "error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
    ],
)
def test_a_pattern_that_is_none_is_refused_in_gos_words(pattern: str, words: str) -> None:
    with pytest.raises(RegexError) as caught:
        matches(pattern, "")

    assert str(caught.value) == words
