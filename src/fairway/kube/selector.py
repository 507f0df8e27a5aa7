"""Label selectors as kubectl writes them (`app=web,tier in (a, b),!canary`): parsed once, then asked of labels.

The grammar is that of k8s.io/apimachinery/pkg/labels. Which objects are asked is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from fairway.values.errors import InvalidValueError


class Operator(Enum):
    """What a requirement asks of a label. NOT_IN holds for objects without the label, as in Kubernetes."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "!"
    GREATER = ">"
    LESS = "<"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is meant."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.ABSENT:
                return value is None
        number = _integer(value)
        bound = int(self.values[0])
        return number is not None and (number > bound if self.operator is Operator.GREATER else number < bound)


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; without any, everything is meant."""

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def parse(cls, text: str) -> LabelSelector:
        """Read a selector. Raises InvalidValueError naming text and place."""
        return cls(tuple(_requirement(part, text) for part in _parts(text)))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is meant."""
        return all(r.matches(labels) for r in self.requirements)


_NAME: Final = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY: Final = rf"(?P<key>(?:[a-z0-9](?:[-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME})"
_VALUE: Final = re.compile(rf"(?:{_NAME})?\Z")
_ABSENT: Final = re.compile(rf"!\s*{_KEY}\Z")
_EXISTS: Final = re.compile(rf"{_KEY}\Z")
_EQUALS: Final = re.compile(rf"{_KEY}\s*(?P<op>==|=|!=|>|<)\s*(?P<value>[^\s=!<>]*)\Z")
_SET: Final = re.compile(rf"{_KEY}\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)\Z")


def _parts(text: str) -> list[str]:
    """Split at commas that stand outside parentheses."""
    if not text.strip():
        return []
    return [part.strip() for part in re.split(r",(?![^(]*\))", text)]


def _requirement(part: str, text: str) -> Requirement:
    if found := _ABSENT.match(part):
        return Requirement(found["key"], Operator.ABSENT)
    if found := _EXISTS.match(part):
        return Requirement(found["key"], Operator.EXISTS)
    if found := _SET.match(part):
        operator = Operator.IN if found["op"] == "in" else Operator.NOT_IN
        return Requirement(found["key"], operator, tuple(sorted({_value(v, text) for v in found["values"].split(",")})))
    if found := _EQUALS.match(part):
        value = _value(found["value"], text)
        match found["op"]:
            case "=" | "==":
                return Requirement(found["key"], Operator.IN, (value,))
            case "!=":
                return Requirement(found["key"], Operator.NOT_IN, (value,))
        if _integer(value) is None:
            raise InvalidValueError(f"label selector {text!r}: {value!r} is no whole number")
        return Requirement(found["key"], Operator.GREATER if found["op"] == ">" else Operator.LESS, (value,))
    raise InvalidValueError(f"label selector {text!r}: {part!r} is no requirement")


def _value(text: str, selector: str) -> str:
    value = text.strip()
    if not _VALUE.match(value):
        raise InvalidValueError(f"label selector {selector!r}: {value!r} is no label value")
    return value


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[-+]?[0-9]+", text) else None
