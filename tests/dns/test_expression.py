"""Expressions of `template`; tests/peers puts more of them to CoreDNS."""

from __future__ import annotations

import pytest

from fairway.dns.expression import Expression
from fairway.dns.expression_functions import ExpressionError
from fairway.dns.go_values import go_text

SCOPE = {"n": 7, "name": lambda: "web-7.test.", "group": lambda key: {"w": "web"}.get(str(key), "")}


def value(text: str) -> object:
    return Expression(text, ["n"], ["name", "group"])(SCOPE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", "7"),
        ("7 / 2", "3.5"),
        ("05 + 0x10 + 0b1", "22"),
        ("-7 % 3", "-1"),
        ("2 ** 3 ** 2", "512"),
        ("1 / 0", "+Inf"),
        ("'a' + \"b\" + `c`", "abc"),
        ("n > 5 and not (n == 8)", "true"),
        ("n == 7 ? 'seven' : 'other'", "seven"),
        ("nil ?? group('none') ?? 'x'", ""),
        ("name() matches '^web-[0-9]+[.]' && name() endsWith 'test.'", "true"),
        ("name() not contains 'db'", "true"),
        ("n in [1, 7]", "true"),
        ("n not in 1..3", "true"),
        ("{'a': [1, 2]}.a[-1]", "2"),
        ("{'a': 1}?.b", "<nil>"),
        ("split(name(), '.')[0] | upper()", "WEB-7"),
        ("filter(1..6, # % 2 == 0) | map(# * n)", "[14 28 42]"),
        ("any([{'a': 1}], .a == 1)", "true"),
        ("let x = n * 2; x + n", "21"),
        ("int('12') + len('ä')", "14"),
    ],
)
def test_values(text: str, expected: str) -> None:
    assert go_text(value(text)) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nonsense", "'nonsense' is not known"),
        ("nonsense()", "'nonsense' is not known"),
        ("name == 'a'", "'name' is not known"),
        ("1 +", "where a value should be"),
        ("(1", r"expected '\)'"),
        ("1 2", "one word too many"),
        ("'a", "is not known"),
        ("# > 1", "where a value should be"),
        ("let x = 1; y", "'y' is not known"),
    ],
)
def test_what_cannot_be_read_is_said_at_once(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError, match=problem):
        Expression(text, ["n"], ["name", "group"])


@pytest.mark.parametrize(
    "text", ["int('x')", "'a' + 1", "1 < 'a'", "not 1", "[1][4]", "'a'.b", "1 % 0", "n matches 'x'"]
)
def test_what_has_no_value_is_an_error(text: str) -> None:
    with pytest.raises(ExpressionError):
        value(text)
