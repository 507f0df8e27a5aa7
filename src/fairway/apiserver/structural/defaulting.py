"""Defaults of a structural schema."""

from __future__ import annotations

import copy
from typing import Any

from fairway.apiserver.schema import Json


def has_defaults(schema: Any) -> bool:
    """Whether a default stands anywhere in a schema."""
    if isinstance(schema, dict):
        return "default" in schema or any(map(has_defaults, schema.values()))
    return isinstance(schema, list) and any(map(has_defaults, schema))


def _missing(value: Any, schema: Json) -> bool:
    return value is None and not schema.get("nullable")


def default(value: Any, schema: Json | None) -> None:
    """Fill in defaults, in place; a null where null is not allowed counts as missing."""
    if not schema:
        return
    if isinstance(value, list):
        items = schema.get("items") or {}
        for i, item in enumerate(value):
            if _missing(item, items):
                value[i] = copy.deepcopy(items.get("default"))
            default(value[i], items)
    elif isinstance(value, dict):
        _default_object(value, schema)


def _default_object(value: Json, schema: Json) -> None:
    properties = schema.get("properties") or {}
    for key, below in properties.items():
        if below.get("default") is not None and (key not in value or _missing(value[key], below)):
            value[key] = copy.deepcopy(below["default"])
    extra = schema.get("additionalProperties")
    for key in value:
        if key in properties:
            default(value[key], properties[key])
        elif isinstance(extra, dict):
            if _missing(value[key], extra):
                value[key] = copy.deepcopy(extra.get("default"))
            default(value[key], extra)
