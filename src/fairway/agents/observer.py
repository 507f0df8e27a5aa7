"""What the proxy's loop does, told to metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence

from fairway.agents.family import FamilySync, WriteOutcome
from fairway.agents.metrics import ProxyMetrics
from fairway.agents.stale_flows import FlowTable
from fairway.plan.stale import Flow, StaleQuery
from fairway.reconcile.difference import Drift
from fairway.values.address import Address, Family


class MetricsObserver:
    """fairway.agents.proxy.Observer. `wall` is the time of day, since metrics show when things happened."""

    def __init__(self, metrics: ProxyMetrics, wall: Callable[[], float]) -> None:
        self._metrics = metrics
        self._wall = wall
        self._started = wall()

    def came_in(self, kind: str, count: int) -> None:
        """Objects of a kind came in."""
        if kind == "Service":
            self._metrics.service_changed(count)
        elif kind == "EndpointSlice":
            self._metrics.endpoints_changed(count)

    def wrote(self, seconds: float, outcomes: Sequence[WriteOutcome], *, is_full: bool) -> None:
        """One round of planning and writing."""
        wall = self._wall()
        failed = {outcome.family for outcome in outcomes if outcome.refused or outcome.is_lost}
        for outcome in outcomes:
            of = self._metrics.family(outcome.family)
            of.queued(wall - seconds)
            of.wrote(outcome.transactions, outcome.operations)
            for _ in outcome.refused:
                of.failed()
            if outcome.family not in failed:
                of.synced(seconds, wall, is_full=is_full)
                of.changed(seconds)
        if not failed:
            self._metrics.changes_written()

    def programmed(self, triggers: Sequence[tuple[Family, float]]) -> None:
        """The kernel holds what happened at these times. What happened before the start says nothing of this proxy."""
        wall = self._wall()
        for family, at in triggers:
            if at >= self._started:
                self._metrics.family(family).programmed(max(0.0, wall - at))

    def drifted(self, family: Family, drifts: Sequence[Drift]) -> None:
        """The kernel did not hold what it should have."""
        for drift in drifts:
            kind = "missing" if drift.found is None else "foreign" if drift.expected is None else "changed"
            self._metrics.family(family).repaired(drift.container, kind)

    def cleaned(self, seconds: float, _: int) -> None:
        """One round of removing stale flows; what went was counted by `CountedFlows`."""
        for family in Family:
            self._metrics.family(family).conntrack_cleaned(seconds)

    def before_scrape(self, families: Mapping[Family, FamilySync]) -> None:
        """Set what nobody keeps up to date."""
        for family, sync in families.items():
            of = self._metrics.family(family)
            of.set_pending(sync.difference.pending_count)
            of.set_no_local_endpoints(sync.dropping[True], sync.dropping[False])
            for container, count in sync.difference.counts().items():
                of.set_items(container, count)


class CountedFlows:
    """fairway.agents.stale_flows.FlowTable over another one; counts what is deleted, by family."""

    def __init__(self, table: FlowTable, metrics: ProxyMetrics) -> None:
        self._table = table
        self._metrics = metrics

    def find(self, queries: Sequence[StaleQuery], node: Collection[Address]) -> Generator[list[Flow], None, None]:
        return self._table.find(queries, node)

    def delete(self, flows: Sequence[Flow]) -> int:
        deleted = 0
        for family in Family:
            of_family = [flow for flow in flows if len(flow.destination) == family.width + _PORT]
            count = self._table.delete(of_family) if of_family else 0
            self._metrics.family(family).conntrack_deleted(count)
            deleted += count
        return deleted


_PORT = 2
"""Bytes of the port behind a flow's address."""
