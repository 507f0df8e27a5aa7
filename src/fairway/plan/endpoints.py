"""Which endpoints a service port uses on this node (rules 1 and 3 to 6 of docs/semantics.md)."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.kube.endpointslice import Endpoint, EndpointSlice
from fairway.plan.model import Backend, Selection
from fairway.plan.reasons import Reason
from fairway.plan.view import NodeView
from fairway.values.address import Address
from fairway.values.names import ServicePortName

Joined = dict[tuple[Address, int], Endpoint]
"""The endpoints of one service port by address and port, each once."""

UNUSED = Selection((), Reason.NOT_USED)


def join(slices: Iterable[EndpointSlice], name: ServicePortName, view: NodeView) -> Joined:
    """Join slices to a service port by port name and protocol.

    The same address and port in several slices counts once: the copy on this node is preferred, then a ready one.
    """
    joined: Joined = {}
    for one in slices:
        if one.family is not view.family:
            continue
        for port in one.ports:
            if port.name == name.port and port.protocol == name.protocol:
                _admit(joined, port.port, one.endpoints, view)
    return joined


def _admit(joined: Joined, port: int, endpoints: Iterable[Endpoint], view: NodeView) -> None:
    for endpoint in endpoints:
        key = (endpoint.address, port)
        twin = joined.get(key)
        if twin is None or _rank(endpoint, view) > _rank(twin, view):
            joined[key] = endpoint


def _rank(endpoint: Endpoint, view: NodeView) -> tuple[bool, bool, bool]:
    return is_local(endpoint, view), endpoint.is_ready, endpoint.is_serving_terminating


def is_local(endpoint: Endpoint, view: NodeView) -> bool:
    """On this node; an endpoint without nodeName is not (rule 3)."""
    return bool(endpoint.node) and endpoint.node == view.name


def select_cluster(joined: Joined, view: NodeView) -> Selection:
    """The Cluster set: ready endpoints that topology leaves, else those serving while they terminate."""
    ready = {key: e for key, e in joined.items() if e.is_ready}
    if ready:
        return _by_topology(ready, view)
    terminating = {key: e for key, e in joined.items() if e.is_serving_terminating}
    if terminating:
        return Selection(_backends(terminating, view), Reason.TERMINATING)
    return Selection((), Reason.NONE_USABLE)


def _by_topology(ready: Joined, view: NodeView) -> Selection:
    """Node hints, else zone hints, else all; one missing hint disables its level (KEP-3015, KEP-4444)."""
    endpoints = ready.values()
    if view.name and all(e.node_hints for e in endpoints):
        chosen = {key: e for key, e in ready.items() if view.name in e.node_hints}
        if chosen:
            return Selection(_backends(chosen, view), Reason.NODE_HINTS)
    if view.zone and all(e.zone_hints for e in endpoints):
        chosen = {key: e for key, e in ready.items() if view.zone in e.zone_hints}
        if chosen:
            return Selection(_backends(chosen, view), Reason.ZONE_HINTS)
    return Selection(_backends(ready, view), Reason.READY)


def select_local(joined: Joined, view: NodeView) -> Selection:
    """The Local set: ready endpoints on this node, else its serving and terminating ones. Topology plays no part."""
    local = {key: e for key, e in joined.items() if is_local(e, view)}
    ready = {key: e for key, e in local.items() if e.is_ready}
    if ready:
        return Selection(_backends(ready, view), Reason.LOCAL_READY)
    terminating = {key: e for key, e in local.items() if e.is_serving_terminating}
    if terminating:
        return Selection(_backends(terminating, view), Reason.LOCAL_TERMINATING)
    return Selection((), Reason.NONE_LOCAL)


def _backends(chosen: Joined, view: NodeView) -> tuple[Backend, ...]:
    return tuple(sorted(Backend(address, port, is_local(e, view)) for (address, port), e in chosen.items()))


def is_any_usable(joined: Joined) -> bool:
    """Whether any endpoint anywhere could take a packet: decides between reject and drop (rule 12)."""
    return any(e.is_ready or e.is_serving_terminating for e in joined.values())


def keep_flows(joined: Joined) -> tuple[tuple[Address, int], ...]:
    """The endpoints whose existing flows may go on, for `plan.stale`; policies and topology play no part."""
    return tuple(sorted(key for key, e in joined.items() if e.may_keep_flows))
