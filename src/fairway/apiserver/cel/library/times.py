"""Durations and instants."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Callable
from typing import Any

from fairway.apiserver.cel.errors import EvaluationError
from fairway.apiserver.cel.values import Duration, Timestamp, duration, timestamp

_NANO = 1_000_000_000


def _zone(name: str) -> dt.tzinfo:
    found = re.fullmatch(r"([+-]?)(\d\d):(\d\d)", name)
    if found:
        minutes = int(found[2]) * 60 + int(found[3])
        return dt.timezone(dt.timedelta(minutes=-minutes if found[1] == "-" else minutes))
    try:
        return zoneinfo.ZoneInfo(name or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise EvaluationError(f"unknown time zone {name}") from None


def _toward_zero(nanos: int, unit: int) -> int:
    return nanos // unit if nanos >= 0 else -(-nanos // unit)


_PARTS: dict[str, Callable[[dt.datetime], int]] = {
    "getFullYear": lambda m: m.year,
    "getMonth": lambda m: m.month - 1,
    "getDayOfYear": lambda m: m.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda m: m.day - 1,
    "getDate": lambda m: m.day,
    "getDayOfWeek": lambda m: m.isoweekday() % 7,
    "getHours": lambda m: m.hour,
    "getMinutes": lambda m: m.minute,
    "getSeconds": lambda m: m.second,
}
_SPANS = {"getHours": 3600 * _NANO, "getMinutes": 60 * _NANO, "getSeconds": _NANO, "getMilliseconds": 1_000_000}


def _parts() -> dict[str, Callable[..., Any]]:
    out: dict[str, Callable[..., Any]] = {}
    for name, part in _PARTS.items():
        out[f"timestamp:{name}() -> int"] = lambda t, part=part: part(t.moment())
        out[f"timestamp:{name}(string) -> int"] = lambda t, z, part=part: part(t.moment().astimezone(_zone(z)))
    for name, unit in _SPANS.items():
        out[f"duration:{name}() -> int"] = lambda d, unit=unit: _toward_zero(d.nanos, unit)
    out["timestamp:getMilliseconds() -> int"] = lambda t: t.nanos % _NANO // 1_000_000
    out["timestamp:getMilliseconds(string) -> int"] = lambda t, _zone: t.nanos % _NANO // 1_000_000
    return out


def _later(a: Timestamp, b: Duration) -> Timestamp:
    return timestamp(a.nanos + b.nanos)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_parts(),
    "_+_(duration, duration) -> duration": lambda a, b: duration(a.nanos + b.nanos),
    "_+_(timestamp, duration) -> timestamp": _later,
    "_+_(duration, timestamp) -> timestamp": lambda a, b: _later(b, a),
    "_-_(duration, duration) -> duration": lambda a, b: duration(a.nanos - b.nanos),
    "_-_(timestamp, timestamp) -> duration": lambda a, b: duration(a.nanos - b.nanos),
    "_-_(timestamp, duration) -> timestamp": lambda a, b: timestamp(a.nanos - b.nanos),
}
