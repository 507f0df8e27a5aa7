"""Both ends of a feed, for tests: a sink that remembers, and a clock that stands still until it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Generic, TypeVar

from fairway.agents.feed import Change
from fairway.values.names import ObjectName

T = TypeVar("T")


class RecordingSink(Generic[T]):
    """Keeps objects as a sink should, and every call that was made."""

    def __init__(self, name_of: Callable[[T], ObjectName]) -> None:
        self._name_of = name_of
        self._changed = asyncio.Condition()
        self._pending: asyncio.Task[None] | None = None
        self.objects: dict[ObjectName, T] = {}
        self.calls: list[tuple[str, object]] = []
        """`("replace", names)` and `("apply", changes)` in order."""

    def replace(self, objects: Sequence[T], kept: Collection[ObjectName]) -> None:
        """As `fairway.agents.feed.Sink`."""
        stay = {name: self.objects[name] for name in kept if name in self.objects}
        self.objects = stay | {self._name_of(one): one for one in objects}
        self._note("replace", sorted(map(str, self.objects)))

    def apply(self, changes: Sequence[Change[T]]) -> None:
        """As `fairway.agents.feed.Sink`."""
        for name, one in changes:
            if one is None:
                self.objects.pop(name, None)
            else:
                self.objects[name] = one
        self._note("apply", list(changes))

    @property
    def names(self) -> list[str]:
        """Of all objects, sorted."""
        return sorted(map(str, self.objects))

    def calls_of(self, kind: str) -> list[object]:
        """What the calls of `replace` or `apply` brought."""
        return [what for name, what in self.calls if name == kind]

    async def until(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:  # noqa: ASYNC109
        """Return when a condition on this sink holds."""
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(condition)

    def _note(self, kind: str, what: object) -> None:
        self.calls.append((kind, what))
        self._pending = asyncio.ensure_future(self._wake())

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class ManualClock:
    """Time that moves only by `advance`."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._asleep = asyncio.Condition()
        self.slept: list[float] = []
        """How long each sleeper asked for, in order."""

    def now(self) -> float:
        """As `fairway.agents.clock.Clock`."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """As `fairway.agents.clock.Clock`."""
        if seconds <= 0:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self._now + seconds, done)
        self._sleepers.append(entry)
        self.slept.append(seconds)
        async with self._asleep:
            self._asleep.notify_all()
        try:
            await done
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)

    async def sleeper(self) -> float:
        """Wait until somebody sleeps; return for how long they still will."""
        async with asyncio.timeout(20), self._asleep:
            await self._asleep.wait_for(lambda: bool(self._sleepers))
        return min(at for at, _ in self._sleepers) - self._now

    async def sleeps(self, count: int) -> None:
        """Wait until so many sleeps have begun in all, and somebody sleeps."""
        async with asyncio.timeout(20), self._asleep:
            await self._asleep.wait_for(lambda: len(self.slept) >= count and bool(self._sleepers))

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake whoever's time has come."""
        self._now += seconds
        for entry in list(self._sleepers):
            if entry[0] <= self._now + 1e-9 and not entry[1].done():
                self._sleepers.remove(entry)
                entry[1].set_result(None)

    async def skip(self) -> float:
        """Wait until somebody sleeps and wake the first of them; return how long it would have slept."""
        seconds = await self.sleeper()
        self.advance(seconds)
        return seconds
