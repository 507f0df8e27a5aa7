"""EndpointSlice and the older Endpoints: decoded, defaulted, validated, cut down to what a proxy needs."""

from __future__ import annotations

from datetime import datetime
from enum import Enum, IntFlag
from sys import intern

import msgspec

from fairway.kube.meta import (
    ANNOTATION_TRIGGER_TIME,
    LABEL_HEADLESS,
    LABEL_PROXY_NAME,
    LABEL_SERVICE_NAME,
    WireMeta,
    address_field,
    field_error,
)
from fairway.values.address import Address, Family
from fairway.values.errors import InvalidValueError
from fairway.values.names import ObjectName
from fairway.values.protocol import Protocol


class Condition(IntFlag):
    """An endpoint's conditions (KEP-1672). Absent ready and serving read as true, absent terminating as false."""

    READY = 1
    SERVING = 2
    TERMINATING = 4


READY = int(Condition.READY)
READY_OR_SERVING = int(Condition.READY | Condition.SERVING)
SERVING_TERMINATING = int(Condition.SERVING | Condition.TERMINATING)


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """One endpoint; only its first address counts, as the API says."""

    address: Address
    conditions: int = Condition.READY | Condition.SERVING
    """Bits of Condition, as a plain number since 250,000 of these exist."""
    node: str = ""
    zone_hints: tuple[str, ...] = ()
    node_hints: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        return bool(self.conditions & READY)

    @property
    def may_keep_flows(self) -> bool:
        """Whether its flows may stay: it serves, or counts as ready (publishNotReadyAddresses) and gets new ones."""
        return bool(self.conditions & READY_OR_SERVING)

    @property
    def is_serving_terminating(self) -> bool:
        """Usable only when nothing is ready (KEP-1669)."""
        return self.conditions & SERVING_TERMINATING == SERVING_TERMINATING


class EndpointPort(msgspec.Struct, frozen=True, gc=False):
    """A port of all endpoints of a slice; joined to service ports by name and protocol."""

    name: str
    protocol: Protocol
    port: int


class EndpointSlice(msgspec.Struct, frozen=True, gc=False):
    """One slice of one family of one Service."""

    name: ObjectName
    service: ObjectName
    """From the label kubernetes.io/service-name; its name is empty when the label is missing."""
    family: Family | None
    """None for FQDN slices, which no proxy uses."""
    ports: tuple[EndpointPort, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    is_foreign: bool = False
    triggered: float = 0.0
    """When the pod or Service changed that this version follows from, in seconds of the epoch; 0 is not known."""


class _AddressType(Enum):
    IPV4 = "IPv4"
    IPV6 = "IPv6"
    FQDN = "FQDN"


class _WireConditions(msgspec.Struct, gc=False):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _WireHint(msgspec.Struct, gc=False):
    name: str


class _WireHints(msgspec.Struct, gc=False, rename="camel"):
    for_zones: list[_WireHint] | None = None
    for_nodes: list[_WireHint] | None = None


class _WireEndpoint(msgspec.Struct, gc=False, rename="camel"):
    addresses: list[str]
    conditions: _WireConditions | None = None
    node_name: str | None = None
    hints: _WireHints | None = None


class WirePort(msgspec.Struct, gc=False):
    """EndpointPort as it is on the wire, in slices and in Endpoints."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class _WireAnnotations(msgspec.Struct, gc=False):
    trigger_time: str | None = msgspec.field(name=ANNOTATION_TRIGGER_TIME, default=None)


class _WireSliceMeta(WireMeta, gc=False, rename="camel"):
    annotations: _WireAnnotations | None = None


class WireEndpointSlice(msgspec.Struct, gc=False, rename="camel"):
    """The fields of an EndpointSlice that are read at all."""

    metadata: _WireSliceMeta
    address_type: _AddressType
    ports: list[WirePort] | None = None
    endpoints: list[_WireEndpoint] | None = None


_FAMILIES = {_AddressType.IPV4: Family.IPV4, _AddressType.IPV6: Family.IPV6, _AddressType.FQDN: None}
_PROTOCOLS = {"TCP": Protocol.TCP, "UDP": Protocol.UDP, "SCTP": Protocol.SCTP}


def slice_from_wire(wire: WireEndpointSlice) -> EndpointSlice:
    """Defaults and validation. Raises ObjectError naming object, field and value."""
    meta = wire.metadata
    name = ObjectName(meta.namespace or "default", meta.name)
    if not meta.name:
        raise field_error("EndpointSlice", name, "metadata.name", "a name is required")
    labels = meta.labels or {}
    family = _FAMILIES[wire.address_type]
    return EndpointSlice(
        name=name,
        service=ObjectName(name.namespace, labels.get(LABEL_SERVICE_NAME, "")),
        family=family,
        ports=endpoint_ports("EndpointSlice", name, "ports", wire.ports or []),
        endpoints=tuple(
            _endpoint(name, family, i, one) for i, one in enumerate(wire.endpoints or ()) if family and one.addresses
        ),
        is_foreign=LABEL_HEADLESS in labels or LABEL_PROXY_NAME in labels,
        triggered=_epoch(meta.annotations.trigger_time) if meta.annotations else 0.0,
    )


def _epoch(time: str | None) -> float:
    """What is no time counts as not known: it only feeds a metric."""
    try:
        return datetime.fromisoformat(time).timestamp() if time else 0.0
    except (ValueError, OverflowError):
        return 0.0


def endpoint_ports(kind: str, name: ObjectName, path: str, wires: list[WirePort]) -> tuple[EndpointPort, ...]:
    """The ports with a number; one without means "all ports", which a proxy cannot use."""
    ports = []
    for i, wire in enumerate(wires):
        protocol = _PROTOCOLS.get(wire.protocol or "TCP")
        if protocol is None:
            known = ", ".join(_PROTOCOLS)
            raise field_error(kind, name, f"{path}[{i}].protocol", f"{wire.protocol!r} is not one of {known}")
        if not wire.port:
            continue
        if not 1 <= wire.port <= 65535:
            raise field_error(kind, name, f"{path}[{i}].port", f"{wire.port} is not a port (1 to 65535)")
        ports.append(EndpointPort(intern(wire.name or ""), protocol, wire.port))
    return tuple(ports)


def _endpoint(name: ObjectName, family: Family, index: int, wire: _WireEndpoint) -> Endpoint:
    try:
        address = Address.parse(wire.addresses[0])
    except InvalidValueError as error:
        raise field_error("EndpointSlice", name, f"endpoints[{index}].addresses[0]", str(error)) from None
    if address.family is not family or address.is_ipv4_mapped:
        path = f"endpoints[{index}].addresses[0]"
        raise field_error("EndpointSlice", name, path, f"{address} is no {family} address, as addressType says")
    hints = wire.hints
    return Endpoint(
        address=address,
        conditions=_conditions(wire.conditions),
        node=intern(wire.node_name or ""),
        zone_hints=tuple(intern(h.name) for h in hints.for_zones) if hints and hints.for_zones else (),
        node_hints=tuple(intern(h.name) for h in hints.for_nodes) if hints and hints.for_nodes else (),
    )


def _conditions(wire: _WireConditions | None) -> int:
    if wire is None:
        return 3
    return (wire.ready is not False) | (wire.serving is not False) << 1 | (wire.terminating is True) << 2


class _WireLegacyAddress(msgspec.Struct, gc=False, rename="camel"):
    ip: str
    node_name: str | None = None


class _WireSubset(msgspec.Struct, gc=False, rename="camel"):
    addresses: list[_WireLegacyAddress] | None = None
    not_ready_addresses: list[_WireLegacyAddress] | None = None
    ports: list[WirePort] | None = None


class WireEndpoints(msgspec.Struct, gc=False):
    """The fields of an Endpoints object that are read at all."""

    metadata: WireMeta
    subsets: list[_WireSubset] | None = None


def slices_from_endpoints(wire: WireEndpoints) -> tuple[EndpointSlice, ...]:
    """An Endpoints object as the slices that the mirroring controller would make: one a subset and family.

    Raises ObjectError naming object, field and value.
    """
    meta = wire.metadata
    service = ObjectName(meta.namespace or "default", meta.name)
    labels = meta.labels or {}
    is_foreign = LABEL_HEADLESS in labels or LABEL_PROXY_NAME in labels
    slices = []
    for i, subset in enumerate(wire.subsets or ()):
        ports = endpoint_ports("Endpoints", service, f"subsets[{i}].ports", subset.ports or [])
        endpoints = _legacy_endpoints(service, i, subset)
        for family in Family:
            own = tuple(e for e in endpoints if e.address.family is family)
            if own:
                name = ObjectName(service.namespace, f"{service.name}-endpoints-{i}-{family}".lower())
                slices.append(EndpointSlice(name, service, family, ports, own, is_foreign))
    return tuple(slices)


def _legacy_endpoints(service: ObjectName, index: int, subset: _WireSubset) -> list[Endpoint]:
    endpoints = []
    for field, addresses, conditions in (
        ("addresses", subset.addresses, Condition.READY | Condition.SERVING),
        ("notReadyAddresses", subset.not_ready_addresses, Condition(0)),
    ):
        for i, one in enumerate(addresses or ()):
            address = address_field("Endpoints", service, f"subsets[{index}].{field}[{i}].ip", one.ip)
            endpoints.append(Endpoint(address, int(conditions), intern(one.node_name or "")))
    return endpoints
