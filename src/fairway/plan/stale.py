"""Which UDP flows must leave the kernel's connection table after a change of the plan.

UDP has no end of a connection: an entry lives as long as its client keeps sending, and carries the packets past every
rule to a backend that may be gone. So an entry to a frontend is stale when its reply source is no endpoint of the
service port any more, an entry that was never translated included. Traffic policies and topology are left out on
purpose: what flows may go on, as a TCP connection would. TCP and SCTP end by themselves and are never touched.

A frontend that is gone leaves only stale entries, also when its Service lost all endpoints or was deleted (kube-proxy
left those behind until they blackholed: kubernetes/kubernetes #139628, #141371). How entries are found and deleted is
not known here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from fairway.plan.model import FrontendKind, PlannedPort
from fairway.plan.planner import PortChange
from fairway.values.address import Address, Family
from fairway.values.protocol import Protocol

Reply = tuple[Address, int]
"""Where the replies of an entry come from: the backend, or the destination itself if nothing translated it."""


class Destination(NamedTuple):
    """Where the entries of a query were first sent to."""

    family: Family
    address: Address | None
    """None: a node port, at any address of this node."""
    port: int


class StaleQuery(NamedTuple):
    """Entries to `destination` are stale unless their replies come from one of `allowed`."""

    destination: Destination
    allowed: frozenset[Reply] = frozenset()
    spared: frozenset[Address] = frozenset()
    """Addresses of this node where the node port's number belongs to another Service."""


class Flow(NamedTuple):
    """A stale entry as a connection table found it. Ports are two bytes in network order, behind their address."""

    destination: bytes
    reply: bytes
    handle: bytes
    """What the table deletes it by; not read here."""


class StaleFlows:
    """The queries that are still to be asked. A later change of a frontend replaces what was noted of it before.

    One round of cleaning is `take`, find, `confirm`, delete and `finish`, or `put_back` after a failure. Changes may be
    noted while a round is under way.
    """

    def __init__(self) -> None:
        self._pending: dict[Destination, StaleQuery] = {}
        self._taken: dict[Destination, StaleQuery] = {}

    def __bool__(self) -> bool:
        return bool(self._pending)

    def note(self, changes: Iterable[PortChange]) -> None:
        """Service ports changed. To be noted once the kernel holds it: old rules would make new stale entries."""
        rows = [change for change in changes if change.name.protocol is Protocol.UDP]
        for change in rows:
            if change.before:
                self._pending.update(_gone(change.before, change.after))
        for change in rows:  # what is served wins over what went: a frontend may have moved between Services
            if change.after:
                self._note_served(change.before, change.after)

    def note_all(self, ports: Iterable[PlannedPort]) -> None:
        """Every service port of the plan: a full reconcile, for the start and from time to time after it."""
        self.note(PortChange(port.name, None, port) for port in ports)

    def _note_served(self, before: PlannedPort | None, after: PlannedPort) -> None:
        rows = _served(after)
        is_asked = any(row in self._pending or row in self._taken for row in rows)
        if not is_asked and not _may_leave_stale(before, after):
            return
        for frontend in after.frontends:
            if frontend.kind is FrontendKind.NODE_PORT:  # an address of its own would win over the node port
                self._pending.pop(Destination(after.family, frontend.key.address, frontend.key.port), None)
        self._pending.update(rows)

    def take(self) -> tuple[StaleQuery, ...]:
        """What is to be asked now, sorted: a round begins."""
        self._taken, self._pending = self._pending, {}
        return tuple(sorted(self._taken.values(), key=lambda query: _order(query.destination)))

    def confirm(self, flows: Sequence[Flow], node: Collection[Address]) -> Sequence[Flow]:
        """The flows that are still stale: frontends that changed during the round are left to the next one."""
        if not self._pending:
            return flows
        newer = expected_replies(self._pending.values(), node)
        return [flow for flow in flows if flow.destination not in newer]

    def finish(self) -> None:
        """The round is over."""
        self._taken = {}

    def put_back(self) -> None:
        """The round failed: its queries are pending again, but for those that a later change replaced."""
        self._pending = self._taken | self._pending
        self._taken = {}


def _order(destination: Destination) -> tuple[int, int, bytes]:
    return destination.family, destination.port, destination.address or b""


def _gone(before: PlannedPort, after: PlannedPort | None) -> dict[Destination, StaleQuery]:
    """The frontends of `before` that are not in `after`.

    A node port's by their addresses too, since an address that left the node is not among the node's any more.
    """
    kept = {frontend.key for frontend in after.frontends} if after else set()
    kept_node_ports = _node_ports(after) if after else set()
    rows = {}
    for frontend in before.frontends:
        if frontend.key not in kept:
            exact = Destination(before.family, frontend.key.address, frontend.key.port)
            rows[exact] = StaleQuery(exact)
    for port in _node_ports(before) - kept_node_ports:
        anywhere = Destination(before.family, None, port)
        rows[anywhere] = StaleQuery(anywhere, spared=_spared(before, port))
    return rows


def _served(port: PlannedPort) -> dict[Destination, StaleQuery]:
    rows, allowed = {}, frozenset(port.serving)
    for frontend in port.frontends:
        if frontend.kind is not FrontendKind.NODE_PORT:
            exact = Destination(port.family, frontend.key.address, frontend.key.port)
            rows[exact] = StaleQuery(exact, allowed)
    for number in _node_ports(port):
        anywhere = Destination(port.family, None, number)
        rows[anywhere] = StaleQuery(anywhere, allowed, _spared(port, number))
    return rows


def _may_leave_stale(before: PlannedPort | None, after: PlannedPort) -> bool:
    """Whether entries may have become stale: a frontend is new, or an endpoint went. One more harms no entry."""
    if before is None:
        return True
    if {f.key for f in before.frontends} != {f.key for f in after.frontends}:
        return True
    return not before.serving or not set(before.serving) <= set(after.serving)


def _node_ports(port: PlannedPort) -> set[int]:
    return {f.key.port for f in port.frontends if f.kind is FrontendKind.NODE_PORT}


def _spared(port: PlannedPort, number: int) -> frozenset[Address]:
    return frozenset(key.address for key, _ in port.lost if key.port == number)


def expected_replies(queries: Iterable[StaleQuery], node: Collection[Address]) -> dict[bytes, frozenset[bytes]]:
    """The queries as one table: (destination address + port) -> the (address + port)s that may reply.

    Ports are two bytes in network order, so that rows are found with the bytes of the kernel's entries. An address of
    its own wins over a node port at all of `node`, the addresses of this node.
    """
    exact: dict[bytes, frozenset[bytes]] = {}
    anywhere: dict[bytes, frozenset[bytes]] = {}
    for destination, allowed, spared in queries:
        replies = frozenset(address + number.to_bytes(2, "big") for address, number in allowed)
        port = destination.port.to_bytes(2, "big")
        if destination.address is not None:
            exact[destination.address + port] = replies
            continue
        for address in node:
            if address.family is destination.family and address not in spared:
                anywhere[address + port] = replies
    return anywhere | exact
