"""One Service on this node, in one IP family: frontends, backends, treatments. Pure.

Whether another Service claims the same frontend is not known here: see `plan.claims`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fairway.kube.endpointslice import EndpointSlice
from fairway.kube.service import Service, ServicePort, ServiceType, TrafficPolicy
from fairway.plan.endpoints import (
    UNUSED,
    Joined,
    is_any_usable,
    is_local,
    join,
    keep_flows,
    select_cluster,
    select_local,
)
from fairway.plan.model import (
    Frontend,
    FrontendKey,
    FrontendKind,
    HealthCheck,
    PlannedPort,
    PlannedService,
    Treatments,
    Verdict,
)
from fairway.plan.treatments import Situation, external_treatments, internal_treatments
from fairway.plan.view import NodeView
from fairway.values.address import Address, Prefix
from fairway.values.names import ServicePortName
from fairway.values.protocol import Protocol


def plan_service(service: Service, slices: Iterable[EndpointSlice], view: NodeView) -> PlannedService | None:
    """What `service` means on this node in the view's family; None when it is not served there (rule 2)."""
    cluster_ips = tuple(ip for ip in service.cluster_ips if ip.family is view.family)
    if not cluster_ips:
        return None
    rows = list(slices)
    ports = []
    local_ready: set[Address] = set()
    for port in service.ports:
        name = ServicePortName(service.name, port.name, port.protocol)
        joined = join(rows, name, view)
        ports.append(_plan_port(service, port, name, joined, view))
        if service.health_check_node_port:
            local_ready.update(e.address for e in joined.values() if e.is_ready and is_local(e, view))
    return PlannedService(service.name, tuple(ports), cluster_ips, _health_check(service, len(local_ready)))


def _health_check(service: Service, local_ready: int) -> HealthCheck | None:
    """Only for a load balancer with the Local policy (rule 19)."""
    wanted = service.type is ServiceType.LOAD_BALANCER and service.external_policy is TrafficPolicy.LOCAL
    if not wanted or not service.health_check_node_port:
        return None
    return HealthCheck(service.name, service.health_check_node_port, local_ready)


def _plan_port(
    service: Service, port: ServicePort, name: ServicePortName, joined: Joined, view: NodeView
) -> PlannedPort:
    is_external = _is_externally_accessible(service, port, view)
    uses_cluster = service.internal_policy is TrafficPolicy.CLUSTER or is_external
    uses_local = service.internal_policy is TrafficPolicy.LOCAL or (
        is_external and service.external_policy is TrafficPolicy.LOCAL
    )
    cluster = select_cluster(joined, view) if uses_cluster else UNUSED
    local = select_local(joined, view) if uses_local else UNUSED
    has_any = bool(cluster.backends) or is_any_usable(joined)
    situation = Situation.of(view, has_any, bool(cluster.backends), bool(local.backends))
    return PlannedPort(
        name=name,
        family=view.family,
        frontends=tuple(_frontends(service, port, situation, view)),
        cluster=cluster,
        local=local,
        affinity_seconds=service.affinity_seconds,
        serving=keep_flows(joined) if name.protocol is Protocol.UDP else (),
    )


def _is_externally_accessible(service: Service, port: ServicePort, view: NodeView) -> bool:
    return bool(port.node_port) or any(
        ip.family is view.family for ips in (service.external_ips, service.load_balancer_ips) for ip in ips
    )


def _frontends(service: Service, port: ServicePort, situation: Situation, view: NodeView) -> Iterator[Frontend]:
    """In the order of precedence; an address that stands twice counts for its first kind."""
    internal = internal_treatments(situation, service.internal_policy)
    external = external_treatments(situation, service.external_policy)
    groups: tuple[tuple[FrontendKind, Iterable[Address], int, Treatments], ...] = (
        (FrontendKind.CLUSTER_IP, service.cluster_ips, port.port, internal),
        (FrontendKind.EXTERNAL_IP, service.external_ips, port.port, external),
        (FrontendKind.LOAD_BALANCER_IP, service.load_balancer_ips, port.port, external),
        (FrontendKind.NODE_PORT, view.node_port_addresses if port.node_port else (), port.node_port, external),
    )
    seen: set[FrontendKey] = set()
    for kind, addresses, number, treatments in groups:
        for address in addresses:
            key = FrontendKey(address, port.protocol, number)
            if address.family is not view.family or key in seen:
                continue
            seen.add(key)
            ranges = _source_ranges(service, view, treatments) if kind is FrontendKind.LOAD_BALANCER_IP else ()
            yield Frontend(key, kind, treatments, ranges)


def _source_ranges(service: Service, view: NodeView, treatments: Treatments) -> tuple[Prefix, ...]:
    """loadBalancerSourceRanges of this family; none when nothing could be forwarded anyway (rule 14).

    A range that covers the node lets every load balancer IP of the Service in too: the node's own connections to
    such an address carry it as their source.
    """
    if treatments.outside.verdict is Verdict.REJECT:
        return ()
    own = [prefix for prefix in service.source_ranges if prefix.family is view.family]
    if view.primary is not None and any(view.primary in prefix for prefix in own):
        bits = view.family.width * 8
        own += [Prefix(ip, bits) for ip in service.load_balancer_ips if ip.family is view.family]
    return tuple(sorted(set(own)))
