"""Controllers beside an API server: the loops wired to a client, the machine's clocks and randomness."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairway.agents.controllers.manager import Running
    from fairway.controllers.registry import Settings
    from fairway.io.kube.connection import Connection

UNLIMITED = -1.0
"""Requests a second: the server is ours, and slow-start and back-off are limit enough."""


@contextlib.asynccontextmanager
async def running_controllers(
    names: Sequence[str], connection: Connection, settings: Settings
) -> AsyncIterator[Running]:
    """The named controllers at work on one API server, until the block ends."""
    from fairway.agents.controllers.manager import start
    from fairway.agents.controllers.performer import Effects
    from fairway.io.host.clock import SystemClock
    from fairway.io.kube.client import ApiClient

    async with ApiClient(connection, qps=UNLIMITED, user_agent="fairway-controllers") as api:
        effects = Effects(api, SystemClock(), lambda: datetime.now(UTC), random.random)
        running = start(names, api, effects, settings)
        try:
            yield running
        finally:
            await running.stop()
