"""Service and pods to the older Endpoints object, as kube-controller-manager's endpoints-controller does it.

Better than that one in one thing: a pod that has no node yet is listed without a node name, and does not stop the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
from fairway.kube.discovery import EndpointAddress, EndpointsObject, EndpointSubset, SelectorService, SlicePort
from fairway.kube.meta import LABEL_HEADLESS
from fairway.kube.objectmeta import ObjectReference, to_tree
from fairway.kube.objects import ENDPOINTS, POD, SERVICE
from fairway.kube.pod import Pod

MANAGER = "endpoint-controller"
LABEL_MANAGED_BY = "endpoints.kubernetes.io/managed-by"


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
        memory = turn.memory if isinstance(turn.memory, TriggerMemory) else None
        triggered, memory = trigger_time(service, pods, memory)
        subsets = wanted_subsets(service, pods)
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


def wanted_subsets(service: SelectorService, pods: Iterable[Pod]) -> tuple[EndpointSubset, ...]:
    """The pods' addresses in the Service's first family; terminating pods only where all are to be published."""
    publishes_all = bool(service.spec.publish_not_ready_addresses)
    made: list[EndpointSubset] = []
    for pod in pods:
        if not has_endpoint(pod, with_terminating=publishes_all):
            continue
        address = _address(service, pod)
        if address is None:
            continue
        place = (address,)
        is_ready = publishes_all or pod.is_ready
        made.extend(
            EndpointSubset(place if is_ready else None, None if is_ready else place, ports)
            for ports in _ports(service, pod)
        )
    return repack(made)


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
    return _comparable(repack(present.subsets or ())) == _comparable(repack(cut))


def _comparable(subsets: tuple[EndpointSubset, ...]) -> object:
    """A pod's version is no difference."""
    tree = to_tree(subsets)
    for subset in tree:
        for address in (*subset.get("addresses", ()), *subset.get("notReadyAddresses", ())):
            address.get("targetRef", {}).pop("resourceVersion", None)
    return tree


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
