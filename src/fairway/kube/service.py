"""Service: decoded, defaulted as the API server does it, validated, cut down to what a proxy needs."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from fairway.kube.meta import (
    LABEL_HEADLESS,
    LABEL_PROXY_NAME,
    WireMeta,
    address_field,
    field_error,
    prefix_field,
)
from fairway.values.address import Address, Prefix
from fairway.values.names import ObjectName
from fairway.values.protocol import Protocol

DEFAULT_AFFINITY_SECONDS = 10800
MAX_AFFINITY_SECONDS = 86400


class ServiceType(Enum):
    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_NAME = "ExternalName"


class TrafficPolicy(Enum):
    CLUSTER = "Cluster"
    LOCAL = "Local"


class AffinityMode(Enum):
    NONE = "None"
    CLIENT_IP = "ClientIP"


class IpMode(Enum):
    """How a load balancer hands packets to nodes (KEP-1860)."""

    VIP = "VIP"
    PROXY = "Proxy"


class ServicePort(msgspec.Struct, frozen=True, gc=False):
    """One entry of spec.ports. `node_port` is 0 when there is none."""

    name: str
    protocol: Protocol
    port: int
    node_port: int = 0


class Service(msgspec.Struct, frozen=True, gc=False):
    """What a proxy reads of a Service. Addresses of both families stand together; the plan parts them."""

    name: ObjectName
    type: ServiceType = ServiceType.CLUSTER_IP
    cluster_ips: tuple[Address, ...] = ()
    """Empty when headless or ExternalName."""
    ports: tuple[ServicePort, ...] = ()
    external_ips: tuple[Address, ...] = ()
    load_balancer_ips: tuple[Address, ...] = ()
    """status.loadBalancer.ingress[].ip with ipMode VIP or unset; those with Proxy are not captured (KEP-1860)."""
    source_ranges: tuple[Prefix, ...] = ()
    internal_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    external_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    affinity_seconds: int = 0
    health_check_node_port: int = 0
    created: str = ""
    """creationTimestamp, RFC 3339 in UTC, so that text order is time order; empty when unknown."""
    is_foreign: bool = False
    """Labelled as headless or as another proxy's: not ours to serve."""


class _WirePort(msgspec.Struct, gc=False, rename="camel"):
    port: int
    name: str | None = None
    protocol: str | None = None
    node_port: int | None = None


class _WireClientIP(msgspec.Struct, gc=False, rename="camel"):
    timeout_seconds: int | None = None


class _WireAffinityConfig(msgspec.Struct, gc=False, rename="camel"):
    client_ip: _WireClientIP | None = msgspec.field(name="clientIP", default=None)


class _WireSpec(msgspec.Struct, gc=False, rename="camel"):
    type: ServiceType | None = None
    cluster_ip: str | None = msgspec.field(name="clusterIP", default=None)
    cluster_ips: list[str] | None = msgspec.field(name="clusterIPs", default=None)
    ports: list[_WirePort] | None = None
    external_ips: list[str] | None = msgspec.field(name="externalIPs", default=None)
    load_balancer_source_ranges: list[str] | None = None
    internal_traffic_policy: TrafficPolicy | None = None
    external_traffic_policy: TrafficPolicy | None = None
    session_affinity: AffinityMode | None = None
    session_affinity_config: _WireAffinityConfig | None = None
    health_check_node_port: int | None = None


class _WireIngress(msgspec.Struct, gc=False, rename="camel"):
    ip: str | None = None
    ip_mode: IpMode | None = None


class _WireLoadBalancer(msgspec.Struct, gc=False):
    ingress: list[_WireIngress] | None = None


class _WireStatus(msgspec.Struct, gc=False, rename="camel"):
    load_balancer: _WireLoadBalancer | None = None


class WireService(msgspec.Struct, gc=False):
    """The fields of a Service that are read at all."""

    metadata: WireMeta
    spec: _WireSpec | None = None
    status: _WireStatus | None = None


def service_from_wire(wire: WireService) -> Service:
    """Defaults and validation. Raises ObjectError naming object, field and value."""
    meta, spec = wire.metadata, wire.spec or _WireSpec()
    name = ObjectName(meta.namespace or "default", meta.name)
    if not meta.name:
        raise field_error("Service", name, "metadata.name", "a name is required")
    labels = meta.labels or {}
    return Service(
        name=name,
        type=spec.type or ServiceType.CLUSTER_IP,
        cluster_ips=_cluster_ips(name, spec),
        ports=_ports(name, spec.ports or []),
        external_ips=_addresses(name, "spec.externalIPs", spec.external_ips),
        load_balancer_ips=_load_balancer_ips(name, wire.status),
        source_ranges=tuple(
            prefix_field("Service", name, f"spec.loadBalancerSourceRanges[{i}]", text)
            for i, text in enumerate(spec.load_balancer_source_ranges or ())
        ),
        internal_policy=spec.internal_traffic_policy or TrafficPolicy.CLUSTER,
        external_policy=spec.external_traffic_policy or TrafficPolicy.CLUSTER,
        affinity_seconds=_affinity_seconds(name, spec),
        health_check_node_port=_port(name, "spec.healthCheckNodePort", spec.health_check_node_port or 0, least=0),
        created=meta.creation_timestamp or "",
        is_foreign=LABEL_PROXY_NAME in labels or LABEL_HEADLESS in labels,
    )


def _cluster_ips(name: ObjectName, spec: _WireSpec) -> tuple[Address, ...]:
    if spec.type is ServiceType.EXTERNAL_NAME:
        return ()
    texts = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
    if not texts or texts[0] in ("None", ""):
        return ()
    if not spec.cluster_ips:
        return (address_field("Service", name, "spec.clusterIP", texts[0]),)
    return _addresses(name, "spec.clusterIPs", texts)


def _addresses(name: ObjectName, field: str, texts: list[str] | None) -> tuple[Address, ...]:
    if not texts:
        return ()
    return tuple(address_field("Service", name, f"{field}[{i}]", text) for i, text in enumerate(texts))


def _load_balancer_ips(name: ObjectName, status: _WireStatus | None) -> tuple[Address, ...]:
    ingress = status and status.load_balancer and status.load_balancer.ingress
    if not ingress:
        return ()
    return tuple(
        address_field("Service", name, f"status.loadBalancer.ingress[{i}].ip", one.ip)
        for i, one in enumerate(ingress)
        if one.ip and one.ip_mode is not IpMode.PROXY
    )


def _ports(name: ObjectName, wires: list[_WirePort]) -> tuple[ServicePort, ...]:
    ports = tuple(_service_port(name, i, wire) for i, wire in enumerate(wires))
    if len(ports) > 1:
        seen: set[str] = set()
        for i, port in enumerate(ports):
            if not port.name:
                raise field_error("Service", name, f"spec.ports[{i}].name", "a name is required with several ports")
            if port.name in seen:
                raise field_error("Service", name, f"spec.ports[{i}].name", f"{port.name!r} stands twice")
            seen.add(port.name)
    return ports


def _service_port(name: ObjectName, index: int, wire: _WirePort) -> ServicePort:
    path = f"spec.ports[{index}]"
    protocol = _PROTOCOLS.get(wire.protocol or "TCP")
    if protocol is None:
        known = ", ".join(_PROTOCOLS)
        raise field_error("Service", name, f"{path}.protocol", f"{wire.protocol!r} is not one of {known}")
    return ServicePort(
        name=wire.name or "",
        protocol=protocol,
        port=_port(name, f"{path}.port", wire.port),
        node_port=_port(name, f"{path}.nodePort", wire.node_port or 0, least=0),
    )


_PROTOCOLS = {"TCP": Protocol.TCP, "UDP": Protocol.UDP, "SCTP": Protocol.SCTP}


def _port(name: ObjectName, path: str, number: int, least: int = 1) -> int:
    if not least <= number <= 65535:
        raise field_error("Service", name, path, f"{number} is not a port ({least} to 65535)")
    return number


def _affinity_seconds(name: ObjectName, spec: _WireSpec) -> int:
    if spec.session_affinity is not AffinityMode.CLIENT_IP:
        return 0
    config: Any = spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
    if seconds is None:
        return DEFAULT_AFFINITY_SECONDS
    if not 1 <= seconds <= MAX_AFFINITY_SECONDS:
        path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        raise field_error("Service", name, path, f"{seconds} is not within 1 to {MAX_AFFINITY_SECONDS}")
    return int(seconds)
