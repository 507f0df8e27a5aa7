"""ControllerRevisions: the templates that a StatefulSet or DaemonSet had, by number, as `kubectl rollout` reads them.

Which revision a pod should have is decided by the set's controller.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from fairway.controllers.templates import comparable, labels_of, tree_hash
from fairway.controllers.writes import AnyKind, Create, Delete, Patch, Tree, Write, controlled_by, versioned
from fairway.kube.objectmeta import ApiObject, to_tree
from fairway.kube.objects import CONTROLLER_REVISION
from fairway.kube.workloads import ControllerRevision, Template

MAX_NAME = 223


class Revised(NamedTuple):
    """Where the history stands: the revision of the present template, or the write that makes it."""

    update: ControllerRevision | None
    writes: list[Write]


def template_of(revision: ControllerRevision) -> Template:
    """The template that a revision remembers."""
    data: Mapping[str, Any] = revision.data or {}
    template = (data.get("spec") or {}).get("template") or {}
    return {key: value for key, value in template.items() if key != "$patch"}


def in_order(revisions: Iterable[ControllerRevision]) -> list[ControllerRevision]:
    """Oldest first."""
    return sorted(revisions, key=lambda one: (one.revision, one.metadata.created, one.metadata.name))


def revise(
    kind: AnyKind, owner: ApiObject, template: Template, revisions: list[ControllerRevision], hash_label: str
) -> Revised:
    """Find the template's revision; make it the newest when it is an old one, and make it when there is none."""
    newest = revisions[-1].revision if revisions else 0
    wanted = comparable(template)
    found = next((one for one in reversed(revisions) if comparable(template_of(one)) == wanted), None)
    if found is not None and found.revision == newest:
        return Revised(found, [])
    if found is not None:
        body = versioned(found, {"revision": newest + 1})
        return Revised(None, [Patch(CONTROLLER_REVISION, found.metadata.object_name, body)])
    return Revised(None, [_create(kind, owner, template, newest + 1, hash_label)])


def _create(kind: AnyKind, owner: ApiObject, template: Template, number: int, hash_label: str) -> Create:
    digest = tree_hash(comparable(template))
    meta = owner.metadata
    metadata: Tree = {
        "name": f"{meta.name[:MAX_NAME]}-{digest}",
        "namespace": meta.namespace,
        "labels": {**labels_of(template), hash_label: digest},
        "annotations": dict(meta.annotation_map),
        "ownerReferences": [to_tree(controlled_by(kind, owner))],
    }
    body: Tree = {
        "apiVersion": CONTROLLER_REVISION.api_version,
        "kind": CONTROLLER_REVISION.name,
        "metadata": metadata,
        "data": _in_key_order({"spec": {"template": {**template, "$patch": "replace"}}}),
        "revision": number,
    }
    return Create(CONTROLLER_REVISION, meta.namespace, body)


def _in_key_order(value: Any) -> Any:
    """As Go writes a map. Clients find the revision of a template by comparing bytes (kubectl, daemon.Match)."""
    if isinstance(value, dict):
        return {key: _in_key_order(value[key]) for key in sorted(value)}
    return [_in_key_order(one) for one in value] if isinstance(value, list) else value


def truncated(revisions: list[ControllerRevision], live: Collection[str], limit: int | None) -> list[Write]:
    """Deletes of the oldest revisions that nothing uses, beyond the limit."""
    unused = [one for one in revisions if one.metadata.name not in live]
    surplus = max(0, len(unused) - (10 if limit is None else limit))
    return [Delete(CONTROLLER_REVISION, one.metadata.object_name, one.metadata.uid) for one in unused[:surplus]]
