"""One IP family of the proxy: plan, items, difference, kernel, in that order, for the Services that changed.

Decides what to do when a write fails: look at what the kernel holds, try again, leave out the one operation that it
keeps refusing. When to try again later is the proxy loop's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

from fairway.agents.dataplane import Dataplane, Kernel
from fairway.plan.model import FrontendKind, PlannedPort, Verdict
from fairway.plan.planner import Planner, ServiceChange
from fairway.plan.view import NodeView
from fairway.reconcile.difference import Difference, Drift
from fairway.reconcile.items import Operation, WriteError
from fairway.state.tables import State
from fairway.values.address import Family
from fairway.values.names import ObjectName, ServicePortName

CHUNK = 250
"""Services planned and written before the loop may do something else: about 10 ms."""
TRIES = 8
"""Mends of one transaction before its failure is handed up."""


class WriteOutcome(NamedTuple):
    """What one round of writing did. `refused` stay pending."""

    family: Family
    operations: int
    transactions: int
    refused: tuple[WriteError, ...]
    drifts: tuple[Drift, ...]
    """What was found while mending: the kernel did not hold what it was believed to hold."""
    is_lost: bool = False
    """Too much was not as believed: `reload` and write again."""


class FamilySync:
    """Keeps one family's kernel items equal to the plan."""

    def __init__(self, state: State, view: NodeView, dataplane: Dataplane, kernel: Kernel) -> None:
        self.planner = Planner(state, view)
        self.difference = Difference(dataplane.containers)
        self._dataplane = dataplane
        self._kernel = kernel
        self._state = state
        self._gone: dict[ServicePortName, None] = {}
        """Service ports that wanted more, or other items, before a write that is not done yet."""
        self._is_view_new = False
        self.dropping = {True: 0, False: 0}
        """Service ports that drop for want of a local endpoint, by whether it is the internal policy that says so."""

    @property
    def view(self) -> NodeView:
        return self.planner.view

    @property
    def has_work(self) -> bool:
        """Whether there is anything to write."""
        return self._is_view_new or self.difference.pending_count > 0

    def show(self, container: str, key: Hashable, value: Hashable) -> str:
        """An item as a person reads it."""
        return self._dataplane.show(container, key, value)

    async def open(self, view: NodeView) -> Sequence[str]:
        """Make or mend the skeleton and learn what the kernel holds. Returns what was mended."""
        self._want(self.planner.set_view(view))
        mended = await self.reload()
        self._dataplane.recover(self.difference.known)
        return mended

    async def reload(self) -> Sequence[str]:
        """Forget all belief about the kernel: make or mend the skeleton and read everything anew, a piece at a time.

        Plans may change meanwhile; nothing may be written.
        """
        mended = self.mend_skeleton()
        for container in self._dataplane.containers:
            found: dict[Hashable, Hashable] = {}
            for piece in self._kernel.dump(container.name):
                found.update(piece)
                await asyncio.sleep(0)
            self.difference.load_known(container.name, found)
        return mended

    async def fill(self) -> list[WriteOutcome]:
        """Plan and write every Service, a chunk at a time, then remove what nobody wants.

        Services that an earlier try planned and that are gone are among them.
        """
        outcomes = []
        self.difference.set_wanted("node", self._dataplane.node_items(self.view))
        planned = (row.name for row in self.planner.all_planned())
        names = iter(list(dict.fromkeys((*self._state.service_names(), *planned))))
        while chunk := list(islice(names, CHUNK)):
            self.replan(chunk)
            outcomes.append(self.write())
            await asyncio.sleep(0)
        self.difference.start_pruning()
        outcomes.append(self.write())
        if not outcomes[-1].is_lost:
            self._dataplane.filled()
        return outcomes

    def plan_all(self) -> None:
        """Plan everything and write nothing: for those who only look."""
        self.difference.set_wanted("node", self._dataplane.node_items(self.view))
        self.replan(list(self._state.service_names()))

    def replan(self, names: Iterable[ObjectName]) -> list[ServiceChange]:
        """Plan these Services anew and want what the plan says."""
        changes = self.planner.replan(names)
        self._want(changes)
        return changes

    def set_view(self, view: NodeView) -> list[ServiceChange]:
        """This node changed. The skeleton follows with the next write."""
        if view == self.view:
            return []
        changes = self.planner.set_view(view)
        self.difference.set_wanted("node", self._dataplane.node_items(view))
        self._want(changes)
        self._is_view_new = True
        return changes

    def renew_skeleton(self) -> None:
        """What the skeleton is made of may have changed; it follows with the next write."""
        self._is_view_new = True

    def mend_skeleton(self) -> Sequence[str]:
        """Make the skeleton, or repair what differs; returns what was mended. Raises KernelError."""
        mended = self._kernel.ensure(self.view, self.difference.wanted_items)
        self._is_view_new = False
        return mended

    def _want(self, changes: Iterable[ServiceChange]) -> None:
        dataplane, difference = self._dataplane, self.difference
        for change in changes:
            wanted = dataplane.service_items(change.after) if change.after else ()
            difference.set_wanted(change.name, wanted)
            for port in change.ports:
                self._count_dropping(port.before, -1)
                self._count_dropping(port.after, 1)
                difference.set_wanted(port.name, dataplane.port_items(port.after) if port.after else ())
                if port.before is not None:
                    self._gone[port.name] = None

    def _count_dropping(self, port: PlannedPort | None, step: int) -> None:
        if port is not None:
            for is_internal in drops(port):
                self.dropping[is_internal] += step

    def write(self) -> WriteOutcome:
        """Apply what is pending, in as few transactions as the dataplane's stages allow. Raises KernelError."""
        if self._is_view_new:
            self.mend_skeleton()
        mending = _Mending(self._kernel, self.difference)
        for _ in range(TRIES):
            if all(mending.apply(batch) for batch in self._transactions(mending.left())):
                break
        if not mending.drifts:
            for batch in self._transactions(mending.left()):
                mending.divide(batch)
        is_lost = bool(mending.left())
        if not is_lost:
            self._forget()
        refused, drifts = tuple(mending.refused.values()), tuple(mending.drifts)
        return WriteOutcome(self.view.family, mending.operations, mending.transactions, refused, drifts, is_lost)

    def _transactions(self, steps: Sequence[Operation]) -> Iterator[list[Operation]]:
        last = self._dataplane.atomic_stages - 1
        stage: Callable[[Operation], int] = self.difference.stage_of
        for _, group in groupby(steps, lambda step: max(stage(step), last)):
            yield list(group)

    def _forget(self) -> None:
        """Removals are in the kernel, or refused: numbers that they held may be given out again."""
        for name in self._gone:
            self._dataplane.forget(name, self.planner.planned_port(name))
        self._gone.clear()

    async def compare(self, containers: Iterable[str] = ()) -> list[Drift]:
        """Read these containers, or all, a piece at a time, and make pending what drifted."""
        drifts: list[Drift] = []
        for name in containers or [c.name for c in self._dataplane.containers]:
            drifts += self.verify(name, await self._suspects(name))
        return drifts

    async def _suspects(self, container: str) -> set[Hashable]:
        """Keys where the kernel is perhaps not as believed; our own writes meanwhile may be among them."""
        suspects: set[Hashable] = set()
        for piece in self._kernel.suspects(container, self.difference.known(container)):
            suspects.update(piece)
            await asyncio.sleep(0)
        return suspects

    def verify(self, container: str, keys: Iterable[Hashable]) -> list[Drift]:
        """Ask the kernel for these keys; what differs from belief is drift and becomes pending."""
        drifts = []
        for key in keys:
            value = self._kernel.get(container, key)
            drift = self.difference.found(container, key, value, exists=value is not None)
            if drift is not None:
                drifts.append(drift)
        return drifts


def drops(port: PlannedPort) -> set[bool]:
    """Whether the port drops packets to its cluster IP (True), to its external frontends (False), both or neither."""
    return {
        frontend.kind is FrontendKind.CLUSTER_IP
        for frontend in port.frontends
        if frontend.treatments.outside.verdict is Verdict.DROP
    }


class _Mending:
    """One round of writing that looks again at whatever is refused."""

    def __init__(self, kernel: Kernel, difference: Difference) -> None:
        self._kernel = kernel
        self._difference = difference
        self.refused: dict[tuple[str, Hashable], WriteError] = {}
        self.drifts: list[Drift] = []
        self.operations = self.transactions = 0

    def left(self) -> list[Operation]:
        """What is pending and not refused."""
        return self._unrefused(self._difference.pending())

    def _unrefused(self, steps: list[Operation]) -> list[Operation]:
        if not self.refused:
            return steps
        return [s for s in steps if (s.item.container, s.item.key) not in self.refused]

    def apply(self, batch: Sequence[Operation]) -> bool:
        """Whether the batch went in. If not, what it stumbled over was looked at again."""
        self.transactions += 1
        try:
            self._kernel.apply(batch)
        except WriteError as error:
            self._look_again(error)
            return False
        self._difference.applied(batch)
        self.operations += len(batch)
        return True

    def divide(self, batch: list[Operation]) -> None:
        """Write what the kernel takes of a batch in which it refuses one step after another."""
        if not batch or self.apply(batch):
            return
        rest = self._unrefused(batch)
        middle = (len(rest) + 1) // 2
        self.divide(rest[:middle])
        self.divide(rest[middle:])

    def _look_again(self, error: WriteError) -> None:
        step = error.operation
        if step is None:
            raise error
        container, key, _ = step.item
        value = self._kernel.get(container, key)
        drift = self._difference.found(container, key, value, exists=value is not None)
        if drift is not None:
            self.drifts.append(drift)
        else:
            self.refused[container, key] = error
