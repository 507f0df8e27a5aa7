"""The machine's monotonic clock."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """CLOCK_MONOTONIC and the event loop's timers."""

    def now(self) -> float:
        """Seconds since boot."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        await asyncio.sleep(seconds)
