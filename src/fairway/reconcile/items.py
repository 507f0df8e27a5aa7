"""Items: what a dataplane wants to exist in a kernel, as keyed data, and operations on them.

An item is a key and a value in a named container (a map, a set, a chain, a table of servers). Keys and values are
opaque here: any hashable of the dataplane's choosing.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import NamedTuple

from fairway.values.errors import KernelError


class Item(NamedTuple):
    """`container` must hold `key` with `value`."""

    container: str
    key: Hashable
    value: Hashable = None


class Action(Enum):
    ADD = "add"
    REPLACE = "replace"
    """The key exists with another value; kernels that have no replace get delete and add in one transaction."""
    REMOVE = "remove"


class Operation(NamedTuple):
    """One step towards the wanted items. `value` is the new value, or for a removal the value that goes."""

    action: Action
    item: Item


class Container(NamedTuple):
    """How a dataplane wants one container written. Operations run in the order of their stages."""

    name: str
    add_stage: int
    """When additions and replacements run: what others point to comes first."""
    remove_stage: int
    """When removals run: after what replaces or points to them."""


class WriteError(KernelError):
    """The kernel refused a transaction; nothing of it was applied. `operation` is the one that it named, if any."""

    def __init__(self, message: str, errno: int, operation: Operation | None = None) -> None:
        super().__init__(message, errno)
        self.operation = operation
