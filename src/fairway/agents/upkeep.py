"""What the proxy does beside changes: comparing the kernel with the plan from time to time.

Works in pieces and yields between them, so that no change waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from fairway.agents.clock import Clock
from fairway.agents.proxy import ProxyAgent
from fairway.values.address import Family

log = logging.getLogger(__name__)

COMPARE_SHARE = 1000
"""A compare may take a thousandth of the time: one that costs 0.3 s comes every 5 minutes at most."""


async def compare_for_ever(agent: ProxyAgent, families: Iterable[Family], clock: Clock, period: float) -> None:
    """Compare the whole kernel every `period` seconds, or more seldom where that would cost too much."""
    cost = 0.0
    await agent.wait_filled()
    while True:
        await clock.sleep(max(period, cost * COMPARE_SHARE))
        started = clock.now()
        drifts = sum([await agent.compare(family) for family in families])
        cost = clock.now() - started
        log.debug("compared seconds=%.3f drifts=%d", cost, drifts)
