"""ObjectMeta and the small shapes that every kind shares, whole enough for controllers, which write objects as well.

A proxy reads far less of an object (`fairway.kube.meta`); what controllers do with these is decided in `controllers/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from fairway.values.names import ObjectName


class OwnerReference(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Who an object belongs to; at most one of an object's owners is its controller."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """metadata of any object. The mappings are never changed in place."""

    name: str = ""
    namespace: str = ""
    generate_name: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None
    finalizers: tuple[str, ...] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None

    @property
    def object_name(self) -> ObjectName:
        return ObjectName(self.namespace, self.name)

    @property
    def label_map(self) -> Mapping[str, str]:
        return self.labels or {}

    @property
    def annotation_map(self) -> Mapping[str, str]:
        return self.annotations or {}

    @property
    def owners(self) -> tuple[OwnerReference, ...]:
        return self.owner_references or ()

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages the object, if any."""
        return next((ref for ref in self.owners if ref.controller), None)

    @property
    def is_leaving(self) -> bool:
        """Being deleted: only finalizers or a grace period keep it."""
        return self.deletion_timestamp is not None

    @property
    def created(self) -> datetime:
        return self.creation_timestamp or EPOCH


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ApiObject(Protocol):
    """Any decoded object."""

    @property
    def metadata(self) -> ObjectMeta: ...


class ObjectReference(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A pointer from one object to another (targetRef, involvedObject)."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class Requirement(msgspec.Struct, frozen=True, gc=False):
    """One entry of matchExpressions."""

    key: str
    operator: str
    values: tuple[str, ...] | None = None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Unknown operators match nothing, so that nothing is taken over by mistake."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in (self.values or ())
            case "NotIn":
                return value is None or value not in (self.values or ())
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        return False


class LabelSelector(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """metav1.LabelSelector: all of it must hold. An empty one selects everything."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Requirement, ...] | None = None

    @property
    def is_empty(self) -> bool:
        return not self.match_labels and not self.match_expressions

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return contains(labels, self.match_labels or {}) and all(
            one.matches(labels) for one in self.match_expressions or ()
        )


class Condition(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """One entry of status.conditions of any kind."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None
    last_update_time: datetime | None = None
    last_heartbeat_time: datetime | None = None
    last_probe_time: datetime | None = None
    observed_generation: int | None = None


def contains(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether the labels hold every pair of a map selector."""
    return all(labels.get(key) == value for key, value in selector.items())


def condition_of(conditions: tuple[Condition, ...] | None, kind: str) -> Condition | None:
    """The condition of that type, if there."""
    return next((one for one in conditions or () if one.type == kind), None)


def rfc3339(moment: datetime) -> str:
    """metav1.Time: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_tree(value: object) -> Any:
    """A struct as the JSON tree that is sent, times as text in whole seconds."""
    return _with_time_texts(msgspec.to_builtins(value, builtin_types=(datetime,)))


def _with_time_texts(tree: Any) -> Any:
    if isinstance(tree, datetime):
        return rfc3339(tree)
    if isinstance(tree, dict):
        return {key: _with_time_texts(one) for key, one in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_with_time_texts(one) for one in tree]
    return tree
