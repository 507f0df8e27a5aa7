"""What the rows say has changed, for those who keep finished answers."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from fairway.dns import rows
from fairway.dns.rows import ServiceRow, SliceRow
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


def raw_slice(service: str, trigger: str) -> dict[str, object]:
    notes = {"endpoints.kubernetes.io/last-change-trigger-time": trigger, "other": "x"}
    labels = {"kubernetes.io/service-name": service}
    return {"metadata": {"name": "s", "namespace": "shop", "labels": labels, "annotations": notes}}


@pytest.mark.parametrize(
    ("service", "trigger", "expected"),
    [
        ("web", "2026-12-01T00:00:00.25Z", [("cluster_ip", 1796083200.25)]),
        ("peers", "2026-12-01T00:00:00.123456789Z", [("headless_with_selector", 1796083200.123456)]),
        ("nobody", "2026-12-01T00:00:00Z", []),
        ("web", "yesterday", []),
        ("web", "", []),
    ],
)
def test_a_slice_tells_when_its_change_happened(service: str, trigger: str, expected: list[tuple[str, float]]) -> None:
    state = ClusterState()
    state.services.replace(
        [
            ServiceRow(ObjectName("shop", "web"), (bytes((10, 1, 1, 9)),)),
            ServiceRow(ObjectName("shop", "peers"), is_headless=True),
        ],
        [],
    )
    row = rows.slices().decode(raw_slice(service, trigger))
    state.slices.apply([Change(row.name, row)])
    assert state.take_triggers() == expected
    assert state.take_triggers() == []
