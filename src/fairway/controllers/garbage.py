"""Garbage collection: objects whose owners are all gone go, an owner that waits for its dependents waits, orphans stay.

The rules of kube-controller-manager's garbage-collector-controller. An owner counts as gone only when the server itself
says so: the watches of two kinds may be apart. Deletes carry uid and version, so that none hits an object that changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from fairway.controllers.controller import Key, Turn
from fairway.controllers.things import Thing, kind_named
from fairway.controllers.view import View
from fairway.controllers.writes import (
    AnyKind,
    Delete,
    EventType,
    Lookup,
    Outcome,
    Patch,
    Propagation,
    Question,
    Record,
    Write,
    reference_to,
    versioned,
)
from fairway.kube.administration import OwnedObject
from fairway.kube.objectmeta import ApiObject, ObjectMeta, OwnerReference, to_tree
from fairway.values.names import ObjectName

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


def _key(uid: str) -> Key:
    return ObjectName("", uid)


def _waits_for_dependents(meta: ObjectMeta) -> bool:
    return meta.is_leaving and FOREGROUND in (meta.finalizers or ())


def _lets_dependents_go(meta: ObjectMeta) -> bool:
    return meta.is_leaving and ORPHAN in (meta.finalizers or ())


class GarbageCollector:
    """Its keys are uids: what happens to an object does not depend on its kind."""

    name = "garbage-collector-controller"
    component = "garbage-collector-controller"
    kinds: tuple[AnyKind, ...] = ()
    follows_everything = True

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        found: set[str] = set()
        if old is not None and (new is None or old.metadata.owners != new.metadata.owners):
            # Owners that wait may wait no longer.
            found |= {ref.uid for ref in old.metadata.owners if _is_waiting(ref.uid, view)}
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            found |= {one.meta.uid for one in view.things.dependents(old.metadata.uid)}
        if new is not None:
            found |= _concerned_by_new(old, new, view)
        return {_key(uid) for uid in found}

    def sync(self, turn: Turn, view: View) -> Outcome:
        thing = view.things.get(turn.key.name)
        if thing is None:
            return Outcome()
        if _lets_dependents_go(thing.meta):
            return _orphan(thing, view)
        if _waits_for_dependents(thing.meta):
            return _finish_foreground(thing, view)
        if thing.meta.is_leaving or not thing.meta.owners:
            return Outcome()
        return _collect(thing, turn, view)


def _is_waiting(uid: str, view: View) -> bool:
    thing = view.things.get(uid)
    return thing is not None and thing.meta.is_leaving and bool(thing.meta.finalizers)


def _concerned_by_new(old: ApiObject | None, new: ApiObject, view: View) -> set[str]:
    meta = new.metadata
    found: set[str] = set()
    if _waits_for_dependents(meta) or _lets_dependents_go(meta):
        found.add(meta.uid)
        if old is None or not old.metadata.is_leaving:
            found |= {one.meta.uid for one in view.things.dependents(meta.uid)}
    if meta.is_leaving:
        return found
    if old is None or old.metadata.owners != meta.owners:
        owners = [(ref, view.things.get(ref.uid)) for ref in meta.owners]
        if any(one is None or _waits_for_dependents(one.meta) or not _is_meant(ref, one, meta) for ref, one in owners):
            found.add(meta.uid)
    return found


def _is_meant(ref: OwnerReference, owner: Thing, dependent: ObjectMeta) -> bool:
    """Whether the object of this uid is the one that the reference describes: uids can be copied, and be wrong."""
    return (ref.kind, ref.name) == (owner.kind.name, owner.meta.name) and _is_in_reach(owner, dependent)


def _is_in_reach(owner: Thing, dependent: ObjectMeta) -> bool:
    """Owners are of the cluster, or of the dependent's own namespace."""
    return not owner.kind.is_namespaced or owner.meta.namespace == dependent.namespace


def _orphan(owner: Thing, view: View) -> Outcome:
    """Take this owner out of its dependents, then let it go."""
    dependents = view.things.dependents(owner.meta.uid)
    writes: list[Write] = [_without_owners(one, {owner.meta.uid}) for one in dependents]
    return Outcome((*writes, _without_finalizer(owner, ORPHAN)))


def _finish_foreground(owner: Thing, view: View) -> Outcome:
    """Gone when nothing that blocks it is left; what blocks it is looked at on its own."""
    for one in view.things.dependents(owner.meta.uid):
        if any(ref.uid == owner.meta.uid and ref.block_owner_deletion for ref in one.meta.owners):
            return Outcome()
    return Outcome((_without_finalizer(owner, FOREGROUND),))


class _Standing(Enum):
    SOLID = "solid"
    GONE = "gone"
    WAITING = "waiting"
    UNKNOWN = "unknown"


class _Judged(NamedTuple):
    by_standing: dict[_Standing, list[OwnerReference]]
    questions: list[Question]
    invalid: list[OwnerReference]

    def of(self, standing: _Standing) -> list[OwnerReference]:
        return self.by_standing.get(standing, [])


def _collect(thing: Thing, turn: Turn, view: View) -> Outcome:
    """Delete it, or take out the owners that are gone, or leave it alone."""
    judged = _judge(thing, turn, view)
    if judged.questions:
        return Outcome(questions=tuple(judged.questions))
    records = [_invalid_record(thing, ref) for ref in judged.invalid]
    solid, gone, waiting = (judged.of(one) for one in (_Standing.SOLID, _Standing.GONE, _Standing.WAITING))
    if solid or judged.of(_Standing.UNKNOWN):
        left_out = {ref.uid for ref in (*gone, *waiting)}
        return Outcome((*records, *([_without_owners(thing, left_out)] if left_out and solid else ())))
    meta = thing.meta
    dependents = view.things.dependents(meta.uid)
    writes: list[Write] = [*records]
    propagation = Propagation.BACKGROUND
    version = meta.resource_version
    if waiting and dependents:
        propagation = Propagation.FOREGROUND
        if any(_waits_for_dependents(one.meta) for one in dependents):
            writes.append(_unblocked(thing))  # two objects that wait for each other would wait for ever
            version = ""
    elif ORPHAN in (meta.finalizers or ()):
        propagation = Propagation.ORPHAN
    elif FOREGROUND in (meta.finalizers or ()):
        propagation = Propagation.FOREGROUND
    return Outcome((*writes, Delete(thing.kind, meta.object_name, meta.uid, version, propagation)))


def _judge(thing: Thing, turn: Turn, view: View) -> _Judged:
    """How each owner stands; questions where only the server knows."""
    judged = _Judged({}, [], [])
    for ref in thing.meta.owners:
        standing = _standing(thing, ref, turn, view, judged)
        if standing is not None:
            judged.by_standing.setdefault(standing, []).append(ref)
    return judged


def _standing(thing: Thing, ref: OwnerReference, turn: Turn, view: View, judged: _Judged) -> _Standing | None:
    owner = view.things.get(ref.uid)
    if owner is not None:
        if not _is_in_reach(owner, thing.meta):
            judged.invalid.append(ref)
            return _Standing.GONE if thing.meta.namespace else _Standing.UNKNOWN
        if _is_meant(ref, owner, thing.meta):
            return _standing_of(owner.meta)
    kind = kind_named(view.types, ref.api_version, ref.kind)
    if kind is None or (kind.is_namespaced and not thing.meta.namespace):
        judged.invalid.extend([] if kind is None else [ref])
        return _Standing.UNKNOWN
    question = Lookup(kind, ObjectName(thing.meta.namespace if kind.is_namespaced else "", ref.name))
    if question not in turn.answers:
        judged.questions.append(question)
        return None
    found = turn.answers[question]
    live = msgspec.convert(found, OwnedObject).metadata if found is not None else None
    return _standing_of(live) if live is not None and live.uid == ref.uid else _Standing.GONE


def _standing_of(owner: ObjectMeta) -> _Standing:
    return _Standing.WAITING if _waits_for_dependents(owner) else _Standing.SOLID


def _without_owners(thing: Thing, uids: set[str]) -> Patch:
    left = [to_tree(ref) for ref in thing.meta.owners if ref.uid not in uids]
    return Patch(thing.kind, thing.meta.object_name, versioned(thing.object, ownerReferences=left or None))


def _unblocked(thing: Thing) -> Patch:
    refs = [msgspec.structs.replace(ref, block_owner_deletion=False) for ref in thing.meta.owners]
    return Patch(thing.kind, thing.meta.object_name, versioned(thing.object, ownerReferences=to_tree(refs)))


def _without_finalizer(thing: Thing, finalizer: str) -> Patch:
    left = [one for one in thing.meta.finalizers or () if one != finalizer]
    return Patch(thing.kind, thing.meta.object_name, versioned(thing.object, finalizers=left or None))


def _invalid_record(thing: Thing, ref: OwnerReference) -> Record:
    namespace = thing.meta.namespace
    shown = f"[{ref.api_version}/{ref.kind}, namespace: {namespace}, name: {ref.name}, uid: {ref.uid}]"
    said = f'ownerRef {shown} does not exist in namespace "{namespace}"'
    return Record(reference_to(thing.kind, thing.object), EventType.WARNING, "OwnerRefInvalidNamespace", said)
