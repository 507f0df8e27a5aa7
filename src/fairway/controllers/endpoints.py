"""Service and pods to the older Endpoints object, as kube-controller-manager's endpoints-controller does it.

Better than that one in one thing: a pod that has no node yet is listed without a node name, and does not stop the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from fairway.controllers.controller import Key, Turn
from fairway.controllers.membership import (
    ANNOTATION_LEADER,
    ANNOTATION_OVER_CAPACITY,
    ANNOTATION_TRIGGER_TIME,
    TriggerMemory,
    addresses_of,
    has_endpoint,
    hostname_of,
    port_number,
    services_concerned,
    trigger_text,
    trigger_time,
)
from fairway.controllers.subsets import repack, truncate
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
    map_patch,
    reference_to,
    versioned,
)
from fairway.kube.discovery import (
    EndpointAddress,
    EndpointsObject,
    EndpointSubset,
    SelectorService,
    SelectorSpec,
    SlicePort,
)
from fairway.kube.meta import LABEL_HEADLESS
from fairway.kube.objectmeta import ObjectReference, to_tree
from fairway.kube.objects import ENDPOINTS, POD, SERVICE
from fairway.kube.pod import Pod

MANAGER = "endpoint-controller"
LABEL_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
LARGE = 100


class EndpointsController:
    """Keeps the Endpoints of Services that have a selector; those of others are their makers' business."""

    name = "endpoints-controller"
    component = "endpoint-controller"
    kinds: tuple[AnyKind, ...] = (SERVICE, POD, ENDPOINTS)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is POD:
            return services_concerned(old, new, view)
        if kind is ENDPOINTS:
            return _stray_or_gone(old, new, view)
        return {(new or old).metadata.object_name}

    def sync(self, turn: Turn, view: View) -> Outcome:
        service, present = view.get(SERVICE, turn.key), view.get(ENDPOINTS, turn.key)
        if service is None:
            return Outcome(tuple(_drop(present)))
        if not service.selects:
            return Outcome()
        pods = view.pods_matching(turn.key.namespace, service.spec.selector or {})
        before = turn.memory if isinstance(turn.memory, Memory) else None
        triggered, known = trigger_time(service, pods, before.trigger if before else None)
        made = wanted_parts(service, pods, before.made if before and before.spec == service.spec else {})
        memory = Memory(known, service.spec, made if len(pods) > LARGE else {})
        subsets = repack(part for one in made.values() for part in one.parts)
        if present is not None and _is_right(present, service, subsets):
            return Outcome(memory=memory)
        annotations = {ANNOTATION_TRIGGER_TIME: trigger_text(triggered)} if triggered else {}
        cut = truncate(subsets)
        if cut is not subsets:
            annotations[ANNOTATION_OVER_CAPACITY] = "truncated"
        if present is None:
            return Outcome((_create(service, cut, annotations),), memory=memory)
        return Outcome((_patch(present, service, cut, annotations),), memory=memory)


def _stray_or_gone(old: EndpointsObject | None, new: EndpointsObject | None, view: View) -> set[Key]:
    """One that was deleted is made again; one found at the start whose Service is gone, goes. Not one made later."""
    if new is None and old is not None:
        return {old.metadata.object_name}
    is_start = not view.cache(ENDPOINTS).has_synced
    if is_start and old is None and new is not None and view.get(SERVICE, new.metadata.object_name) is None:
        is_ours = new.metadata.label_map.get(LABEL_MANAGED_BY) == MANAGER
        is_lock = ANNOTATION_LEADER in new.metadata.annotation_map
        return {new.metadata.object_name} if is_ours and not is_lock else set()
    return set()


def _drop(present: EndpointsObject | None) -> Iterable[Write]:
    """The Endpoints of a Service that is gone; without one, elections' locks live in Endpoints too."""
    if present is not None and ANNOTATION_LEADER not in present.metadata.annotation_map:
        yield Delete(ENDPOINTS, present.metadata.object_name, present.metadata.uid)


class Made(NamedTuple):
    """A pod, and what it contributes: its address with one port each."""

    pod: Pod
    parts: tuple[EndpointSubset, ...]


class Memory(NamedTuple):
    """What one look at a Service leaves for the next."""

    trigger: TriggerMemory
    spec: SelectorSpec
    made: Mapping[str, Made]
    """By uid of the pod; only of Services with so many pods that making all anew would count."""


def wanted_parts(service: SelectorService, pods: Iterable[Pod], held: Mapping[str, Made]) -> dict[str, Made]:
    """What each pod contributes; terminating pods only where all are to be published."""
    made: dict[str, Made] = {}
    for pod in pods:
        uid = pod.metadata.uid
        one = held.get(uid)
        made[uid] = one if one is not None and one.pod is pod else Made(pod, tuple(_parts(service, pod)))
    return made


def _parts(service: SelectorService, pod: Pod) -> Iterable[EndpointSubset]:
    """In the Service's first family."""
    publishes_all = bool(service.spec.publish_not_ready_addresses)
    address = _address(service, pod) if has_endpoint(pod, with_terminating=publishes_all) else None
    if address is None:
        return
    place = (address,)
    is_ready = publishes_all or pod.is_ready
    for ports in _ports(service, pod):
        yield EndpointSubset(place if is_ready else None, None if is_ready else place, ports)


def _ports(service: SelectorService, pod: Pod) -> Iterable[tuple[SlicePort, ...] | None]:
    """One port at a time; a headless Service may have none at all."""
    if not service.spec.ports:
        if service.spec.cluster_ip == "None":
            yield None
        return
    for port in service.spec.ports:
        number = port_number(pod, port)
        if number is not None:
            yield (SlicePort(port.name or None, port.protocol or "TCP", number, port.app_protocol),)


def _address(service: SelectorService, pod: Pod) -> EndpointAddress | None:
    addresses = addresses_of(pod, service.address_types[0])
    if not addresses:
        return None
    meta = pod.metadata
    target = ObjectReference("Pod", meta.namespace, meta.name, meta.uid)
    return EndpointAddress(addresses[0], hostname_of(pod, service), pod.node or None, target)


def _is_right(present: EndpointsObject, service: SelectorService, wanted: tuple[EndpointSubset, ...]) -> bool:
    """Nothing to write: subsets, labels and the mark of truncation are as they should be."""
    meta = present.metadata
    cut = truncate(wanted)
    if (cut is not wanted) != (ANNOTATION_OVER_CAPACITY in meta.annotation_map):
        return False
    own = {k: v for k, v in meta.label_map.items() if k not in (LABEL_HEADLESS, LABEL_MANAGED_BY)}
    asked = {k: v for k, v in service.metadata.label_map.items() if k not in (LABEL_HEADLESS, LABEL_MANAGED_BY)}
    if own != asked or meta.label_map.get(LABEL_MANAGED_BY) != MANAGER:
        return False
    return _comparable(repack(present.subsets or ())) == (repack(cut) if cut is not wanted else cut)


def _comparable(subsets: tuple[EndpointSubset, ...]) -> tuple[EndpointSubset, ...]:
    """A pod's version is no difference."""
    return tuple(
        EndpointSubset(_without_versions(one.addresses), _without_versions(one.not_ready_addresses), one.ports)
        for one in subsets
    )


def _without_versions(addresses: tuple[EndpointAddress, ...] | None) -> tuple[EndpointAddress, ...] | None:
    if not any(one.target_ref and one.target_ref.resource_version for one in addresses or ()):
        return addresses
    replace = msgspec.structs.replace
    return tuple(
        replace(one, target_ref=replace(one.target_ref, resource_version="")) if one.target_ref else one
        for one in addresses or ()
    )


def _labels(service: SelectorService) -> dict[str, str]:
    labels = {k: v for k, v in service.metadata.label_map.items() if k != LABEL_HEADLESS}
    if service.is_headless:
        labels[LABEL_HEADLESS] = ""
    return {**labels, LABEL_MANAGED_BY: MANAGER}


def _create(service: SelectorService, subsets: tuple[EndpointSubset, ...], annotations: dict[str, str]) -> Create:
    name = service.metadata.object_name
    metadata: Tree = {"name": name.name, "namespace": name.namespace, "labels": _labels(service)}
    if annotations:
        metadata["annotations"] = annotations
    body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": to_tree(subsets)}
    said = f"Failed to create endpoint for service {name}: {{error}}"
    about = ObjectReference("Endpoints", name.namespace, name.name, api_version="v1")
    return Create(
        ENDPOINTS, name.namespace, body, failed=Record(about, EventType.WARNING, "FailedToCreateEndpoint", said)
    )


def _patch(
    present: EndpointsObject,
    service: SelectorService,
    subsets: tuple[EndpointSubset, ...],
    annotations: dict[str, str],
) -> Patch:
    meta = present.metadata
    kept = {
        key: value
        for key, value in meta.annotation_map.items()
        if key not in (ANNOTATION_TRIGGER_TIME, ANNOTATION_OVER_CAPACITY)
    }
    changes = {
        "labels": map_patch(meta.labels, _labels(service)),
        "annotations": map_patch(meta.annotations, {**kept, **annotations}),
    }
    said = f"Failed to update endpoint {meta.object_name}: {{error}}"
    failed = Record(reference_to(ENDPOINTS, present), EventType.WARNING, "FailedToUpdateEndpoint", said)
    body = versioned(present, {"subsets": to_tree(subsets)}, **changes)
    return Patch(ENDPOINTS, meta.object_name, body, failed=failed)
