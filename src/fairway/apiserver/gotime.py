"""Times as the API writes them: RFC 3339 in UTC, to the second or (MicroTime) to the microsecond; ages in tables."""

from __future__ import annotations

import datetime as dt
import functools
import re

_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)")
_MICRO = re.compile(r".{19}[.,]\d{6}(?!\d)", re.ASCII)
_SECONDS = (
    (r"\d{4}", "2006"),
    ("-", "-"),
    (r"\d\d", "01"),
    ("-", "-"),
    (r"\d\d", "02"),
    ("T", "T"),
    (r"\d\d", "15"),
    (":", ":"),
    (r"\d\d", "04"),
    (":", ":"),
    (r"\d\d", "05"),
)
_FRACTION, _ZONE = (r"[.,]\d{6}", ".000000"), (r"Z|[+-]\d\d:\d\d", "Z07:00")


def parse(text: str, *, is_micro: bool = False) -> dt.datetime:
    """An instant; raises ValueError with the words of Go's time.Parse. A MicroTime has six digits of a second."""
    match = _RFC3339.fullmatch(text)
    if match is None or (is_micro and not _MICRO.match(text)):
        raise ValueError(_parse_words(text, is_micro))
    year, month, day, hour, minute, second = (int(g) for g in match.groups()[:6])
    micro = int((match[7] or "0").ljust(6, "0")[:6])
    zone = dt.UTC
    offset = dt.timedelta(0)
    if match[8] != "Z":
        hours, minutes = match[8][1:].split(":")
        offset = dt.timedelta(hours=int(hours), minutes=int(minutes)) * (1 if match[8][0] == "+" else -1)
    try:
        return dt.datetime(year, month, day, hour, minute, second, micro, zone) - offset
    except (ValueError, OverflowError):
        raise ValueError(f'parsing time "{text}": {_out_of_range(month, hour, minute, second)} out of range') from None


def _out_of_range(month: int, hour: int, minute: int, second: int) -> str:
    if not 1 <= month <= 12:
        return "month"
    found = (name for name, value, most in (("hour", hour, 23), ("minute", minute, 59)) if value > most)
    return next(found, "second" if second > 59 else "day")


def _parse_words(text: str, is_micro: bool) -> str:
    fraction = (_FRACTION,) if is_micro else ()
    layout, rest, what = "2006-01-02T15:04:05" + ".000000" * is_micro + "Z07:00", text, ""
    for pattern, name in (*_SECONDS, *fraction, _ZONE):
        match = re.match(pattern, rest)
        what = name
        if match is None:
            return f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{what}"'
        rest = rest[match.end() :]
        if name == "05" and not is_micro:
            rest = re.sub(r"^[.,]\d+", "", rest)
    return f'parsing time "{text}": extra text: "{rest}"'


def write(instant: dt.datetime) -> str:
    """To the second, as `creationTimestamp`."""
    return f"{instant.year:04}{instant:-%m-%dT%H:%M:%SZ}"  # %Y of a C library may be shorter


def write_micro(instant: dt.datetime) -> str:
    return f"{instant.year:04}{instant:-%m-%dT%H:%M:%S.%fZ}"


def normal_time(text: str) -> str:
    """As it is stored."""
    if text.endswith("Z") and len(text) == 20 and _RFC3339.fullmatch(text):
        parse(text)
        return text
    return write(parse(text))


def normal_micro_time(text: str) -> str:
    """As it is stored, of a MicroTime."""
    return write_micro(parse(text, is_micro=True))


def from_seconds(now: float) -> str:
    return write(dt.datetime.fromtimestamp(now, dt.UTC))


@functools.lru_cache(maxsize=4096)
def seconds(text: str) -> float:
    """Unix time of an API time."""
    return parse(text).timestamp()


def age(created: str | None, now: float) -> str:
    """As kubectl's AGE column: two units while they matter."""
    if not created:
        return "<unknown>"
    return duration(now - seconds(created))


def duration(elapsed: float) -> str:
    total = int(elapsed)
    if total < -1:
        return "<invalid>"
    total = max(total, 0)
    if total < 120:
        return f"{total}s"
    minutes = total // 60
    if minutes < 10:
        return _pair(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    hours = total // 3600
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    return _days(hours)


def _days(hours: int) -> str:
    if hours < 24 * 8:
        return _pair(hours // 24, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{hours // 24}d"
    if hours < 24 * 365 * 8:
        return _pair(hours // 24 // 365, "y", hours // 24 % 365, "d")
    return f"{hours // 24 // 365}y"


def _pair(first: int, unit: str, second: int, second_unit: str) -> str:
    return f"{first}{unit}{second}{second_unit}" if second else f"{first}{unit}"
