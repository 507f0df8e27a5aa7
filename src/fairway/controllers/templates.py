"""Pod templates as opaque trees: when two are the same, their hash, and the pod that one makes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fairway.controllers.writes import Tree
from fairway.kube.objectmeta import OwnerReference, to_tree
from fairway.kube.workloads import Template

LABEL_TEMPLATE_HASH = "pod-template-hash"
SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""Letters and digits that make no words, as all generated names have."""
MAX_PREFIX = 253


def labels_of(template: Template) -> dict[str, str]:
    """The labels that the template gives its pods."""
    return dict(_metadata(template).get("labels") or {})


def _metadata(template: Template) -> Mapping[str, Any]:
    return template.get("metadata") or {}


def is_same_template(a: Template, b: Template) -> bool:
    """Equal but for the hash label that a set's template has."""
    return comparable(a) == comparable(b)


def comparable(template: Template) -> Tree:
    """Without the hash label, and without what is written though it is empty."""
    metadata = {key: value for key, value in _metadata(template).items() if value}
    labels = {key: value for key, value in (metadata.pop("labels", None) or {}).items() if key != LABEL_TEMPLATE_HASH}
    return {"labels": labels, "metadata": metadata, "spec": _without_nulls(template.get("spec") or {})}


def _without_nulls(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_nulls(value) for key, value in tree.items() if value is not None}
    if isinstance(tree, list):
        return [_without_nulls(value) for value in tree]
    return tree


def tree_hash(tree: Any, collisions: int | None = None, *, length: int = 10) -> str:
    """A short name for a tree. `collisions` makes another one of the same tree."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(f"{collisions or ''}/{text}".encode()).digest()
    return "".join(SAFE[byte % len(SAFE)] for byte in digest[:length])


def template_hash(template: Template, collisions: int | None) -> str:
    """The pod-template-hash: stable over everything that is no difference."""
    return tree_hash(comparable(template), collisions)


def with_labels(template: Template, extra: Mapping[str, str]) -> Template:
    """The template with more labels."""
    metadata = dict(_metadata(template))
    metadata["labels"] = {**(metadata.get("labels") or {}), **extra}
    return {**template, "metadata": metadata}


def pod_body(
    template: Template, owner: OwnerReference, *, name: str = "", labels: Mapping[str, str] | None = None
) -> Tree:
    """The pod that a template makes; without a name, the server makes one from the owner's.

    `generateName` is there even beside a name, as upstream leaves it.
    """
    given = _metadata(template)
    metadata: Tree = {
        "labels": {**(given.get("labels") or {}), **(labels or {})},
        "annotations": dict(given.get("annotations") or {}),
        "ownerReferences": [to_tree(owner)],
        "generateName": f"{owner.name}-" if len(owner.name) < MAX_PREFIX else owner.name,
    }
    if given.get("finalizers"):
        metadata["finalizers"] = list(given["finalizers"])
    if name:
        metadata["name"] = name
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.get("spec") or {}}
