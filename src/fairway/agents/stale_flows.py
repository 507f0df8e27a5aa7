"""Removes stale UDP flows from the kernel's connection table without holding the event loop up.

Decides when a round runs, in what order, and when a failed one is tried again. Which flows are stale is `plan.stale`'s
to say, how they are found the table's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from typing import Protocol

from fairway.agents.clock import Clock
from fairway.plan.model import PlannedPort
from fairway.plan.planner import PortChange
from fairway.plan.stale import Flow, StaleFlows, StaleQuery
from fairway.reconcile.backoff import Backoff
from fairway.values.address import Address
from fairway.values.errors import KernelError

log = logging.getLogger(__name__)

REST = 4.0
"""Pause after a round, in times its length: a lone change is cleaned after at once, a stream of them costs a fifth of
one processor at most."""
MOST_REST = 1.0
"""Seconds."""


class FlowTable(Protocol):
    """A connection table: the kernel's, or a fake."""

    def find(self, queries: Sequence[StaleQuery], node: Collection[Address]) -> Generator[list[Flow], None, None]:
        """The stale entries, in steps that may block for milliseconds; a step may be empty."""
        ...

    def delete(self, flows: Sequence[Flow]) -> int:
        """Delete these entries; returns how many were still there."""
        ...


class StaleFlowCleaner:
    """Rounds of cleaning, one at a time, for what the proxy's loop notes."""

    def __init__(
        self,
        table: FlowTable,
        node: Callable[[], Collection[Address]],
        clock: Clock,
        random: Callable[[], float],
        cleaned: Callable[[float, int], None] | None = None,
    ) -> None:
        """`node` gives the addresses of this node; `cleaned` is told the seconds and deletions of each round."""
        self._table = table
        self._node = node
        self._clock = clock
        self._random = random
        self._cleaned = cleaned
        self._stale = StaleFlows()
        self._noted = asyncio.Event()

    def note(self, changes: Iterable[PortChange]) -> None:
        """The kernel holds these changes now; returns at once."""
        self._stale.note(changes)
        self._wake()

    def note_all(self, ports: Iterable[PlannedPort]) -> None:
        """The kernel holds this whole plan now; returns at once."""
        self._stale.note_all(ports)
        self._wake()

    def _wake(self) -> None:
        if self._stale:
            self._noted.set()

    async def run(self) -> None:
        """Clean whatever is noted, until cancelled. Changes that are noted during a round share the next one."""
        backoff = Backoff()
        while True:
            await self._noted.wait()
            self._noted.clear()
            started = self._clock.now()
            if await self.clean():
                backoff.succeeded()
                await self._clock.sleep(min(MOST_REST, REST * (self._clock.now() - started)))
            else:
                await self._clock.sleep(backoff.failed(self._random()))
                self._noted.set()

    async def clean(self) -> bool:
        """One round, for a process that is about to end; not beside `run`. Says whether the kernel let it."""
        started = self._clock.now()
        try:
            deleted = await remove_stale_flows(self._table, self._stale, self._node())
        except KernelError as error:
            log.warning("stale flows not removed error=%r", str(error))
            return False
        if deleted:
            log.info("stale flows removed count=%d", deleted)
        if self._cleaned is not None:
            self._cleaned(self._clock.now() - started, deleted)
        return True


async def remove_stale_flows(table: FlowTable, stale: StaleFlows, node: Collection[Address]) -> int:
    """One round: ask what is pending in `stale`, delete what is found, return how many entries went.

    `node` is the addresses of this node. One round at a time, and cancelled only when the process ends; changes may be
    noted meanwhile. Raises what the table raises, with the queries pending again.
    """
    queries = stale.take()
    if not queries:
        return 0
    deleted = 0
    found = table.find(queries, node)
    try:
        # A walk is a system call of milliseconds: in a thread. What it found is confirmed and deleted here, in
        # chunks well under a millisecond, so that no change can come between.
        while flows := await asyncio.to_thread(_next_found, found):
            deleted += table.delete(stale.confirm(flows, node))
    except BaseException as error:
        stale.put_back()
        if isinstance(error, Exception):
            await asyncio.to_thread(found.close)
        raise
    stale.finish()
    return deleted


def _next_found(found: Generator[list[Flow], None, None]) -> list[Flow]:
    """The next step that found anything; empty at the end."""
    return next((flows for flows in found if flows), [])
