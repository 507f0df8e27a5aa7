"""Wanted against known, for any keyed items: what to add and remove, kept up to date change by change.

Wanted items are given by owner and counted, since two owners may want the same item. Known items are what the kernel
is believed to hold. Keys where the two differ are pending; a write that failed leaves them pending. A change of one
owner costs work in proportion to its items. What an item means is not known here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fairway.reconcile.items import Action, Container, Item, Operation

_ABSENT: Any = object()


class Drift(NamedTuple):
    """The kernel does not hold what it was believed to hold. `found` and `expected` are None for absence."""

    container: str
    key: Hashable
    expected: Hashable
    found: Hashable


class _Table:
    """Wanted, known and pending of one container."""

    __slots__ = ("container", "known", "pending", "wanted")

    def __init__(self, container: Container) -> None:
        self.container = container
        self.wanted: dict[Hashable, Hashable] = {}
        self.known: dict[Hashable, Hashable] = {}
        self.pending: dict[Hashable, None] = {}

    def touch(self, key: Hashable) -> None:
        """Renew the key's place among the pending."""
        if self.wanted.get(key, _ABSENT) == self.known.get(key, _ABSENT):
            self.pending.pop(key, None)
        else:
            self.pending[key] = None

    def operation(self, key: Hashable) -> Operation | None:
        """The step that this key needs, if any."""
        wanted, known = self.wanted.get(key, _ABSENT), self.known.get(key, _ABSENT)
        name = self.container.name
        if wanted == known:
            return None
        if wanted is _ABSENT:
            return Operation(Action.REMOVE, Item(name, key, known))
        return Operation(Action.ADD if known is _ABSENT else Action.REPLACE, Item(name, key, wanted))


class Difference:
    """One dataplane's difference. Until `start_pruning` nothing is removed that no owner ever wanted."""

    def __init__(self, containers: Iterable[Container]) -> None:
        self._tables = {c.name: _Table(c) for c in containers}
        self._owned: dict[Hashable, tuple[Item, ...]] = {}
        self._shared: dict[tuple[str, Hashable], list[Hashable]] = {}
        self._is_pruning = False

    def set_wanted(self, owner: Hashable, items: Sequence[Item]) -> None:
        """This owner now wants exactly these items; one that stands twice counts once."""
        before = self._owned.get(owner, ())
        after = tuple(dict.fromkeys(items))
        if before == after:
            return
        if after:
            self._owned[owner] = after
        else:
            del self._owned[owner]
        kept = set(before) & set(after) if before and after else set[Item]()
        for item in before:
            if item not in kept:
                self._release(item)
        for item in after:
            if item not in kept:
                self._want(item)

    def owned(self, owner: Hashable) -> tuple[Item, ...]:
        """What an owner wants."""
        return self._owned.get(owner, ())

    def wanted(self, container: str) -> Mapping[Hashable, Hashable]:
        """All wanted items of a container: key to value. Not to be changed."""
        return self._tables[container].wanted

    def known(self, container: str) -> Mapping[Hashable, Hashable]:
        """What the kernel is believed to hold. Not to be changed."""
        return self._tables[container].known

    def wanted_items(self) -> Iterator[Item]:
        """Everything that is wanted, in the order in which it would be added."""
        for table in sorted(self._tables.values(), key=lambda t: t.container.add_stage):
            for key, value in table.wanted.items():
                yield Item(table.container.name, key, value)

    def load_known(self, container: str, items: Mapping[Hashable, Hashable]) -> None:
        """What a container was found to hold, at start or after it was lost: replaces all belief about it."""
        table = self._tables[container]
        table.known = dict(items)
        table.pending = {}
        for key in table.wanted:
            table.touch(key)
        if self._is_pruning:
            for key in table.known:
                table.touch(key)

    def start_pruning(self) -> None:
        """The first full plan is in: what the kernel holds and nobody wants goes from now on."""
        self._is_pruning = True
        for table in self._tables.values():
            for key in table.known.keys() - table.wanted.keys():
                table.pending[key] = None

    @property
    def pending_count(self) -> int:
        return sum(len(table.pending) for table in self._tables.values())

    @property
    def wanted_count(self) -> int:
        return sum(len(table.wanted) for table in self._tables.values())

    def counts(self) -> dict[str, int]:
        """Wanted items by container."""
        return {name: len(table.wanted) for name, table in self._tables.items()}

    def pending(self) -> list[Operation]:
        """The steps to take, in the order of their stages."""
        staged: dict[int, list[Operation]] = {}
        for table in self._tables.values():
            for key in table.pending:
                step = table.operation(key)
                if step is None:
                    continue
                is_removal = step.action is Action.REMOVE
                stage = table.container.remove_stage if is_removal else table.container.add_stage
                staged.setdefault(stage, []).append(step)
        return [step for stage in sorted(staged) for step in staged[stage]]

    def stage_of(self, step: Operation) -> int:
        """The stage that an operation runs in."""
        container = self._tables[step.item.container].container
        return container.remove_stage if step.action is Action.REMOVE else container.add_stage

    def applied(self, steps: Iterable[Operation]) -> None:
        """The kernel took these steps."""
        for action, (container, key, value) in steps:
            table = self._tables[container]
            if action is Action.REMOVE:
                table.known.pop(key, None)
            else:
                table.known[key] = value
            table.touch(key)

    def found(self, container: str, key: Hashable, value: Hashable | None, *, exists: bool = True) -> Drift | None:
        """The kernel was seen to hold this. Returns the drift if it was not what we believed; what is
        wanted otherwise becomes pending."""
        table = self._tables[container]
        expected = table.known.get(key, _ABSENT)
        seen = value if exists else _ABSENT
        if expected == seen:
            return None
        if exists:
            table.known[key] = value
        else:
            table.known.pop(key, None)
        if self._is_pruning or not exists or key in table.wanted or key in table.pending:
            table.touch(key)
        return Drift(container, key, None if expected is _ABSENT else expected, value if exists else None)

    def suspects(self, container: str, seen: Mapping[Hashable, Hashable]) -> Iterator[Hashable]:
        """Keys where a dump differs from what is known; each is to be asked for again before it counts as drift."""
        known = self._tables[container].known
        if seen == known:
            return
        yield from known.keys() - seen.keys()
        yield from (key for key, value in seen.items() if known.get(key, _ABSENT) != value)

    def _want(self, item: Item) -> None:
        table = self._tables[item.container]
        present = table.wanted.get(item.key, _ABSENT)
        if present is _ABSENT:
            table.wanted[item.key] = item.value
        else:
            values = self._shared.setdefault((item.container, item.key), [present])
            values.append(item.value)
            table.wanted[item.key] = _choose(values)
        table.touch(item.key)

    def _release(self, item: Item) -> None:
        table = self._tables[item.container]
        values = self._shared.get((item.container, item.key))
        if values is None:
            del table.wanted[item.key]
        else:
            values.remove(item.value)
            table.wanted[item.key] = _choose(values)
            if len(values) == 1:
                del self._shared[item.container, item.key]
        table.touch(item.key)


def _choose(values: list[Hashable]) -> Hashable:
    """Owners that disagree on a value: the least wins, so that the order of events does not matter."""
    first = values[0]
    return first if all(v == first for v in values) else min(values, key=repr)
