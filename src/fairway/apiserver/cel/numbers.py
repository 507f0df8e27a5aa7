"""Whole numbers of 64 bits and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Callable

from fairway.apiserver.cel.errors import EvaluationError


class UInt(int):
    """An unsigned number: its type is what sets it apart."""

    __slots__ = ()


_LOW, _HIGH, _TOP = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1


def whole(value: int) -> int:
    """The value, if it is one of int64."""
    if _LOW <= value <= _HIGH:
        return value
    raise EvaluationError("integer overflow")


def natural(value: int) -> UInt:
    """The value, if it is one of uint64."""
    if 0 <= value <= _TOP:
        return UInt(value)
    raise EvaluationError("unsigned integer overflow")


def checked(operation: Callable[[int, int], int]) -> Callable[[int, int], int]:
    return lambda a, b: whole(operation(a, b))


def checked_natural(operation: Callable[[int, int], int]) -> Callable[[int, int], int]:
    return lambda a, b: natural(operation(int(a), int(b)))


def quotient(a: int, b: int) -> int:
    """Towards zero, as Go."""
    if b == 0:
        raise EvaluationError("division by zero")
    found = abs(a) // abs(b)
    return found if (a < 0) == (b < 0) else -found


def remainder(a: int, b: int) -> int:
    if b == 0:
        raise EvaluationError("modulus by zero")
    found = abs(a) % abs(b)
    return found if a >= 0 else -found


def divided(a: float, b: float) -> float:
    """IEEE: a division by zero is an infinity."""
    if b:
        return a / b
    if not a or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1, b)


def go_float(value: float) -> str:
    """strconv.FormatFloat(value, 'g', -1, 64)."""
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    digits, _, power = _shortest(value)
    exponent = int(power)
    if exponent < -4 or exponent >= 6:
        return f"{digits}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    return fixed(value)


def _shortest(value: float) -> tuple[str, str, str]:
    for precision in range(17):
        text = f"{value:.{precision}e}"
        if float(text) == value:
            return text.partition("e")
    return f"{value:.16e}".partition("e")


def fixed(value: float) -> str:
    """strconv.FormatFloat(value, 'f', -1, 64)."""
    digits, _, power = _shortest(value)
    places = max(0, len(digits.lstrip("-").replace(".", "")) - 1 - int(power))
    return f"{value:.{places}f}"
