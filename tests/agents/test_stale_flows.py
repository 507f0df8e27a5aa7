"""A round over a fake table: what it removes, what it leaves pending, and that the loop runs meanwhile."""

import asyncio
import threading

import pytest

from conntrack_entries import Entry, FakeConntrack
from fairway.agents.stale_flows import StaleFlowCleaner, remove_stale_flows
from fairway.plan.model import (
    Frontend,
    FrontendKey,
    FrontendKind,
    PlannedPort,
    Scope,
    Selection,
    Treatment,
    Treatments,
    Verdict,
)
from fairway.plan.planner import PortChange
from fairway.plan.reasons import Reason
from fairway.plan.stale import StaleFlows
from fairway.values.address import Address, Family
from fairway.values.errors import KernelError
from fairway.values.names import ObjectName, ServicePortName
from fairway.values.protocol import Protocol

NAME = ServicePortName(ObjectName("ns", "dns"), "", Protocol.UDP)
TO_ONE, TO_TWO = (Entry("10.1.0.9", "10.0.0.10", 53, f"10.1.0.{n}", 5353, source_port=n) for n in (1, 2))


def planned(*endpoints: int) -> PlannedPort:
    treatment = Treatment(Verdict.FORWARD, Scope.CLUSTER, False, ())
    key = FrontendKey(Address.parse("10.0.0.10"), Protocol.UDP, 53)
    nothing = Selection((), Reason.NOT_USED)
    return PlannedPort(
        NAME,
        Family.IPV4,
        (Frontend(key, FrontendKind.CLUSTER_IP, Treatments(treatment, treatment, treatment)),),
        nothing,
        nothing,
        serving=tuple((Address.parse(f"10.1.0.{n}"), 5353) for n in endpoints),
    )


def noted(before: PlannedPort | None, after: PlannedPort | None) -> StaleFlows:
    stale = StaleFlows()
    stale.note([PortChange(NAME, before, after)])
    return stale


def test_a_round_removes_stale_flows_and_nothing_is_pending():
    table, stale = FakeConntrack([TO_ONE, TO_TWO]), noted(planned(1, 2), planned(2))
    assert asyncio.run(remove_stale_flows(table, stale, ())) == 1
    assert (table.entries, bool(stale)) == ({TO_TWO}, False)


def test_no_pending_query_asks_the_table_nothing():
    table = FakeConntrack([TO_ONE])
    table.broken = 1
    assert asyncio.run(remove_stale_flows(table, StaleFlows(), ())) == 0


@pytest.mark.parametrize("failing_calls", [1, 2, 3])
def test_a_failed_round_is_raised_and_the_next_one_completes_it(failing_calls):
    table, stale = FakeConntrack([TO_ONE, TO_TWO]), noted(planned(1, 2), None)

    async def rounds() -> int:
        table.broken = failing_calls
        failures = 0
        while stale:
            try:
                await remove_stale_flows(table, stale, ())
            except KernelError:
                failures += 1
        return failures

    assert asyncio.run(rounds()) == failing_calls
    assert table.entries == set()


class SlowTable(FakeConntrack):
    """Waits inside the walk, as the kernel does, until the test lets it go on."""

    def __init__(self, entries) -> None:
        super().__init__(entries)
        self.walking, self.go_on = threading.Event(), threading.Event()

    def find(self, queries, node):
        self.walking.set()
        assert self.go_on.wait(10)
        yield from super().find(queries, node)


def test_the_loop_runs_during_a_walk_and_flows_to_a_new_endpoint_survive_it():
    async def scenario() -> None:
        table, stale = SlowTable([TO_ONE, TO_TWO]), noted(planned(1), planned())
        running = asyncio.create_task(remove_stale_flows(table, stale, ()))
        await asyncio.to_thread(table.walking.wait, 10)
        stale.note([PortChange(NAME, planned(), planned(2))])  # TO_TWO is a flow of this endpoint
        table.go_on.set()
        assert await running == 0
        assert await remove_stale_flows(table, stale, ()) == 1
        assert table.entries == {TO_TWO}

    asyncio.run(scenario())


class FakeClock:
    """Time that passes when somebody sleeps; each sleep is let go on by `slept`."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []
        self.has_slept = asyncio.Event()

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept.append(seconds)
        self.has_slept.set()
        await asyncio.sleep(0)


class TestCleaner:
    def cleaned(self, table, notes, rounds: int) -> tuple[FakeClock, list[int]]:
        """Run a cleaner over notes until so many rounds succeeded; how many flows each deleted."""

        async def main() -> tuple[FakeClock, list[int]]:
            clock, deleted, done = FakeClock(), [], asyncio.Event()

            def told(seconds: float, count: int) -> None:
                deleted.append(count)
                if len(deleted) == rounds:
                    done.set()

            cleaner = StaleFlowCleaner(table, lambda: (), clock, lambda: 0.5, told)
            for note in notes:
                note(cleaner)
            running = asyncio.create_task(cleaner.run())
            await asyncio.wait_for(done.wait(), 10)
            running.cancel()
            return clock, deleted

        return asyncio.run(main())

    def test_what_is_noted_before_a_round_shares_it(self):
        table = FakeConntrack([TO_ONE, TO_TWO])
        notes = [
            lambda cleaner: cleaner.note_all([planned(1, 2)]),
            lambda cleaner: cleaner.note([PortChange(NAME, planned(1, 2), planned(2))]),
        ]
        assert self.cleaned(table, notes, 1)[1] == [1]
        assert table.entries == {TO_TWO}

    def test_a_failing_table_is_asked_again_with_back_off(self):
        table = FakeConntrack([TO_ONE, TO_TWO])
        table.broken = 3
        clock, deleted = self.cleaned(table, [lambda cleaner: cleaner.note_all([planned()])], 1)
        assert (table.entries, clock.slept[:3]) == (set(), [0.2, 0.4, 0.8])
        assert deleted == [2]

    @pytest.mark.parametrize(("seconds", "rest"), [(0.05, 0.2), (5.0, 1.0)])
    def test_rounds_are_followed_by_a_rest_that_bounds_their_share(self, seconds, rest):
        async def main() -> None:
            clock, table = FakeClock(), FakeConntrack([TO_ONE])

            def slow(*arguments):
                clock.time += seconds
                return FakeConntrack.find(table, *arguments)

            table.find = slow
            cleaner = StaleFlowCleaner(table, lambda: (), clock, lambda: 0.5)
            cleaner.note_all([planned()])
            running = asyncio.create_task(cleaner.run())
            await clock.has_slept.wait()
            running.cancel()
            assert clock.slept[0] == pytest.approx(rest)

        asyncio.run(asyncio.wait_for(main(), 10))

    def test_a_change_that_leaves_nothing_stale_starts_no_round(self):
        async def main() -> None:
            cleaner = StaleFlowCleaner(FakeConntrack(), lambda: (), FakeClock(), lambda: 0.5)
            cleaner.note([PortChange(NAME, planned(1), planned(1, 2))])
            assert not cleaner._noted.is_set()

        asyncio.run(main())
