"""Keys that wait: once each, never two at a time, by time and by back-off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fairway.agents.controllers.queue import FIRST_RETRY, LONGEST_RETRY, WorkQueue
from fairway.values.names import ObjectName

A, B = ObjectName("shop", "a"), ObjectName("shop", "b")


class ManualClock:
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        self.time = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        event = asyncio.Event()
        self._sleepers.append((self.time + seconds, event))
        await event.wait()

    async def advance(self, seconds: float) -> None:
        self.time += seconds
        for due, event in self._sleepers:
            if due <= self.time:
                event.set()
        for _ in range(5):
            await asyncio.sleep(0)


def run(scenario: Callable[[WorkQueue, ManualClock], Awaitable[None]]) -> None:
    async def inside() -> None:
        clock = ManualClock()
        async with asyncio.timeout(10):
            await scenario(WorkQueue(clock, lambda: 0.5), clock)

    asyncio.run(inside())


def test_a_key_that_is_added_twice_comes_once() -> None:
    async def scenario(queue: WorkQueue, _clock: ManualClock) -> None:
        queue.add(A)
        queue.add(B)
        queue.add(A)
        assert [await queue.take(), await queue.take()] == [A, B]
        queue.done(A)
        queue.done(B)
        assert queue.is_idle

    run(scenario)


def test_a_key_is_not_worked_on_twice_at_a_time() -> None:
    async def scenario(queue: WorkQueue, _clock: ManualClock) -> None:
        queue.add(A)
        assert await queue.take() == A
        queue.add(A)
        waiting = asyncio.ensure_future(queue.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.done(A)
        assert await waiting == A

    run(scenario)


def test_a_later_key_comes_when_it_is_due() -> None:
    async def scenario(queue: WorkQueue, clock: ManualClock) -> None:
        queue.add_after(A, 5)
        waiting = asyncio.ensure_future(queue.take())
        await clock.advance(0)
        await clock.advance(4)
        assert not waiting.done()
        await clock.advance(1)
        assert await waiting == A

    run(scenario)


def test_of_several_times_the_earliest_counts() -> None:
    async def scenario(queue: WorkQueue, clock: ManualClock) -> None:
        queue.add_after(A, 50)
        queue.add_after(A, 5)
        queue.add_after(A, 500)
        await clock.advance(6)
        assert await queue.take() == A
        queue.done(A)
        await clock.advance(1000)
        assert queue.is_idle

    run(scenario)


def test_failures_wait_longer_and_longer_up_to_a_limit() -> None:
    async def scenario(queue: WorkQueue, _clock: ManualClock) -> None:
        delays = [queue.retry(A) for _ in range(30)]
        assert delays[:3] == [FIRST_RETRY, FIRST_RETRY * 2, FIRST_RETRY * 4]
        assert delays[-1] == LONGEST_RETRY
        queue.forget(A)
        assert queue.retry(A) == FIRST_RETRY

    run(scenario)


def test_one_key_does_not_make_another_wait() -> None:
    async def scenario(queue: WorkQueue, clock: ManualClock) -> None:
        for _ in range(5):
            queue.retry(A)
        queue.add(B)
        assert await queue.take() == B
        queue.done(B)
        await clock.advance(1)
        assert await queue.take() == A

    run(scenario)
