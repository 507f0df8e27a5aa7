"""Keys that wait to be looked at: each once, never two at a time, later ones by time, failed ones by back-off."""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable

from fairway.agents.clock import Clock
from fairway.controllers.controller import Key
from fairway.reconcile.backoff import Backoff

FIRST_RETRY = 0.005
LONGEST_RETRY = 60.0


class WorkQueue:
    """A key that is added while it is worked on comes again afterwards. Keys added twice come once."""

    def __init__(self, clock: Clock, random: Callable[[], float]) -> None:
        self._clock = clock
        self._random = random
        self._ready: OrderedDict[Key, None] = OrderedDict()
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._later: list[tuple[float, Key]] = []
        self._due: dict[Key, float] = {}
        self._backoffs: dict[Key, Backoff] = {}
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        """Look at this key as soon as a worker is free."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._ready:
            self._ready[key] = None
            self._wake.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Look at it then; of several times the earliest counts."""
        due = self._clock.now() + seconds
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._later, (due, key))
        self._wake.set()

    def retry(self, key: Key) -> float:
        """Look at it again by back-off; returns the delay."""
        backoff = self._backoffs.setdefault(key, Backoff(FIRST_RETRY, LONGEST_RETRY, jitter=0.2))
        delay = backoff.failed(self._random())
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """It went well: the next failure starts from the shortest delay."""
        self._backoffs.pop(key, None)

    async def take(self) -> Key:
        """The next key, as soon as there is one. Give it back with `done`."""
        while True:
            self._move_due()
            if self._ready:
                key, _ = self._ready.popitem(last=False)
                self._working.add(key)
                if self._ready:
                    self._wake.set()
                return key
            self._wake.clear()
            await self._wait()

    def done(self, key: Key) -> None:
        """The worker is through with it."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    @property
    def is_idle(self) -> bool:
        """Nothing to do now, whatever may be due later."""
        self._move_due()
        return not self._ready and not self._working

    def _move_due(self) -> None:
        now = self._clock.now()
        while self._later and self._later[0][0] <= now:
            due, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)

    async def _wait(self) -> None:
        """Until a key is added or the next one is due."""
        if not self._later:
            await self._wake.wait()
            return
        timer = asyncio.ensure_future(self._clock.sleep(max(0.0, self._later[0][0] - self._clock.now())))
        waiter = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((timer, waiter), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (timer, waiter):
                task.cancel()
