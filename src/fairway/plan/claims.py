"""Who holds a frontend that several service ports want.

An address that belongs to a Service beats a node port at that address (rule 17); among equals the oldest Service
wins, then the first name. The losers are told who won, and one takes over when the winner goes.
"""

from __future__ import annotations

from typing import NamedTuple

from fairway.plan.model import FrontendKey, FrontendKind
from fairway.values.names import ServicePortName


class Claim(NamedTuple):
    """A wish for a frontend; the least claim wins."""

    is_node_port: bool
    created: str
    """creationTimestamp; an object without one counts as younger than any that has one."""
    name: ServicePortName

    @classmethod
    def of(cls, kind: FrontendKind, created: str, name: ServicePortName) -> Claim:
        return cls(kind is FrontendKind.NODE_PORT, created or "~", name)


class Claims:
    """All claims, by frontend. Cost of a change is that of the frontends it names."""

    def __init__(self) -> None:
        self._holder: dict[bytes, Claim] = {}
        self._waiting: dict[bytes, list[Claim]] = {}

    def holder(self, key: FrontendKey) -> ServicePortName | None:
        """Who holds a frontend."""
        claim = self._holder.get(_packed(key))
        return claim.name if claim else None

    def add(self, key: FrontendKey, claim: Claim) -> list[ServicePortName]:
        """Enter a claim. Returns the other service ports for which the frontend has a new holder by it."""
        packed = _packed(key)
        holder = self._holder.setdefault(packed, claim)
        if holder is claim:
            return []
        waiting = self._waiting.setdefault(packed, [])
        if holder < claim:
            waiting.append(claim)
            return []
        self._holder[packed] = claim
        waiting.append(holder)
        return [other.name for other in sorted(waiting)]

    def remove(self, key: FrontendKey, claim: Claim) -> list[ServicePortName]:
        """Take a claim back. Returns the other service ports for which the frontend has a new holder by it."""
        packed = _packed(key)
        waiting = self._waiting.get(packed)
        if self._holder.get(packed) != claim:
            if waiting and claim in waiting:
                self._stop_waiting(packed, waiting, claim)
            return []
        if not waiting:
            del self._holder[packed]
            return []
        others = sorted(waiting)
        self._holder[packed] = others[0]
        self._stop_waiting(packed, waiting, others[0])
        return [other.name for other in others]

    def _stop_waiting(self, packed: bytes, waiting: list[Claim], claim: Claim) -> None:
        waiting.remove(claim)
        if not waiting:
            del self._waiting[packed]


def _packed(key: FrontendKey) -> bytes:
    return key.address + bytes((key.protocol,)) + key.port.to_bytes(2, "big")
