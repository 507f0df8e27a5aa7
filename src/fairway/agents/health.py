"""Is the proxy healthy, and should this node get traffic? (KEP-3836)

Healthy: no change has waited longer than the timeout to reach the kernel, in any family. Eligible: the node is there
and is not leaving. Losing the API server makes neither untrue, since the kernel keeps forwarding; it is shown as
stale. Times are handed in, from a clock that only goes forward; how the answer is served is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fairway.values.address import Family


class FamilyHealth(NamedTuple):
    """One IP family's writer."""

    last_updated: float | None = None
    """When the kernel last held everything that was known."""
    waiting_since: float | None = None
    """When the oldest change that is not in the kernel yet came in."""


class ApiContact(NamedTuple):
    """The API server as a source of changes."""

    last_contact: float | None = None
    """When it last said anything; None before it ever did."""
    is_stale: bool = False


class Health(NamedTuple):
    """What there is to say at one time."""

    now: float
    is_healthy: bool
    is_node_eligible: bool
    last_updated: float | None
    """Of the family that was updated last."""
    families: Mapping[Family, tuple[FamilyHealth, bool]]
    """And whether each is healthy."""
    api: ApiContact | None
    """None when there is no API server to lose."""


def assess(
    families: Mapping[Family, FamilyHealth],
    timeout: float,
    now: float,
    *,
    is_node_eligible: bool,
    api: ApiContact | None,
) -> Health:
    """The health at `now`. A family with nothing to write is healthy, one that cannot write its first change is not."""
    judged = {
        family: (state, state.waiting_since is None or now - state.waiting_since < timeout)
        for family, state in sorted(families.items())
    }
    last = max((state.last_updated for state in families.values() if state.last_updated is not None), default=None)
    is_healthy = all(is_good for _, is_good in judged.values())
    return Health(now, is_healthy, is_node_eligible, last, judged, api)


class HealthTracker:
    """What the agents know of their health, told as it happens."""

    def __init__(self, timeout: float, families: Iterable[Family], *, is_node_eligible: bool) -> None:
        """`timeout` is twice the sync period. `is_node_eligible` holds until `set_node_eligible` says otherwise."""
        self.timeout = timeout
        self._families = {family: FamilyHealth() for family in families}
        self._is_node_eligible = is_node_eligible
        self._contacts: dict[str, float | None] = {}
        self._stale_after = 0.0

    def queued(self, family: Family, now: float) -> None:
        """A change came in that the kernel does not hold yet."""
        state = self._families[family]
        if state.waiting_since is None:
            self._families[family] = state._replace(waiting_since=now)

    def updated(self, family: Family, now: float) -> None:
        """The kernel holds every change that came in."""
        self._families[family] = FamilyHealth(now)

    def set_node_eligible(self, is_eligible: bool) -> None:
        """Whether the node is there, not being deleted, and not about to be taken away."""
        self._is_node_eligible = is_eligible

    def expect_contact(self, resources: Iterable[str], stale_after: float) -> None:
        """These resources are watched; each should say something (an event, a bookmark) within so many seconds."""
        self._contacts = dict.fromkeys(resources)
        self._stale_after = stale_after

    def contacted(self, resource: str, now: float) -> None:
        """The API server said something on the watch of this resource."""
        self._contacts[resource] = now

    def assess(self, now: float) -> Health:
        return assess(
            self._families,
            self.timeout,
            now,
            is_node_eligible=self._is_node_eligible,
            api=self._api(now) if self._contacts else None,
        )

    def _api(self, now: float) -> ApiContact:
        heard = [at for at in self._contacts.values() if at is not None]
        is_stale = len(heard) < len(self._contacts) or now - min(heard) > self._stale_after
        return ApiContact(max(heard, default=None), is_stale)
