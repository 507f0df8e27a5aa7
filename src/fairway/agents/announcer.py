"""Follows Services, EndpointSlices and Nodes, and has the host route Service addresses by way of the right nodes.

Reads the caches of the controllers that run in the same process: no watch and no copy of its own. A change is written
in the same turn of the event loop in which it was heard, or in which this process itself wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from fairway.agents.upkeep import Upkeep
from fairway.announce.routes import Announced, Host, Presence, Ranges, host_items, service_items
from fairway.controllers.view import SERVICE as BY_SERVICE
from fairway.controllers.view import View
from fairway.controllers.writes import AnyKind
from fairway.kube.administration import ClusterNode
from fairway.kube.discovery import AddressType, SelectorService, SliceObject
from fairway.kube.meta import LABEL_SERVICE_NAME, TAINT_TO_BE_DELETED
from fairway.kube.objects import ENDPOINT_SLICE, NODE, SERVICE
from fairway.values.address import Address, Family
from fairway.values.errors import InvalidValueError
from fairway.values.names import ObjectName

LABEL_EXCLUDE: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
KINDS: Final[tuple[AnyKind, ...]] = (SERVICE, ENDPOINT_SLICE, NODE)
_NODES: Final = "nodes"


class Announcer:
    """Keeps the routes. Call `open` when the caches of KINDS have been filled once."""

    def __init__(self, view: View, ranges: Ranges, upkeep: Upkeep) -> None:
        self._view = view
        self._ranges = ranges
        self._upkeep = upkeep
        self._hosts: dict[str, Host] = {}
        self._announced: set[ObjectName] = set()
        self._is_open = False
        for kind in KINDS:
            view.cache(kind).listen(self._changed)

    def open(self) -> None:
        """Everything is listed: write all there is, and from here on what changes."""
        self._is_open = True
        self._hosts = {node.metadata.name: host_of(node) for node in self._view.all(NODE)}
        self._upkeep.want(_NODES, tuple(host_items(self._hosts, self._ranges)))
        for service in self._view.all(SERVICE):
            self._plan(service.metadata.object_name)
        self._upkeep.open()
        self._upkeep.prune()

    def _changed(self, kind: AnyKind, old: Any, new: Any) -> None:
        if not self._is_open:
            return
        if kind is NODE:
            if not self._node_changed(old, new):
                return
        elif kind is SERVICE:
            self._plan((new or old).metadata.object_name)
        else:
            for name in {name for one in (old, new) if one is not None and (name := _service_of(one)) is not None}:
                if name in self._announced:
                    self._plan(name)
        self._upkeep.flush()

    def _node_changed(self, old: ClusterNode | None, new: ClusterNode | None) -> bool:
        """Nodes are few and say something every few seconds; most of it changes no route."""
        name = (new or old).metadata.name  # type: ignore[union-attr]
        before, now = self._hosts.get(name), host_of(new) if new is not None else None
        if before == now:
            return False
        if now is None:
            del self._hosts[name]
        else:
            self._hosts[name] = now
        self._upkeep.want(_NODES, tuple(host_items(self._hosts, self._ranges)))
        for service in list(self._announced):
            self._plan(service)
        return True

    def _plan(self, name: ObjectName) -> None:
        service = self._view.get(SERVICE, name)
        if service is None or not _needs_ways(service):
            if name in self._announced:
                self._announced.discard(name)
                self._upkeep.want(name, ())
            return
        self._announced.add(name)
        slices = self._view.cache(ENDPOINT_SLICE).by(BY_SERVICE, name)
        is_balanced = service.spec.type == "LoadBalancer"
        announced = Announced(
            cluster_ips=_addresses(service.spec.cluster_ips or ()),
            balancer_ips=_addresses(service.balancer_ips) if is_balanced else (),
            is_local=service.spec.external_traffic_policy == "Local",
            is_sticky=service.spec.session_affinity == "ClientIP",
            presences=tuple(one for each in slices for one in _presences(each)),
        )
        self._upkeep.want(name, tuple(service_items(announced, self._hosts, self._ranges)))


def _needs_ways(service: SelectorService) -> bool:
    """Beside those of its ranges."""
    is_local = service.spec.type == "LoadBalancer" and service.spec.external_traffic_policy == "Local"
    return is_local or service.spec.session_affinity == "ClientIP"


def host_of(node: ClusterNode) -> Host:
    """What a Node object says of packets; KEP-3836 for those that leave, KEP-1143 for the label."""
    meta = node.metadata
    stays = not meta.is_leaving and all(one.key != TAINT_TO_BE_DELETED for one in node.taints)
    return Host(
        meta.name, _addresses(node.internal_ips), node.is_ready and stays and LABEL_EXCLUDE not in meta.label_map
    )


def _addresses(texts: Iterable[str]) -> tuple[Address, ...]:
    """What is none ("None" of a headless Service) is left out."""
    return tuple(address for text in texts if (address := _parse(text)) is not None)


def _presences(one: SliceObject) -> Iterator[Presence]:
    if one.address_type is AddressType.FQDN:
        return
    family = Family.IPV4 if one.address_type is AddressType.IPV4 else Family.IPV6
    for endpoint in one.members:
        conditions = endpoint.conditions
        is_ending = conditions.serving is not False and conditions.terminating is True
        yield Presence(endpoint.node_name or "", family, conditions.ready is not False, is_ending)


def _service_of(one: SliceObject) -> ObjectName | None:
    name = one.metadata.label_map.get(LABEL_SERVICE_NAME)
    return ObjectName(one.metadata.namespace, name) if name else None


def _parse(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except InvalidValueError:
        return None
