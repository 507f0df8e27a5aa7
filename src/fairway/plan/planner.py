"""The plan of all Services in one IP family, kept up to date: changed Services in, changed service ports out.

Holds what is not local to a service port: claims on frontends, and this node's view. Synchronous, without clock or I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from fairway.plan.claims import Claim, Claims
from fairway.plan.model import FrontendKey, PlannedPort, PlannedService
from fairway.plan.service import plan_service
from fairway.plan.view import NodeView
from fairway.state.tables import State
from fairway.values.names import ObjectName, ServicePortName


class PortChange(NamedTuple):
    """A service port whose plan is not what it was; None is absence."""

    name: ServicePortName
    before: PlannedPort | None
    after: PlannedPort | None


class ServiceChange(NamedTuple):
    """A Service whose plan is not what it was; None is absence. `ports` holds only the ports that changed."""

    name: ObjectName
    before: PlannedService | None
    after: PlannedService | None
    ports: tuple[PortChange, ...]


class _Row(NamedTuple):
    created: str
    wished: PlannedService
    """As planned alone: the frontends that are claimed."""
    settled: PlannedService | None
    """With the claims of all settled; the same object when none was lost. None before the first time."""


class Planner:
    """Plans the Services of `state` for the node that `view` describes."""

    def __init__(self, state: State, view: NodeView) -> None:
        self._state = state
        self._view = view
        self._claims = Claims()
        self._rows: dict[ObjectName, _Row] = {}

    @property
    def view(self) -> NodeView:
        return self._view

    def planned(self, name: ObjectName) -> PlannedService | None:
        row = self._rows.get(name)
        return row.settled if row else None

    def planned_port(self, name: ServicePortName) -> PlannedPort | None:
        """One service port, with the frontends that it holds."""
        planned = self.planned(name.service)
        return next((port for port in planned.ports if port.name == name), None) if planned else None

    def all_planned(self) -> Iterator[PlannedService]:
        return (row.settled for row in self._rows.values() if row.settled)

    def holder(self, key: FrontendKey) -> ServicePortName | None:
        """The service port that a frontend belongs to."""
        return self._claims.holder(key)

    def replan(self, names: Iterable[ObjectName]) -> list[ServiceChange]:
        """Plan these Services anew. Returns only what changed; Services that won or lost a frontend by it, too."""
        touched: dict[ObjectName, None] = {}
        gone: dict[ObjectName, PlannedService] = {}
        for name in names:
            before = self._rows.get(name)
            for other in self._renew(name, before):
                touched[other.service] = None
            if name in self._rows:
                touched[name] = None
            elif before and before.settled:
                gone[name] = before.settled
        changes = [_difference(name, before, None) for name, before in gone.items()]
        changes.extend(change for name in touched if (change := self._settle(name)))
        return changes

    def set_view(self, view: NodeView) -> list[ServiceChange]:
        """This node changed: the one change that may cost work for every Service."""
        if view == self._view:
            return []
        self._view = view
        return self.replan(list(self._rows))

    def _renew(self, name: ObjectName, row: _Row | None) -> list[ServicePortName]:
        """Plan one Service alone and renew its claims. Returns the service ports that won or lost by it."""
        service = self._state.service(name)
        wished = plan_service(service, self._state.slices(name), self._view) if service else None
        touched: list[ServicePortName] = []
        if service and wished and row and _wish_the_same(wished, row.wished) and service.created == row.created:
            before = after = {}
        else:
            before = _claims_of(row.wished, row.created) if row else {}
            after = _claims_of(wished, service.created) if service and wished else {}
        if before != after:
            for key, claim in before.items():
                if after.get(key) != claim:
                    touched += self._claims.remove(key, claim)
            for key, claim in after.items():
                if before.get(key) != claim:
                    touched += self._claims.add(key, claim)
        if service and wished:
            self._rows[name] = _Row(service.created, wished, row.settled if row else None)
        elif row:
            del self._rows[name]
        return touched

    def _settle(self, name: ObjectName) -> ServiceChange | None:
        row = self._rows.get(name)
        if row is None:
            return None
        ports = tuple(self._settle_port(port) for port in row.wished.ports)
        is_whole = all(a is b for a, b in zip(ports, row.wished.ports, strict=True))
        settled = row.wished if is_whole else msgspec.structs.replace(row.wished, ports=ports)
        if settled == row.settled:
            return None
        self._rows[name] = row._replace(settled=settled)
        return _difference(name, row.settled, settled)

    def _settle_port(self, port: PlannedPort) -> PlannedPort:
        """The port without the frontends that others hold; the same object when it holds all."""
        lost = []
        for frontend in port.frontends:
            holder = self._claims.holder(frontend.key)
            if holder is not None and holder != port.name:
                lost.append((frontend.key, holder))
        if not lost:
            return port
        keys = {key for key, _ in lost}
        held = tuple(f for f in port.frontends if f.key not in keys)
        return msgspec.structs.replace(port, frontends=held, lost=tuple(lost))


def _wish_the_same(one: PlannedService, other: PlannedService) -> bool:
    """Whether both claim the same frontends: the usual case, when only endpoints changed."""
    return len(one.ports) == len(other.ports) and all(
        a.name == b.name and a.frontends == b.frontends for a, b in zip(one.ports, other.ports, strict=True)
    )


def _claims_of(planned: PlannedService, created: str) -> dict[FrontendKey, Claim]:
    """A Service's own wishes; between two of its ports an address beats a node port, then the earlier has it."""
    claims: dict[FrontendKey, Claim] = {}
    for port in planned.ports:
        for frontend in port.frontends:
            claim = Claim.of(frontend.kind, created, port.name)
            rival = claims.setdefault(frontend.key, claim)
            if rival.is_node_port and not claim.is_node_port:
                claims[frontend.key] = claim
    return claims


def _difference(name: ObjectName, before: PlannedService | None, after: PlannedService | None) -> ServiceChange:
    old = {port.name: port for port in before.ports} if before else {}
    new = {port.name: port for port in after.ports} if after else {}
    ports = tuple(
        PortChange(port, old.get(port), new.get(port))
        for port in dict.fromkeys((*old, *new))
        if old.get(port) != new.get(port)
    )
    return ServiceChange(name, before, after, ports)
