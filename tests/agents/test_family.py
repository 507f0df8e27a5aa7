"""FamilySync: one family's kernel follows the plan, whatever the kernel and others do meanwhile."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Hashable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fairway.agents.family import CHUNK, FamilySync, WriteOutcome
from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.dataplane import NftablesDataplane
from fairway.kube.endpointslice import EndpointSlice
from fairway.kube.service import Service
from fairway.plan.view import NodeView
from fairway.reconcile.items import Action, Operation, WriteError
from fairway.state.tables import State, Writer
from fairway.values.address import Address, Prefix
from fairway.values.errors import KernelError
from fairway.values.names import ObjectName
from fake_kernel import FakeKernel, poison, refusal
from objects import HERE, THERE, VIEW, endpoint, port, service, slice_of, view


class Proxy:
    """A family on a fake kernel, driven as the proxy's loop drives it."""

    def __init__(self, *rows: Service | EndpointSlice, kernel: FakeKernel | None = None, view: NodeView = VIEW) -> None:
        self.state = State()
        self.writer = Writer(self.state)
        self.kernel = kernel or FakeKernel()
        self.sync = FamilySync(self.state, view, NftablesDataplane(), self.kernel)
        self.put(*rows)

    def put(self, *rows: Service | EndpointSlice) -> None:
        for row in rows:
            if isinstance(row, Service):
                self.writer.put_service(row)
            else:
                self.writer.put_slice(row)

    def start(self) -> list[WriteOutcome]:
        self.writer.take_changes()
        asyncio.run(self.sync.open(self.sync.view))
        return asyncio.run(self.sync.fill())

    def change(self, *rows: Service | EndpointSlice) -> WriteOutcome:
        self.put(*rows)
        return self.round()

    def round(self) -> WriteOutcome:
        self.sync.replan(self.writer.take_changes().services)
        return self.sync.write()

    @property
    def wanted(self) -> dict[str, dict[Hashable, Hashable]]:
        return {c.name: dict(self.sync.difference.wanted(c.name)) for c in layout.CONTAINERS}

    @property
    def is_right(self) -> bool:
        return self.kernel.elements == self.wanted and not self.sync.difference.pending_count


def web(*addresses: str, name: str = "web", **fields: Any) -> list[Service | EndpointSlice]:
    ip = f"172.30.{len(name)}.{sum(map(ord, name)) % 250}"
    return [service(name, cluster_ips=[ip], **fields), slice_of(*(endpoint(a, HERE) for a in addresses), service=name)]


def started(*rows: Service | EndpointSlice) -> Proxy:
    proxy = Proxy(*rows)
    proxy.start()
    assert proxy.is_right
    return proxy


def test_a_start_fills_an_empty_kernel() -> None:
    proxy = Proxy(*web("10.0.1.1"), *web("10.0.2.1", name="dns", sessionAffinity="ClientIP"))
    outcomes = proxy.start()
    assert proxy.is_right
    assert sum(o.operations for o in outcomes) == len(proxy.kernel.writes) > 10


def test_many_services_are_written_a_chunk_at_a_time() -> None:
    rows = [service(f"s{n}", cluster_ips=[f"172.30.{n // 250}.{n % 250}"]) for n in range(CHUNK + 1)]
    outcomes = Proxy(*rows).start()
    assert [bool(o.operations) for o in outcomes] == [True, True, False]


def test_what_an_earlier_run_left_goes_after_the_whole_plan_is_in() -> None:
    before = started(*web("10.0.1.1"), *web("10.0.2.1", name="old"))
    proxy = Proxy(*web("10.0.1.1"), kernel=before.kernel)
    before.kernel.writes.clear()
    outcomes = proxy.start()
    assert proxy.is_right
    assert {w.action for w in before.kernel.writes} == {Action.REMOVE}
    assert outcomes[0].operations == 0


@pytest.mark.parametrize("fields", [{}, {"sessionAffinity": "ClientIP"}])
def test_a_restart_with_nothing_changed_writes_nothing(fields: dict[str, Any]) -> None:
    """Numbers are recovered from the kernel, whatever order the Services come in."""
    ranges = {"type": "LoadBalancer", "ingress": ["1.2.3.4"], "loadBalancerSourceRanges": ["203.0.113.0/25"]}
    rows = [
        *web("10.0.1.1", "10.0.1.2", externalTrafficPolicy="Local", **ranges, **fields),
        *web("10.0.2.1", "10.0.2.2", name="dns", **fields),
        *web(name="none", **fields),
    ]
    before = started(*rows)
    before.change(*web("10.0.2.2", "10.0.2.3", name="dns", **fields))
    again = [*web("10.0.2.2", "10.0.2.3", name="dns", **fields), *rows[4:], *rows[:2]]
    proxy = Proxy(*again, kernel=before.kernel)
    before.kernel.writes.clear()
    outcomes = proxy.start()
    assert proxy.is_right
    assert before.kernel.writes == []
    assert sum(o.operations + o.transactions for o in outcomes) == 0


def test_a_change_writes_what_changed_alone() -> None:
    proxy = started(*web("10.0.1.1"), *web("10.0.2.1", name="dns"))
    proxy.kernel.writes.clear()
    outcome = proxy.change(slice_of(endpoint("10.0.1.9", HERE)))
    assert proxy.is_right
    kinds = {(w.action, w.item.container) for w in proxy.kernel.writes}
    assert kinds == {
        (Action.REPLACE, layout.BACKENDS),
        (Action.ADD, layout.HAIRPIN),
        (Action.REMOVE, layout.HAIRPIN),
    }
    assert (outcome.operations, outcome.transactions) == (3, 2)


def test_removals_come_in_a_transaction_of_their_own_after_what_replaces_them() -> None:
    proxy = started(*web("10.0.1.1", "10.0.1.2"))
    proxy.kernel.writes.clear()
    proxy.change(slice_of(endpoint("10.0.1.1", HERE)))
    shown = [(w.action.value, w.item.container) for w in proxy.kernel.writes]
    assert shown == [("replace", layout.COUNTS), ("remove", layout.BACKENDS), ("remove", layout.HAIRPIN)]


def test_a_deleted_service_leaves_nothing_behind() -> None:
    proxy = started(*web("10.0.1.1", sessionAffinity="ClientIP"))
    proxy.writer.remove_service(ObjectName("ns", "web"))
    proxy.round()
    assert proxy.is_right
    assert [name for name, content in proxy.kernel.elements.items() if content] == [layout.PODS, layout.TIMEOUTS]


# a kernel that fails


def test_a_refused_operation_is_left_out_and_the_rest_goes_in() -> None:
    proxy = Proxy(*web("10.0.1.1"))
    proxy.kernel.fails = poison(layout.HAIRPIN)
    outcomes = proxy.start()
    assert [e.errno for o in outcomes for e in o.refused][:1] == [errno.EINVAL]
    assert not any(o.is_lost for o in outcomes)
    assert proxy.kernel.elements[layout.FRONTENDS]
    assert [w.item.container for w in proxy.sync.difference.pending()] == [layout.HAIRPIN]
    proxy.kernel.fails = lambda _: None
    assert proxy.sync.write().refused == ()
    assert proxy.is_right


def test_many_refused_operations_do_not_keep_the_others_out() -> None:
    """Else one kind of element that the kernel will not have would stop every Service."""
    addresses = [f"10.0.1.{n}" for n in range(1, 60)]
    proxy = Proxy(*web(*addresses))
    proxy.kernel.fails = poison(layout.HAIRPIN)
    outcomes = proxy.start()
    assert not any(o.is_lost for o in outcomes)
    assert len(outcomes[-1].refused) == len(addresses)
    assert len(proxy.kernel.elements[layout.BACKENDS]) == len(addresses)
    assert proxy.kernel.elements[layout.FRONTENDS]


def test_a_failure_without_a_culprit_is_handed_up_and_everything_stays_pending() -> None:
    proxy = started(*web("10.0.1.1"))
    proxy.kernel.fails = lambda _: refusal(None, errno.ENOBUFS)
    with pytest.raises(KernelError):
        proxy.change(slice_of(endpoint("10.0.1.9", HERE)))
    assert proxy.sync.difference.pending_count == 3
    proxy.kernel.fails = lambda _: None
    proxy.sync.write()
    assert proxy.is_right


def test_a_start_that_failed_half_way_forgets_services_that_went_meanwhile() -> None:
    """The second try plans what there is now, not what there was."""
    rows = [service(f"s{n}", cluster_ips=[f"172.30.{n // 250}.{n % 250}"]) for n in range(CHUNK + 1)]
    proxy = Proxy(*rows)
    failing = iter([None, refusal(None, errno.ENOBUFS)])
    proxy.kernel.fails = lambda _: next(failing, None)
    with pytest.raises(KernelError):
        proxy.start()
    proxy.writer.remove_service(ObjectName("ns", "s0"))
    proxy.start()
    assert proxy.is_right
    assert proxy.sync.planner.planned(ObjectName("ns", "s0")) is None


def test_a_skeleton_that_cannot_be_made_is_tried_again_with_the_next_write() -> None:
    """A change of this node must not lose the Services that changed with it."""
    proxy = started(*web("10.0.1.1", type="NodePort", ports=[port(nodePort=3001)]))
    moved = view(node_port_addresses=(Address.parse("192.168.7.7"),))
    before = proxy.kernel.ensured
    assert proxy.sync.set_view(moved)
    assert proxy.sync.set_view(moved) == []
    assert proxy.kernel.ensured == before
    proxy.sync.write()
    assert proxy.kernel.ensured == before + 1
    proxy.sync.write()
    assert proxy.kernel.ensured == before + 1
    assert proxy.is_right


def test_ranges_of_this_node_change_without_an_overlap() -> None:
    proxy = started(*web("10.0.1.1"))
    for prefixes in (("10.0.0.0/16", "10.1.0.0/16"), ("10.0.0.0/8",), ("10.0.0.0/24",), ()):
        detector = VIEW.detector.__class__(VIEW.detector.mode, tuple(Prefix.parse(p) for p in prefixes))
        proxy.sync.set_view(view(detector=detector))
        assert proxy.sync.write().drifts == ()
        assert proxy.is_right


# somebody else


def a_key(proxy: Proxy, container: str) -> Hashable:
    return next(iter(proxy.kernel.elements[container]))


@pytest.mark.parametrize("container", [layout.FRONTENDS, layout.BACKENDS, layout.COUNTS, layout.CLUSTER_IPS])
def test_drift_is_found_named_and_repaired_alone(container: str) -> None:
    proxy = started(*web("10.0.1.1"), *web("10.0.2.1", name="dns"))
    proxy.kernel.writes.clear()
    key = a_key(proxy, container)
    expected = proxy.kernel.elements[container].pop(key)
    drifts = asyncio.run(proxy.sync.compare())
    assert [(d.container, d.key, d.expected, d.found) for d in drifts] == [(container, key, expected, None)]
    proxy.sync.write()
    assert proxy.is_right
    assert [w.item for w in proxy.kernel.writes] == [(container, key, expected)]


def test_a_foreign_element_is_removed_and_a_redirected_one_put_right() -> None:
    proxy = started(*web("10.0.1.1"))
    elements = proxy.kernel.elements
    elements[layout.CLUSTER_IPS][b"\x01\x02\x03\x04"] = b""
    key = a_key(proxy, layout.BACKENDS)
    elements[layout.BACKENDS][key] = layout.address_data(Address.parse("6.6.6.6"), 666)
    assert len(asyncio.run(proxy.sync.compare())) == 2
    proxy.sync.write()
    assert proxy.is_right


def test_a_compare_of_an_untouched_kernel_finds_nothing() -> None:
    proxy = started(*web("10.0.1.1"))
    assert asyncio.run(proxy.sync.compare()) == []


def test_own_writes_during_a_compare_are_no_drift() -> None:
    proxy = started(*web(*(f"10.0.1.{n}" for n in range(1, 20))))

    async def compare_while_changing() -> list[Any]:
        comparing = asyncio.create_task(proxy.sync.compare())
        for n in range(30, 40):
            await asyncio.sleep(0)
            proxy.change(slice_of(*(endpoint(f"10.0.1.{m}", HERE) for m in range(n, n + n % 7))))
        return await comparing

    assert asyncio.run(compare_while_changing()) == []
    assert proxy.is_right


def squat(proxy: Proxy, places: range) -> None:
    """Somebody else put backends of his own where ours will have to stand."""
    (place,) = proxy.kernel.elements[layout.BACKENDS]
    _, svc = layout.unpack_place_key(cast("bytes", place))
    for number in places:
        proxy.kernel.elements[layout.BACKENDS][layout.place_key(number, svc)] = b"foreign"


def test_a_write_over_drift_is_mended_on_the_way() -> None:
    proxy = started(*web("10.0.1.1"))
    squat(proxy, range(1, 2))
    outcome = proxy.change(slice_of(endpoint("10.0.1.1", HERE), endpoint("10.0.1.9", HERE)))
    assert [d.container for d in outcome.drifts] == [layout.BACKENDS]
    assert not outcome.is_lost
    assert proxy.is_right


def test_a_kernel_full_of_drift_is_lost_and_a_reload_restores_it() -> None:
    proxy = started(*web("10.0.1.1"))
    squat(proxy, range(1, 30))
    outcome = proxy.change(slice_of(*(endpoint(f"10.0.1.{n}", HERE) for n in range(1, 31))))
    assert outcome.is_lost
    asyncio.run(proxy.sync.reload())
    assert not proxy.sync.write().is_lost
    assert proxy.is_right


# numbers


def numbers_in_use(proxy: Proxy) -> int:
    numbers = proxy.sync._dataplane._numbers  # type: ignore[attr-defined]
    return len(numbers._ports) + len(numbers._endpoints) + sum(map(len, numbers._targets.values()))


def test_numbers_do_not_grow_with_churn() -> None:
    proxy = started(*web("10.0.1.1", sessionAffinity="ClientIP"))
    before = numbers_in_use(proxy)
    for n in range(50):
        proxy.change(*web(f"10.0.2.{n}", name=f"churn{n}", sessionAffinity="ClientIP"))
        proxy.change(slice_of(endpoint(f"10.0.3.{n}", HERE), endpoint("10.0.1.1", HERE)))
        proxy.writer.remove_service(ObjectName("ns", f"churn{n}"))
        proxy.writer.remove_slice(ObjectName("ns", f"churn{n}-1"))
        proxy.round()
    proxy.change(slice_of(endpoint("10.0.1.1", HERE)))
    assert numbers_in_use(proxy) == before


def test_numbers_are_freed_although_one_operation_is_refused_for_good() -> None:
    proxy = started(*web("10.0.1.1"))
    proxy.kernel.fails = poison(layout.SOURCE_RANGES)
    guarded = {"type": "LoadBalancer", "ingress": ["1.2.3.4"], "loadBalancerSourceRanges": ["203.0.113.0/25"]}
    proxy.change(*web("10.0.9.1", name="poisoned", **guarded))
    before = numbers_in_use(proxy)
    for n in range(20):
        proxy.change(*web(f"10.0.2.{n}", name=f"churn{n}"))
        proxy.writer.remove_service(ObjectName("ns", f"churn{n}"))
        proxy.round()
    assert numbers_in_use(proxy) == before
    assert len(proxy.sync._gone) == 0


def test_a_service_that_comes_back_before_its_removal_was_written_keeps_its_numbers() -> None:
    proxy = started(*web("10.0.1.1", sessionAffinity="ClientIP"))
    held = proxy.kernel.elements
    proxy.kernel.fails = lambda _: refusal(None, errno.ENOBUFS)
    proxy.writer.remove_service(ObjectName("ns", "web"))
    with pytest.raises(KernelError):
        proxy.round()
    proxy.kernel.fails = lambda _: None
    proxy.change(service(cluster_ips=["172.30.3.74"], sessionAffinity="ClientIP"))
    proxy.change(*web("10.0.1.1", "10.0.1.2", sessionAffinity="ClientIP"))
    assert proxy.is_right
    assert proxy.kernel.elements[layout.COUNTS].keys() == held[layout.COUNTS].keys()
    assert proxy.kernel.elements[layout.ENDPOINTS].items() >= held[layout.ENDPOINTS].items()


def test_numbers_of_services_that_went_while_nobody_looked_are_freed() -> None:
    before = started(*web("10.0.1.1"), *web("10.0.2.1", name="old", sessionAffinity="ClientIP"))
    proxy = Proxy(*web("10.0.1.1"), kernel=before.kernel)
    proxy.start()
    assert numbers_in_use(proxy) == numbers_in_use(started(*web("10.0.1.1"))) == 1


def test_affinity_that_is_switched_off_frees_its_numbers() -> None:
    proxy = started(*web("10.0.1.1"))
    before = numbers_in_use(proxy)
    proxy.change(*web("10.0.1.1", sessionAffinity="ClientIP"))
    assert numbers_in_use(proxy) > before
    proxy.change(*web("10.0.1.1"))
    assert numbers_in_use(proxy) == before


# everything at once

NAMES = st.sampled_from(["a", "bb", "ccc"])
FIELDS = st.sampled_from(
    [
        {},
        {"sessionAffinity": "ClientIP"},
        {"externalIPs": ["9.9.9.9"]},
        {"externalIPs": ["9.9.9.9"], "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP"},
        {
            "type": "LoadBalancer",
            "ingress": ["1.2.3.4", "5.6.7.8"],
            "loadBalancerSourceRanges": ["203.0.113.0/25", "10.0.0.0/24"],
        },
        {"internalTrafficPolicy": "Local"},
    ]
)
ENDPOINTS = st.lists(
    st.builds(endpoint, st.integers(1, 5).map("10.0.1.{}".format), st.sampled_from([HERE, THERE]), ready=st.booleans()),
    max_size=4,
)


class Life(RuleBasedStateMachine):
    """Changes, failures, meddlers, restarts: after a write that nobody disturbs, the kernel is right."""

    @initialize()
    def begin(self) -> None:
        self.proxy = started()

    @rule(name=NAMES, fields=FIELDS)
    def put_service(self, name: str, fields: dict[str, Any]) -> None:
        self.proxy.put(web(name=name, **fields)[0])

    @rule(name=NAMES, endpoints=ENDPOINTS)
    def put_slice(self, name: str, endpoints: list[dict[str, Any]]) -> None:
        self.proxy.put(slice_of(*endpoints, service=name))

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.proxy.writer.remove_service(ObjectName("ns", name))

    @rule(number=st.integers(0, 50), culprit=st.booleans())
    def fail(self, number: int, culprit: bool) -> None:
        """One write fails, at any of its steps."""
        used = False

        def fails(operations: list[Operation]) -> WriteError | None:
            nonlocal used
            if used:
                return None
            used = True
            return refusal(operations[number % len(operations)] if culprit else None)

        self.proxy.kernel.fails = fails  # type: ignore[assignment]
        try:
            self.proxy.round()
        except KernelError:
            assert not culprit
        self.proxy.kernel.fails = lambda _: None

    @rule(container=st.sampled_from([c.name for c in layout.CONTAINERS]), pick=st.integers(0, 9), act=st.integers(0, 1))
    def meddle(self, container: str, pick: int, act: int) -> None:
        content = self.proxy.kernel.elements[container]
        if content:
            key = sorted(content)[pick % len(content)]  # type: ignore[type-var]
            if act:
                content[key] = content[key] and bytes(len(content[key]))  # type: ignore[arg-type]
            else:
                del content[key]

    @rule()
    def restart(self) -> None:
        state = self.proxy.state
        rows = [*state._rows.services.values(), *(s for own in state._rows.slices.values() for s in own.values())]
        self.proxy = Proxy(*rows, kernel=self.proxy.kernel)
        self.settle(self.proxy.start()[-1])

    @rule()
    def write(self) -> None:
        self.settle(self.proxy.round())

    def settle(self, outcome: WriteOutcome) -> None:
        """As the proxy's loop does it."""
        if outcome.is_lost:
            asyncio.run(self.proxy.sync.reload())
            assert not self.proxy.sync.write().is_lost
        asyncio.run(self.proxy.sync.compare())
        last = self.proxy.sync.write()
        assert not last.refused
        if last.is_lost:
            asyncio.run(self.proxy.sync.reload())
            self.proxy.sync.write()
        assert self.proxy.is_right

    @invariant()
    def gone_is_bounded(self) -> None:
        if hasattr(self, "proxy"):
            assert len(self.proxy.sync._gone) <= 3


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestLife = Life.TestCase


@given(st.lists(st.tuples(NAMES, FIELDS, ENDPOINTS), max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_restart_after_any_history_writes_nothing(history: list[tuple[str, dict[str, Any], list[Any]]]) -> None:
    before = started()
    for name, fields, endpoints in history:
        before.change(web(name=name, **fields)[0], slice_of(*endpoints, service=name))
    assert before.is_right
    last = {name: (fields, endpoints) for name, fields, endpoints in history}
    rows = [
        row
        for name, (fields, endpoints) in sorted(last.items())
        for row in (web(name=name, **fields)[0], slice_of(*endpoints, service=name))
    ]
    before.kernel.writes.clear()
    again = Proxy(*rows, kernel=before.kernel)
    again.start()
    assert again.is_right
    assert before.kernel.writes == []
