"""Schemas as types of the rules' language (k8s.io/apiserver/pkg/cel/common/schemas.go)."""

from __future__ import annotations

from fairway.apiserver.cel import types
from fairway.apiserver.cel.escaping import escape
from fairway.apiserver.cel.types import Field, Type
from fairway.apiserver.schema import Json

_STRINGS = {"byte": types.BYTES, "duration": types.DURATION, "date": types.TIMESTAMP, "date-time": types.TIMESTAMP}
_SCALARS = {"boolean": types.BOOL, "number": types.DOUBLE, "integer": types.INT}
_STRING: Json = {"type": "string"}
_META: Json = {"type": "object", "properties": {"name": _STRING, "generateName": _STRING}}


def with_meta(schema: Json) -> Json:
    """The root of a resource: kind, apiVersion and the two names are always there."""
    properties = {**(schema.get("properties") or {}), "kind": _STRING, "apiVersion": _STRING, "metadata": _META}
    return {**schema, "properties": properties}


def declared(schema: Json | None, name: str, *, root: bool = False) -> Type | None:
    """The type, or None for what rules cannot see."""
    if schema is None:
        return None
    if schema.get("x-kubernetes-int-or-string"):
        return types.DYN
    if root:
        schema = with_meta(schema)
    match schema.get("type"):
        case "array":
            return _list(schema, name)
        case "object":
            return _object(schema, name)
        case "string":
            return _STRINGS.get(schema.get("format") or "", types.STRING)
    return _SCALARS.get(schema.get("type") or "")


def inside(schema: Json | None, name: str) -> Type | None:
    """The type of a part of another; an embedded resource is a root of its own."""
    return declared(schema, name, root=bool(schema and schema.get("x-kubernetes-embedded-resource")))


def _list(schema: Json, name: str) -> Type | None:
    element = inside(schema.get("items"), f"{name}.@idx")
    if element is None:
        return None
    relation = schema.get("x-kubernetes-list-type") or ""
    keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    return types.list_of(element, relation if relation in ("set", "map") else "", keys)


def _object(schema: Json, name: str) -> Type | None:
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        value = inside(extra, f"{name}.@elem")
        return None if value is None else types.map_of(types.STRING, value)
    fields: dict[str, Field] = {}
    for key, below in (schema.get("properties") or {}).items():
        escaped = escape(key)
        if escaped is None:
            continue
        found = inside(below, f"{name}.{escaped}")
        if found is not None:
            fields[escaped] = Field(key, found)
    return Type("object", name, fields=fields)
