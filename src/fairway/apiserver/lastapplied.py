"""kubectl's own record of what it applied last, where its client-side and its server-side apply meet.

An object that `kubectl apply` made goes over to `kubectl apply --server-side` without conflicts about what the record
says (KEP-555), and the record follows from then on.
"""

from __future__ import annotations

import json

from fairway.apiserver import decode, fieldsets
from fairway.apiserver.fieldsets import FieldSet
from fairway.apiserver.request import Json
from fairway.apiserver.schema import TypeNode

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MANAGER = "kubectl"


def _record(obj: Json) -> str:
    text = ((obj.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION)
    return text if isinstance(text, str) else ""


def allowed(live: Json, node: TypeNode, api_version: str) -> FieldSet:
    """The fields of the record that are still as it says: an apply of kubectl may take them from anybody."""
    try:
        last = json.loads(_record(live) or "null")
    except ValueError:
        return frozenset()
    if not isinstance(last, dict) or last.get("apiVersion") != api_version:
        return frozenset()
    fields = {k: v for k, v in last.items() if k not in ("kind", "apiVersion")}
    try:
        decode.Decoder().decode(fields, node)
        compared = fieldsets.compare(fields, live, node)
    except (decode.TypeMismatch, ValueError, AttributeError):
        return frozenset()
    return fieldsets.to_set(fields, node) - compared.modified - compared.added - compared.removed


def follow(obj: Json, config: Json, kind: Json) -> None:
    """Put a configuration that was applied into the record, if the object has one. `kind` is kind and apiVersion."""
    if not _record(obj):
        return
    meta = dict(config.get("metadata") or {})
    if "annotations" in meta:
        meta["annotations"] = {k: v for k, v in (meta["annotations"] or {}).items() if k != ANNOTATION}
    text = json.dumps({**kind, **config, "metadata": meta}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    obj["metadata"]["annotations"][ANNOTATION] = text + "\n"
