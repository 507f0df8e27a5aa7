"""The evaluator beyond what rules of one object show: budgets, scopes, what && and || pass over."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.apiserver.cel import types
from fairway.apiserver.cel.errors import CompileError, EvaluationError
from fairway.apiserver.cel.escaping import escape, unescape
from fairway.apiserver.cel.frames import Budget, CostError
from fairway.apiserver.cel.numbers import fixed, go_float
from fairway.apiserver.cel.program import InstantiationError, compile_text


def value(text: str, *, budget: int = 10_000, **variables: Any) -> Any:
    program = compile_text(text, dict.fromkeys(variables, types.DYN))
    return program.run(list(variables.values()), Budget(budget))


def test_nested_macros_end_at_the_budget_instead_of_holding_up_the_server() -> None:
    items = list(range(1000))

    with pytest.raises(CostError, match="actual cost limit exceeded"):
        value("l.all(a, l.all(b, l.all(c, a + b + c >= 0)))", l=items)


def test_running_out_of_budget_is_not_passed_over_by_or() -> None:
    with pytest.raises(CostError):
        value("l.all(a, l.all(b, a >= 0 && b >= 0)) || true", l=list(range(1000)))


def test_a_variable_of_a_macro_hides_one_outside_and_lets_it_go() -> None:
    assert value("l.map(l, l + 1) == [2, 3] && l == [1, 2]", l=[1, 2]) is True


def test_a_program_can_run_again_after_an_error() -> None:
    program = compile_text("x[0] > 1", {"x": types.DYN})

    with pytest.raises(EvaluationError):
        program.run([[]], Budget(100))
    assert program.run([[2]], Budget(100)) is True


@pytest.mark.parametrize(
    "text",
    [
        "(" * 300 + "1" + ")" * 300,
        "[" * 400,
        "!" * 1001,
        "a" * 5000 + "(",
        "-" * 999 + "x",
        "1" + " + 1" * 2000,
        "x" + ".x" * 2000,
    ],
)
def test_deep_or_long_nonsense_is_refused_and_no_more(text: str) -> None:
    with pytest.raises(CompileError):
        compile_text(text, {})


@given(st.text(alphabet="abself.?:()[]{}'\"\\ 019+-*/%<>=!&|,xrb\n", max_size=40))
def test_any_text_is_an_expression_or_a_compile_error(text: str) -> None:
    with contextlib.suppress(CompileError, InstantiationError):
        compile_text(text, {"self": types.DYN})


@given(st.from_regex(r"[A-Za-z_./-][A-Za-z0-9_./-]{0,12}", fullmatch=True))
def test_a_property_comes_back_from_its_identifier(name: str) -> None:
    escaped = escape(name)

    assert escaped is not None
    assert "___" in name or unescape(escaped) == name


@pytest.mark.parametrize(
    ("number", "general", "plain"),
    [
        (1.0, "1", "1"),
        (100000.0, "100000", "100000"),
        (1e6, "1e+06", "1000000"),
        (1.5, "1.5", "1.5"),
        (0.00001, "1e-05", "0.00001"),
        (1234567.5, "1.2345675e+06", "1234567.5"),
        (-0.1, "-0.1", "-0.1"),
    ],
)
def test_numbers_are_written_as_go_writes_them(number: float, general: str, plain: str) -> None:
    assert (go_float(number), fixed(number)) == (general, plain)
