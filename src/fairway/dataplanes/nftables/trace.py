"""One packet through the elements, as the skeleton's rules would take it.

Works on wanted items and on a dump of the kernel alike: both are the same bytes. It repeats no policy, it only looks
things up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Dispatch, Flag, Policy
from fairway.dataplanes.nftables.show import flag_names, policy_name
from fairway.plan.view import DetectLocal, NodeView
from fairway.values.address import Address, Prefix
from fairway.values.packet import Packet

Elements = Mapping[str, Mapping[Any, Any]]
"""Container name to its elements."""


class Fate(Enum):
    FORWARD = "forward"
    REJECT = "reject"
    DROP = "drop"
    UNTOUCHED = "untouched"


class Target(NamedTuple):
    """Where the packet may go, with what probability, and whether its source is rewritten."""

    address: Address
    port: int
    probability: float
    masquerade: bool


class Step(NamedTuple):
    """One lookup: the map, the key as a person reads it, what was found, what follows."""

    container: str
    key: str
    value: str
    conclusion: str


class Trace(NamedTuple):
    """The packet's way."""

    fate: Fate
    targets: tuple[Target, ...]
    steps: tuple[Step, ...]


class _Walk:
    """The lookups of one packet, noted as they are made."""

    def __init__(self, packet: Packet, elements: Elements, view: NodeView) -> None:
        self.packet, self.elements, self.view = packet, elements, view
        self.key = layout.frontend_key(packet.destination, packet.protocol, packet.port)
        self.shown = f"{packet.destination} . {packet.protocol} . {packet.port}"
        self.steps: list[Step] = []

    def run(self) -> Trace:
        entry = self.dispatch(layout.FRONTENDS)
        if entry is None:
            return self.end(self.not_a_frontend())
        flags, entry = entry.flags, self.guard(entry)
        if entry is not None:
            entry = self.by_source(entry)
        if entry is None or entry.policy == Policy.DROP:
            return self.end(Fate.DROP)
        if entry.policy == Policy.REJECT:
            return self.end(Fate.REJECT)
        targets = tuple(self.targets(entry, flags))
        return self.end(Fate.FORWARD if targets else Fate.REJECT, targets)

    def end(self, fate: Fate, targets: tuple[Target, ...] = ()) -> Trace:
        return Trace(fate, targets, tuple(self.steps))

    def note(self, container: str, key: str, value: str, conclusion: str = "") -> None:
        self.steps.append(Step(container, key, value, conclusion))

    def dispatch(self, container: str) -> Dispatch | None:
        data = self.elements[container].get(self.key)
        entry = Dispatch.unpack(data) if data is not None else None
        shown = f"svc {entry.svc}, {policy_name(entry.policy)}, {flag_names(entry.flags)}" if entry else "no element"
        self.note(container, self.shown, shown)
        return entry

    def not_a_frontend(self) -> Fate:
        address = self.packet.destination
        if bytes(address) in self.elements[layout.CLUSTER_IPS]:
            self.note(layout.CLUSTER_IPS, str(address), "found", "a cluster IP without such a port: refused")
            return Fate.REJECT
        for prefix in self.networks(layout.SERVICE_CIDRS):
            if address in prefix:
                self.note(layout.SERVICE_CIDRS, str(prefix), "found", "no Service has this address: dropped")
                return Fate.DROP
        return Fate.UNTOUCHED

    def guard(self, entry: Dispatch) -> Dispatch | None:
        """Source ranges; None when the source is in none of them."""
        if entry.policy != Policy.GUARD:
            return entry
        source, width = self.packet.source, len(self.packet.source) * 8
        ranges = self.elements[layout.SOURCE_RANGES]
        for length in range(width, -1, -1):
            prefix = Prefix.of(source, length)
            if layout.range_key(entry.svc, prefix.address, length) in ranges:
                self.note(layout.SOURCE_RANGES, f"svc {entry.svc} . {prefix}", "found", "source allowed")
                return self.dispatch(layout.GUARDED)
        self.note(layout.SOURCE_RANGES, f"svc {entry.svc} . {source}", "no element", "source not allowed: dropped")
        return None

    def by_source(self, entry: Dispatch) -> Dispatch | None:
        """Local policies: insiders go on as INSIDE says."""
        plain = layout.outsider_policy(entry.policy)
        if plain == entry.policy:
            return entry
        if self.is_pod() or self.is_node():
            return self.dispatch(layout.INSIDE)
        return entry._replace(policy=plain)

    def is_pod(self) -> bool:
        if self.view.detector.mode is DetectLocal.PREFIXES:
            return any(self.packet.source in prefix for prefix in self.networks(layout.PODS))
        return self.view.detector.is_local(self.packet)

    def networks(self, container: str) -> list[Prefix]:
        return [layout.unpack_network_key(key) for key in sorted(self.elements[container])]

    def is_node(self) -> bool:
        return self.packet.source in self.view.addresses or self.packet.source.is_loopback

    def targets(self, entry: Dispatch, flags: int) -> Iterator[Target]:
        svc = entry.svc
        data = self.elements[layout.COUNTS].get(layout.svc_key(svc))
        count, name = layout.unpack_count(data) if data is not None else (0, "")
        self.note(layout.COUNTS, f"svc {svc}", f"{count} backends" if data else "no element", name)
        has_affinity = entry.policy >= Policy.AFFINITY_BASE
        found = [self.backend(index, svc, has_affinity) for index in range(count or 1)]
        shares = _shares(found, count, tries=3 if has_affinity else 2)
        for target, share in zip(found, shares, strict=True):
            if target is not None:
                yield Target(*target, share, self.is_masqueraded(target[0], flags))

    def backend(self, index: int, svc: int, has_affinity: bool) -> tuple[Address, int] | None:
        place = layout.place_key(index, svc)
        if has_affinity:
            data = self.elements[layout.BACKEND_IDS].get(place)
            number = layout.unpack_id(data) if data is not None else None
            shown = "no element" if number is None else f"id {number}"
            self.note(layout.BACKEND_IDS, f"{index} . svc {svc}", shown)
            if number is None:
                return None
            place, container, label = layout.place_key(number, svc), layout.ENDPOINTS, f"id {number}"
        else:
            container, label = layout.BACKENDS, str(index)
        data = self.elements[container].get(place)
        found = layout.unpack_address_data(data) if data is not None else None
        self.note(container, f"{label} . svc {svc}", found[0].with_port(found[1]) if found else "no element")
        return found

    def is_masqueraded(self, backend: Address, flags: int) -> bool:
        if backend == self.packet.source and backend + backend in self.elements[layout.HAIRPIN]:
            return True
        if flags & Flag.MASQUERADE_ALWAYS:
            return True
        if flags & Flag.MASQUERADE_OUTSIDE:
            return not self.is_pod()
        return bool(flags & Flag.MASQUERADE_NODE) and self.is_node() and not self.is_pod()


def _shares(found: Sequence[object | None], count: int, tries: int) -> list[float]:
    """The chance of each place: a place without backend has the packet drawn again, and at last go to place 0."""
    missed = found.count(None) / count if count else 1.0
    again = sum(missed**n for n in range(tries)) / count if count else 0.0
    return [again + (missed**tries if place == 0 else 0.0) for place in range(len(found))]


def trace(packet: Packet, elements: Elements, view: NodeView) -> Trace:
    """Take one packet through `elements`, on the node that `view` describes."""
    return _Walk(packet, elements, view).run()
