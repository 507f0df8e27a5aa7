"""All objects that are followed, whatever their kind, by uid and by owner; and which kinds a server serves.

What garbage collection and the end of a namespace are decided on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from fairway.controllers.writes import AnyKind
from fairway.kube.objectmeta import ApiObject, ObjectMeta
from fairway.kube.objects import owned_kind


class Thing(NamedTuple):
    """One object and its kind."""

    kind: AnyKind
    object: ApiObject

    @property
    def meta(self) -> ObjectMeta:
        return self.object.metadata


class Things:
    """Objects by uid, and the uids of their dependents."""

    def __init__(self) -> None:
        self._by_uid: dict[str, Thing] = {}
        self._dependents: dict[str, dict[str, None]] = {}

    def note(self, kind: AnyKind, old: ApiObject | None, new: ApiObject | None) -> None:
        """A cache's listener."""
        if old is not None:
            self._by_uid.pop(old.metadata.uid, None)
            for ref in old.metadata.owners:
                self._drop(ref.uid, old.metadata.uid)
        if new is not None:
            self._by_uid[new.metadata.uid] = Thing(kind, new)
            for ref in new.metadata.owners:
                self._dependents.setdefault(ref.uid, {})[new.metadata.uid] = None

    def _drop(self, owner: str, dependent: str) -> None:
        found = self._dependents.get(owner)
        if found is not None:
            found.pop(dependent, None)
            if not found:
                del self._dependents[owner]

    def get(self, uid: str) -> Thing | None:
        return self._by_uid.get(uid)

    def dependents(self, uid: str) -> list[Thing]:
        """The objects that name this one as an owner, by kind and name."""
        found = (self._by_uid[one] for one in self._dependents.get(uid, ()))
        return sorted(found, key=lambda thing: (thing.kind.path, thing.meta.object_name))


class ResourceType(NamedTuple):
    """A kind that a server serves, and what can be done with it."""

    kind: AnyKind
    verbs: frozenset[str]

    @property
    def is_collectable(self) -> bool:
        """Can be followed and deleted: so its objects can be garbage."""
        return {"list", "watch", "delete"} <= self.verbs and self.kind.name != "Event"


class _WireResource(msgspec.Struct):
    name: str
    kind: str
    namespaced: bool = False
    verbs: tuple[str, ...] | None = None


class _WireResourceList(msgspec.Struct, rename="camel"):
    group_version: str = "v1"
    resources: tuple[_WireResource, ...] | None = None


class _WireVersion(msgspec.Struct, rename="camel"):
    group_version: str


class _WireGroup(msgspec.Struct, rename="camel"):
    preferred_version: _WireVersion


class _WireGroupList(msgspec.Struct):
    groups: tuple[_WireGroup, ...] | None = None


def preferred_versions(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """The group versions to ask next, from the answer of `/apis`. Raises msgspec.ValidationError."""
    groups = msgspec.convert(tree, _WireGroupList).groups or ()
    return tuple(group.preferred_version.group_version for group in groups)


def resource_types(tree: Mapping[str, Any]) -> list[ResourceType]:
    """The kinds of one group version, sub-resources left out. Raises msgspec.ValidationError."""
    answer = msgspec.convert(tree, _WireResourceList)
    return [
        ResourceType(
            owned_kind(one.kind, answer.group_version, one.name, is_namespaced=one.namespaced),
            frozenset(one.verbs or ()),
        )
        for one in answer.resources or ()
        if "/" not in one.name
    ]


def kind_named(types: Iterable[ResourceType], api_version: str, name: str) -> AnyKind | None:
    """The kind that an owner reference means: the same group in whatever version is followed."""
    group = api_version.rpartition("/")[0]
    for one in types:
        if one.kind.name == name and one.kind.api_version.rpartition("/")[0] == group:
            return one.kind
    return None
