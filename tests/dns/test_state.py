"""What the rows say has changed, for those who keep finished answers."""

from __future__ import annotations

from typing import NamedTuple

from fairway.dns.rows import SliceRow
from fairway.dns.state import ClusterState
from fairway.values.names import ObjectName


class Change(NamedTuple):
    name: ObjectName
    object: SliceRow | None


def slice_of(name: str, service: str) -> SliceRow:
    return SliceRow(ObjectName("shop", name), service, addresses=bytes((10, 1, 1, 9)))


def touched(*rows: SliceRow) -> set[ObjectName]:
    """Of slices that come after everything has been listed once."""
    state = ClusterState()
    for table in (state.services, state.slices, state.namespaces, state.pods):
        table.replace([], [])
    state.take_touched()
    state.slices.apply([Change(row.name, row) for row in rows])
    return set(state.take_touched().services)


def test_a_slice_touches_the_names_of_its_service() -> None:
    assert touched(slice_of("web-1", "web")) == {ObjectName("shop", "web")}


def test_a_slice_of_no_service_touches_nobodys_names() -> None:
    assert touched(slice_of("stray", ""), slice_of("web-1", "web")) == {ObjectName("shop", "web")}
