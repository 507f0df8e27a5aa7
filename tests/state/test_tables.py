"""State and its one writer: which Services an event touches; a change never copies a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.kube.cluster import Node, ServiceCIDR
from fairway.state.tables import State, Writer
from fairway.values.address import Prefix
from fairway.values.names import ObjectName
from objects import endpoint, service, slice_of

WEB, DNS = ObjectName("ns", "web"), ObjectName("ns", "dns")
SLICE = ObjectName("ns", "web-1")


def touched(*steps: Callable[[Writer], None], before: tuple[Callable[[Writer], None], ...] = ()) -> list[ObjectName]:
    writer = Writer(State())
    for step in before:
        step(writer)
    writer.take_changes()
    for step in steps:
        step(writer)
    return list(writer.take_changes().services)


def put(row: Any) -> Callable[[Writer], None]:
    return lambda writer: writer.put_slice(row) if hasattr(row, "endpoints") else writer.put_service(row)


OURS, MOVED = slice_of(endpoint("10.0.0.1")), slice_of(endpoint("10.0.0.1"), service="dns")
MOVED = msgspec.structs.replace(MOVED, name=SLICE)


@pytest.mark.parametrize(
    ("before", "step", "expected"),
    [
        pytest.param((), put(service()), [WEB], id="a new Service"),
        pytest.param((put(service()),), put(service()), [], id="the same Service again"),
        pytest.param((put(service()),), put(service(externalIPs=["1.2.3.4"])), [WEB], id="a changed Service"),
        pytest.param((), lambda w: w.remove_service(WEB), [], id="an unknown Service removed"),
        pytest.param((put(service()),), lambda w: w.remove_service(WEB), [WEB], id="a Service removed"),
        pytest.param((), put(OURS), [WEB], id="a new slice"),
        pytest.param((put(OURS),), put(OURS), [], id="the same slice again"),
        pytest.param((put(OURS),), put(slice_of(endpoint("10.0.0.2"))), [WEB], id="a changed slice"),
        pytest.param((put(OURS),), lambda w: w.remove_slice(SLICE), [WEB], id="a slice removed"),
        pytest.param((), lambda w: w.remove_slice(SLICE), [], id="an unknown slice removed"),
        pytest.param((put(OURS),), put(MOVED), [WEB, DNS], id="a slice whose label names another Service"),
    ],
)
def test_which_services_are_touched(before: Any, step: Any, expected: list[ObjectName]) -> None:
    assert touched(step, before=before) == expected


@pytest.mark.parametrize("change", [{"is_foreign": True}, {"family": None}, {"service": ObjectName("ns", "")}])
def test_a_slice_that_is_not_for_us_counts_as_absent(change: dict[str, Any]) -> None:
    other = msgspec.structs.replace(OURS, **change)
    assert touched(put(other)) == []
    assert touched(put(other), before=(put(OURS),)) == [WEB]


def test_a_service_of_another_proxy_counts_as_absent() -> None:
    other = msgspec.structs.replace(service(), is_foreign=True)
    assert touched(put(other)) == []
    assert touched(put(other), before=(put(service()),)) == [WEB]


def test_slices_come_in_the_order_of_their_names() -> None:
    state = State()
    writer = Writer(state)
    for name in ("2", "1", "3"):
        writer.put_slice(slice_of(endpoint("10.0.0.1"), name=name))
    assert [s.name.name for s in state.slices(WEB)] == ["web-1", "web-2", "web-3"]
    assert (state.slice_count, state.service_count) == (3, 0)


def test_a_full_list_removes_what_it_does_not_name() -> None:
    state = State()
    writer = Writer(state)
    rows = [service(), service("dns", cluster_ips=["172.30.0.2"]), OURS, slice_of(endpoint("10.0.0.2"), service="dns")]
    for row in rows:
        put(row)(writer)
    writer.put_node(Node("a")), writer.put_node(Node("b"))
    writer.put_service_cidr(ServiceCIDR("one", (Prefix.parse("172.30.0.0/16"),)))
    writer.take_changes()
    writer.keep_services({WEB})
    writer.keep_slices({SLICE})
    writer.keep_nodes({"a"})
    writer.keep_service_cidrs(set())
    changes = writer.take_changes()
    assert list(changes.services) == [DNS]
    assert (changes.nodes, changes.service_cidrs) == ({"b"}, True)
    assert list(state.service_names()) == [WEB]
    assert list(state.slices(DNS)) == []
    assert [n.name for n in state.nodes()] == ["a"]
    assert state.service_cidrs() == ()
    assert not writer.take_changes()


def test_service_ranges_are_sorted_and_each_once() -> None:
    state = State()
    writer = Writer(state)
    first, second = Prefix.parse("172.30.0.0/16"), Prefix.parse("fd00::/108")
    writer.put_service_cidr(ServiceCIDR("b", (second, first)))
    writer.put_service_cidr(ServiceCIDR("a", (first,)))
    assert state.service_cidrs() == (first, second)


def test_unchanged_nodes_and_ranges_are_no_changes() -> None:
    writer = Writer(State())
    for _ in range(2):
        writer.put_node(Node("a"))
        writer.put_service_cidr(ServiceCIDR("a"))
    assert writer.take_changes()
    writer.put_node(Node("a"))
    writer.put_service_cidr(ServiceCIDR("a"))
    writer.remove_node("b")
    writer.remove_service_cidr("b")
    assert not writer.take_changes()


NAMES = st.sampled_from(["a", "b"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, NAMES, st.integers(0, 1)),
        st.tuples(st.just("remove"), NAMES, NAMES, st.integers(0, 1)),
    ),
    max_size=20,
)


@given(STEPS)
def test_slices_follow_a_plain_model(steps: list[tuple[str, str, str, int]]) -> None:
    """A slice is where its label says, once, and nothing is left of what went."""
    state, model = State(), dict[str, tuple[str, int]]()
    writer = Writer(state)
    for what, name, owner, number in steps:
        if what == "put":
            row = slice_of(endpoint(f"10.0.0.{number + 1}"), service=owner)
            writer.put_slice(msgspec.structs.replace(row, name=ObjectName("ns", name)))
            model[name] = (owner, number)
        else:
            writer.remove_slice(ObjectName("ns", name))
            model.pop(name, None)
    found = {
        row.name.name: (owner, row.endpoints[0].address[-1] - 1)
        for owner in ("a", "b")
        for row in state.slices(ObjectName("ns", owner))
    }
    assert found == model
    assert state.slice_count == len(model)
    assert all(state._rows.slices.values())
