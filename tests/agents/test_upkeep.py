"""A small part of a kernel that is kept as its owners want it."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping, Sequence

from fairway.agents.upkeep import COMPARE_SECONDS, Timing, Upkeep
from fairway.reconcile.items import Action, Container, Item, Operation, WriteError
from fairway.values.errors import KernelError

NAMES = "names"


class FakePart:
    """Refuses the keys in `bad`; `broken` refuses to be read."""

    def __init__(self) -> None:
        self.names: dict[Hashable, Hashable] = {}
        self.bad: set[Hashable] = set()
        self.broken = False
        self.written: list[Operation] = []

    def read(self) -> Mapping[str, Mapping[Hashable, Hashable]]:
        if self.broken:
            raise KernelError("names: EIO: broken", 5)
        return {NAMES: dict(self.names)}

    def apply(self, operations: Sequence[Operation]) -> None:
        for each in operations:
            if each.item.key in self.bad:
                raise WriteError(f"{each.item.key} is refused", 22, each)
            self.written.append(each)
            if each.action is Action.REMOVE:
                self.names.pop(each.item.key, None)
            else:
                self.names[each.item.key] = each.item.value


class CountedClock:
    """Sleeps end when `tick` lets them."""

    def __init__(self) -> None:
        self.asleep: asyncio.Queue[float] = asyncio.Queue()
        self.tick = asyncio.Event()

    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.asleep.put_nowait(seconds)
        await self.tick.wait()
        self.tick.clear()


def make(part: FakePart) -> tuple[Upkeep, CountedClock]:
    clock = CountedClock()
    return Upkeep("names", [Container(NAMES, 0, 1)], part, Timing(clock, lambda: 0.5)), clock


def item(key: str, value: str = "") -> Item:
    return Item(NAMES, key, value)


def test_nothing_is_written_before_all_owners_have_spoken() -> None:
    part = FakePart()
    part.names = {"left": "over"}
    upkeep, _ = make(part)
    upkeep.want("one", [item("a")])
    assert upkeep.flush() == ""
    assert part.written == []
    upkeep.open()
    assert upkeep.look() == ""
    assert part.names == {"left": "over", "a": ""}
    upkeep.prune()
    assert upkeep.flush() == ""
    assert part.names == {"a": ""}


def test_a_change_is_written_at_once_and_alone() -> None:
    part = FakePart()
    upkeep, _ = make(part)
    upkeep.want("one", [item(str(n)) for n in range(100)])
    upkeep.open()
    upkeep.look()
    part.written.clear()
    upkeep.want("two", [item("new")])
    upkeep.flush()
    assert part.written == [Operation(Action.ADD, item("new"))]


def test_one_refused_item_keeps_nobody_elses_from_being_written() -> None:
    part = FakePart()
    part.bad = {"b"}
    upkeep, _ = make(part)
    upkeep.want("one", [item("a"), item("b"), item("c")])
    upkeep.open()
    assert upkeep.look() == "b is refused"
    assert part.names == {"a": "", "c": ""}
    part.bad = set()
    assert upkeep.look() == ""
    assert part.names == {"a": "", "b": "", "c": ""}


def test_what_failed_is_tried_again_and_what_drifted_is_mended() -> None:
    asyncio.run(_failing_and_drifting())


async def _failing_and_drifting() -> None:
    part = FakePart()
    part.broken = True
    upkeep, clock = make(part)
    upkeep.want("one", [item("a")])
    upkeep.open()
    upkeep.prune()
    running = asyncio.create_task(upkeep.run())
    assert await clock.asleep.get() < 1
    assert part.names == {}
    part.broken = False
    clock.tick.set()
    await upkeep.has_settled.wait()
    assert part.names == {"a": ""}
    assert await clock.asleep.get() == COMPARE_SECONDS
    part.names = {"foreign": ""}
    clock.tick.set()
    assert await clock.asleep.get() == COMPARE_SECONDS
    assert part.names == {"a": ""}
    running.cancel()
