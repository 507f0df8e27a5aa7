"""When to try again: exponential, jittered, forgotten after success. The clock and randomness are the caller's."""

from __future__ import annotations

import msgspec


class Backoff(msgspec.Struct):
    """Delays in seconds: `first` · `factor`^n up to `most`, spread by ± `jitter`."""

    first: float = 0.2
    most: float = 30.0
    factor: float = 2.0
    jitter: float = 0.2
    failures: int = 0

    def failed(self, random: float) -> float:
        """Count a failure; returns the delay before the next try. `random` is uniform in [0, 1)."""
        delay = min(self.most, self.first * self.factor**self.failures)
        self.failures = min(self.failures + 1, 64)
        return delay * (1 + self.jitter * (2 * random - 1))

    def succeeded(self) -> None:
        """The next failure starts from the first delay."""
        self.failures = 0
