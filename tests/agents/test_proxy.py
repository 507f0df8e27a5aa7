"""The proxy's loop: what it does when the kernel fails, and that it loses nothing by it."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

import pytest
from msgspec import structs

from fairway.agents.drift import ForeignChange, mend_foreign_changes
from fairway.agents.family import FamilySync, WriteOutcome
from fairway.agents.proxy import ProxyAgent, ProxyParts
from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.dataplane import NftablesDataplane
from fairway.plan.model import PlannedPort
from fairway.plan.planner import PortChange
from fairway.plan.view import NodeView
from fairway.reconcile.difference import Drift
from fairway.reconcile.items import Operation, WriteError
from fairway.state.tables import State, Writer
from fairway.values.address import Address, Family
from fairway.values.names import ObjectName
from fake_kernel import PIECE, FakeKernel, refusal
from objects import HERE, VIEW, endpoint, service, slice_of, view


class FakeClock:
    """Time stands still; sleepers are noted and woken by the test."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []
        self.wake = asyncio.Event()

    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await self.wake.wait()
        self.wake.clear()


class Ready:
    """A source that has handed over everything."""

    has_synced = True
    last_contact = None
    stale_since = None

    async def run(self) -> None:
        await asyncio.Event().wait()


class Cleaner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.checked: list[str] = []

    def note(self, changes: Iterable[PortChange]) -> None:
        self.noted += [str(change.name) for change in changes]

    def note_all(self, ports: Iterable[PlannedPort]) -> None:
        self.checked += [str(port.name) for port in ports]


class Watching:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.triggers: list[tuple[Family, float]] = []

    def queued(self) -> None: ...

    def wrote(self, seconds: float, outcomes: Sequence[WriteOutcome], *, is_full: bool) -> None: ...

    def drifted(self, family: Family, drifts: Sequence[Drift]) -> None: ...

    def programmed(self, triggers: Sequence[tuple[Family, float]]) -> None:
        self.triggers += triggers


class World:
    """An agent on a fake kernel, filled with one Service."""

    def __init__(self) -> None:
        self.state = State()
        self.writer = Writer(self.state)
        self.kernel = FakeKernel()
        self.clock = FakeClock()
        self.cleaner = Cleaner()
        self.observer = Watching()
        self.node_view = VIEW
        self.family = FamilySync(self.state, VIEW, NftablesDataplane(), self.kernel)
        self.families = {Family.IPV4: self.family}
        self.agent = ProxyAgent(
            ProxyParts(
                state=self.state,
                writer=self.writer,
                families=self.families,
                views=self,
                clock=self.clock,
                random=lambda: 0.5,
                cleaner=self.cleaner,
                observer=self.observer,
            )
        )
        self.writer.put_service(service())
        self.put("10.0.1.1")

    def view(self, family: Family) -> NodeView:
        return structs.replace(self.node_view, family=family)

    def put_both(self, number: int) -> None:
        """A Service of both families with other endpoints."""
        self.writer.put_service(service("both", cluster_ips=["172.30.0.77", "fd00:96::77"]))
        self.writer.put_slice(slice_of(endpoint(f"10.0.2.{number}"), service="both"))
        self.writer.put_slice(slice_of(endpoint(f"fd00:10::{number}"), service="both", name="six", family="IPv6"))
        self.agent.changed()

    def put(self, address: str) -> None:
        self.writer.put_slice(slice_of(endpoint(address, HERE)))

    @property
    def is_right(self) -> bool:
        wanted = {c.name: dict(self.family.difference.wanted(c.name)) for c in layout.CONTAINERS}
        return self.kernel.elements == wanted and not self.family.difference.pending_count


def run(scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario beside the agent, once it is filled."""

    async def both() -> None:
        world = World()
        running = asyncio.create_task(world.agent.run([Ready()]))
        world.agent.changed()
        await world.agent.wait_filled()
        assert world.is_right
        try:
            await asyncio.wait_for(scenario(world), 10)
        finally:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(both())


def failing(_: object) -> WriteError:
    return refusal(None, errno.ENOBUFS)


def working(_: object) -> None:
    return None


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it is so; `run` bounds the wait."""
    while True:
        if condition():
            return
        await asyncio.sleep(0)


def test_a_change_is_in_the_kernel_when_changed_returns() -> None:
    async def scenario(world: World) -> None:
        world.put("10.0.1.2")
        world.agent.changed()
        assert world.is_right
        assert world.cleaner.noted == ["ns/web:http/tcp"]

    run(scenario)


def test_a_kernel_that_keeps_failing_is_tried_again_after_a_growing_while() -> None:
    async def scenario(world: World) -> None:
        world.kernel.fails = failing
        world.put("10.0.1.2")
        world.agent.changed()
        for turn in range(1, 4):
            await until(lambda turn=turn: len(world.clock.sleeps) == turn)  # type: ignore[misc]
            if turn < 3:
                world.clock.wake.set()
        assert world.clock.sleeps == sorted(world.clock.sleeps)
        assert world.clock.sleeps[0] < world.clock.sleeps[-1]
        assert world.agent.status.last_error
        world.kernel.fails = working
        world.clock.wake.set()
        await until(lambda: world.is_right)

    run(scenario)


def test_when_a_change_happened_is_told_once_and_when_it_is_in_the_kernel() -> None:
    async def scenario(world: World) -> None:
        def put(address: str, at: float) -> None:
            world.writer.put_slice(structs.replace(slice_of(endpoint(address, HERE)), triggered=at))
            world.agent.changed()

        put("10.0.1.2", 5.0)
        assert world.observer.triggers == [(Family.IPV4, 5.0)]
        world.kernel.fails = failing
        put("10.0.1.3", 6.0)
        await until(lambda: bool(world.clock.sleeps))
        assert world.observer.triggers == [(Family.IPV4, 5.0)]
        world.kernel.fails = working
        world.clock.wake.set()
        await until(lambda: world.is_right)
        assert world.observer.triggers == [(Family.IPV4, 5.0), (Family.IPV4, 6.0)]

    run(scenario)


def test_what_changed_while_the_kernel_failed_is_not_lost() -> None:
    async def scenario(world: World) -> None:
        world.kernel.fails = failing
        world.put("10.0.1.2")
        world.agent.changed()
        world.writer.put_service(service("late", cluster_ips=["172.30.0.50"]))
        world.agent.changed()
        await until(lambda: bool(world.clock.sleeps))
        assert world.cleaner.noted == []
        world.kernel.fails = working
        world.clock.wake.set()
        await until(lambda: world.is_right)
        assert world.family.planner.planned(ObjectName("ns", "late")) is not None
        assert world.cleaner.noted == ["ns/web:http/tcp", "ns/late:http/tcp"]

    run(scenario)


def test_services_that_change_together_with_a_failing_skeleton_are_not_lost() -> None:
    async def scenario(world: World) -> None:
        def broken(*_: object) -> list[str]:
            raise refusal(None, errno.EPERM)

        working_ensure, world.kernel.ensure = world.kernel.ensure, broken  # type: ignore[method-assign]
        world.node_view = view(masquerade_all=True)
        world.put("10.0.1.2")
        world.agent.node_changed()
        await until(lambda: bool(world.clock.sleeps))
        world.kernel.ensure = working_ensure  # type: ignore[method-assign]
        world.clock.wake.set()
        await until(lambda: world.is_right)
        (planned,) = world.family.planner.all_planned()
        assert [str(b.address) for b in planned.ports[0].cluster.backends] == ["10.0.1.2"]

    run(scenario)


def test_a_family_whose_kernel_fails_does_not_hold_up_the_other() -> None:
    """In either order of the families, for changes at the time of the failure and after it."""

    async def scenario(world: World) -> None:
        six = FakeKernel()
        world.families[Family.IPV6] = FamilySync(world.state, view(family=Family.IPV6), NftablesDataplane(), six)
        world.agent.node_changed(even_if_equal=True)
        for broken, other in ((world.kernel, six), (six, world.kernel)):
            broken.fails = failing
            written = len(other.writes)
            world.put_both(1 + len(world.clock.sleeps))
            assert len(other.writes) > written
            await until(lambda: bool(world.clock.sleeps))
            written = len(other.writes)
            world.put_both(5 + len(world.clock.sleeps))
            assert len(other.writes) > written
            assert world.agent.status.queued_at is not None
            broken.fails = working
            world.clock.wake.set()
            await until(lambda: world.agent.status.queued_at is None)
            assert not any(sync.difference.pending_count for sync in world.families.values())
            world.clock.sleeps.clear()

    run(scenario)


def test_a_kernel_is_read_anew_while_others_have_their_turns_and_changes_come_in() -> None:
    async def scenario(world: World) -> None:
        world.writer.put_slice(slice_of(*(endpoint(f"10.0.3.{n}", HERE) for n in range(1, 60)), name="many"))
        world.agent.changed()
        world.agent.lost(Family.IPV4, "rules changed")
        turns = 0
        while world.agent._lost:
            turns += 1
            world.put(f"10.0.1.{turns % 250 + 1}")
            world.agent.changed()
            await asyncio.sleep(0)
        assert turns >= 59 // PIECE  # of the backends alone
        assert world.is_right

    run(scenario)


def test_a_refused_operation_is_tried_again_later_and_the_rest_is_in() -> None:
    async def scenario(world: World) -> None:
        def no_hairpin(steps: list[Operation]) -> WriteError | None:
            bad = [s for s in steps if s.item.container == layout.HAIRPIN]
            return refusal(bad[0]) if bad else None

        world.kernel.fails = no_hairpin  # type: ignore[assignment]
        world.put("10.0.1.2")
        world.agent.changed()
        assert world.agent.status.last_error
        target = layout.address_data(Address.parse("10.0.1.2"), 8080)
        assert list(world.kernel.elements[layout.BACKENDS].values()) == [target]
        world.kernel.fails = working
        await until(lambda: world.is_right)

    run(scenario)


def test_every_flow_is_checked_at_the_start() -> None:
    async def scenario(world: World) -> None:
        assert world.cleaner.checked == ["ns/web:http/tcp"]

    run(scenario)


def test_flows_are_checked_again_when_what_was_refused_is_in() -> None:
    async def scenario(world: World) -> None:
        def no_hairpin(steps: list[Operation]) -> WriteError | None:
            bad = [s for s in steps if s.item.container == layout.HAIRPIN]
            return refusal(bad[0]) if bad else None

        world.kernel.fails = no_hairpin  # type: ignore[assignment]
        world.put("10.0.1.2")
        world.agent.changed()
        assert world.cleaner.noted == ["ns/web:http/tcp"]
        world.cleaner.checked.clear()
        world.kernel.fails = working
        await until(lambda: world.cleaner.checked == ["ns/web:http/tcp"])
        assert world.is_right

    run(scenario)


def test_a_wiped_kernel_is_mended_and_flows_of_that_time_are_checked() -> None:
    async def scenario(world: World) -> None:
        world.cleaner.checked.clear()
        world.kernel.wipe()
        world.agent.lost(Family.IPV4, "table gone")
        await until(lambda: world.is_right)
        await until(lambda: world.cleaner.checked == ["ns/web:http/tcp"])

    run(scenario)


class Silent:
    """A subscription that never has anything to tell."""

    def __init__(self) -> None:
        self._ends = os.pipe()

    def fileno(self) -> int:
        return self._ends[0]

    def read(self) -> Sequence[ForeignChange]:
        return ()

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


def test_what_was_done_before_the_subscription_began_is_mended() -> None:
    async def scenario(world: World) -> None:
        world.kernel.elements[layout.FRONTENDS].clear()
        ensured, silent = world.kernel.ensured, Silent()
        mending = asyncio.ensure_future(mend_foreign_changes(world.agent, {Family.IPV4: lambda: silent}))
        await until(lambda: world.is_right)
        mending.cancel()
        await asyncio.gather(mending, return_exceptions=True)
        silent.close()
        assert world.kernel.ensured == ensured + 1

    run(scenario)
