"""From sources of objects to the state: one sink a kind. What a row means is not known here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Generic, NamedTuple, TypeVar

from fairway.agents.feed import Change
from fairway.kube.cluster import Node, ServiceCIDR
from fairway.kube.endpointslice import EndpointSlice
from fairway.kube.service import Service
from fairway.state.tables import Writer
from fairway.values.names import ObjectName

T = TypeVar("T")

Changed = Callable[[int], None]
"""Told that the state may have changed, and by how many objects."""


class _Table(NamedTuple, Generic[T]):
    """How one kind is written."""

    name: Callable[[T], ObjectName]
    put: Callable[[T], None]
    remove: Callable[[ObjectName], None]
    keep: Callable[[set[ObjectName]], None]


class TableSink(Generic[T]):
    """Writes one kind into the state, then says that something may have changed."""

    def __init__(self, table: _Table[T], changed: Changed) -> None:
        self._table = table
        self._changed = changed

    def replace(self, objects: Sequence[T], kept: Collection[ObjectName]) -> None:
        """All there is; `kept` exist but cannot be read: what the state has of them stays."""
        table = self._table
        present = set(kept)
        for one in objects:
            table.put(one)
            present.add(table.name(one))
        table.keep(present)
        self._changed(len(objects))

    def apply(self, changes: Sequence[Change[T]]) -> None:
        """Changes that came together."""
        for name, one in changes:
            if one is None:
                self._table.remove(name)
            else:
                self._table.put(one)
        self._changed(len(changes))


def service_sink(writer: Writer, changed: Changed) -> TableSink[Service]:
    """Services."""
    table = _Table[Service](lambda s: s.name, writer.put_service, writer.remove_service, writer.keep_services)
    return TableSink(table, changed)


def slice_sink(writer: Writer, changed: Changed) -> TableSink[EndpointSlice]:
    """EndpointSlices."""
    table = _Table[EndpointSlice](lambda s: s.name, writer.put_slice, writer.remove_slice, writer.keep_slices)
    return TableSink(table, changed)


def node_sink(writer: Writer, changed: Changed) -> TableSink[Node]:
    """Nodes: usually one, this node."""
    table = _Table[Node](
        lambda node: ObjectName("", node.name),
        writer.put_node,
        lambda name: writer.remove_node(name.name),
        lambda names: writer.keep_nodes({name.name for name in names}),
    )
    return TableSink(table, changed)


def service_cidr_sink(writer: Writer, changed: Changed) -> TableSink[ServiceCIDR]:
    """ServiceCIDRs."""
    table = _Table[ServiceCIDR](
        lambda cidr: ObjectName("", cidr.name),
        writer.put_service_cidr,
        lambda name: writer.remove_service_cidr(name.name),
        lambda names: writer.keep_service_cidrs({name.name for name in names}),
    )
    return TableSink(table, changed)


class EndpointsSink:
    """Endpoints objects as the slices that the mirroring controller would make of them.

    Only for folders of manifests, where no controller mirrors; beside slices of the same addresses they count once.
    """

    def __init__(self, writer: Writer, changed: Changed) -> None:
        self._writer = writer
        self._changed = changed
        self._made: dict[ObjectName, set[ObjectName]] = {}
        """Endpoints object → the slices made of it."""

    def replace(self, objects: Sequence[tuple[EndpointSlice, ...]], kept: Collection[ObjectName]) -> None:
        """All there is; `kept` exist but cannot be read: their slices stay."""
        present = {slices[0].service: slices for slices in objects if slices}
        for name in self._made.keys() - present.keys() - set(kept):
            self._put(name, ())
        for name, slices in present.items():
            self._put(name, slices)
        self._changed(len(objects))

    def apply(self, changes: Sequence[Change[tuple[EndpointSlice, ...]]]) -> None:
        """Changes that came together."""
        for name, slices in changes:
            self._put(name, slices or ())
        self._changed(len(changes))

    def _put(self, name: ObjectName, slices: Sequence[EndpointSlice]) -> None:
        names = {one.name for one in slices}
        for gone in self._made.pop(name, set()) - names:
            self._writer.remove_slice(gone)
        for one in slices:
            self._writer.put_slice(one)
        if names:
            self._made[name] = names
