"""A kernel that keeps elements and refuses what nf_tables refuses, without a kernel.

Refused are an add of what is there with other data, and overlapping ranges; a refused batch leaves nothing behind.
tests/kernel/test_nftables_contract.py holds it to what the real one does.

Failures can be injected, and somebody else can change elements behind the writer's back.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fairway.agents.dataplane import suspects_by_dump
from fairway.dataplanes.nftables import layout
from fairway.plan.view import NodeView
from fairway.reconcile.items import Action, Item, Operation, WriteError

_RANGES = (layout.PODS, layout.SERVICE_CIDRS)
PIECE = 3
"""Elements in a piece of a dump."""


class FakeKernel:
    """See fairway.agents.dataplane.Kernel."""

    def __init__(self) -> None:
        self.elements: dict[str, dict[Hashable, Hashable]] = {c.name: {} for c in layout.CONTAINERS}
        self.writes: list[Operation] = []
        """Every step that went in."""
        self.ensured = 0
        self.fails: Callable[[Sequence[Operation]], WriteError | None] = lambda _: None
        """Asked before each batch."""

    def ensure(self, _view: NodeView, _items: Callable[[], Iterable[Item]]) -> Sequence[str]:
        self.ensured += 1
        return ()

    def apply(self, operations: Sequence[Operation]) -> None:
        if (error := self.fails(operations)) is not None:
            raise error
        after = {name: dict(content) for name, content in self.elements.items()}
        for step in operations:
            _take(step, after)
        self.elements = after
        self.writes.extend(operations)

    def dump(self, container: str) -> Iterator[Sequence[tuple[Any, Any]]]:
        content = list(self.elements[container].items())
        for first in range(0, len(content), PIECE):
            yield content[first : first + PIECE]

    def get(self, container: str, key: Any) -> Any | None:
        return self.elements[container].get(key)

    def suspects(self, container: str, known: Mapping[Any, Any]) -> Iterator[Collection[Any]]:
        return suspects_by_dump(self.dump(container), known)

    def wipe(self) -> None:
        """Somebody flushed the ruleset."""
        for content in self.elements.values():
            content.clear()


def _take(step: Operation, elements: dict[str, dict[Hashable, Hashable]]) -> None:
    action, (container, key, value) = step
    content = elements[container]
    if action is Action.ADD and content.get(key, value) != value:
        raise refusal(step, errno.EEXIST)
    if action is Action.REMOVE:
        content.pop(key, None)
        return
    if container in _RANGES and any(other != key and _overlap(other, key) for other in content):
        raise refusal(step, errno.EEXIST)
    content[key] = value


def _overlap(one: Any, other: Any) -> bool:
    half = len(one) // 2
    return bool(one[:half] <= other[half:] and other[:half] <= one[half:])


def refusal(step: Operation | None, number: int = errno.EINVAL) -> WriteError:
    """The kernel's answer to a step that it does not like."""
    return WriteError(f"{step}: {errno.errorcode[number]}", number, step)


def poison(*containers: str) -> Callable[[Sequence[Operation]], WriteError | None]:
    """Refuses every addition to these containers, whatever the reason, one at a time."""

    def fails(operations: Sequence[Operation]) -> WriteError | None:
        bad = (o for o in operations if o.item.container in containers and o.action is not Action.REMOVE)
        step = next(bad, None)
        return refusal(step) if step else None

    return fails
