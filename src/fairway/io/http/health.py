"""The health server: /healthz and /livez as kube-proxy answers them, and what else there is to say.

Load balancers ask /healthz, which also says no when the node is leaving; /livez is for the kubelet's probe. Whether
the proxy is healthy is decided in `agents/health.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fairway.agents.health import Health
from fairway.io.http.message import Answer, Handler, Request, by_path

Count = Callable[[int], None]


class Clock(NamedTuple):
    """Two readings taken together: to show times of the clock that only goes forward as times of day."""

    monotonic: float
    wall: float

    def show(self, at: float | None) -> str:
        """RFC 3339 as Go writes it; what never was is Go's zero time."""
        if at is None:
            return "0001-01-01T00:00:00Z"
        day = datetime.fromtimestamp(self.wall - (self.monotonic - at), UTC)
        return day.isoformat(timespec="microseconds").replace("+00:00", "Z")


def health_answer(health: Health, clock: Clock, *, with_node: bool) -> Answer:
    """200 or 503 with kube-proxy's JSON. `with_node`: /healthz; without: /livez, which does not ask for the node."""
    is_good = health.is_healthy and (health.is_node_eligible or not with_node)
    # a healthy server says "updated now" whether or not there was anything to write, as kube-proxy does
    body: dict[str, Any] = {
        "lastUpdated": clock.show(health.now if is_good else health.last_updated),
        "currentTime": clock.show(health.now),
    }
    if with_node:
        body["nodeEligible"] = health.is_node_eligible
    body["healthy"] = health.is_healthy
    body["status"] = {
        str(family): {"lastUpdated": clock.show(state.last_updated), "healthy": is_healthy}
        for family, (state, is_healthy) in health.families.items()
    }
    if health.api is not None:
        body["apiServer"] = {"lastContact": clock.show(health.api.last_contact), "stale": health.api.is_stale}
    return Answer.json(200 if is_good else 503, body)


def health_handler(
    assess: Callable[[float], Health],
    clock: Callable[[], Clock],
    *,
    healthz: Count = lambda _: None,
    livez: Count = lambda _: None,
) -> Handler:
    """The server's handler. `healthz` and `livez` are told each status sent."""

    def answer(with_node: bool, count: Count) -> Handler:
        def handle(_: Request) -> Answer:
            now = clock()
            made = health_answer(assess(now.monotonic), now, with_node=with_node)
            count(made.status)
            return made

        return handle

    return by_path({"/healthz": answer(True, healthz), "/livez": answer(False, livez)})
