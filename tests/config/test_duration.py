"""Go durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.config.duration import format_duration, parse_duration, seconds_of
from fairway.values.errors import InvalidValueError


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("0", 0.0, "0s"),
        ("-0", 0.0, "0s"),
        ("30s", 30.0, "30s"),
        ("15m", 900.0, "15m0s"),
        ("24h", 86400.0, "24h0m0s"),
        ("1h1h", 7200.0, "2h0m0s"),
        ("1h0.5s", 3600.5, "1h0m0.5s"),
        ("1.5s", 1.5, "1.5s"),
        (".5s", 0.5, "500ms"),
        ("5.s", 5.0, "5s"),
        ("+5s", 5.0, "5s"),
        ("-1m30s", -90.0, "-1m30s"),
        ("100us", 1e-4, "100µs"),
        ("1µs", 1e-6, "1µs"),
        ("1μs", 1e-6, "1µs"),
        ("1ns", 1e-9, "1ns"),
        ("1.5ms", 0.0015, "1.5ms"),
        ("2562047h0m0s", 9223369200.0, "2562047h0m0s"),
    ],
)
def test_durations_are_read_and_written_as_go_does(text, seconds, written):
    assert parse_duration(text) == seconds
    assert format_duration(seconds) == written


@pytest.mark.parametrize(
    "text", ["", " ", "5", "s", ".s", "1d", "1 s", "1s ", "5S", "1e3s", "--1s", "1s-", "٣s", "1_0s", "inf"]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InvalidValueError, match="is not a duration"):
        parse_duration(text)


def test_more_than_go_can_hold_is_refused():
    with pytest.raises(InvalidValueError, match="292 years"):
        parse_duration("9999999h")


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_what_is_written_reads_back_to_the_same_seconds(nanoseconds):
    seconds = seconds_of(nanoseconds)
    if abs(seconds) < 2**63 / 1e9:
        assert parse_duration(format_duration(seconds)) == seconds
