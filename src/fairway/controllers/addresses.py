"""ServiceCIDRs and IPAddresses (KEP-1880): ranges are ready, protected, and let go when no address needs them any more;
every cluster IP has its IPAddress and no other has one.

Giving out addresses is the API server's part, at the moment of the write; this is the upkeep behind it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fairway.controllers.controller import Key, Turn
from fairway.controllers.view import View
from fairway.controllers.writes import (
    AnyKind,
    Create,
    Delete,
    EventType,
    Outcome,
    Patch,
    Record,
    Tree,
    Write,
    reference_to,
    versioned,
)
from fairway.kube.administration import IPAddress, ServiceCIDRObject
from fairway.kube.discovery import SelectorService
from fairway.kube.objectmeta import Condition, condition_of, to_tree
from fairway.kube.objects import IP_ADDRESS, SERVICE, SERVICE_CIDR
from fairway.values.names import ObjectName

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
LABEL_MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
LABEL_FAMILY = "ipaddress.kubernetes.io/ip-family"
ALLOCATOR = "ipallocator.k8s.io"
DELETION_GRACE = 10.0
"""Seconds that a range stays after its end was asked for, so that every allocator has heard of it."""
UNUSED_GRACE = 60.0
"""Seconds that an address without a Service is left alone: the Service may be on its way."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IP = ipaddress.IPv4Address | ipaddress.IPv6Address


def networks_of(cidr: ServiceCIDRObject) -> list[Network]:
    """The ranges; what is none is left out."""
    found: list[Network] = []
    for text in cidr.spec.cidrs or ():
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            continue
    return found


def _covers(outer: Network, inner: Network) -> bool:
    if isinstance(outer, ipaddress.IPv4Network):
        return isinstance(inner, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, ipaddress.IPv6Network) and inner.subnet_of(outer)


def _is_allocated(address: IPAddress) -> IP | None:
    """The address, when it was given out by an API server."""
    if address.metadata.label_map.get(LABEL_MANAGED_BY) != ALLOCATOR:
        return None
    try:
        return ipaddress.ip_address(address.metadata.name)
    except ValueError:
        return None


class ServiceCIDRController:
    """Readiness and the end of ranges."""

    name = "service-cidr-controller"
    component = "service-cidr-controller"
    kinds: tuple[AnyKind, ...] = (SERVICE_CIDR, IP_ADDRESS)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is SERVICE_CIDR:
            leaving = (one for one in view.all(SERVICE_CIDR) if one.metadata.is_leaving)
            return {(new or old).metadata.object_name, *(one.metadata.object_name for one in leaving)}
        if new is not None and old is not None:
            return ()
        return {one.metadata.object_name for one in view.all(SERVICE_CIDR) if one.metadata.is_leaving}

    def sync(self, turn: Turn, view: View) -> Outcome:
        cidr = view.get(SERVICE_CIDR, turn.key)
        if cidr is None:
            return Outcome()
        finalizers = cidr.metadata.finalizers or ()
        if not cidr.metadata.is_leaving:
            if FINALIZER not in finalizers:
                body = versioned(cidr, finalizers=[*finalizers, FINALIZER])
                return Outcome((Patch(SERVICE_CIDR, turn.key, body),))
            ready = Condition("Ready", "True", "", "Kubernetes Service CIDR is ready")
            return Outcome(tuple(_set_condition(cidr, ready, turn.now)))
        if FINALIZER not in finalizers:
            return Outcome()
        if _is_needed(cidr, view):
            said = (
                "There are still IPAddresses referencing the ServiceCIDR, "
                "please remove them or create a new ServiceCIDR"
            )
            return Outcome(tuple(_set_condition(cidr, Condition("Ready", "False", "Terminating", said), turn.now)))
        since = cidr.metadata.deletion_timestamp or turn.now
        left = DELETION_GRACE - (turn.now - since).total_seconds()
        if left > 0:
            return Outcome(again_in=left)
        kept = [one for one in finalizers if one != FINALIZER]
        return Outcome((Patch(SERVICE_CIDR, turn.key, versioned(cidr, finalizers=kept or None)),))


def _set_condition(cidr: ServiceCIDRObject, new: Condition, now: datetime) -> list[Write]:
    held = condition_of(cidr.status.conditions, new.type)
    if held is not None and (held.status, held.message) == (new.status, new.message):
        return []
    moment = now.replace(microsecond=0)
    # The API asks for a reason and a message, also where upstream leaves the reason empty.
    tree = {**to_tree(new), "reason": new.reason, "lastTransitionTime": to_tree(moment)}
    others = [to_tree(one) for one in cidr.status.conditions or () if one.type != new.type]
    body = versioned(cidr, {"status": {"conditions": [*others, tree]}})
    return [Patch(SERVICE_CIDR, cidr.metadata.object_name, body, "status")]


def _is_needed(cidr: ServiceCIDRObject, view: View) -> bool:
    """An address in it would be in no range any more."""
    others = [one for one in view.all(SERVICE_CIDR) if one.metadata.name != cidr.metadata.name]
    around = [network for one in others for network in networks_of(one)]
    lonely = [one for one in networks_of(cidr) if not any(_covers(outer, one) for outer in around)]
    if not lonely:
        return False
    addresses = (_is_allocated(one) for one in view.all(IP_ADDRESS))
    return any(
        ip is not None and any(ip in one for one in lonely) and not any(ip in outer for outer in around)
        for ip in addresses
    )


class AddressRepairController:
    """Puts IPAddresses right against the Services' cluster IPs. Its keys are Services, and addresses without one."""

    name = "ipaddress-repair-controller"
    component = "ipallocator-repair-controller"
    kinds: tuple[AnyKind, ...] = (SERVICE, IP_ADDRESS)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is SERVICE:
            found = {(new or old).metadata.object_name}
            if old is not None and (new is None or old.spec.cluster_ips != new.spec.cluster_ips):
                found |= {ObjectName("", ip) for ip in cluster_ips(old)}
            return found
        parent = (new or old).spec.parent_ref
        owner = {ObjectName(parent.namespace, parent.name)} if parent is not None else set()
        return owner if new is None else {new.metadata.object_name}

    def sync(self, turn: Turn, view: View) -> Outcome:
        if turn.key.namespace:
            service = view.get(SERVICE, turn.key)
            return Outcome(tuple(_repair(service, view)) if service is not None else ())
        address = view.get(IP_ADDRESS, turn.key)
        if address is None or _is_allocated(address) is None or _is_used(address, view):
            return Outcome()
        since = turn.memory if isinstance(turn.memory, datetime) else turn.now
        left = UNUSED_GRACE - (turn.now - since).total_seconds()
        if left > 0:
            return Outcome(again_in=left, memory=since)
        meta = address.metadata
        about = reference_to(IP_ADDRESS, address)
        said = f"IPAddress: {meta.name} for Service {_parent(address)} appears to have leaked; cleaning up"
        record = Record(about, EventType.WARNING, "IPAddressNotAllocated", said)
        return Outcome((record, Delete(IP_ADDRESS, turn.key, meta.uid, meta.resource_version)), memory=since)


def cluster_ips(service: SelectorService) -> list[str]:
    """The cluster IPs in the form that IPAddresses are named by."""
    found: list[str] = []
    for text in service.spec.cluster_ips or ():
        try:
            found.append(str(ipaddress.ip_address(text)))
        except ValueError:
            continue
    return found


def _parent(address: IPAddress) -> str:
    ref = address.spec.parent_ref
    return f"{ref.namespace}/{ref.name}" if ref is not None else ""


def _is_used(address: IPAddress, view: View) -> bool:
    ref = address.spec.parent_ref
    if ref is None or ref.resource != "services" or ref.group:
        return False
    service = view.get(SERVICE, ObjectName(ref.namespace, ref.name))
    return service is not None and address.metadata.name in cluster_ips(service)


def _repair(service: SelectorService, view: View) -> list[Write]:
    """The IPAddresses that the Service's cluster IPs lack. One that belongs to another Service is only told of."""
    writes: list[Write] = []
    name = service.metadata.object_name
    about = reference_to(SERVICE, service)
    for ip in cluster_ips(service):
        held = view.get(IP_ADDRESS, ObjectName("", ip))
        if held is None:
            said = f"Cluster IP [{'IPv6' if ':' in ip else 'IPv4'}]: {ip} is not allocated; repairing"
            writes += [Record(about, EventType.WARNING, "ClusterIPNotAllocated", said), _create(name, ip)]
        elif _parent(held) != str(name):
            said = f"Cluster IP {ip} was assigned to multiple services; please recreate service"
            writes.append(Record(about, EventType.WARNING, "ClusterIPAlreadyAllocated", said))
    return writes


def _create(service: ObjectName, ip: str) -> Create:
    labels = {LABEL_FAMILY: "IPv6" if ":" in ip else "IPv4", LABEL_MANAGED_BY: ALLOCATOR}
    parent = {"group": "", "resource": "services", "namespace": service.namespace, "name": service.name}
    head: Tree = {"apiVersion": IP_ADDRESS.api_version, "kind": IP_ADDRESS.name}
    body: Tree = {**head, "metadata": {"name": ip, "labels": labels}, "spec": {"parentRef": parent}}
    return Create(IP_ADDRESS, "", body, may_exist=True)
