"""A planned service port as elements of the fairway maps. Pure: policy is decided in plan/, bytes go to encode.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Dispatch, Flag, Policy
from fairway.plan.model import Backend, Frontend, PlannedPort, PlannedService, Scope, Treatment, Treatments, Verdict
from fairway.plan.view import DetectLocal, NodeView
from fairway.reconcile.items import Item
from fairway.values.address import Prefix
from fairway.values.names import ServicePortName


class Numbers(Protocol):
    """The stable numbers that the maps' keys are made of; given out by `numbers.NftablesIds`."""

    def svc(self, name: ServicePortName, scope: Scope) -> int:
        """The number of a service port's set of backends."""

    def endpoint(self, svc: int, backend: Backend) -> int:
        """The number of a backend within its set, for affinity."""


def port_items(port: PlannedPort, numbers: Numbers) -> list[Item]:
    """Everything that one service port wants in its family's table."""
    items: list[Item] = []
    if not port.frontends:
        return items
    for frontend in port.frontends:
        items.extend(_frontend_items(frontend, port, numbers))
    for scope in _scopes(port):
        items.extend(_backend_items(port, scope, numbers))
    if port.affinity_seconds:
        items.append(Item(layout.TIMEOUTS, layout.number_key(port.affinity_seconds), b""))
    return items


def service_items(service: PlannedService) -> list[Item]:
    """What a Service wants whatever its ports: its cluster IPs, so that unknown ports are refused."""
    return [Item(layout.CLUSTER_IPS, bytes(ip), b"") for ip in service.cluster_ips]


USUAL_TIMEOUT = 10800
"""The API's default. Its chains stand from the beginning: when the maps are full the kernel walks every element of
each map that a new chain looks up (18 ms at 50,000 Services)."""


def node_items(view: NodeView) -> list[Item]:
    """What this node wants in the view's family: pod ranges and service ranges, the usual affinity timeout."""
    items = [Item(layout.TIMEOUTS, layout.number_key(USUAL_TIMEOUT), b"")]
    items += [Item(layout.SERVICE_CIDRS, layout.network_key(p), b"") for p in _widest(view.service_cidrs, view)]
    if view.detector.mode is DetectLocal.PREFIXES:
        items += [Item(layout.PODS, layout.network_key(p), b"") for p in _widest(view.detector.prefixes, view)]
    return items


def _widest(prefixes: Iterable[Prefix], view: NodeView) -> list[Prefix]:
    """The prefixes of the view's family that are in no other: the kernel's interval sets refuse overlaps."""
    kept: list[Prefix] = []
    for prefix in sorted({p for p in prefixes if p.family is view.family}, key=lambda p: (p.length, p.address)):
        if not any(prefix.address in wider for wider in kept):
            kept.append(prefix)
    return kept


def comment(name: ServicePortName, scope: Scope) -> str:
    """What an element of `counts` says of itself; ids are recovered from it after a restart."""
    return f"{name} {scope.name.lower()}"


def _scopes(port: PlannedPort) -> list[Scope]:
    used = {t.scope for f in port.frontends for t in f.treatments if t.verdict is Verdict.FORWARD}
    return sorted(used, key=lambda scope: scope.value)


def _frontend_items(frontend: Frontend, port: PlannedPort, numbers: Numbers) -> Iterator[Item]:
    key = layout.frontend_key(*frontend.key)
    treatments = frontend.treatments
    outside = _dispatch(treatments.outside, port, numbers)
    flags = _flags(treatments)
    if _is_uniform(treatments):
        entry = Dispatch(outside.svc, outside.policy, flags)
    else:
        inside = _dispatch(treatments.node, port, numbers)
        yield Item(layout.INSIDE, key, Dispatch(inside.svc, inside.policy, flags).pack())
        entry = Dispatch(outside.svc, layout.local_policy(outside.policy), flags)
    if frontend.source_ranges:
        if not entry.svc:  # outsiders are dropped, yet the ranges need a number, and it must survive a restart
            entry = entry._replace(svc=numbers.svc(port.name, Scope.LOCAL))
            data = layout.count_data(0, comment(port.name, Scope.LOCAL))
            yield Item(layout.COUNTS, layout.svc_key(entry.svc), data)
        yield Item(layout.GUARDED, key, entry.pack())
        for network, length in frontend.source_ranges:
            yield Item(layout.RANGE_LENGTHS, layout.number_key(length), b"")
            yield Item(layout.SOURCE_RANGES, layout.range_key(entry.svc, network, length), b"")
        entry = entry._replace(policy=Policy.GUARD)
    yield Item(layout.FRONTENDS, key, entry.pack())


def _is_uniform(treatments: Treatments) -> bool:
    """Whether all sources go the same way; masquerade may still differ, and stands in the flags."""
    first = treatments.outside
    return all((t.verdict, t.scope) == (first.verdict, first.scope) for t in treatments)


def _dispatch(treatment: Treatment, port: PlannedPort, numbers: Numbers) -> Dispatch:
    match treatment.verdict:
        case Verdict.REJECT:
            return Dispatch(0, Policy.REJECT, 0)
        case Verdict.DROP:
            return Dispatch(0, Policy.DROP, 0)
        case Verdict.FORWARD:
            svc = numbers.svc(port.name, treatment.scope)
            seconds = port.affinity_seconds
            return Dispatch(svc, Policy.AFFINITY_BASE + seconds if seconds else Policy.PICK, 0)


def _flags(treatments: Treatments) -> int:
    """Which sources are masqueraded. `outside` and `node` agree unless the external policy is Local."""
    pod, node, outside = (t.masquerade for t in treatments)
    if pod and node and outside:
        return int(Flag.MASQUERADE_ALWAYS)
    return int(Flag.MASQUERADE_OUTSIDE if outside else Flag.MASQUERADE_NODE if node else Flag(0))


def _backend_items(port: PlannedPort, scope: Scope, numbers: Numbers) -> Iterator[Item]:
    backends = port.backends(scope)
    svc = numbers.svc(port.name, scope)
    yield Item(layout.COUNTS, layout.svc_key(svc), layout.count_data(len(backends), comment(port.name, scope)))
    for index, backend in enumerate(backends):
        place, target = layout.place_key(index, svc), layout.address_data(backend.address, backend.port)
        if port.affinity_seconds:
            number = numbers.endpoint(svc, backend)
            yield Item(layout.BACKEND_IDS, place, layout.id_data(number))
            yield Item(layout.ENDPOINTS, layout.place_key(number, svc), target)
        else:
            yield Item(layout.BACKENDS, place, target)
        yield Item(layout.HAIRPIN, backend.address + backend.address, b"")
