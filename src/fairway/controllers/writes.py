"""What a controller wants done, as values; one loop performs them in order and stops at the first that fails.

Objects are made whole and changed by JSON merge patches (RFC 7386) that carry the resourceVersion they were decided on,
so that a field which nobody here knows survives, and a write based on an old state is refused and decided anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

from fairway.kube.decode import Kind
from fairway.kube.objectmeta import ApiObject, ObjectReference, OwnerReference
from fairway.values.names import ObjectName

Tree = dict[str, Any]
AnyKind = Kind[Any]


class Propagation(Enum):
    """What happens to the objects that a deleted one owns."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


class EventType(Enum):
    NORMAL = "Normal"
    WARNING = "Warning"


class Record(NamedTuple):
    """An Event about an object. `message` may hold `{name}` and `{error}` when it announces another write."""

    regarding: ObjectReference
    type: EventType
    reason: str
    message: str


class Create(NamedTuple):
    """Make an object. `done` and `failed` are recorded with the name that the server gave, or its words."""

    kind: AnyKind
    namespace: str
    body: Tree
    done: Record | None = None
    failed: Record | None = None
    may_exist: bool = False
    """AlreadyExists is as good as success."""


class Patch(NamedTuple):
    """Change an object, or its sub-resource, by a JSON merge patch."""

    kind: AnyKind
    name: ObjectName
    body: Tree
    subresource: str = ""
    done: Record | None = None
    failed: Record | None = None


class Delete(NamedTuple):
    """Delete an object, if it still is that one (uid, and version where given). Already gone is success."""

    kind: AnyKind
    name: ObjectName
    uid: str = ""
    resource_version: str = ""
    propagation: Propagation | None = None
    grace: int | None = None
    done: Record | None = None
    failed: Record | None = None


class Post(NamedTuple):
    """Send a body to a sub-resource (a binding, a namespace's finalize with `method` PUT)."""

    kind: AnyKind
    name: ObjectName
    subresource: str
    body: Tree
    method: str = "POST"
    done: Record | None = None
    failed: Record | None = None
    may_be_late: bool = False
    """NotFound and Conflict mean that somebody else was first, and are no failure."""


class DeleteAll(NamedTuple):
    """Delete every object of a kind in a namespace."""

    kind: AnyKind
    namespace: str
    done: Record | None = None
    failed: Record | None = None


Write = Create | Patch | Delete | DeleteAll | Post | Record


class Lookup(NamedTuple):
    """Ask the server itself for an object, where the watch may be behind. Answered by the object's tree, or None."""

    kind: AnyKind
    name: ObjectName


class Remaining(NamedTuple):
    """Ask the server what is left of a kind in a namespace. Answered by the objects' trees."""

    kind: AnyKind
    namespace: str


Question = Lookup | Remaining
Answers = Mapping[Question, Any]


class Outcome(NamedTuple):
    """What one look at a key came to."""

    writes: tuple[Write, ...] = ()
    retry: str = ""
    """Why to look again soon, with back-off; empty when all is done."""
    again_in: float | None = None
    """Look again after that many seconds, whatever happens."""
    memory: object = None
    """What to hand in at the next look at this key; None forgets."""
    questions: tuple[Question, ...] = ()
    """What has to be known first: the writes are made, these are asked, and the key is looked at again at once."""


class Failure(NamedTuple):
    """The write that failed at the last look, and what the server said."""

    write: Write
    message: str
    reason: str = ""

    def is_about(self, kind: AnyKind) -> bool:
        return not isinstance(self.write, Record) and self.write.kind is kind


def name_of(thing: ApiObject) -> ObjectName:
    return thing.metadata.object_name


def reference_to(kind: AnyKind, thing: ApiObject, *, field_path: str = "") -> ObjectReference:
    """For events: who they are about."""
    meta = thing.metadata
    return ObjectReference(
        kind.name, meta.namespace, meta.name, meta.uid, kind.api_version, meta.resource_version, field_path
    )


def controlled_by(kind: AnyKind, thing: ApiObject) -> OwnerReference:
    """The reference that makes `thing` the controller of an object."""
    return OwnerReference(kind.api_version, kind.name, thing.metadata.name, thing.metadata.uid, True, True)


def map_patch(old: Mapping[str, str] | None, new: Mapping[str, str] | None) -> dict[str, str | None]:
    """A merge patch that turns one map of texts into another."""
    old, new = old or {}, new or {}
    patch: dict[str, str | None] = {key: None for key in sorted(old) if key not in new}
    patch.update({key: value for key, value in sorted(new.items()) if old.get(key) != value})
    return patch


def versioned(thing: ApiObject, body: Tree | None = None, **metadata: object) -> Tree:
    """A patch's body that is refused when the object is another one or has changed meanwhile."""
    meta = thing.metadata
    return {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, **metadata}, **(body or {})}
