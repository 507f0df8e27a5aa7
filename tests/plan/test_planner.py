"""The planner: changed Services in, changed service ports out; order and batching of events leave no trace."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.kube.endpointslice import EndpointSlice
from fairway.kube.service import Service
from fairway.plan.planner import Planner, ServiceChange
from fairway.state.tables import State, Writer
from fairway.values.address import Address
from fairway.values.names import ObjectName
from objects import (
    EXTERNAL_IP,
    HERE,
    NODE_IP,
    OUTSIDE,
    THERE,
    VIEW,
    a_node,
    a_state,
    endpoint,
    packet,
    port,
    service,
    slice_of,
    view,
    went,
)
from planned import Node
from random_services import NAMES, services, slices, views, worlds

WEB = ObjectName("ns", "web")
OLD = service("old", cluster_ips=["172.30.0.1"], externalIPs=[EXTERNAL_IP], created="2020-01-01T00:00:00Z")
NEW = service("new", cluster_ips=["172.30.0.2"], externalIPs=[EXTERNAL_IP], created="2025-01-01T00:00:00Z")
TO_OLD, TO_NEW = (
    slice_of(endpoint("10.0.1.1", HERE), service="old"),
    slice_of(endpoint("10.0.2.1", HERE), service="new"),
)


def changed(changes: list[ServiceChange]) -> list[str]:
    return [str(port.name) for change in changes for port in change.ports]


# what changed


def test_only_the_ports_that_changed_come_out() -> None:
    state = a_state(
        service(ports=[port(80, "http"), port(81, "other")]),
        slice_of(endpoint("10.0.1.1"), ports=[{"name": "http", "port": 1}]),
    )
    planner = Planner(state, VIEW)
    assert changed(planner.replan([WEB])) == ["ns/web:http/tcp", "ns/web:other/tcp"]
    assert planner.replan([WEB]) == []
    Writer(state).put_slice(slice_of(endpoint("10.0.1.2"), ports=[{"name": "http", "port": 1}]))
    (change,) = planner.replan([WEB])
    assert changed([change]) == ["ns/web:http/tcp"]
    assert change.ports[0].before is not None
    assert change.before is not change.after


def test_a_deleted_service_comes_out_with_all_its_ports() -> None:
    state = a_state(service())
    planner = Planner(state, VIEW)
    planner.replan([WEB])
    Writer(state).remove_service(WEB)
    (change,) = planner.replan([WEB])
    assert change.after is None
    assert [p.after for p in change.ports] == [None]
    assert planner.replan([WEB]) == []
    assert list(planner.all_planned()) == []


def test_a_slice_without_a_service_plans_nothing() -> None:
    planner = Planner(a_state(slice_of(endpoint("10.0.1.1"))), VIEW)
    assert planner.replan([WEB]) == []


def test_a_service_that_becomes_headless_is_gone() -> None:
    state = a_state(service())
    planner = Planner(state, VIEW)
    planner.replan([WEB])
    Writer(state).put_service(service(cluster_ips=["None"]))
    assert [c.after for c in planner.replan([WEB])] == [None]


def test_an_endpoint_that_is_not_used_here_changes_nothing() -> None:
    """Another node's terminating endpoint, while ready ones exist."""
    ready = endpoint("10.0.1.1", HERE)
    state = a_state(service(), slice_of(ready))
    planner = Planner(state, VIEW)
    planner.replan([WEB])
    Writer(state).put_slice(slice_of(ready, endpoint("10.0.2.1", THERE, ready=False, terminating=True)))
    assert planner.replan([WEB]) == []


# Services that claim one frontend


def test_the_loser_is_told_and_takes_over_when_the_winner_goes() -> None:
    node = a_node(NEW, TO_NEW, OLD, TO_OLD)
    to_both = packet(OUTSIDE, EXTERNAL_IP, 80)
    assert went(node, to_both) == "10.0.1.1:8080 masqueraded"
    ((key, winner),) = node.plan()[NEW.name].ports[0].lost
    assert (str(key), str(winner)) == (f"{EXTERNAL_IP}:80/tcp", "ns/old:http/tcp")
    node.writer.remove_service(OLD.name)
    changes = node.planner.replan(node.writer.take_changes().services)
    assert changed(changes) == ["ns/old:http/tcp", "ns/new:http/tcp"]
    assert node.plan()[NEW.name].ports[0].lost == ()


def test_an_older_service_takes_a_frontend_over() -> None:
    node = a_node(NEW, TO_NEW)
    node.writer.put_service(OLD)
    assert changed(node.planner.replan([OLD.name])) == ["ns/new:http/tcp", "ns/old:http/tcp"]


def test_the_next_in_line_is_named_to_those_behind() -> None:
    third = service("third", cluster_ips=["172.30.0.3"], externalIPs=[EXTERNAL_IP], created="2026-01-01T00:00:00Z")
    node = a_node(OLD, NEW, third)
    node.writer.remove_service(OLD.name)
    node.sync()
    assert [str(winner) for _, winner in node.plan()[third.name].ports[0].lost] == ["ns/new:http/tcp"]


def test_a_service_made_anew_is_as_young_as_it_says() -> None:
    node = a_node(OLD, NEW)
    node.writer.put_service(msgspec.structs.replace(OLD, created="2026-01-01T00:00:00Z"))
    node.sync()
    assert [str(w) for _, w in node.plan()[OLD.name].ports[0].lost] == ["ns/new:http/tcp"]


# this node


def test_a_node_that_changes_plans_all_anew_and_says_what_changed() -> None:
    node = a_node(service(type="NodePort", ports=[port(nodePort=3001)]), service("other", cluster_ips=["172.30.0.9"]))
    changes = node.planner.set_view(view(node_port_addresses=(Address.parse(NODE_IP),)))
    assert changed(changes) == ["ns/web:http/tcp"]
    assert node.planner.set_view(node.planner.view) == []


# order and batching

EVENTS = st.lists(
    st.one_of(
        services().map(lambda row: ("put", row)),
        slices().map(lambda row: ("put", row)),
        st.sampled_from(NAMES).map(lambda name: ("remove service", name)),
        st.tuples(st.just("remove slice"), st.sampled_from([f"{n}-{i}" for n in NAMES for i in (1, 2)])),
        st.just(("plan", None)),
    ),
    max_size=14,
)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def happen(writer: Writer, what: str, about: Any) -> None:
    match what, about:
        case "put", Service():
            writer.put_service(about)
        case "put", EndpointSlice():
            writer.put_slice(about)
        case "remove service", _:
            writer.remove_service(ObjectName("ns", about))
        case "remove slice", _:
            writer.remove_slice(ObjectName("ns", about))


@given(EVENTS, views(), views())
@MANY
def test_the_plan_depends_on_the_present_objects_alone(events: list[tuple[str, Any]], first: Any, last: Any) -> None:
    """Any history of puts, removals and re-adds, planned in any batches, ends as a fresh start does."""
    node = Node(State(), first)
    for what, about in events:
        if what == "plan":
            node.sync()
        happen(node.writer, what, about)
    node.sync()
    if first.family is last.family:
        node.set_view(last)
    fresh = Node.of(node.state, node.planner.view)
    assert node.plan() == fresh.plan()
    assert _named(node) == _named(fresh)


@given(worlds(), views(), st.randoms())
@MANY
def test_services_may_come_in_any_order(rows: list[Any], node_view: Any, random: Any) -> None:
    """Split, duplicated and shuffled."""
    shuffled = random.sample(rows, len(rows))
    node, fresh = Node(State(), node_view), a_node(*rows, view=node_view)
    for row in [*shuffled[: len(rows) // 2], *shuffled]:
        if not _is_replaced(row, rows):
            happen(node.writer, "put", row)
        if random.randint(0, 1):
            node.sync()
    node.sync()
    assert node.plan() == fresh.plan()


def _is_replaced(row: Any, rows: list[Any]) -> bool:
    """Whether a later row of the same name makes this one moot."""
    return [r for r in rows if isinstance(r, type(row)) and r.name == row.name][-1] is not row


@given(worlds(), views())
@MANY
def test_one_state_renders_to_the_same_bytes(rows: list[Any], node_view: Any) -> None:
    """Sorted backends, frontends in a fixed order: equal down to the text."""
    first, second = (repr(a_node(*rows, view=node_view).plan()) for _ in range(2))
    assert first == second
    for planned in a_node(*rows, view=node_view).plan().values():
        for one in planned.ports:
            keys = [f.key for f in one.frontends]
            assert len(keys) == len(set(keys))
            assert list(one.cluster.backends) == sorted(one.cluster.backends)


@given(EVENTS, views())
@MANY
def test_before_and_after_of_changes_make_an_unbroken_chain(events: list[tuple[str, Any]], node_view: Any) -> None:
    """Whoever follows the changes knows the plan."""
    node, followed = Node(State(), node_view), dict[Any, Any]()
    for what, about in [*events, ("plan", None)]:
        if what != "plan":
            happen(node.writer, what, about)
            continue
        for change in node.planner.replan(node.writer.take_changes().services):
            assert followed.pop(change.name, None) == change.before
            for one in change.ports:
                assert one.before != one.after
            if change.after:
                followed[change.name] = change.after
    assert followed == node.plan()


def _named(node: Node) -> dict[str, Any]:
    """The wanted items with the numbers taken out, which depend on who came first: how many of each container."""
    return {name: len(content) for name, content in node.wanted.items()}
