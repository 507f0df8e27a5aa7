"""The `loop` plugin: notices when what we forward comes back to us.

A question with a random name is sent through the server itself; seen more than twice, something forwards to us. What to
do then (CoreDNS ends) is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable

from fairway.dns.model import Handler, Reply, Request
from fairway.values.domain import Name, from_labels
from fairway.values.rrtypes import RRType

TOO_OFTEN = 2


class Loop:
    """Counts how often its own question comes by."""

    def __init__(self, zone: Name, random: Callable[[], float], following: Handler) -> None:
        labels = [str(int(random() * 2**63)).encode() for _ in range(2)]
        self.name = from_labels(labels, zone)
        self.seen = 0
        self.is_active = True
        self.detected: Callable[[Request], None] = lambda _request: None
        self.following = following

    async def serve(self, request: Request) -> Reply:
        """Count the question if it is ours; it goes on like any other."""
        if self.is_active and request.type == RRType.HINFO and request.key == self.name:
            self.seen += 1
            if self.seen > TOO_OFTEN:
                self.is_active = False
                self.detected(request)
        return await self.following.serve(request)
