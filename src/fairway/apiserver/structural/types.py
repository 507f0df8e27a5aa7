"""The trees that field ownership and patches walk, made from schemas."""

from __future__ import annotations

from fairway.apiserver.schema import Field, Json, TypeNode, builtin

_SCALARS = {"string": "s", "integer": "l", "number": "f", "boolean": "b"}
_PRESERVE = "x-kubernetes-preserve-unknown-fields"


def type_of(schema: Json, name: str) -> TypeNode:
    """The tree that field ownership and patches walk; the object's own metadata is the API's."""
    node = _node(schema, name)
    if node.code != "struct":
        node = TypeNode("struct", name)
        node.elem = TypeNode("json")
    node.loose = True
    node.fields["metadata"] = Field("metadata", "ObjectMeta", name, builtin("meta.ObjectMeta"), 1, 1, None)
    return node


def _node(schema: Json, name: str) -> TypeNode:
    extra = schema.get("additionalProperties")
    if schema.get("properties"):
        node = TypeNode("struct", name)
        for key, value in schema["properties"].items():
            node.fields[key] = Field(key, key, name, _node(value, key), 1, 0, value.get("default"))
        if schema.get("x-kubernetes-embedded-resource"):
            for key in ("apiVersion", "kind", "metadata"):
                node.fields.setdefault(key, Field(key, key, name, TypeNode("json"), 1, 0, None))
        if schema.get(_PRESERVE):
            node.elem = TypeNode("json")
    elif isinstance(extra, dict):
        node = TypeNode("map", name)
        node.elem = _node(extra, name)
    elif schema.get("type") == "object" and not schema.get(_PRESERVE):
        node = TypeNode("map", name)
        node.elem = TypeNode("json")
    elif schema.get("type") == "array":
        node = TypeNode("list", name)
        node.elem = _node(schema.get("items") or {}, name)
        node.relation = schema.get("x-kubernetes-list-type") or "atomic"
        node.keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    else:
        return TypeNode(_scalar(schema), name)
    node.atomic = schema.get("x-kubernetes-map-type") == "atomic"
    return node


def _scalar(schema: Json) -> str:
    """Strings of a format are anything but lists and objects to the owners of fields."""
    if schema.get("x-kubernetes-int-or-string"):
        return "json"
    is_formatted = schema.get("type") == "string" and schema.get("format") not in (None, "", "byte")
    return "untyped" if is_formatted else _SCALARS.get(schema.get("type") or "", "json")
