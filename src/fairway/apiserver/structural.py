"""Structural schemas of CustomResourceDefinitions: what is kept of an object, its defaults, and whether it is valid.

Rules in CEL (`x-kubernetes-validations`) are not evaluated: whoever wrote them has a controller or webhook that checks,
too. Words of errors are those of the real server.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from fairway.apiserver.fielderrors import (
    FieldError,
    duplicate,
    invalid,
    required,
    too_long,
    too_many,
    type_invalid,
    unsupported,
)
from fairway.apiserver.schema import Field, Json, TypeNode, builtin

_PRESERVE, _INT_OR_STRING = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"


# ---- types ------------------------------------------------------------------------------------------------------
def type_of(schema: Json, name: str) -> TypeNode:
    """The tree that field ownership and patches walk; the object's own metadata is the API's."""
    node = _node(schema, name)
    if node.code != "struct":
        node = TypeNode("struct", name)
        node.elem = TypeNode("json")
    node.fields["metadata"] = Field("metadata", "ObjectMeta", name, builtin("meta.ObjectMeta"), 1, 1, None)
    return node


def _node(schema: Json, name: str) -> TypeNode:
    if "properties" in schema:
        node = TypeNode("struct", name)
        for key, value in schema["properties"].items():
            node.fields[key] = Field(key, key, name, _node(value, key), 1, 0, value.get("default"))
        if schema.get(_PRESERVE):
            node.elem = TypeNode("json")
    elif isinstance(schema.get("additionalProperties"), dict):
        node = TypeNode("map", name)
        node.elem = _node(schema["additionalProperties"], name)
    elif schema.get("type") == "array":
        node = TypeNode("list", name)
        node.elem = _node(schema.get("items") or {}, name)
        node.relation = schema.get("x-kubernetes-list-type") or "atomic"
        node.keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    else:
        return TypeNode("json", name)
    node.atomic = schema.get("x-kubernetes-map-type") == "atomic"
    return node


# ---- pruning and defaults ---------------------------------------------------------------------------------------
def prune(value: Any, schema: Json, path: str, unknown: list[str]) -> Any:
    """Without the fields that the schema does not know; their paths go to `unknown`."""
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [prune(v, items, f"{path}[{i}]", unknown) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return value
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    out: Json = {}
    for key, item in value.items():
        below = f"{path}.{key}" if path else key
        if key in properties:
            out[key] = prune(item, properties[key], below, unknown)
        elif isinstance(extra, dict):
            out[key] = prune(item, extra, below, unknown)
        elif extra is True or schema.get(_PRESERVE) or (key in ("kind", "apiVersion", "metadata") and _embeds(schema)):
            out[key] = item
        else:
            unknown.append(below)
    return out


def _embeds(schema: Json) -> bool:
    return bool(schema.get("x-kubernetes-embedded-resource"))


def has_defaults(schema: Any) -> bool:
    """Whether a default stands anywhere in a schema."""
    if isinstance(schema, dict):
        return "default" in schema or any(map(has_defaults, schema.values()))
    return isinstance(schema, list) and any(map(has_defaults, schema))


def default(value: Any, schema: Json) -> None:
    """Fill in defaults, in place; a null where null is not allowed counts as missing."""
    if isinstance(value, list):
        for item in value:
            default(item, schema.get("items") or {})
        return
    if not isinstance(value, dict):
        return
    for key, below in (schema.get("properties") or {}).items():
        missing = key not in value or (value[key] is None and not below.get("nullable"))
        if missing and "default" in below:
            value[key] = copy.deepcopy(below["default"])
        if key in value:
            default(value[key], below)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        for key, item in value.items():
            if key not in (schema.get("properties") or {}):
                default(item, extra)


# ---- validity ---------------------------------------------------------------------------------------------------
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
}


def _name_of(value: Any) -> str:
    if value is None:
        return "null"
    return next(n for n, fits in _TYPES.items() if fits(value))


def validate(value: Any, schema: Json, path: str) -> list[FieldError]:
    """Everything that the schema says against a value."""
    if value is None and (schema.get("nullable") or not schema):
        return []
    kind = schema.get("type")
    if schema.get(_INT_OR_STRING):
        if not isinstance(value, int | str) or isinstance(value, bool):
            return [_wrong_type(path, "integer,string", value)]
    elif kind and not _TYPES[kind](value):
        return [_wrong_type(path, kind, value)]
    out: list[FieldError] = []
    if "enum" in schema and value not in schema["enum"]:
        out.append(unsupported(path, value, [str(e) for e in schema["enum"]]))
    if isinstance(value, dict):
        out += _object(value, schema, path)
    elif isinstance(value, list):
        out += _array(value, schema, path)
    elif isinstance(value, str):
        out += _string(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        out += _number(value, schema, path)
    return out + _combined(value, schema, path)


def _wrong_type(path: str, kind: str, value: Any) -> FieldError:
    name = _name_of(value)
    return type_invalid(path, name, f'{path or "<nil>"} in body must be of type {kind}: "{name}"')


def _object(value: Json, schema: Json, path: str) -> list[FieldError]:
    prefix = f"{path}." if path else ""
    out = [required(prefix + name) for name in schema.get("required") or [] if name not in value]
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    for key, item in value.items():
        if key in properties:
            out += validate(item, properties[key], prefix + key)
        elif isinstance(extra, dict):
            out += validate(item, extra, prefix + key)
    if len(value) > schema.get("maxProperties", len(value)):
        out.append(too_many(path, len(value), schema["maxProperties"]))
    if len(value) < schema.get("minProperties", 0):
        out.append(invalid(path, value, f"{path} in body should have at least {schema['minProperties']} properties"))
    return out


def _array(value: list[Any], schema: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    if len(value) > schema.get("maxItems", len(value)):
        out.append(too_many(path, len(value), schema["maxItems"]))
    if len(value) < schema.get("minItems", 0):
        out.append(invalid(path, len(value), f"{path} in body should have at least {schema['minItems']} items"))
    for i, item in enumerate(value):
        out += validate(item, schema.get("items") or {}, f"{path}[{i}]")
    relation, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    seen: list[Any] = []
    for i, item in enumerate(value if relation in ("map", "set") or schema.get("uniqueItems") else []):
        shown = {k: item.get(k) for k in keys} if relation == "map" and isinstance(item, dict) else item
        if shown in seen:
            out.append(duplicate(f"{path}[{i}]", shown))
        seen.append(shown)
    return out


def _string(value: str, schema: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    if len(value) > schema.get("maxLength", len(value)):
        out.append(too_long(path, schema["maxLength"]))
    if len(value) < schema.get("minLength", 0):
        out.append(invalid(path, value, f"{path} in body should be at least {schema['minLength']} chars long"))
    pattern = schema.get("pattern")
    if pattern and not _matches(pattern, value):
        out.append(invalid(path, value, f"{path} in body should match '{pattern}'"))
    return out


def _matches(pattern: str, value: str) -> bool:
    """Go's regular expressions are Python's for what schemas use; one that is not is not held against the object."""
    try:
        return re.search(pattern.replace("\\z", "\\Z"), value) is not None
    except re.error:
        return True


def _number(value: float, schema: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        word = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        out.append(invalid(path, value, f"{path} in body should be {word} {low:g}"))
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        word = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        out.append(invalid(path, value, f"{path} in body should be {word} {high:g}"))
    if step and value % step:
        out.append(invalid(path, value, f"{path} in body should be a multiple of {step:g}"))
    return out


def _combined(value: Any, schema: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for part in schema.get("allOf") or []:
        out += validate(value, part, path)
    if "anyOf" in schema and not any(not validate(value, s, path) for s in schema["anyOf"]):
        out.append(invalid(path, value, f'"{path}" must validate at least one schema (anyOf)'))
    if "oneOf" in schema:
        fits = sum(not validate(value, s, path) for s in schema["oneOf"])
        if fits != 1:
            found = "none valid" if not fits else f"{fits} valid alternatives"
            out.append(invalid(path, value, f'"{path}" must validate one and only one schema (oneOf). Found {found}'))
    if "not" in schema and not validate(value, schema["not"], path):
        out.append(invalid(path, value, f'"{path}" must not validate the schema (not)'))
    return out


# ---- printer columns --------------------------------------------------------------------------------------------
_STEP = re.compile(r"""\.?([A-Za-z_][\w-]*)|\[(\d+|\*)\]|\['([^']*)'\]|\[\?\(@\.([\w.]+)==["']([^"']*)["']\)\]""")


def json_path(path: str) -> Callable[[Json], Any]:
    """The part of JSONPath that printer columns use: names, indexes, `[?(@.type=="Ready")]`."""
    text = path.replace("\\.", "\0")
    steps = [
        tuple(g.replace("\0", ".") if g else g for g in m.groups()) for m in _STEP.finditer(text.replace("\0", "\0"))
    ]

    def find(value: Any) -> Any:
        for name, index, quoted, key, wanted in steps:
            value = _step(value, name or quoted, index, key, wanted)
            if value is None:
                return None
        return value

    return find


def _step(value: Any, name: str | None, index: str | None, key: str | None, wanted: str | None) -> Any:
    if name:
        return value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, list):
        return None
    if key:
        return next((i for i in value if isinstance(i, dict) and str(i.get(key)) == wanted), None)
    if index == "*":
        return value[0] if value else None
    return value[int(index or 0)] if int(index or 0) < len(value) else None
