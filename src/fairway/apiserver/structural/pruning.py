"""What is kept of a custom resource: fields that its schema knows, and nulls that it allows."""

from __future__ import annotations

from typing import Any

from fairway.apiserver.schema import Json

_META = ("apiVersion", "kind", "metadata")


def prune(value: Any, schema: Json | None, path: str, unknown: list[str]) -> Any:
    """Without the fields that the schema does not know; their paths go to `unknown`."""
    if schema is not None and schema.get("x-kubernetes-preserve-unknown-fields"):
        return _preserved(value, schema, path, unknown)
    if isinstance(value, list):
        items = (schema or {}).get("items")
        return [prune(v, items, f"{path}[{i}]", unknown) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return _number(value)
    schema = schema or {}
    out: Json = {}
    for key, item in value.items():
        below = f"{path}.{key}" if path else key
        if key in _META and schema.get("x-kubernetes-embedded-resource"):
            out[key] = item
            continue
        known, inside = _below(schema, key)
        if known:
            out[key] = prune(item, inside, below, unknown)
        else:
            unknown.append(below)
    return out


def _below(schema: Json, key: str) -> tuple[bool, Json | None]:
    """Whether a schema knows a field, and the field's own."""
    properties = schema.get("properties") or {}
    if key in properties:
        return True, properties[key]
    extra = schema.get("additionalProperties")
    if extra is None:
        return False, None
    return True, extra if isinstance(extra, dict) else None


def _preserved(value: Any, schema: Json, path: str, unknown: list[str]) -> Any:
    """Everything is kept; what is declared further in may be stricter."""
    if isinstance(value, list):
        items = schema.get("items")
        return [_preserved(v, items or {}, f"{path}[{i}]", unknown) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return _number(value)
    out: Json = {}
    for key, item in value.items():
        known, inside = _below(schema, key)
        below = f"{path}.{key}" if path else key
        embedded = key in _META and schema.get("x-kubernetes-embedded-resource")
        out[key] = (
            prune(item, inside, below, unknown) if known and not embedded else _preserved(item, {}, below, unknown)
        )
    return out


def _number(value: Any) -> Any:
    """Go writes a whole number without a fraction, whatever it was read as."""
    return int(value) if type(value) is float and value.is_integer() and abs(value) < 1e21 else value


def drop_nulls(value: Any, schema: Json | None) -> None:
    """Take out, in place, nulls of fields that allow none and have no default."""
    if isinstance(value, list):
        items = (schema or {}).get("items")
        for item in value:
            drop_nulls(item, items)
        return
    if not isinstance(value, dict):
        return
    for key in list(value):
        _, inside = _below(schema or {}, key)
        if value[key] is None and inside is not None and not inside.get("nullable") and inside.get("default") is None:
            del value[key]
        else:
            drop_nulls(value[key], inside)
