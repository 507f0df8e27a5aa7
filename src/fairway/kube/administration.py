"""Nodes, namespaces and what else the controllers keep in order, as they read it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from fairway.kube.objectmeta import Condition, ObjectMeta, condition_of


class Taint(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    key: str
    effect: str
    value: str = ""
    time_added: datetime | None = None


class NodeSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    unschedulable: bool | None = None
    taints: tuple[Taint, ...] | None = None


class NodeAddress(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    address: str = ""


class NodeStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    conditions: tuple[Condition, ...] | None = None
    allocatable: dict[str, str | int | float] | None = None
    addresses: tuple[NodeAddress, ...] | None = None


class ClusterNode(msgspec.Struct, frozen=True, gc=False):
    """A Node as endpoint, scheduling and life-cycle controllers read it."""

    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def is_ready(self) -> bool:
        condition = condition_of(self.status.conditions, "Ready")
        return condition is not None and condition.status == "True"

    @property
    def taints(self) -> tuple[Taint, ...]:
        return self.spec.taints or ()

    @property
    def internal_ips(self) -> tuple[str, ...]:
        """The addresses of type InternalIP, in the object's order."""
        return tuple(one.address for one in self.status.addresses or () if one.type == "InternalIP")


class NamespaceSpec(msgspec.Struct, frozen=True, gc=False):
    finalizers: tuple[str, ...] | None = None


class NamespaceStatus(msgspec.Struct, frozen=True, gc=False):
    phase: str | None = None
    conditions: tuple[Condition, ...] | None = None


class NamespaceObject(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class ServiceAccount(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta


class ConfigMap(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    data: dict[str, str] | None = None


class LeaseSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    renew_time: datetime | None = None
    lease_duration_seconds: int | None = None
    holder_identity: str | None = None


class Lease(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: LeaseSpec = LeaseSpec()


class ServiceCIDRSpec(msgspec.Struct, frozen=True, gc=False):
    cidrs: tuple[str, ...] | None = None


class ServiceCIDRStatus(msgspec.Struct, frozen=True, gc=False):
    conditions: tuple[Condition, ...] | None = None


class ServiceCIDRObject(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: ServiceCIDRSpec = ServiceCIDRSpec()
    status: ServiceCIDRStatus = ServiceCIDRStatus()


class ParentReference(msgspec.Struct, frozen=True, gc=False):
    resource: str = ""
    name: str = ""
    namespace: str = ""
    group: str = ""


class IPAddressSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    parent_ref: ParentReference | None = None


class IPAddress(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: IPAddressSpec = IPAddressSpec()


class OwnedObject(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Any object, as garbage collection reads it: names, owners, finalizers."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
