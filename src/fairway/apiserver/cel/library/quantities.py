"""Quantities of resources, and versions of software."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

from fairway.apiserver import quantity
from fairway.apiserver.cel.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Quantity:
    """kubernetes.Quantity: the number it stands for."""

    value: Decimal
    type_name: ClassVar[str] = "kubernetes.Quantity"


def _quantity(text: str) -> Quantity:
    try:
        return Quantity(quantity.parse(text))
    except quantity.QuantityError as error:
        raise EvaluationError(str(error)) from None


def _is(make: Callable[..., Any]) -> Callable[..., bool]:
    def run(*given: Any) -> bool:
        try:
            make(*given)
        except EvaluationError:
            return False
        return True

    return run


def _whole(q: Quantity) -> bool:
    return q.value == q.value.to_integral_value() and -(1 << 63) <= q.value < 1 << 63


def _integer(q: Quantity) -> int:
    if not _whole(q):
        raise EvaluationError("cannot convert value to integer")
    return int(q.value)


def _compare(a: Any, b: Any) -> int:
    return int(a > b) - int(a < b)


# ---- versions ---------------------------------------------------------------------------------------------------
_NUMBER = r"0|[1-9]\d*"
_VERSION = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?")


@dataclass(frozen=True, slots=True)
class Semver:
    """kubernetes.Semver: compared by precedence, so what was built does not count."""

    core: tuple[int, int, int]
    pre: tuple[tuple[bool, int, str], ...]
    type_name: ClassVar[str] = "kubernetes.Semver"

    def rank(self) -> tuple[Any, ...]:
        return self.core, not self.pre, self.pre


def _semver(text: str, normalize: bool = False) -> Semver:
    if normalize:
        text = _normalized(text)
    found = _VERSION.fullmatch(text)
    if found is None:
        if not text:
            raise EvaluationError("Version string empty")
        if text.count(".") < 2:
            raise EvaluationError("No Major.Minor.Patch elements found")
        raise EvaluationError(f'Invalid character(s) found in version "{text}"')
    parts = found[4].split(".") if found[4] else []
    if "" in parts or any(p.isdecimal() and len(p) > 1 and p[0] == "0" for p in parts):
        raise EvaluationError(f'Numeric PreRelease version must not contain leading zeroes "{found[4]}"')
    core = (int(found[1]), int(found[2]), int(found[3]))
    return Semver(core, tuple((not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts))


def _normalized(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    parts = [re.sub(r"^0+(?=\d)", "", p) for p in parts]
    if len(parts) < 3 and re.search(r"[+-]", parts[-1]):
        raise EvaluationError("Short version cannot contain PreRelease/Build meta data")
    return ".".join(parts + ["0"] * (3 - len(parts)))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "quantity(string) -> Quantity": _quantity,
    "isQuantity(string) -> bool": _is(_quantity),
    "sign(Quantity) -> int": lambda q: _compare(q.value, 0),
    "Quantity:isGreaterThan(Quantity) -> bool": lambda a, b: a.value > b.value,
    "Quantity:isLessThan(Quantity) -> bool": lambda a, b: a.value < b.value,
    "Quantity:compareTo(Quantity) -> int": lambda a, b: _compare(a.value, b.value),
    "Quantity:asApproximateFloat() -> double": lambda q: float(q.value),
    "Quantity:asInteger() -> int": _integer,
    "Quantity:isInteger() -> bool": _whole,
    "Quantity:add(Quantity) -> Quantity": lambda a, b: Quantity(a.value + b.value),
    "Quantity:add(int) -> Quantity": lambda a, b: Quantity(a.value + b),
    "Quantity:sub(Quantity) -> Quantity": lambda a, b: Quantity(a.value - b.value),
    "Quantity:sub(int) -> Quantity": lambda a, b: Quantity(a.value - b),
    "semver(string) -> Semver": _semver,
    "semver(string, bool) -> Semver": _semver,
    "isSemver(string) -> bool": _is(_semver),
    "isSemver(string, bool) -> bool": _is(_semver),
    "Semver:major() -> int": lambda v: v.core[0],
    "Semver:minor() -> int": lambda v: v.core[1],
    "Semver:patch() -> int": lambda v: v.core[2],
    "Semver:isGreaterThan(Semver) -> bool": lambda a, b: a.rank() > b.rank(),
    "Semver:isLessThan(Semver) -> bool": lambda a, b: a.rank() < b.rank(),
    "Semver:compareTo(Semver) -> int": lambda a, b: _compare(a.rank(), b.rank()),
}
