"""Who belongs to whom: a controller takes lone objects that its selector matches, and lets go of those it does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from fairway.controllers.writes import AnyKind, Patch, Write, controlled_by, versioned
from fairway.kube.objectmeta import ApiObject, LabelSelector, OwnerReference, to_tree

T = TypeVar("T", bound=ApiObject)


class Claim(NamedTuple, Generic[T]):
    """What an owner has after it took and let go."""

    claimed: list[T]
    writes: list[Write]


def claim(
    owner_kind: AnyKind, owner: ApiObject, selector: LabelSelector, kind: AnyKind, found: Iterable[T]
) -> Claim[T]:
    """Take what matches and is nobody's, let go what is ours and does not match, leave the rest alone.

    An owner that is being deleted neither takes nor lets go. An object that is being deleted is not taken.
    """
    claimed: list[T] = []
    writes: list[Write] = []
    ref = controlled_by(owner_kind, owner)
    for one in found:
        controller, matches = one.metadata.controller, selector.matches(one.metadata.label_map)
        if controller is not None and controller.uid != ref.uid:
            continue
        if controller is not None and matches:
            claimed.append(one)
        elif controller is not None and not owner.metadata.is_leaving:
            writes.append(_set_owners(kind, one, [o for o in one.metadata.owners if o.uid != ref.uid]))
        elif controller is None and matches and not owner.metadata.is_leaving and not one.metadata.is_leaving:
            claimed.append(one)
            writes.append(_set_owners(kind, one, [*one.metadata.owners, ref]))
    return Claim(claimed, writes)


def _set_owners(kind: AnyKind, one: ApiObject, owners: list[OwnerReference]) -> Patch:
    return Patch(kind, one.metadata.object_name, versioned(one, ownerReferences=[to_tree(ref) for ref in owners]))
