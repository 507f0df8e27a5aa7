"""`'%s of %d'.format([…])`."""

from __future__ import annotations

import math
import re
from typing import Any

from fairway.apiserver.cel.errors import EvaluationError
from fairway.apiserver.cel.library.standard import to_string
from fairway.apiserver.cel.values import Duration, Timestamp, kind_of, type_name

_CLAUSE = re.compile(r"%(?:(%)|(?:\.(\d+))?([a-zA-Z])|)")
_WORDS = {
    "s": "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and "
    "timestamps",
    "d": "decimal clause can only be used on integers",
    "f": "fixed-point clause can only be used on doubles",
    "e": "scientific clause can only be used on doubles",
    "b": "only integers and bools can be formatted as binary",
    "x": "only integers, byte buffers, and strings can be formatted as hex",
    "o": "octal clause can only be used on integers",
}

_WHOLE = ("int", "uint")
_FITS = {
    "s": (*_WHOLE, "double", "bool", "string", "bytes", "null", "list", "map", "type", "duration", "timestamp"),
    "d": _WHOLE,
    "f": ("double", "string"),
    "e": ("double", "string"),
    "b": (*_WHOLE, "bool"),
    "x": (*_WHOLE, "string", "bytes"),
    "o": _WHOLE,
}


def formatted(pattern: str, values: list[Any]) -> str:
    """The pattern with its clauses filled in order."""
    given = iter(enumerate(values))

    def fill(found: re.Match[str]) -> str:
        percent, precision, clause = found.groups()
        if percent:
            return "%"
        if not clause:
            raise EvaluationError("unexpected end of string")
        at, value = next(given, (len(values), given))
        if value is given:
            raise EvaluationError(f"index {at} out of range")
        return _clause(clause, 6 if precision is None else int(precision), value)

    return _CLAUSE.sub(fill, pattern)


def problems(pattern: str, given: list[tuple[str, str]]) -> list[tuple[int | None, str]]:
    """What can be seen to be wrong with a pattern for values of these kinds (and names of types), and with which."""
    out: list[tuple[int | None, str]] = []
    at = 0
    for percent, _, clause in _CLAUSE.findall(pattern):
        if percent:
            continue
        if not clause or clause not in "sdfebxXo":
            return [*out, (None, _unknown(clause) if clause else "unexpected end of string")]
        if at >= len(given):
            return [*out, (None, f"index {at} out of range")]
        kind, name = given[at]
        if kind not in (*_FITS[clause.lower()], "dyn", "error"):
            out.append((at, f"error during formatting: {_WORDS[clause.lower()]}, was given {name}"))
        at += 1
    if at < len(given):
        words = f"too many arguments supplied to string.format (expected {at}, got {len(given)})"
        out.append((None, words))
    return out


def _unknown(clause: str) -> str:
    return f'could not parse formatting clause: unrecognized formatting clause "{clause}"'


def _clause(clause: str, precision: int, value: Any) -> str:
    kind = kind_of(value)
    text = None
    match clause:
        case "s":
            text = _string(value)
        case "d" if kind in ("int", "uint"):
            text = str(int(value))
        case "f" | "e" if kind == "double" or value in ("NaN", "Infinity", "-Infinity"):
            text = _real(float(value), clause, precision)
        case "b" if kind in ("int", "uint", "bool"):
            text = f"{int(value):b}"
        case "o" if kind in ("int", "uint"):
            text = f"{int(value):o}"
        case "x" | "X":
            text = _hex(value, kind)
            text = text.upper() if text and clause == "X" else text
        case _ if clause not in "sdfebxXo":
            raise EvaluationError(_unknown(clause))
    if text is None:
        words = _WORDS[clause.lower()]
        raise EvaluationError(f"error during formatting: {words}, was given {type_name(value)}")
    return text


def _real(value: float, clause: str, precision: int) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if clause == "f":
        return f"{value:,.{precision}f}"  # message.Printer groups by thousands
    digits, _, power = f"{value:.{precision}e}".partition("e")
    raised = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(c)] if c.isdigit() else "⁻" for c in power.lstrip("+"))
    return f"{digits}\u202f×\u202f10{raised}"


def _hex(value: Any, kind: str) -> str | None:
    match kind:
        case "string":
            return str(value.encode().hex())
        case "bytes":
            return str(value.hex())
        case "int" | "uint":
            return f"{int(value):x}"
    return None


def _string(value: Any) -> str | None:
    match kind_of(value):
        case "null":
            return "null"
        case "list":
            return f"[{', '.join(map(_inside, value))}]"
        case "map":
            return "{" + ", ".join(sorted(f"{_inside(k)}:{_inside(v)}" for k, v in value.items())) + "}"
        case "opaque" | "optional":
            return None
    return to_string(value)


def _inside(value: Any) -> str:
    """A member of a list or map, as a literal."""
    if isinstance(value, str):
        from fairway.apiserver.fielderrors import quote

        return quote(value)
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, Duration | Timestamp):
        return f'{"duration" if isinstance(value, Duration) else "timestamp"}("{value.text()}")'
    return _string(value) or ""
