"""Packing endpoints into slices: which stay where they are, which slice takes the new ones, what is written.

The rules keep changes small: one endpoint that changes rewrites one slice, and nothing moves to fill holes. Which
endpoints are wanted, and their hints, is decided by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fairway.controllers.hints import Group
from fairway.controllers.writes import Create, Delete, Patch, Record, Tree, Write, map_patch, versioned
from fairway.kube.discovery import AddressType, SliceEndpoint, SliceObject, SlicePort
from fairway.kube.meta import LABEL_HEADLESS
from fairway.kube.objectmeta import OwnerReference, to_tree
from fairway.kube.objects import ENDPOINT_SLICE

MAX_ENDPOINTS = 100
LABEL_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"

Ports = tuple[SlicePort, ...]


def ports_key(ports: Ports | None) -> Ports:
    """Ports in one order: two sets of ports that are equal have equal keys."""
    return tuple(sorted(ports or (), key=lambda p: (p.name or "", p.protocol or "", p.port or 0, p.app_protocol or "")))


class EndpointKey(NamedTuple):
    """What makes two endpoints the same one."""

    addresses: tuple[str, ...]
    hostname: str
    namespace: str
    name: str


def endpoint_key(one: SliceEndpoint) -> EndpointKey:
    ref = one.target_ref
    return EndpointKey(
        tuple(sorted(one.addresses)), one.hostname or "", ref.namespace if ref else "", ref.name if ref else ""
    )


def is_same(wanted: SliceEndpoint, present: SliceEndpoint) -> bool:
    """Equal in all that endpoints are made of; hints are decided apart, and a pod's version does not count."""
    return (
        wanted.node_name == present.node_name
        and wanted.zone == present.zone
        and wanted.conditions == present.conditions
        and _without_version(wanted) == _without_version(present)
    )


def _without_version(one: SliceEndpoint) -> tuple[str, ...]:
    ref = one.target_ref
    return (ref.kind, ref.namespace, ref.name, ref.uid, ref.field_path) if ref else ()


class Dress(NamedTuple):
    """What all slices of one owner and family have in common."""

    namespace: str
    prefix: str
    address_type: AddressType
    labels: Mapping[str, str]
    owner: OwnerReference


@dataclass(slots=True, eq=False)
class Draft(Group):
    """A slice that is wanted: a present one, changed or not, or a new one."""

    present: SliceObject | None = None

    @property
    def name(self) -> str:
        return self.present.metadata.name if self.present else ""


class Packed(NamedTuple):
    """What became of the slices of one (owner, family)."""

    kept: list[Draft]
    made: list[Draft]
    dropped: list[SliceObject]


def pack(wanted: Mapping[EndpointKey, SliceEndpoint], ports: Ports, present: list[SliceObject], dress: Dress) -> Packed:
    """Put the wanted endpoints of one set of ports into the slices that have these ports, and into new ones."""
    rest = dict(wanted)
    kept: list[Draft] = []
    dropped: list[SliceObject] = []
    for one in present:
        draft = _keep(one, rest, dress)
        if draft.endpoints or not one.members:
            kept.append(draft)
        else:
            dropped.append(one)
    waiting = [rest[key] for key in sorted(rest)]
    for draft in sorted((d for d in kept if d.is_changed), key=_fullest_first):
        _fill(draft, waiting)
    made: list[Draft] = []
    while waiting:
        target = _roomiest_fit([d for d in kept if not d.is_changed], len(waiting))
        if target is None:
            target = Draft(ports, [], True)
            made.append(target)
        _fill(target, waiting)
        target.is_changed = True
    return Packed(kept, made, dropped)


def _keep(present: SliceObject, rest: dict[EndpointKey, SliceEndpoint], dress: Dress) -> Draft:
    """The part of a present slice that is still wanted; what was found there is no longer in `rest`."""
    changed = False
    members: list[SliceEndpoint] = []
    for endpoint in present.members:
        wanted = rest.pop(endpoint_key(endpoint), None)
        if wanted is None:
            changed = True
            continue
        members.append(wanted)
        changed = changed or not is_same(wanted, endpoint)
    if not changed:
        members = list(present.members)
    changed = changed or _copied(present.metadata.label_map) != _copied(dress.labels)
    return Draft(present.ports or (), members, changed, present)


def _copied(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels that are a reason to write; as upstream, the mark of headless Services is put right only on the way."""
    return {key: value for key, value in labels.items() if key != LABEL_HEADLESS}


def _fill(draft: Draft, waiting: list[SliceEndpoint]) -> None:
    room = max(0, MAX_ENDPOINTS - len(draft.endpoints))
    draft.endpoints.extend(waiting[:room])
    del waiting[:room]


def _fullest_first(draft: Draft) -> tuple[int, str]:
    return (-len(draft.endpoints), draft.name)


def _roomiest_fit(drafts: list[Draft], count: int) -> Draft | None:
    """The fullest slice that still takes all of them."""
    fitting = [d for d in drafts if len(d.endpoints) + count <= MAX_ENDPOINTS]
    return min(fitting, key=_fullest_first, default=None) if count < MAX_ENDPOINTS else None


def writes_for(packed: Packed, dress: Dress, annotations: Mapping[str, str], failed: Record | None) -> list[Write]:
    """Creates, patches and deletes. A slice that would be made takes the place of one that would be deleted.

    `annotations` are what a new slice has; a present one keeps its others.
    """
    dropped, made = list(packed.dropped), list(packed.made)
    writes: list[Write] = [
        _patch(draft, draft.present, dress, annotations, failed)
        for draft in packed.kept
        if draft.is_changed and draft.present
    ]
    for old in list(dropped):
        if made and old.address_type is dress.address_type and _is_owned(old, dress):
            dropped.remove(old)
            writes.append(_patch(made.pop(), old, dress, annotations, failed, is_reused=True))
    creates: list[Write] = [_create(draft, dress, annotations, failed) for draft in made]
    deletes: list[Write] = [
        Delete(ENDPOINT_SLICE, one.metadata.object_name, one.metadata.uid, failed=failed) for one in dropped
    ]
    return [*creates, *writes, *deletes]


def _is_owned(one: SliceObject, dress: Dress) -> bool:
    return any(ref.uid == dress.owner.uid and ref.kind == dress.owner.kind for ref in one.metadata.owners)


def endpoint_trees(endpoints: Iterable[SliceEndpoint]) -> list[Tree]:
    """As they are sent, in one order."""
    return [to_tree(one) for one in sorted(endpoints, key=endpoint_key)]


def port_trees(ports: Ports) -> list[Tree]:
    """As they are sent, each with its name, be it empty: in a slice, no name and an empty one are told apart."""
    return [
        {"name": one.name or "", **{key: value for key, value in to_tree(one).items() if key != "name"}}
        for one in ports_key(ports)
    ]


def _content(draft: Draft) -> Tree:
    return {"endpoints": endpoint_trees(draft.endpoints), "ports": port_trees(draft.ports)}


def _create(draft: Draft, dress: Dress, annotations: Mapping[str, str], failed: Record | None) -> Create:
    metadata: Tree = {
        "generateName": dress.prefix,
        "namespace": dress.namespace,
        "labels": dict(dress.labels),
        "ownerReferences": [to_tree(dress.owner)],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return Create(
        ENDPOINT_SLICE,
        dress.namespace,
        {
            "apiVersion": ENDPOINT_SLICE.api_version,
            "kind": ENDPOINT_SLICE.name,
            "metadata": metadata,
            "addressType": dress.address_type.value,
            **_content(draft),
        },
        failed=failed,
    )


def _patch(
    draft: Draft,
    present: SliceObject,
    dress: Dress,
    annotations: Mapping[str, str],
    failed: Record | None,
    *,
    is_reused: bool = False,
) -> Patch:
    old = present.metadata
    metadata: Tree = {"labels": map_patch(old.labels, dress.labels)}
    kept = {} if is_reused else {k: v for k, v in old.annotation_map.items() if k not in _OWN_ANNOTATIONS}
    if changes := map_patch(old.annotations, {**kept, **annotations}):
        metadata["annotations"] = changes
    if is_reused:
        metadata["ownerReferences"] = [to_tree(dress.owner)]
    return Patch(ENDPOINT_SLICE, old.object_name, versioned(present, _content(draft), **metadata), failed=failed)


_OWN_ANNOTATIONS = ("endpoints.kubernetes.io/last-change-trigger-time",)
