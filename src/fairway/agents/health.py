"""Is the proxy healthy, and should this node get traffic? (KEP-3836)

Healthy: no change has waited longer than the timeout to reach the kernel, in any family. Eligible: the node is there
and is not leaving. Losing the API server makes neither untrue, since the kernel keeps forwarding; it is shown as
stale. Times are handed in, from a clock that only goes forward; how the answer is served is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

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
    """It cannot be followed, in one kind of object at least."""


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


class Contact(Protocol):
    """A source of objects, as `fairway.agents.feed.Source` is one."""

    @property
    def last_contact(self) -> float | None: ...

    @property
    def stale_since(self) -> float | None: ...


class WriterStatus(Protocol):
    """What a writing loop knows of itself, as `fairway.agents.proxy.ProxyStatus` has it."""

    @property
    def queued_at(self) -> float | None: ...

    @property
    def synced_at(self) -> float | None: ...


class ProxyHealth:
    """The health of one proxy, read off its parts whenever somebody asks."""

    def __init__(
        self,
        status: WriterStatus,
        families: Iterable[Family],
        timeout: Callable[[], float],
        is_node_eligible: Callable[[], bool],
        api: Sequence[Contact] = (),
    ) -> None:
        """`timeout` gives twice the sync period; `api` are the sources behind which an API server stands."""
        self._status = status
        self._families = tuple(families)
        self._timeout = timeout
        self._is_node_eligible = is_node_eligible
        self._api = api

    def assess(self, now: float) -> Health:
        """The health at `now`, by the agents' clock. One loop writes for all families, so they stand together."""
        state = FamilyHealth(self._status.synced_at, self._status.queued_at)
        families = dict.fromkeys(self._families, state)
        return assess(families, self._timeout(), now, is_node_eligible=self._is_node_eligible(), api=self._contact())

    def _contact(self) -> ApiContact | None:
        if not self._api:
            return None
        heard = [source.last_contact for source in self._api]
        is_stale = any(source.stale_since is not None or source.last_contact is None for source in self._api)
        return ApiContact(max((at for at in heard if at is not None), default=None), is_stale)
