"""Service, EndpointSlice and Endpoints as the controllers that make slices read and write them.

A proxy's view of the same kinds is in `fairway.kube.service` and `fairway.kube.endpointslice`.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from fairway.kube.objectmeta import ObjectMeta, ObjectReference


class AddressType(Enum):
    IPV4 = "IPv4"
    IPV6 = "IPv6"
    FQDN = "FQDN"


class SelectorPort(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One entry of spec.ports of a Service, as far as endpoints need it."""

    port: int
    name: str | None = None
    protocol: str | None = None
    target_port: int | str | None = None
    app_protocol: str | None = None


class SelectorSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    type: str | None = None
    selector: dict[str, str] | None = None
    ports: tuple[SelectorPort, ...] | None = None
    cluster_ip: str | None = msgspec.field(name="clusterIP", default=None)
    cluster_ips: tuple[str, ...] | None = msgspec.field(name="clusterIPs", default=None)
    ip_families: tuple[str, ...] | None = None
    publish_not_ready_addresses: bool | None = None
    traffic_distribution: str | None = None
    load_balancer_ip: str | None = msgspec.field(name="loadBalancerIP", default=None)
    load_balancer_class: str | None = None
    external_traffic_policy: str | None = None
    session_affinity: str | None = None


class BalancerIngress(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One entry of status.loadBalancer.ingress."""

    ip: str | None = None
    ip_mode: str | None = None


class BalancerStatus(msgspec.Struct, frozen=True, gc=False):
    ingress: tuple[BalancerIngress, ...] | None = None


class SelectorStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    load_balancer: BalancerStatus | None = None


class SelectorService(msgspec.Struct, frozen=True, gc=False):
    """A Service: what it selects, which ports its endpoints have, and what a load balancer gave it."""

    metadata: ObjectMeta
    spec: SelectorSpec = SelectorSpec()
    status: SelectorStatus = SelectorStatus()

    @property
    def balancer_ips(self) -> tuple[str, ...]:
        """The addresses in status.loadBalancer.ingress, as they are written there."""
        balancer = self.status.load_balancer
        return tuple(one.ip for one in (balancer.ingress if balancer else None) or () if one.ip)

    @property
    def selects(self) -> bool:
        """Whether a controller makes endpoints for it: a selector, and not an alias by DNS."""
        return bool(self.spec.selector) and self.spec.type != "ExternalName"

    @property
    def is_headless(self) -> bool:
        """No cluster IP, be it None or not given out."""
        return self.spec.cluster_ip in (None, "", "None")

    @property
    def address_types(self) -> tuple[AddressType, ...]:
        """The families that the Service has; without spec.ipFamilies, those of its cluster IP, else both."""
        families = self.spec.ip_families or ()
        types = tuple(AddressType(one) for one in families if one in ("IPv4", "IPv6"))
        if types:
            return types
        if not self.is_headless and self.spec.cluster_ip:
            return (AddressType.IPV6 if ":" in self.spec.cluster_ip else AddressType.IPV4,)
        return (AddressType.IPV4, AddressType.IPV6)


class SlicePort(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A port of all endpoints of a slice, and of an Endpoints subset."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = None


class SliceConditions(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(msgspec.Struct, frozen=True, gc=False):
    name: str


class Hints(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    for_zones: tuple[Hint, ...] | None = None
    for_nodes: tuple[Hint, ...] | None = None


class SliceEndpoint(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """One endpoint of a slice, whole."""

    addresses: tuple[str, ...]
    conditions: SliceConditions = SliceConditions()
    hostname: str | None = None
    target_ref: ObjectReference | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: Hints | None = None
    deprecated_topology: dict[str, str] | None = None

    @property
    def is_ready(self) -> bool:
        return self.conditions.ready is True


class SliceObject(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """An EndpointSlice, whole."""

    metadata: ObjectMeta
    address_type: AddressType
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[SlicePort, ...] | None = None

    @property
    def members(self) -> tuple[SliceEndpoint, ...]:
        return self.endpoints or ()


class EndpointAddress(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """One address of an Endpoints subset."""

    ip: str
    hostname: str | None = None
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointSubset(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    addresses: tuple[EndpointAddress, ...] | None = None
    not_ready_addresses: tuple[EndpointAddress, ...] | None = None
    ports: tuple[SlicePort, ...] | None = None


class EndpointsObject(msgspec.Struct, frozen=True, gc=False):
    """An Endpoints object, whole."""

    metadata: ObjectMeta
    subsets: tuple[EndpointSubset, ...] | None = None
