"""Namespaces: what every one has from the start, and how one ends: everything in it goes, then it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from fairway.controllers.controller import Key, Turn
from fairway.controllers.statuses import Conditions
from fairway.controllers.things import ResourceType
from fairway.controllers.view import View
from fairway.controllers.writes import (
    AnyKind,
    Create,
    DeleteAll,
    Outcome,
    Patch,
    Post,
    Remaining,
    Tree,
    Write,
    versioned,
)
from fairway.kube.administration import NamespaceObject, OwnedObject
from fairway.kube.objectmeta import Condition, ObjectMeta, condition_of, to_tree
from fairway.kube.objects import CONFIG_MAP, NAMESPACE, POD, SERVICE_ACCOUNT
from fairway.values.names import ObjectName

FINALIZER = "kubernetes"
ROOT_CA = "kube-root-ca.crt"
ROOT_CA_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)
ALL_WELL = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
)


def _is_active(namespace: NamespaceObject | None) -> bool:
    return namespace is not None and not namespace.metadata.is_leaving


class NamespaceController:
    """Ends namespaces."""

    name = "namespace-controller"
    component = "namespace-controller"
    kinds: tuple[AnyKind, ...] = (NAMESPACE, POD)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is NAMESPACE:
            return {new.metadata.object_name} if new is not None and new.metadata.is_leaving else set()
        name = ObjectName("", (new or old).metadata.namespace)
        namespace = view.get(NAMESPACE, name) if new is None else None
        return {name} if namespace is not None and namespace.metadata.is_leaving else set()

    def sync(self, turn: Turn, view: View) -> Outcome:
        namespace = view.get(NAMESPACE, turn.key)
        if namespace is None or not namespace.metadata.is_leaving:
            return Outcome()
        if not namespace.spec.finalizers:
            return Outcome()
        types = deletable(view.types)
        if not types:
            return Outcome(retry="what the server serves is not known yet")
        # Pods end before what they may still need (KEP-5080).
        first = tuple(one for one in types if (one.kind.api_version, one.kind.plural) == (POD.api_version, POD.plural))
        everything = _questions(types, turn.key.name)
        if not turn.answers and first:
            return Outcome(_deletes(first, turn.key.name), questions=_questions(first, turn.key.name))
        left = {one.kind: found for one, found in turn.answers.items() if isinstance(one, Remaining) and found}
        if len(turn.answers) < len(everything) and not left:
            return Outcome(_deletes(types, turn.key.name), questions=everything)
        conditions = _ending_conditions(namespace, left, turn.now)
        writes: list[Write] = []
        if conditions != (namespace.status.conditions or ()):
            body: Tree = {"status": {"conditions": to_tree(conditions)}}
            writes.append(Patch(NAMESPACE, turn.key, versioned(namespace, body), "status"))
        if left:
            return Outcome(tuple(writes), retry=f"{sum(map(len, left.values()))} objects are left")
        writes.append(_finalize(namespace))
        return Outcome(tuple(writes))


def _questions(types: Iterable[ResourceType], namespace: str) -> tuple[Remaining, ...]:
    return tuple(Remaining(one.kind, namespace) for one in types)


def _deletes(types: Iterable[ResourceType], namespace: str) -> tuple[DeleteAll, ...]:
    return tuple(DeleteAll(one.kind, namespace) for one in types if "deletecollection" in one.verbs)


def _finalize(namespace: NamespaceObject) -> Post:
    """Let go of the namespace. Its status was perhaps just written, so no version is asked for."""
    name = namespace.metadata.object_name
    left = [one for one in namespace.spec.finalizers or () if one != FINALIZER]
    head: Tree = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name.name}}
    return Post(NAMESPACE, name, "finalize", {**head, "spec": {"finalizers": left}}, "PUT")


def _ending_conditions(namespace: NamespaceObject, left: Mapping[AnyKind, list[Tree]], now: datetime) -> Conditions:
    said = dict[str, tuple[str, str]]()
    if left:
        counts = sorted(
            f"{kind.plural}.{_group(kind)} has {len(found)} resource instances" for kind, found in left.items()
        )
        said["NamespaceContentRemaining"] = (
            "SomeResourcesRemain",
            f"Some resources are remaining: {', '.join(counts)}",
        )
    holders = Counter(name for found in left.values() for one in found for name in _finalizers(one))
    if holders:
        counts = sorted(f"{name} in {number} resource instances" for name, number in holders.items())
        said["NamespaceFinalizersRemaining"] = (
            "SomeFinalizersRemain",
            f"Some content in the namespace has finalizers remaining: {', '.join(counts)}",
        )
    conditions = namespace.status.conditions or ()
    for kind, *all_well in ALL_WELL:
        status = "True" if kind in said else "False"
        reason, message = said.get(kind, all_well)
        conditions = _put(conditions, Condition(kind, status, reason, message, now.replace(microsecond=0)))
    return conditions


def _put(conditions: Conditions, new: Condition) -> Conditions:
    held = condition_of(conditions, new.type)
    if held is not None and (held.status, held.reason, held.message) == (new.status, new.reason, new.message):
        return conditions
    if held is None:
        return (*conditions, new)
    return tuple(new if one.type == new.type else one for one in conditions)


def _group(kind: AnyKind) -> str:
    return kind.api_version.rpartition("/")[0]


def _finalizers(tree: Tree) -> tuple[str, ...]:
    return msgspec.convert(tree, OwnedObject).metadata.finalizers or ()


class ServiceAccountController:
    """Every namespace has a ServiceAccount `default`."""

    name = "serviceaccount-controller"
    component = "serviceaccount-controller"
    kinds: tuple[AnyKind, ...] = (NAMESPACE, SERVICE_ACCOUNT)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is NAMESPACE:
            return {new.metadata.object_name} if new is not None else set()
        is_lost = new is None and old.metadata.name == "default"
        return {ObjectName("", old.metadata.namespace)} if is_lost else set()

    def sync(self, turn: Turn, view: View) -> Outcome:
        name = ObjectName(turn.key.name, "default")
        if not _is_active(view.get(NAMESPACE, turn.key)) or view.get(SERVICE_ACCOUNT, name) is not None:
            return Outcome()
        body: Tree = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name.name, "namespace": name.namespace},
        }
        return Outcome((Create(SERVICE_ACCOUNT, name.namespace, body, may_exist=True),))


class RootCaPublisher:
    """Every namespace has the cluster's root certificate, and nobody else's words in it."""

    name = "root-ca-certificate-publisher-controller"
    component = "root-ca-cert-publisher"
    kinds: tuple[AnyKind, ...] = (NAMESPACE, CONFIG_MAP)
    follows_everything = False

    def __init__(self, root_ca: str) -> None:
        self._data = {"ca.crt": root_ca}

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is NAMESPACE:
            return {new.metadata.object_name} if new is not None else set()
        meta: ObjectMeta = (new or old).metadata
        return {ObjectName("", meta.namespace)} if meta.name == ROOT_CA else set()

    def sync(self, turn: Turn, view: View) -> Outcome:
        if not _is_active(view.get(NAMESPACE, turn.key)):
            return Outcome()
        name = ObjectName(turn.key.name, ROOT_CA)
        present = view.get(CONFIG_MAP, name)
        annotations = {"kubernetes.io/description": ROOT_CA_DESCRIPTION}
        if present is None:
            metadata: Tree = {"name": name.name, "namespace": name.namespace, "annotations": annotations}
            body: Tree = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": self._data}
            return Outcome((Create(CONFIG_MAP, name.namespace, body, may_exist=True),))
        held = present.metadata.annotation_map
        if present.data == self._data and all(held.get(key) == value for key, value in annotations.items()):
            return Outcome()
        gone = {key: None for key in present.data or {} if key not in self._data}
        return Outcome(
            (Patch(CONFIG_MAP, name, versioned(present, {"data": {**gone, **self._data}}, annotations=annotations)),)
        )


def deletable(types: Iterable[ResourceType]) -> list[ResourceType]:
    """The kinds whose objects end with their namespace."""
    return [one for one in types if one.kind.is_namespaced and {"list", "delete"} <= one.verbs]
