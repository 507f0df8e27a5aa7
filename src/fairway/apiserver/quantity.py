"""Resource quantities (`500m`, `1Gi`): exact numbers, and the one canonical way to write each."""

from __future__ import annotations

import functools
import re
from decimal import ROUND_CEILING, ROUND_UP, Decimal

_FORM = re.compile(r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_NAMES = {power: suffix for suffix, power in _DECIMAL.items()}
WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class QuantityError(ValueError):
    """The text is no quantity."""


def _split(text: str) -> tuple[Decimal, str]:
    """Value and format (`binary`, `decimal` or `exponent`)."""
    match = _FORM.match(text)
    if match is None:
        raise QuantityError(WRONG)
    number, suffix = match.groups()
    if number.count(".") > 1 or number in (".", "+", "-", "+.", "-."):
        raise QuantityError(WRONG)
    value = Decimal(number if not number.endswith(".") else number + "0")
    if suffix in _BINARY:
        return value * 1024 ** _BINARY[suffix], "binary"
    if suffix in _DECIMAL:
        return value.scaleb(_DECIMAL[suffix]), "decimal"
    if re.fullmatch(r"[eE][-+]?[0-9]+", suffix):
        return value.scaleb(int(suffix[1:])), "exponent"
    raise QuantityError("unable to parse quantity's suffix")


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Decimal:
    """The number that a quantity stands for."""
    return _split(text)[0]


@functools.lru_cache(maxsize=1024)
def canonical(text: str) -> str:
    """The API's way to write it: no fraction, the largest suffix that keeps it whole, rounded up below nano."""
    value, form = _split(text)
    value = value.quantize(Decimal("1e-9"), rounding=ROUND_UP) if value != value.to_integral_value() else value
    if value == 0:
        return "0"
    if form == "binary" and value == value.to_integral_value() and abs(value) >= 1024:
        whole, power = int(value), 0
        while whole % 1024 == 0 and power < 6:
            whole, power = whole // 1024, power + 1
        suffix = next((s for s, p in _BINARY.items() if p == power), "")
        return f"{whole}{suffix}"
    return _decimal(value, form)


def to_thousandths(text: str) -> str:
    """A canonical quantity, rounded up to the smallest amount that resources are counted in."""
    if not text.endswith(("n", "u")):
        return text
    return canonical(f"{(parse(text) * 1000).to_integral_value(ROUND_CEILING)}m")


def _decimal(value: Decimal, form: str) -> str:
    power = -9
    scaled = int(value.scaleb(9))
    while scaled % 1000 == 0 and power < 18:
        scaled, power = scaled // 1000, power + 3
    if form == "exponent":
        return f"{scaled}e{power}" if power else str(scaled)
    return f"{scaled}{_NAMES[power]}"
