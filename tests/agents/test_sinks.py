"""Sinks: what a source hands over reaches the state, and whoever plans is told once."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.agents.feed import Change
from fairway.agents.sinks import node_sink, service_cidr_sink, service_sink, slice_sink
from fairway.kube.cluster import Node, ServiceCIDR
from fairway.state.tables import State, Writer
from fairway.values.address import Prefix
from fairway.values.names import ObjectName
from objects import endpoint, service, slice_of

ONE, TWO = ObjectName("ns", "one"), ObjectName("ns", "two")
ROWS = [
    pytest.param(service_sink, [service("one"), service("two")], [ONE, TWO], id="Services"),
    pytest.param(
        slice_sink,
        [slice_of(endpoint("10.0.0.1"), service=name) for name in ("one", "two")],
        [ObjectName("ns", "one-1"), ObjectName("ns", "two-1")],
        id="slices",
    ),
    pytest.param(node_sink, [Node("one"), Node("two")], [ObjectName("", "one"), ObjectName("", "two")], id="nodes"),
    pytest.param(
        service_cidr_sink,
        [ServiceCIDR(name, (Prefix.parse(text),)) for name, text in (("one", "10.0.0.0/8"), ("two", "11.0.0.0/8"))],
        [ObjectName("", "one"), ObjectName("", "two")],
        id="ServiceCIDRs",
    ),
]


class Table:
    """A state, its sink, and what the sink said: how many objects came, each time."""

    def __init__(self, make: Any) -> None:
        self.state = State()
        self.told: list[int] = []
        self.sink = make(Writer(self.state), self.tell)

    def tell(self, objects: int) -> None:
        self.told.append(objects)

    @property
    def rows(self) -> list[Any]:
        tables = self.state._rows
        slices = [row for own in tables.slices.values() for row in own.values()]
        return [*tables.services.values(), *slices, *tables.nodes.values(), *tables.cidrs.values()]


@pytest.mark.parametrize(("make", "objects", "names"), ROWS)
def test_a_list_replaces_all_but_what_cannot_be_read(make: Any, objects: list[Any], names: list[ObjectName]) -> None:
    table = Table(make)
    table.sink.replace(objects, ())
    assert table.rows == objects
    table.sink.replace(objects[:1], ())
    assert table.rows == objects[:1]
    table.sink.replace([objects[1]], [names[0]])
    assert table.rows == objects
    table.sink.replace([], ())
    assert table.rows == []
    assert table.told == [2, 1, 1, 0]


@pytest.mark.parametrize(("make", "objects", "names"), ROWS)
def test_changes_that_came_together_are_told_once(make: Any, objects: list[Any], names: list[ObjectName]) -> None:
    table = Table(make)
    first, second = (Change(name, one) for name, one in zip(names, objects, strict=True))
    table.sink.apply([first, second, Change(names[0], None)])
    assert table.rows == objects[1:]
    assert table.told == [3]
    table.sink.apply([Change(names[0], None), Change(names[1], None), first])
    assert table.rows == objects[:1]
