"""Endpoints that people make by hand to EndpointSlices, as kube-controller-manager's mirroring controller does it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from fairway.controllers.controller import Key, Turn
from fairway.controllers.endpointslices import name_prefix
from fairway.controllers.membership import ANNOTATION_LAST_APPLIED, ANNOTATION_LEADER, ANNOTATION_TRIGGER_TIME
from fairway.controllers.slicing import (
    LABEL_MANAGED_BY,
    Draft,
    EndpointKey,
    Ports,
    endpoint_key,
    endpoint_trees,
    is_same,
    port_trees,
    ports_key,
)
from fairway.controllers.subsets import repack
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
    controlled_by,
    map_patch,
    reference_to,
    versioned,
)
from fairway.kube.discovery import (
    AddressType,
    EndpointAddress,
    EndpointsObject,
    SelectorService,
    SliceConditions,
    SliceEndpoint,
    SliceObject,
    SlicePort,
)
from fairway.kube.meta import LABEL_SERVICE_NAME
from fairway.kube.objectmeta import to_tree
from fairway.kube.objects import ENDPOINT_SLICE, ENDPOINTS, SERVICE
from fairway.values.names import ObjectName

MANAGER = "endpointslicemirroring-controller.k8s.io"
LABEL_SKIP = "endpointslice.kubernetes.io/skip-mirror"
MAX_PER_SUBSET = 1000


class SetKey(NamedTuple):
    """One slice each."""

    address_type: str
    ports: Ports


Wanted = dict[SetKey, dict[EndpointKey, SliceEndpoint]]


class MirroringController:
    """Keeps the mirror slices of Endpoints whose Service has no selector."""

    name = "endpointslice-mirroring-controller"
    component = "endpoint-slice-mirroring-controller"
    kinds: tuple[AnyKind, ...] = (ENDPOINTS, SERVICE, ENDPOINT_SLICE)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is ENDPOINT_SLICE:
            return _endpoints_for_slice(old, new)
        if kind is SERVICE and old is not None and new is not None and _mirrors(old) == _mirrors(new):
            return set()
        return {(new or old).metadata.object_name}

    def sync(self, turn: Turn, view: View) -> Outcome:
        endpoints, service = view.get(ENDPOINTS, turn.key), view.get(SERVICE, turn.key)
        present = [one for one in view.slices_of(turn.key) if one.metadata.label_map.get(LABEL_MANAGED_BY) == MANAGER]
        if endpoints is None or service is None or not _mirrors(service) or _is_skipped(endpoints):
            return Outcome(tuple(_delete(one) for one in present))
        wanted, invalid, skipped = wanted_mirror(endpoints)
        return Outcome((*_reconcile(endpoints, wanted, present), *_records(endpoints, invalid, skipped)))


def _mirrors(service: SelectorService) -> bool:
    return not service.spec.selector


def _is_skipped(endpoints: EndpointsObject) -> bool:
    meta = endpoints.metadata
    return meta.label_map.get(LABEL_SKIP) == "true" or ANNOTATION_LEADER in meta.annotation_map


def _endpoints_for_slice(old: SliceObject | None, new: SliceObject | None) -> set[Key]:
    if old is not None and new is not None and old.metadata.generation == new.metadata.generation:
        return set()
    both = [one for one in (old, new) if one is not None]
    if all(one.metadata.label_map.get(LABEL_MANAGED_BY) != MANAGER for one in both):
        return set()
    names = {(one.metadata.namespace, one.metadata.label_map.get(LABEL_SERVICE_NAME)) for one in both}
    return {ObjectName(namespace, name) for namespace, name in names if name}


class Mirror(NamedTuple):
    wanted: Wanted
    invalid: int
    """Addresses that are none."""
    skipped: int
    """Addresses beyond what a subset may have."""


def wanted_mirror(endpoints: EndpointsObject) -> Mirror:
    """The endpoints of each slice: one for each family and set of ports."""
    wanted: Wanted = {}
    invalid = skipped = 0
    for subset in repack(endpoints.subsets or ()):
        ports = ports_key(tuple(_with_name(one) for one in subset.ports or ()))
        added = 0
        for address, is_ready in _ready_first(subset.addresses, subset.not_ready_addresses):
            if added >= MAX_PER_SUBSET:
                skipped += 1
                continue
            made = _endpoint(address, is_ready)
            if made is None:
                invalid += 1
                continue
            address_type, endpoint = made
            wanted.setdefault(SetKey(address_type.value, ports), {})[endpoint_key(endpoint)] = endpoint
            added += 1
    return Mirror(wanted, invalid, skipped)


def _with_name(port: SlicePort) -> SlicePort:
    return SlicePort(port.name or "", port.protocol, port.port, port.app_protocol)


def _ready_first(
    ready: tuple[EndpointAddress, ...] | None, not_ready: tuple[EndpointAddress, ...] | None
) -> Iterable[tuple[EndpointAddress, bool]]:
    yield from ((one, True) for one in ready or ())
    yield from ((one, False) for one in not_ready or ())


def _endpoint(address: EndpointAddress, is_ready: bool) -> tuple[AddressType, SliceEndpoint] | None:
    try:
        ip = ipaddress.ip_address(address.ip)
    except ValueError:
        return None
    endpoint = SliceEndpoint(
        addresses=(str(ip),),
        conditions=SliceConditions(ready=is_ready),
        hostname=address.hostname or None,
        target_ref=address.target_ref,
        node_name=address.node_name,
    )
    return AddressType.IPV6 if ip.version == 6 else AddressType.IPV4, endpoint


def _reconcile(endpoints: EndpointsObject, wanted: Wanted, present: list[SliceObject]) -> list[Write]:
    """One slice for each set. A slice that would be made takes the place of one of its family that would go."""
    by_key: dict[SetKey, list[SliceObject]] = {}
    for one in present:
        by_key.setdefault(SetKey(one.address_type.value, ports_key(one.ports)), []).append(one)
    writes: list[Write] = []
    dropped = [one for key, found in by_key.items() for one in (found[1:] if key in wanted else found)]
    for key, members in sorted(wanted.items(), key=repr):
        found = by_key.get(key)
        if found:
            draft = Draft(key.ports, list(members.values()), True, found[0])
            writes += [_patch(endpoints, draft, found[0])] if _differs(endpoints, members, found[0]) else []
            continue
        reused = next((one for one in dropped if one.address_type.value == key.address_type), None)
        draft = Draft(key.ports, list(members.values()), True)
        if reused is not None:
            dropped.remove(reused)
            writes.append(_patch(endpoints, draft, reused))
        elif not endpoints.metadata.is_leaving:
            writes.append(_create(endpoints, draft, key.address_type))
    return [*writes, *(_delete(one) for one in dropped)]


def _differs(endpoints: EndpointsObject, wanted: Mapping[EndpointKey, SliceEndpoint], present: SliceObject) -> bool:
    found = {endpoint_key(one): one for one in present.members}
    meta = present.metadata
    return (
        found.keys() != wanted.keys()
        or len(found) != len(present.members)
        or not all(is_same(wanted[key], one) for key, one in found.items())
        or meta.label_map != _labels(endpoints)
        or meta.annotation_map != _annotations(endpoints)
        or any(ref.kind == "Endpoints" and ref.uid != endpoints.metadata.uid for ref in meta.owners)
    )


def _labels(endpoints: EndpointsObject) -> dict[str, str]:
    meta = endpoints.metadata
    return {**meta.label_map, LABEL_SERVICE_NAME: meta.name, LABEL_MANAGED_BY: MANAGER}


def _annotations(endpoints: EndpointsObject) -> dict[str, str]:
    left_out = (ANNOTATION_TRIGGER_TIME, ANNOTATION_LAST_APPLIED)
    return {key: value for key, value in endpoints.metadata.annotation_map.items() if key not in left_out}


def _content(draft: Draft) -> Tree:
    return {"endpoints": endpoint_trees(draft.endpoints), "ports": port_trees(draft.ports)}


def _create(endpoints: EndpointsObject, draft: Draft, address_type: str) -> Create:
    meta = endpoints.metadata
    metadata: Tree = {
        "generateName": name_prefix(meta.name),
        "namespace": meta.namespace,
        "labels": _labels(endpoints),
        "ownerReferences": [to_tree(controlled_by(ENDPOINTS, endpoints))],
    }
    if annotations := _annotations(endpoints):
        metadata["annotations"] = annotations
    head: Tree = {"apiVersion": ENDPOINT_SLICE.api_version, "kind": ENDPOINT_SLICE.name, "metadata": metadata}
    return Create(ENDPOINT_SLICE, meta.namespace, {**head, "addressType": address_type, **_content(draft)})


def _patch(endpoints: EndpointsObject, draft: Draft, present: SliceObject) -> Patch:
    meta = present.metadata
    changes: Tree = {
        "labels": map_patch(meta.labels, _labels(endpoints)),
        "annotations": map_patch(meta.annotations, _annotations(endpoints)),
        "ownerReferences": [to_tree(controlled_by(ENDPOINTS, endpoints))],
    }
    return Patch(ENDPOINT_SLICE, meta.object_name, versioned(present, _content(draft), **changes))


def _delete(one: SliceObject) -> Delete:
    return Delete(ENDPOINT_SLICE, one.metadata.object_name, one.metadata.uid)


def _records(endpoints: EndpointsObject, invalid: int, skipped: int) -> list[Write]:
    about = reference_to(ENDPOINTS, endpoints)
    records: list[Write] = []
    if invalid:
        said = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
        records.append(Record(about, EventType.WARNING, "InvalidIPAddress", said))
    if skipped:
        said = (
            f"A max of {MAX_PER_SUBSET} addresses can be mirrored to EndpointSlices per Endpoints subset. "
            f"{skipped + invalid} addresses were skipped"
        )
        records.append(Record(about, EventType.WARNING, "TooManyAddressesToMirror", said))
    return records
