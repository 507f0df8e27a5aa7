"""What a running expression works on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairway.values.errors import FairwayError


class CostError(FairwayError):
    """An expression took too long; unlike other errors, && and || do not pass over it."""


class Budget:
    """How much an expression may still do; a unit is about one part of an expression evaluated once."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise CostError("operation cancelled: actual cost limit exceeded")


class Frame(list[Any]):
    """Values of variables by place."""

    __slots__ = ("budget",)
    budget: Budget


Run = Callable[[Frame], Any]
