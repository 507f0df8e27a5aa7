"""Which pods are behind a Service, with which addresses and ports, and when the change that shows was triggered.

Shared by the controllers of EndpointSlices and of Endpoints; how the answers are packed into objects is theirs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from fairway.controllers.view import View
from fairway.kube.discovery import AddressType, SelectorPort, SelectorService
from fairway.kube.pod import Container, Pod
from fairway.values.names import ObjectName

ANNOTATION_TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
ANNOTATION_OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
ANNOTATION_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
ANNOTATION_LEADER = "control-plane.alpha.kubernetes.io/leader"


def has_endpoint(pod: Pod, *, with_terminating: bool) -> bool:
    """A pod with an address that has not ended; one being deleted only where asked for."""
    return bool(pod.addresses) and not pod.is_terminal and (with_terminating or not pod.metadata.is_leaving)


def addresses_of(pod: Pod, wanted: AddressType) -> tuple[str, ...]:
    """The pod's addresses of one family, in their canonical form; texts that are no addresses are left out."""
    version = 6 if wanted is AddressType.IPV6 else 4
    parsed = (_canonical(text) for text in pod.addresses)
    return tuple(one[1] for one in parsed if one is not None and one[0] == version)


@lru_cache(maxsize=1 << 14)
def _canonical(text: str) -> tuple[int, str] | None:
    """Its version and canonical text. To parse an address costs more than all else about an endpoint."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return (4, str(mapped)) if mapped else (address.version, str(address))


def hostname_of(pod: Pod, service: SelectorService) -> str | None:
    """The name that DNS gives the pod within the Service: its hostname, when its subdomain is the Service."""
    return pod.spec.hostname if pod.spec.hostname and pod.spec.subdomain == service.metadata.name else None


def port_number(pod: Pod, port: SelectorPort) -> int | None:
    """The container port that a service port leads to; None when the pod has no port of that name and protocol."""
    target = port.target_port
    if not isinstance(target, str):
        return target or port.port
    protocol = port.protocol or "TCP"
    sidecars = (one for one in pod.spec.init_containers or () if one.is_sidecar)
    return _named_port(pod.spec.containers or (), target, protocol) or _named_port(sidecars, target, protocol)


def _named_port(containers: Iterable[Container], name: str, protocol: str) -> int | None:
    for container in containers:
        for port in container.ports or ():
            if port.name == name and (port.protocol or "TCP") == protocol:
                return port.container_port
    return None


def services_concerned(old: Pod | None, new: Pod | None, view: View) -> set[ObjectName]:
    """The Services whose endpoints may change because a pod did."""
    if old is not None and new is not None and endpoint_facts(old) == endpoint_facts(new):
        return set()
    return {
        service.metadata.object_name
        for pod in (old, new)
        if pod is not None
        for service in view.services_selecting(pod.metadata.namespace, pod.metadata.label_map)
    }


def endpoint_facts(pod: Pod) -> tuple[object, ...]:
    """All of a pod that endpoints can depend on and that can change while it lives."""
    meta = pod.metadata
    return (
        meta.uid,
        meta.labels,
        meta.is_leaving,
        pod.is_ready,
        pod.is_terminal,
        pod.addresses,
        pod.node,
        pod.spec.hostname,
        pod.spec.subdomain,
    )


class TriggerMemory(NamedTuple):
    """What was known at the last look at a Service, and when it changed (KEP-383's network programming latency)."""

    service: datetime
    pods: Mapping[str, Pod]


def trigger_time(
    service: SelectorService, pods: Iterable[Pod], memory: TriggerMemory | None
) -> tuple[datetime | None, TriggerMemory]:
    """When the change that this look answers to happened: the earliest time that is new; None when none is."""
    created = service.metadata.created
    now_known = TriggerMemory(created, {pod.metadata.name: pod for pod in pods})
    if memory is None:
        return created, now_known
    news = [created] if created > memory.service else []
    for name, pod in now_known.pods.items():
        known = memory.pods.get(name)
        if known is pod or (time := _ready_change(pod)) is None:
            continue
        before = _ready_change(known) if known is not None else None
        if before is None or time > before:
            news.append(time)
    return min(news, default=None), now_known


def _ready_change(pod: Pod) -> datetime | None:
    condition = pod.ready_condition
    return condition.last_transition_time if condition is not None else None


def trigger_text(moment: datetime) -> str:
    """RFC 3339 with the fraction that is there."""
    text = moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return text.rstrip("Z").rstrip("0") + "Z" if "." in text else text
