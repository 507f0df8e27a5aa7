from __future__ import annotations

from fairway.apiserver import gotime


def test_a_year_has_four_digits_from_the_first_on() -> None:
    """Go reads no shorter one, and its zero time is of the year 1."""
    assert gotime.normal_micro_time("0001-01-01T00:00:02Z") == "0001-01-01T00:00:02.000000Z"
    assert gotime.normal_time("0001-01-01T01:00:00+01:00") == "0001-01-01T00:00:00Z"
    assert gotime.normal_time("2026-12-01T02:44:32Z") == "2026-12-01T02:44:32Z"
