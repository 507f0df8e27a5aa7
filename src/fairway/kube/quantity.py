"""Resource quantities (`250m`, `8Gi`, `1e3`) as exact numbers."""

from __future__ import annotations

import re
from fractions import Fraction

from fairway.values.errors import InvalidValueError

_FORM = re.compile(r"^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d{1,3})?$")
_SCALE = {
    "": Fraction(1),
    **{unit: Fraction(1024) ** (power + 1) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))},
    **{unit: Fraction(1000) ** (power + 1) for power, unit in enumerate(("k", "M", "G", "T", "P", "E"))},
    "m": Fraction(1, 10**3),
    "u": Fraction(1, 10**6),
    "n": Fraction(1, 10**9),
}


def parse_quantity(text: str | float) -> Fraction:
    """The number that a quantity stands for. Raises InvalidValueError."""
    match = _FORM.match(str(text))
    if match is None:
        raise InvalidValueError(f"{text!r} is not a quantity (as 250m, 2, 8Gi)")
    suffix = match[2] or ""
    scale = _SCALE.get(suffix)
    return Fraction(match[1].rstrip(".")) * (Fraction(10) ** int(suffix[1:]) if scale is None else scale)
