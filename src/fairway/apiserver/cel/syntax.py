"""The tree of an expression. The checker writes each node's type and what a name or a call stands for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fairway.apiserver.cel.types import DYN, Type

if TYPE_CHECKING:
    from fairway.apiserver.cel.declarations import Overload


@dataclass(slots=True)
class Node:
    """`place` is where errors point to."""

    place: int
    type: Type = field(default=DYN, init=False)


@dataclass(slots=True)
class Literal(Node):
    value: Any = None


@dataclass(slots=True)
class Name(Node):
    name: str = ""
    slot: int = field(default=-1, init=False)  # a variable's place in the frame
    constant: Any = field(default=None, init=False)  # a type's name


@dataclass(slots=True)
class Select(Node):
    """`operand.field`; `test` is has(), `optional` is `.?`."""

    operand: Node
    field: str
    test: bool = False
    optional: bool = False
    json_name: str = ""


@dataclass(slots=True)
class Call(Node):
    """A function, operator or method; a method's target is the first argument."""

    name: str
    args: list[Node]
    member: bool = False
    overloads: list[Overload] = field(default_factory=list, init=False)


@dataclass(slots=True)
class ListNode(Node):
    items: list[Node]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True)
class MapNode(Node):
    entries: list[tuple[Node, Node, bool]]  # key, value, optional


@dataclass(slots=True)
class Fold(Node):
    """A macro over a list or the keys of a map: all, exists, exists_one, map, filter, and those of two variables."""

    kind: str
    range: Node
    names: list[str]
    steps: list[Node]
    slots: list[int] = field(default_factory=list, init=False)


@dataclass(slots=True)
class OptionalMap(Node):
    """`optMap` and `optFlatMap`."""

    flat: bool
    target: Node
    name: str
    body: Node
    slot: int = field(default=-1, init=False)
