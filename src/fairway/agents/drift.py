"""What others do to our part of the kernel, and what the proxy does about it: look, name, repair only what drifted.

Notifications say where to look within a moment; a compare from time to time finds what they did not tell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from fairway.agents.clock import Clock
from fairway.agents.proxy import ProxyAgent
from fairway.values.address import Family

log = logging.getLogger(__name__)

COMPARE_SHARE = 1000
"""A compare may take a thousandth of the time: one that costs 0.3 s comes every 5 minutes at most."""
ITEM_SECONDS = 3e-6
"""What a compare is expected to cost an item, until one was timed."""
MANY = 500
"""Changed elements that are asked for one by one; when there are more, their container is read whole."""


class Part(Enum):
    """What of our table somebody changed."""

    TABLE = "table"
    CHAIN = "chain"
    RULE = "rule"
    SET = "set"
    ELEMENT = "element"
    UNKNOWN = "unknown"
    """The kernel could not keep up telling (ENOBUFS): anything may have changed."""


class ForeignChange(NamedTuple):
    """Somebody else changed our table."""

    part: Part
    name: str = ""
    """Of the chain, for a rule of its chain, of the set or map."""
    key: bytes | None = None
    """Of an element, where it can be asked for; None means any of them."""
    by: str = ""
    """Name and process id of who did it, where the kernel says so."""


class ForeignChanges(Protocol):
    """A subscription of one family's table."""

    def fileno(self) -> int:
        """Readable when there is something to read."""
        ...

    def read(self) -> Sequence[ForeignChange]:
        """All that is known of so far, without waiting."""
        ...


async def mend_foreign_changes(agent: ProxyAgent, subscribe: Mapping[Family, Callable[[], ForeignChanges]]) -> None:
    """Look where others changed something, as soon as they did, until cancelled.

    Subscribes when all is written: while anybody listens the kernel tells of each element of ours, too, and a cold
    start of 350,000 takes it twice as long. What was done before that nobody told, so everything is looked at once.
    """
    await agent.wait_filled()
    async with asyncio.TaskGroup() as tasks:
        for family, start in subscribe.items():
            tasks.create_task(_mend_family(agent, family, start()))


async def _mend_family(agent: ProxyAgent, family: Family, source: ForeignChanges) -> None:
    loop, happened = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(source.fileno(), happened.set)
    try:
        await agent.look(family)
        while True:
            await happened.wait()
            happened.clear()
            while changes := source.read():
                await _look(agent, family, changes)
    finally:
        loop.remove_reader(source.fileno())


async def _look(agent: ProxyAgent, family: Family, changes: Iterable[ForeignChange]) -> None:
    keys: dict[str, set[bytes]] = {}
    whole: set[str] = set()
    for change in changes:
        if change.part is not Part.ELEMENT or not agent.has_container(family, change.name):
            by = f" by {change.by}" if change.by else ""
            agent.lost(family, f"{change.part.value} {change.name} changed{by}")
            return
        if change.key is None:
            whole.add(change.name)
        else:
            keys.setdefault(change.name, set()).add(change.key)
    whole |= {name for name, found in keys.items() if len(found) > MANY}
    for name, found in keys.items():
        if name not in whole:
            agent.suspect(family, name, found)
    if whole:
        await agent.compare(family, sorted(whole))


async def compare_for_ever(
    agent: ProxyAgent, families: Iterable[Family], clock: Clock, period: Callable[[], float]
) -> None:
    """Compare the whole kernel every `period()` seconds, or more seldom where that would cost too much."""
    await agent.wait_filled()
    cost = agent.item_count * ITEM_SECONDS
    while True:
        await clock.sleep(max(period(), cost * COMPARE_SHARE))
        started = clock.now()
        drifts = sum([await agent.compare(family) for family in families])
        cost = clock.now() - started
        await agent.check_flows()
        log.debug("compared seconds=%.3f drifts=%d", cost, drifts)
