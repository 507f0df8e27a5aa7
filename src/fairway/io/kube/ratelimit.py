"""A token bucket for requests, as clientConnection.qps and burst mean it (client-go's flowcontrol)."""

from __future__ import annotations

from collections.abc import Callable

DEFAULT_QPS = 5.0
DEFAULT_BURST = 10


class TokenBucket:
    """`burst` requests at once, then `qps` a second. qps < 0: no limit; 0: the default, as in client-go."""

    def __init__(self, qps: float, burst: int, now: Callable[[], float]) -> None:
        self._rate = qps or DEFAULT_QPS
        self._burst = float(burst if burst > 0 else DEFAULT_BURST)
        self._now = now
        self._tokens = self._burst
        self._at = now()

    def take(self) -> float:
        """Take one token, perhaps in advance; return how many seconds to wait before using it."""
        if self._rate < 0:
            return 0.0
        now = self._now()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
        self._at = now
        return max(0.0, -self._tokens / self._rate)
