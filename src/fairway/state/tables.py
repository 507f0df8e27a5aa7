"""What the API says, as immutable rows with indexes, changed in place by one writer.

A change never copies a table. The state knows which rows belong together (the slices of a Service) and which Services a
change touches; what a row means for packets is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fairway.kube.cluster import Node, ServiceCIDR
from fairway.kube.endpointslice import EndpointSlice
from fairway.kube.service import Service
from fairway.values.address import Family, Prefix
from fairway.values.names import ObjectName

_NO_SLICES: dict[str, EndpointSlice] = {}


@dataclass(slots=True)
class _Rows:
    services: dict[ObjectName, Service] = field(default_factory=dict)
    slices: dict[ObjectName, dict[str, EndpointSlice]] = field(default_factory=dict)
    """By Service, then by the slice's own name."""
    service_of_slice: dict[ObjectName, ObjectName] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    cidrs: dict[str, ServiceCIDR] = field(default_factory=dict)


class State:
    """The tables as readers see them. Only `Writer` changes them."""

    def __init__(self) -> None:
        self._rows = _Rows()

    def rows_for_writer(self) -> _Rows:
        """The tables themselves; for the one Writer."""
        return self._rows

    def service(self, name: ObjectName) -> Service | None:
        return self._rows.services.get(name)

    def slices(self, service: ObjectName) -> Iterable[EndpointSlice]:
        """The slices of a Service, in the order of their names."""
        own = self._rows.slices.get(service, _NO_SLICES)
        return own.values() if len(own) < 2 else (own[name] for name in sorted(own))

    def node(self, name: str) -> Node | None:
        return self._rows.nodes.get(name)

    def nodes(self) -> Iterator[Node]:
        return iter(self._rows.nodes.values())

    def service_names(self) -> Iterator[ObjectName]:
        return iter(self._rows.services)

    def service_cidrs(self) -> tuple[Prefix, ...]:
        """All ranges that cluster IPs come from, sorted."""
        return tuple(sorted({cidr for one in self._rows.cidrs.values() for cidr in one.cidrs}))

    @property
    def service_count(self) -> int:
        return len(self._rows.services)

    @property
    def slice_count(self) -> int:
        return len(self._rows.service_of_slice)


class Changes:
    """What was touched since it was last taken."""

    def __init__(self) -> None:
        self.services: dict[ObjectName, None] = {}
        """Services whose own object or slices changed, in the order of the first change."""
        self.nodes: set[str] = set()
        self.service_cidrs = False
        self.triggers: list[tuple[Family, float]] = []
        """When what changed EndpointSlices happened, where they say so: for the latency of programming."""

    def __bool__(self) -> bool:
        return bool(self.services or self.nodes or self.service_cidrs)


class Writer:
    """The one mutator. Rows that did not change are not counted as changes."""

    def __init__(self, state: State) -> None:
        self._rows = state.rows_for_writer()
        self._changes = Changes()

    def take_changes(self) -> Changes:
        """What changed since the last call."""
        taken, self._changes = self._changes, Changes()
        return taken

    def put_service(self, service: Service) -> None:
        """Add or replace; a Service of another proxy counts as absent."""
        if service.is_foreign:
            self.remove_service(service.name)
            return
        table = self._rows.services
        if table.get(service.name) != service:
            table[service.name] = service
            self._changes.services[service.name] = None

    def remove_service(self, name: ObjectName) -> None:
        if self._rows.services.pop(name, None) is not None:
            self._changes.services[name] = None

    def put_slice(self, row: EndpointSlice) -> None:
        """Add or replace; follows a slice whose label now names another Service."""
        rows, name = self._rows, row.name
        if row.is_foreign or row.family is None or not row.service.name:
            self.remove_slice(name)
            return
        before = rows.service_of_slice.get(name)
        if before is not None and before != row.service:
            self.remove_slice(name)
        rows.service_of_slice[name] = row.service
        own = rows.slices.setdefault(row.service, {})
        if own.get(name.name) != row:
            own[name.name] = row
            self._changes.services[row.service] = None
            if row.triggered:
                self._changes.triggers.append((row.family, row.triggered))

    def remove_slice(self, name: ObjectName) -> None:
        rows = self._rows
        service = rows.service_of_slice.pop(name, None)
        if service is None:
            return
        own = rows.slices[service]
        del own[name.name]
        if not own:
            del rows.slices[service]
        self._changes.services[service] = None

    def put_node(self, node: Node) -> None:
        if self._rows.nodes.get(node.name) != node:
            self._rows.nodes[node.name] = node
            self._changes.nodes.add(node.name)

    def remove_node(self, name: str) -> None:
        if self._rows.nodes.pop(name, None) is not None:
            self._changes.nodes.add(name)

    def put_service_cidr(self, cidr: ServiceCIDR) -> None:
        if self._rows.cidrs.get(cidr.name) != cidr:
            self._rows.cidrs[cidr.name] = cidr
            self._changes.service_cidrs = True

    def remove_service_cidr(self, name: str) -> None:
        if self._rows.cidrs.pop(name, None) is not None:
            self._changes.service_cidrs = True

    def keep_services(self, names: set[ObjectName]) -> None:
        """Remove every Service that a full list did not name."""
        for name in [n for n in self._rows.services if n not in names]:
            self.remove_service(name)

    def keep_slices(self, names: set[ObjectName]) -> None:
        """Remove every slice that a full list did not name."""
        for name in [n for n in self._rows.service_of_slice if n not in names]:
            self.remove_slice(name)

    def keep_nodes(self, names: set[str]) -> None:
        """Remove every node that a full list did not name."""
        for name in [n for n in self._rows.nodes if n not in names]:
            self.remove_node(name)

    def keep_service_cidrs(self, names: set[str]) -> None:
        """Remove every service CIDR that a full list did not name."""
        for name in [n for n in self._rows.cidrs if n not in names]:
            self.remove_service_cidr(name)
