"""Who holds a frontend that several service ports want.

An address that belongs to a Service beats a node port at that address (rule 17); among equals the oldest Service
wins, then the first name. The loser is told who won, and takes over when the winner goes.
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

    def add(self, key: FrontendKey, claim: Claim) -> ServicePortName | None:
        """Enter a claim. Returns the service port that lost the frontend by it, if any."""
        packed = _packed(key)
        holder = self._holder.setdefault(packed, claim)
        if holder is claim:
            return None
        winner, loser = (claim, holder) if claim < holder else (holder, claim)
        self._holder[packed] = winner
        self._waiting.setdefault(packed, []).append(loser)
        return loser.name if winner is claim else None

    def remove(self, key: FrontendKey, claim: Claim) -> ServicePortName | None:
        """Take a claim back. Returns the service port that holds the frontend now instead, if any."""
        packed = _packed(key)
        waiting = self._waiting.get(packed)
        if self._holder.get(packed) != claim:
            if waiting and claim in waiting:
                waiting.remove(claim)
                if not waiting:
                    del self._waiting[packed]
            return None
        if not waiting:
            del self._holder[packed]
            return None
        heir = min(waiting)
        waiting.remove(heir)
        if not waiting:
            del self._waiting[packed]
        self._holder[packed] = heir
        return heir.name


def _packed(key: FrontendKey) -> bytes:
    return key.address + bytes((key.protocol,)) + key.port.to_bytes(2, "big")
