"""Node, Namespace, Pod and ServiceCIDR: what a proxy and its explanations read of them."""

from __future__ import annotations

import msgspec

from fairway.kube.meta import TAINT_TO_BE_DELETED, WireMeta, address_field, field_error, prefix_field
from fairway.values.address import Address, Prefix
from fairway.values.names import ObjectName


class Node(msgspec.Struct, frozen=True):
    """One node."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    """Sorted pairs, so that equal nodes are equal."""
    addresses: tuple[Address, ...] = ()
    """InternalIP addresses first, then ExternalIP, each in the object's order."""
    pod_cidrs: tuple[Prefix, ...] = ()
    is_leaving: bool = False
    """Being deleted, or tainted by the cluster autoscaler: new connections should go elsewhere (KEP-3836)."""

    def label(self, key: str) -> str:
        """The label's value, or an empty text."""
        return dict(self.labels).get(key, "")


class Pod(msgspec.Struct, frozen=True):
    """One pod, as far as a packet's path needs it."""

    name: ObjectName
    node: str = ""
    addresses: tuple[Address, ...] = ()
    is_host_network: bool = False


class Namespace(msgspec.Struct, frozen=True):
    """One namespace."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


class ServiceCIDR(msgspec.Struct, frozen=True):
    """A range that cluster IPs come from (KEP-1880)."""

    name: str
    cidrs: tuple[Prefix, ...] = ()


class _WireNodeAddress(msgspec.Struct, gc=False):
    type: str = ""
    address: str = ""


class _WireTaint(msgspec.Struct, gc=False):
    key: str = ""


class _WireNodeSpec(msgspec.Struct, gc=False):
    pod_cidr: str | None = msgspec.field(name="podCIDR", default=None)
    pod_cidrs: list[str] | None = msgspec.field(name="podCIDRs", default=None)
    taints: list[_WireTaint] | None = None


class _WireNodeStatus(msgspec.Struct, gc=False):
    addresses: list[_WireNodeAddress] | None = None


class WireNode(msgspec.Struct, gc=False):
    """The fields of a Node that are read at all."""

    metadata: WireMeta
    spec: _WireNodeSpec | None = None
    status: _WireNodeStatus | None = None


def node_from_wire(wire: WireNode) -> Node:
    """Raises ObjectError naming object, field and value."""
    meta, spec, status = wire.metadata, wire.spec or _WireNodeSpec(), wire.status or _WireNodeStatus()
    name = ObjectName("", meta.name)
    if not meta.name:
        raise field_error("Node", name, "metadata.name", "a name is required")
    cidrs = spec.pod_cidrs or ([spec.pod_cidr] if spec.pod_cidr else [])
    addresses = {"InternalIP": list[Address](), "ExternalIP": list[Address]()}
    for i, one in enumerate(status.addresses or ()):
        if one.type in addresses:
            path = f"status.addresses[{i}].address"
            addresses[one.type].append(address_field("Node", name, path, one.address))
    return Node(
        name=meta.name,
        labels=tuple(sorted((meta.labels or {}).items())),
        addresses=(*addresses["InternalIP"], *addresses["ExternalIP"]),
        pod_cidrs=tuple(prefix_field("Node", name, f"spec.podCIDRs[{i}]", text) for i, text in enumerate(cidrs)),
        is_leaving=bool(meta.deletion_timestamp) or any(t.key == TAINT_TO_BE_DELETED for t in spec.taints or ()),
    )


class _WirePodIP(msgspec.Struct, gc=False):
    ip: str = ""


class _WirePodSpec(msgspec.Struct, gc=False, rename="camel"):
    node_name: str | None = None
    host_network: bool | None = None


class _WirePodStatus(msgspec.Struct, gc=False):
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: list[_WirePodIP] | None = msgspec.field(name="podIPs", default=None)


class WirePod(msgspec.Struct, gc=False):
    """The fields of a Pod that are read at all."""

    metadata: WireMeta
    spec: _WirePodSpec | None = None
    status: _WirePodStatus | None = None


def pod_from_wire(wire: WirePod) -> Pod:
    """Raises ObjectError naming object, field and value."""
    meta, spec, status = wire.metadata, wire.spec or _WirePodSpec(), wire.status or _WirePodStatus()
    name = ObjectName(meta.namespace or "default", meta.name)
    texts = [one.ip for one in status.pod_ips or ()] or ([status.pod_ip] if status.pod_ip else [])
    return Pod(
        name=name,
        node=spec.node_name or "",
        addresses=tuple(
            address_field("Pod", name, f"status.podIPs[{i}].ip", text) for i, text in enumerate(texts) if text
        ),
        is_host_network=bool(spec.host_network),
    )


class WireNamespace(msgspec.Struct, gc=False):
    """The fields of a Namespace that are read at all."""

    metadata: WireMeta


def namespace_from_wire(wire: WireNamespace) -> Namespace:
    """Never fails: a namespace has nothing to get wrong."""
    return Namespace(wire.metadata.name, tuple(sorted((wire.metadata.labels or {}).items())))


class _WireServiceCIDRSpec(msgspec.Struct, gc=False):
    cidrs: list[str] | None = None


class WireServiceCIDR(msgspec.Struct, gc=False):
    """The fields of a ServiceCIDR that are read at all."""

    metadata: WireMeta
    spec: _WireServiceCIDRSpec | None = None


def service_cidr_from_wire(wire: WireServiceCIDR) -> ServiceCIDR:
    """Raises ObjectError naming object, field and value."""
    name = ObjectName("", wire.metadata.name)
    texts = (wire.spec.cidrs if wire.spec else None) or []
    cidrs = tuple(prefix_field("ServiceCIDR", name, f"spec.cidrs[{i}]", text) for i, text in enumerate(texts))
    return ServiceCIDR(wire.metadata.name, cidrs)
