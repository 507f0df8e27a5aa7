"""What the DNS keeps of each API object: far less than the proxy keeps, since there may be 250,000 endpoints.

Decides what of an object matters to names. Which names come of it is `fairway.dns.lookup`'s knowledge.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, TypeVar

import msgspec

from fairway.kube.decode import Kind
from fairway.kube.meta import ANNOTATION_TRIGGER_TIME, LABEL_SERVICE_NAME, schema_error
from fairway.values.names import ObjectName

NO_PORT = -1
"""Stands for the port of a Service or slice that declares none: it has addresses, but no SRV records."""
LABEL_IMPORT_NAME = "multicluster.kubernetes.io/service-name"
LABEL_SOURCE_CLUSTER = "multicluster.kubernetes.io/source-cluster"


class Port(NamedTuple):
    """A named port; name and protocol in lower case, as they are asked for."""

    name: str
    protocol: str
    number: int


NO_PORTS = (Port("", "", NO_PORT),)


class ServiceRow(msgspec.Struct, frozen=True, gc=False):
    """A Service (or a ServiceImport), as far as names go."""

    name: ObjectName
    cluster_ips: tuple[bytes, ...] = ()
    """Packed; empty for headless Services and for ExternalName."""
    ports: tuple[Port, ...] = NO_PORTS
    external_name: str | None = None
    """Set for type ExternalName."""
    is_headless: bool = False
    external: tuple[str, ...] = ()
    """externalIPs, then the load balancer's addresses and host names, as text."""


class SliceRow(msgspec.Struct, frozen=True, gc=False):
    """An EndpointSlice: ready addresses packed one after the other, all of one family."""

    name: ObjectName
    service: str
    width: int = 4
    addresses: bytes = b""
    ports: tuple[Port, ...] = NO_PORTS
    hostnames: tuple[str, ...] | None = None
    """For each address the name that the endpoint asks for; None when none asks."""
    pod_names: tuple[str, ...] | None = None
    """For each address the name of its pod, kept only for `endpoint_pod_names`."""
    zones: tuple[str, ...] | None = None
    """For each address its topology zone in lower case, kept only for `zonal`."""
    cluster: str = ""
    """Of a slice that another cluster exports: that cluster's name."""
    imported: str = ""
    """Of such a slice: the ServiceImport's name."""
    triggered: float = 0.0
    """When the change behind it happened, seconds since 1970; 0 when whoever wrote the slice does not say."""

    def address(self, index: int) -> bytes:
        return self.addresses[index * self.width : (index + 1) * self.width]

    def __len__(self) -> int:
        return len(self.addresses) // self.width


class PodRow(msgspec.Struct, frozen=True, gc=False):
    """A pod that has not ended; addresses as the API spells them, for that is how they are asked for."""

    name: ObjectName
    addresses: tuple[str, ...]


class NamespaceRow(msgspec.Struct, frozen=True, gc=False):
    name: ObjectName


# -- wire


class _Meta(msgspec.Struct, gc=False, rename="camel"):
    name: str = ""
    namespace: str = ""
    deletion_timestamp: str | None = None

    def object_name(self) -> ObjectName:
        return ObjectName(self.namespace, self.name)


class _WirePort(msgspec.Struct, gc=False, frozen=True):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class _Ingress(msgspec.Struct, gc=False):
    ip: str = ""
    hostname: str = ""


class _Balancer(msgspec.Struct, gc=False):
    ingress: list[_Ingress] | None = None


class _ServiceStatus(msgspec.Struct, gc=False, rename="camel"):
    load_balancer: _Balancer | None = None


class _ServiceSpec(
    msgspec.Struct,
    gc=False,
    rename={
        "cluster_ip": "clusterIP",
        "cluster_ips": "clusterIPs",
        "external_ips": "externalIPs",
        "external_name": "externalName",
    },
):
    type: str = "ClusterIP"
    cluster_ip: str = ""
    cluster_ips: list[str] | None = None
    external_name: str = ""
    external_ips: list[str] | None = None
    ports: tuple[_WirePort, ...] | None = None


class _WireService(msgspec.Struct, gc=False):
    metadata: _Meta
    spec: _ServiceSpec = msgspec.field(default_factory=_ServiceSpec)
    status: _ServiceStatus | None = None


class _ImportSpec(msgspec.Struct, gc=False):
    type: str = "ClusterSetIP"
    ips: list[str] | None = None
    ports: tuple[_WirePort, ...] | None = None


class _WireImport(msgspec.Struct, gc=False):
    metadata: _Meta
    spec: _ImportSpec = msgspec.field(default_factory=_ImportSpec)


class _Conditions(msgspec.Struct, gc=False):
    ready: bool | None = None


class _TargetRef(msgspec.Struct, gc=False):
    name: str = ""


class _Endpoint(msgspec.Struct, gc=False, rename="camel"):
    addresses: list[str] = []
    conditions: _Conditions | None = None
    hostname: str | None = None
    target_ref: _TargetRef | None = None
    zone: str | None = None


class _SliceNotes(msgspec.Struct, gc=False, rename={"trigger": ANNOTATION_TRIGGER_TIME}):
    trigger: str = ""


class _SliceMeta(_Meta, gc=False, rename="camel"):
    labels: dict[str, str] | None = None
    annotations: _SliceNotes | None = None


class _WireSlice(msgspec.Struct, gc=False, rename="camel"):
    metadata: _SliceMeta
    address_type: str = "IPv4"
    endpoints: list[_Endpoint] | None = None
    ports: tuple[_WirePort, ...] | None = None


class _PodIP(msgspec.Struct, gc=False):
    ip: str = ""


class _PodStatus(msgspec.Struct, gc=False, rename={"pod_ip": "podIP", "pod_ips": "podIPs"}):
    phase: str = ""
    pod_ip: str = ""
    pod_ips: list[_PodIP] | None = None


class _WirePod(msgspec.Struct, gc=False):
    metadata: _Meta
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _WireNamespace(msgspec.Struct, gc=False):
    metadata: _Meta


# -- rows


def packed(text: str) -> bytes | None:
    """The packed address, IPv4 in IPv6 unwrapped, or None."""
    try:
        if ":" not in text:
            return socket.inet_pton(socket.AF_INET, text)
        address = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return None
    return address[12:] if address.startswith(_MAPPED) else address


_MAPPED = bytes(10) + b"\xff\xff"


@lru_cache(maxsize=4096)
def _ports(wire: tuple[_WirePort, ...], default_protocol: str) -> tuple[Port, ...]:
    # Thousands of Services share the same few port lists: one tuple for all of them.
    return tuple(
        Port((p.name or "").lower(), (p.protocol or default_protocol).lower(), NO_PORT if p.port is None else p.port)
        for p in wire
    )


def _service(wire: _WireService) -> ServiceRow:
    spec, name = wire.spec, wire.metadata.object_name()
    if spec.type == "ExternalName":
        return ServiceRow(name, (), NO_PORTS, spec.external_name, external=_external(wire))
    texts = spec.cluster_ips or [spec.cluster_ip]
    addresses = tuple(a for a in map(packed, texts) if a is not None)
    ports = _ports(spec.ports, "TCP") if spec.ports else NO_PORTS
    return ServiceRow(name, addresses, ports, None, texts[0] == "None", _external(wire))


def _external(wire: _WireService) -> tuple[str, ...]:
    balancer = wire.status.load_balancer if wire.status else None
    ingress = balancer.ingress if balancer else None
    if not ingress and not wire.spec.external_ips:
        return ()
    return (*(wire.spec.external_ips or ()), *(i.ip or i.hostname for i in ingress or ()))


def _import(wire: _WireImport) -> ServiceRow:
    addresses = tuple(a for a in map(packed, wire.spec.ips or ()) if a is not None)
    ports = _ports(wire.spec.ports, "TCP") if wire.spec.ports else NO_PORTS
    return ServiceRow(wire.metadata.object_name(), addresses, ports, None, wire.spec.type == "Headless")


def _slice_builder(*, pod_names: bool, zones: bool) -> Callable[[_WireSlice], SliceRow]:
    def build(wire: _WireSlice) -> SliceRow:
        labels = wire.metadata.labels or {}
        width = 16 if wire.address_type == "IPv6" else 4
        ready = [
            (address, endpoint)
            for endpoint in wire.endpoints or ()
            if endpoint.conditions is None or endpoint.conditions.ready is not False
            for address in map(packed, endpoint.addresses)
            if address is not None and len(address) == width
        ]
        hostnames = tuple(e.hostname or "" for _, e in ready)
        return SliceRow(
            wire.metadata.object_name(),
            labels.get(LABEL_SERVICE_NAME, ""),
            width,
            b"".join([a for a, _ in ready]),
            _ports(wire.ports, "") if wire.ports else NO_PORTS,
            hostnames if any(hostnames) else None,
            tuple(_label_of(e.target_ref) for _, e in ready) if pod_names else None,
            tuple((e.zone or "").lower() for _, e in ready) if zones else None,
            labels.get(LABEL_SOURCE_CLUSTER, ""),
            labels.get(LABEL_IMPORT_NAME, ""),
            _moment(wire.metadata.annotations.trigger) if wire.metadata.annotations else 0.0,
        )

    return build


def _moment(text: str) -> float:
    """Seconds since 1970 of a time as Go writes it; 0 for none, and for what is no time."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except ValueError:
        return 0.0


def _label_of(target: _TargetRef | None) -> str:
    # A pod's name may be longer than a label can be.
    return target.name if target is not None and len(target.name) < 64 else ""


def _pod(wire: _WirePod) -> PodRow:
    status = wire.status
    addresses = tuple(p.ip for p in status.pod_ips or ()) or ((status.pod_ip,) if status.pod_ip else ())
    # A pod on its way out has no name any more, though it still has its address.
    return PodRow(wire.metadata.object_name(), () if wire.metadata.deletion_timestamp else addresses)


W = TypeVar("W")
T = TypeVar("T")


def _decoder(kind: str, wire: type[W], build: Callable[[W], T]) -> Callable[[object], T]:
    decoder = msgspec.json.Decoder(wire)

    def decode(raw: object) -> T:
        try:
            parsed = msgspec.convert(raw, wire) if isinstance(raw, dict) else decoder.decode(raw)  # type: ignore[arg-type]
        except msgspec.MsgspecError as error:
            raise schema_error(kind, raw, error) from None
        return build(parsed)

    return decode


SERVICES: Kind[ServiceRow] = Kind("Service", "v1", "services", True, _decoder("Service", _WireService, _service))
IMPORTS: Kind[ServiceRow] = Kind(
    "ServiceImport",
    "multicluster.x-k8s.io/v1alpha1",
    "serviceimports",
    True,
    _decoder("ServiceImport", _WireImport, _import),
)
PODS: Kind[PodRow] = Kind("Pod", "v1", "pods", True, _decoder("Pod", _WirePod, _pod))
NAMESPACES: Kind[NamespaceRow] = Kind(
    "Namespace",
    "v1",
    "namespaces",
    False,
    _decoder("Namespace", _WireNamespace, lambda wire: NamespaceRow(wire.metadata.object_name())),
)


def slices(*, pod_names: bool = False, zones: bool = False) -> Kind[SliceRow]:
    """EndpointSlices, with what the options ask to keep."""
    build = _slice_builder(pod_names=pod_names, zones=zones)
    return Kind(
        "EndpointSlice", "discovery.k8s.io/v1", "endpointslices", True, _decoder("EndpointSlice", _WireSlice, build)
    )
