"""Durations as Go writes them (`1h30m`, `250ms`), which is how Kubernetes configuration files write them.

Seconds as a float are what the rest of Fairway uses. Which durations are allowed where is not known here.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from fairway.values.errors import InvalidValueError

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5 micro sign
    "μs": 10**3,  # U+03BC Greek mu: time.ParseDuration takes both
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE = re.compile(rf"[+-]?(?:{_PART.pattern})+", re.ASCII)
_LIMIT = 2**63
"""Go counts nanoseconds in 64 bits: 292 years."""


def parse_duration(text: str) -> float:
    """Seconds of `1h30m`, `250ms`, `0`. Raises InvalidValueError."""
    if text in {"0", "+0", "-0"}:
        return 0.0
    if not _WHOLE.fullmatch(text):
        raise InvalidValueError(f"{text!r} is not a duration such as 30s, 1h30m or 250ms")
    total = sum(int(Decimal(number) * _NANOSECONDS[unit]) for number, unit in _PART.findall(text))
    if total >= _LIMIT:
        raise InvalidValueError(f"{text!r} is more than the 292 years that a duration can hold")
    return seconds_of(-total if text.startswith("-") else total)


def seconds_of(nanoseconds: int) -> float:
    """The float nearest to so many nanoseconds."""
    return float(Fraction(nanoseconds, 10**9))


def format_duration(seconds: float) -> str:
    """As Go prints it: `0s`, `1.5s`, `15m0s`, `24h0m0s`, `250ms`. Reads back to the same number of seconds."""
    total = round(Fraction(seconds) * 10**9)
    sign, total = ("-", -total) if total < 0 else ("", total)
    if total < 10**9:
        unit = "s" if not total else "ns" if total < 10**3 else "µs" if total < 10**6 else "ms"
        return f"{sign}{_decimal(total, _NANOSECONDS[unit])}{unit}"
    minutes, rest = divmod(total, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 10**9)}s"
    if hours:
        text = f"{hours}h{minutes}m{text}"
    elif minutes:
        text = f"{minutes}m{text}"
    return sign + text


def _decimal(amount: int, unit: int) -> str:
    whole, part = divmod(amount, unit)
    if not part:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{part:0{digits}d}".rstrip("0")
