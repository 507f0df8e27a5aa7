from __future__ import annotations

import pytest

from fairway.apiserver import gotime


def test_a_year_has_four_digits_from_the_first_on() -> None:
    """Go reads no shorter one, and its zero time is of the year 1."""
    assert gotime.normal_micro_time("0001-01-01T00:00:02.000000Z") == "0001-01-01T00:00:02.000000Z"
    assert gotime.normal_time("0001-01-01T01:00:00+01:00") == "0001-01-01T00:00:00Z"
    assert gotime.normal_time("2026-12-01T02:44:32Z") == "2026-12-01T02:44:32Z"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 'cannot parse "" as "2006"'),
        ("2026-1-01T00:00:00Z", 'cannot parse "1-01T00:00:00Z" as "01"'),
        ("2026-01-01", 'cannot parse "" as "T"'),
        ("2026-01-01T00:00:00", 'cannot parse "" as "Z07:00"'),
    ],
)
def test_what_is_no_time_is_said_where_it_ends_to_be_one(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^parsing time") as caught:
        gotime.normal_time(text)
    assert str(caught.value) == f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": {words}'


def test_a_month_that_is_none_is_out_of_range() -> None:
    with pytest.raises(ValueError, match="month out of range"):
        gotime.normal_time("2026-13-01T00:00:00Z")


@pytest.mark.parametrize(("text", "rest"), [("2026-01-01T00:00:00Z", "Z"), ("2026-01-01T00:00:00.123Z", ".123Z")])
def test_a_micro_time_has_six_digits_of_a_second(text: str, rest: str) -> None:
    with pytest.raises(ValueError, match=r"^parsing time") as caught:
        gotime.normal_micro_time(text)
    assert str(caught.value).endswith(f'cannot parse "{rest}" as ".000000"')
