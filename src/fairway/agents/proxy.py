"""The proxy's loop: objects in, plan, items, kernel; one change at a time, each as soon as it comes.

Decides when to plan and write, and when to try again. Nothing is written before every source has handed over all it
has once. What a change means is the plan's business, what to write the dataplane's, and how a refused write is
mended that of `FamilySync`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fairway.agents.clock import Clock
from fairway.agents.family import FamilySync, WriteOutcome
from fairway.agents.feed import Source
from fairway.plan.model import HealthCheck, PlannedPort
from fairway.plan.planner import PortChange, ServiceChange
from fairway.plan.view import NodeView
from fairway.reconcile.backoff import Backoff
from fairway.reconcile.difference import Drift
from fairway.state.tables import Changes, State, Writer
from fairway.values.address import Family
from fairway.values.errors import KernelError
from fairway.values.names import ObjectName

log = logging.getLogger(__name__)

FLOW_CHECK_CHUNK = 2000
"""Services whose flows are noted before the loop may do something else: about a millisecond."""


class Views(Protocol):
    """This node, from its Node object, its interfaces and the settings."""

    def view(self, family: Family) -> NodeView:
        """The node as it is now."""
        ...


class FlowCleaner(Protocol):
    """Removes stale entries from the kernel's connection table, in its own time."""

    def note(self, changes: Iterable[PortChange]) -> None:
        """The kernel holds these changes now; return at once."""
        ...

    def note_all(self, ports: Iterable[PlannedPort]) -> None:
        """The kernel holds this whole plan now; return at once."""
        ...


class HealthChecks(Protocol):
    """The HTTP servers of health check node ports."""

    def want(self, service: ObjectName, check: HealthCheck | None) -> None:
        """Serve this check of a Service from now on, or none."""
        ...


class Observer(Protocol):
    """Is told what the loop does, for metrics."""

    def wrote(self, seconds: float, outcomes: Sequence[WriteOutcome], *, is_full: bool) -> None:
        """One round of planning and writing; `is_full`: everything was compared."""
        ...

    def programmed(self, triggers: Sequence[tuple[Family, float]]) -> None:
        """The kernel holds what happened at these times of day, which the API server told of."""
        ...

    def drifted(self, family: Family, drifts: Sequence[Drift]) -> None:
        """The kernel did not hold what it should have."""
        ...


@dataclass(slots=True)
class ProxyStatus:
    """What the loop knows of itself, for health and `proxy status`. Times are the agents' clock's."""

    is_filled: bool = False
    queued_at: float | None = None
    """Since when a change waits to be written."""
    synced_at: float | None = None
    last_error: str = ""
    drifts: int = 0
    rounds: int = 0


@dataclass(slots=True)
class ProxyParts:
    """What the composition root hands to the loop."""

    state: State
    writer: Writer
    families: Mapping[Family, FamilySync]
    views: Views
    clock: Clock
    random: Callable[[], float]
    cleaner: FlowCleaner | None = None
    health_checks: HealthChecks | None = None
    observer: Observer | None = None


class ProxyAgent:
    """Keeps this node's kernel equal to what the sources say."""

    def __init__(self, parts: ProxyParts) -> None:
        self._parts = parts
        self._backoff = Backoff()
        self._retry: asyncio.TimerHandle | None = None
        self._lost: set[Family] = set()
        """Families whose kernel tables are not as believed at all. The others go on."""
        self._is_view_old = True
        """The views of this node have to be asked for again."""
        self._unnoted: list[PortChange] = []
        """Service ports that changed, of which the cleaner hears once the kernel holds the change."""
        self._are_flows_doubtful = False
        """The kernel was not as the plan says for a while, and now is."""
        self._is_incomplete = False
        """The kernel refuses a part of the plan."""
        self._sources: Sequence[Source] = ()
        self._triggers: list[tuple[Family, float]] = []
        self._filled = asyncio.Event()
        self._wake = asyncio.Event()
        self.status = ProxyStatus()

    async def run(self, sources: Sequence[Source]) -> None:
        """Follow the sources until cancelled."""
        self._sources = sources
        async with asyncio.TaskGroup() as tasks:
            for source in sources:
                tasks.create_task(source.run())
            tasks.create_task(self._fill_and_mend())

    async def wait_filled(self) -> None:
        """Return when the kernel holds the whole first plan."""
        await self._filled.wait()

    def node_changed(self, *, even_if_equal: bool = False) -> None:
        """This node's addresses may have changed; `even_if_equal`: settings of the skeleton, too."""
        self._is_view_old = True
        if even_if_equal:
            for sync in self._parts.families.values():
                sync.renew_skeleton()
        self.changed()

    def changed(self) -> None:
        """The state may have changed: plan and write at once. Called by the sinks."""
        if self.status.queued_at is None:
            self.status.queued_at = self._parts.clock.now()
        if self.status.is_filled:
            self._round()
        else:
            self._wake.set()

    async def _fill_and_mend(self) -> None:
        while not all(source.has_synced for source in self._sources):
            await self._wake.wait()
            self._wake.clear()
        await self._until_done(self._fill)
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._lost:
                await self._until_done(self._reload)
            if self._are_flows_doubtful:
                await self.check_flows()

    async def _until_done(self, work: Callable[[], Any]) -> None:
        """Do it, and again after a while when the kernel refuses."""
        while True:
            try:
                await work()
            except KernelError as error:
                self._failed(error)
                await self._parts.clock.sleep(self._backoff.failed(self._parts.random()))
            else:
                self._backoff.succeeded()
                return

    async def _fill(self) -> None:
        """The first plan, written a chunk at a time."""
        parts, started = self._parts, self._parts.clock.now()
        parts.writer.take_changes()
        outcomes: list[WriteOutcome] = []
        for family, sync in parts.families.items():
            for line in await sync.open(parts.views.view(family)):
                log.info("skeleton family=%s mended=%r", family, line)
            outcomes += await sync.fill()
        self._publish_health_checks({p.name for s in parts.families.values() for p in s.planner.all_planned()})
        self.status.is_filled = True
        self._finish(started, outcomes, is_full=True)
        log.info(
            "filled services=%d slices=%d operations=%d seconds=%.3f",
            parts.state.service_count,
            parts.state.slice_count,
            sum(o.operations for o in outcomes),
            parts.clock.now() - started,
        )
        await self.check_flows()
        self._filled.set()
        self._round()

    async def _reload(self) -> None:
        """The kernel is not as believed at all: read it anew and write what is missing."""
        started = self._parts.clock.now()
        for family in sorted(self._lost):
            try:
                mended = await self._parts.families[family].reload()
            except KernelError as error:
                self._failed(error)
                continue
            self._lost.discard(family)
            for line in mended:
                log.warning("skeleton family=%s mended=%r", family, line)
        self._are_flows_doubtful = True
        self._round(started)
        if self._lost:
            raise KernelError(f"still not as believed after reading anew: {self.status.last_error}", errno.EAGAIN)

    def _round(self, started: float | None = None) -> None:
        """Plan what changed and write it."""
        parts = self._parts
        now = parts.clock.now() if started is None else started
        taken = parts.writer.take_changes()
        self._triggers += taken.triggers
        changes = self._plan(taken)
        self._publish_health_checks({change.name for change in changes})
        self._unnoted += [port for change in changes for port in change.ports]
        outcomes = [outcome for family in parts.families if (outcome := self._write(family))]
        self._finish(now, outcomes)
        if self._lost:
            return
        if self._unnoted and parts.cleaner is not None:
            parts.cleaner.note(self._unnoted)
        self._unnoted = []
        if any(outcome.refused or outcome.is_lost for outcome in outcomes):
            self._is_incomplete = True  # what is not in yet makes new stale flows
        elif self._is_incomplete:
            self._is_incomplete = False
            self._doubt_flows()

    def _write(self, family: Family) -> WriteOutcome | None:
        """What one family has to write, if anything. Its failure is no business of the other."""
        sync = self._parts.families[family]
        if family in self._lost or not sync.has_work:
            return None
        try:
            return sync.write()
        except KernelError as error:
            self._failed(error)
            self._lose(family)
            return None

    def _lose(self, family: Family) -> None:
        self._lost.add(family)
        self._wake.set()

    def _doubt_flows(self) -> None:
        self._are_flows_doubtful = True
        self._wake.set()

    async def check_flows(self) -> None:
        """Have every remembered flow held against the plan, which is walked a piece at a time.

        Packets that came while the kernel did not hold the plan may have left flows that contradict it.
        """
        self._are_flows_doubtful = False
        cleaner = self._parts.cleaner
        if cleaner is None:
            return
        for sync in self._parts.families.values():
            names = [row.name for row in sync.planner.all_planned()]
            for start in range(0, len(names), FLOW_CHECK_CHUNK):
                rows = [sync.planner.planned(name) for name in names[start : start + FLOW_CHECK_CHUNK]]
                cleaner.note_all(port for row in rows if row for port in row.ports)
                await asyncio.sleep(0)

    def _plan(self, changed: Changes) -> list[ServiceChange]:
        parts = self._parts
        changes: list[ServiceChange] = []
        if changed.nodes or changed.service_cidrs:
            self._is_view_old = True
        for family, sync in parts.families.items():
            if self._is_view_old:
                changes += sync.set_view(parts.views.view(family))
            if changed.services:
                changes += sync.replan(changed.services)
        self._is_view_old = False
        return changes

    def _finish(self, started: float, outcomes: Sequence[WriteOutcome], *, is_full: bool = False) -> None:
        status, clock = self.status, self._parts.clock
        status.rounds += 1
        for outcome in outcomes:
            self._note_drifts(outcome.family, outcome.drifts)
        refused = [error for outcome in outcomes for error in outcome.refused]
        for outcome in outcomes:
            if outcome.is_lost:
                self._lose(outcome.family)
        if refused:
            self._failed(refused[0])
            self._try_again_later()
        elif not self._lost:
            self._backoff.succeeded()
            status.queued_at, status.last_error = None, ""
            status.synced_at = clock.now()
            self._tell_programmed()
        if self._parts.observer is not None:
            self._parts.observer.wrote(clock.now() - started, outcomes, is_full=is_full)

    def _tell_programmed(self) -> None:
        if self._triggers and self._parts.observer is not None:
            self._parts.observer.programmed(self._triggers)
        self._triggers = []

    def _failed(self, error: Exception) -> None:
        self.status.last_error = str(error)
        log.warning("write failed error=%r", str(error))

    def _try_again_later(self) -> None:
        if self._retry is None:
            delay = self._backoff.failed(self._parts.random())
            self._retry = asyncio.get_running_loop().call_later(delay, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._round()

    async def compare(self, family: Family, containers: Iterable[str] = ()) -> int:
        """Read the kernel and repair only what drifted. Returns how many items had."""
        if not self.status.is_filled or family in self._lost:
            return 0
        try:
            drifts = await self._parts.families[family].compare(containers)
        except KernelError as error:
            self._failed(error)
            self._lose(family)
            return 0
        if drifts:
            self._note_drifts(family, drifts)
            self._round()
        return len(drifts)

    async def look(self, family: Family) -> None:
        """Look at everything once, skeleton included, and repair only what drifted."""
        if not self.status.is_filled or family in self._lost:
            return
        try:
            mended = self._parts.families[family].mend_skeleton()
        except KernelError as error:
            self.lost(family, str(error))
            return
        for line in mended:
            log.warning("drift family=%s what=%r", family, line)
            self._doubt_flows()
        await self.compare(family)

    @property
    def item_count(self) -> int:
        """Kernel items that the plan wants."""
        return sum(sync.difference.wanted_count for sync in self._parts.families.values())

    def has_container(self, family: Family, name: str) -> bool:
        """Whether a container holds items of the plan; others belong to the skeleton."""
        return name in self._parts.families[family].difference.counts()

    def suspect(self, family: Family, container: str, keys: Iterable[bytes]) -> None:
        """These elements may have drifted: ask the kernel, and repair those that did."""
        if not self.status.is_filled or family in self._lost:
            return
        try:
            drifts = self._parts.families[family].verify(container, keys)
        except KernelError as error:
            self.lost(family, str(error))
            return
        if drifts:
            self._note_drifts(family, drifts)
            self._round()

    def lost(self, family: Family, why: str) -> None:
        """Somebody removed or rewrote what does not depend on Services: mend everything."""
        log.warning("drift family=%s what=%r", family, why)
        self._lose(family)

    def _note_drifts(self, family: Family, drifts: Sequence[Drift]) -> None:
        if not drifts:
            return
        self.status.drifts += len(drifts)
        self._doubt_flows()
        show = self._parts.families[family].show
        for drift in drifts[:10]:
            expected, found = (show(drift.container, drift.key, value) for value in (drift.expected, drift.found))
            log.warning("drift family=%s expected=%r found=%r", family, expected, found)
        if len(drifts) > 10:
            log.warning("drift more=%d", len(drifts) - 10)
        if self._parts.observer is not None:
            self._parts.observer.drifted(family, drifts)

    def _publish_health_checks(self, names: Iterable[ObjectName]) -> None:
        """One answer for both families: an endpoint of a dual-stack pod counts once."""
        servers = self._parts.health_checks
        if servers is None:
            return
        for name in names:
            checks = [
                planned.health_check
                for sync in self._parts.families.values()
                if (planned := sync.planner.planned(name)) and planned.health_check
            ]
            servers.want(name, max(checks, key=lambda check: check.local_endpoints, default=None))
