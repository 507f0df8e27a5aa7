"""Back-off: grows, is spread, has an end, and is forgotten after success."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.reconcile.backoff import Backoff


def test_delays_double_up_to_the_most() -> None:
    backoff = Backoff(first=1, most=5)
    assert [backoff.failed(0.5) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_success_starts_anew() -> None:
    backoff = Backoff(first=1)
    backoff.failed(0.5), backoff.failed(0.5)
    backoff.succeeded()
    assert backoff.failed(0.5) == 1


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 2000))
def test_every_delay_is_within_the_jitter(random: float, failures: int) -> None:
    backoff = Backoff(failures=min(failures, 64))
    delay = backoff.failed(random)
    assert 0.2 * 0.8 <= delay <= 30 * 1.2


@pytest.mark.parametrize(("random", "expected"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_jitter_is_symmetric(random: float, expected: float) -> None:
    assert Backoff(first=1).failed(random) == pytest.approx(expected)
