"""Which endpoints a service port uses on this node (rules 1 and 3 to 6 of docs/semantics.md)."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.kube.endpointslice import Endpoint, EndpointSlice
from fairway.plan.model import Backend, Selection
from fairway.plan.reasons import Reason
from fairway.plan.view import NodeView
from fairway.values.names import ServicePortName

Joined = dict[Backend, Endpoint]
"""The endpoints of one service port by address and port, each once."""

UNUSED = Selection((), Reason.NOT_USED)


def join(slices: Iterable[EndpointSlice], name: ServicePortName, view: NodeView) -> Joined:
    """Join slices to a service port by port name and protocol.

    The same address and port in several slices counts once; the copy on this node is preferred, then a ready one.
    """
    joined: Joined = {}
    family, node = view.family, view.name
    for one in slices:
        if one.family is not family:
            continue
        for port in one.ports:
            if port.name != name.port or port.protocol != name.protocol:
                continue
            for endpoint in one.endpoints:
                is_local = bool(node) and endpoint.node == node
                _admit(joined, Backend(endpoint.address, port.port, is_local), endpoint)
    return joined


def _admit(joined: Joined, backend: Backend, endpoint: Endpoint) -> None:
    twin = Backend(backend.address, backend.port, not backend.is_local)
    if twin in joined:
        if twin.is_local:
            return
        del joined[twin]
    elif backend in joined and not _is_better(endpoint, joined[backend]):
        return
    joined[backend] = endpoint


def _is_better(new: Endpoint, old: Endpoint) -> bool:
    return (new.is_ready, new.is_serving_terminating) > (old.is_ready, old.is_serving_terminating)


def select_cluster(joined: Joined, view: NodeView) -> Selection:
    """The Cluster set: ready endpoints that topology leaves, else those serving while they terminate."""
    ready = {b: e for b, e in joined.items() if e.conditions & 1}
    if ready:
        return _by_topology(ready, view)
    terminating = [b for b, e in joined.items() if e.is_serving_terminating]
    if terminating:
        return Selection(tuple(sorted(terminating)), Reason.TERMINATING)
    return Selection((), Reason.NONE_USABLE)


def _by_topology(ready: Joined, view: NodeView) -> Selection:
    """Node hints, else zone hints, else all; one missing hint disables its level (KEP-3015, KEP-4444)."""
    endpoints = ready.values()
    if view.name and all(e.node_hints for e in endpoints):
        chosen = [b for b, e in ready.items() if view.name in e.node_hints]
        if chosen:
            return Selection(tuple(sorted(chosen)), Reason.NODE_HINTS)
    if view.zone and all(e.zone_hints for e in endpoints):
        chosen = [b for b, e in ready.items() if view.zone in e.zone_hints]
        if chosen:
            return Selection(tuple(sorted(chosen)), Reason.ZONE_HINTS)
    return Selection(tuple(sorted(ready)), Reason.READY)


def select_local(joined: Joined) -> Selection:
    """The Local set: ready endpoints on this node, else its serving and terminating ones. Topology plays no part."""
    local = {b: e for b, e in joined.items() if b.is_local}
    ready = [b for b, e in local.items() if e.is_ready]
    if ready:
        return Selection(tuple(sorted(ready)), Reason.LOCAL_READY)
    terminating = [b for b, e in local.items() if e.is_serving_terminating]
    if terminating:
        return Selection(tuple(sorted(terminating)), Reason.LOCAL_TERMINATING)
    return Selection((), Reason.NONE_LOCAL)


def is_any_usable(joined: Joined) -> bool:
    """Whether any endpoint anywhere could take a packet: decides between reject and drop (rule 12)."""
    return any(e.is_ready or e.is_serving_terminating for e in joined.values())
