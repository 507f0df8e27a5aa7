"""Removes stale UDP flows from the kernel's connection table without holding the event loop up.

Decides the order of a round only: which flows are stale is `plan.stale`'s to say, how they are found the table's. When
to run a round, and when to try again after a failure, is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Generator, Sequence
from typing import Protocol

from fairway.plan.stale import Flow, StaleFlows, StaleQuery
from fairway.values.address import Address


class FlowTable(Protocol):
    """A connection table: the kernel's, or a fake."""

    def find(self, queries: Sequence[StaleQuery], node: Collection[Address]) -> Generator[list[Flow], None, None]: ...

    def delete(self, flows: Sequence[Flow]) -> int: ...


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
