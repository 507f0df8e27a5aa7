"""Time, as the loops see it. The real one is `fairway.io.host.clock.SystemClock`."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time that only moves forward, and sleeping by it."""

    def now(self) -> float:
        """Seconds since some point in the past."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        ...
