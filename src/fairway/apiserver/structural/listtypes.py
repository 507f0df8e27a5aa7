"""Lists that are sets or maps (x-kubernetes-list-type): no item stands twice."""

from __future__ import annotations

from typing import Any

from fairway.apiserver.fielderrors import FieldError, duplicate, invalid
from fairway.apiserver.schema import Json


def validate(value: Any, schema: Json | None, path: str) -> list[FieldError]:
    """Every second appearance, told once."""
    if not schema:
        return []
    if isinstance(value, list):
        out = _list(value, schema, path)
        for i, item in enumerate(value):
            out += validate(item, schema.get("items"), f"{path}[{i}]")
        return out
    if not isinstance(value, dict):
        return []
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    found: list[FieldError] = []
    for key, item in value.items():
        if isinstance(extra, dict):
            found += validate(item, extra, f"{path}[{key}]")
        elif key in properties:
            found += validate(item, properties[key], f"{path}.{key}" if path else key)
    return found


def _list(value: list[Any], schema: Json, path: str) -> list[FieldError]:
    match schema.get("x-kubernetes-list-type"):
        case "set":
            return [duplicate(f"{path}[{i}]", value[i]) for i in _repeated(value)]
        case "map":
            return _map(value, schema.get("x-kubernetes-list-map-keys") or [], path)
    return []


def _map(value: list[Any], keys: list[str], path: str) -> list[FieldError]:
    for i, item in enumerate(value):
        if item is not None and not isinstance(item, dict):
            return [invalid(f"{path}[{i}]", item, "must be an object for an array of list-type map")]
    known = [{k: item[k] for k in keys if k in item} if item else {} for item in value]
    return [duplicate(f"{path}[{i}]", known[i]) for i in _repeated(known)]


def _repeated(values: list[Any]) -> list[int]:
    """Where a value appears for the second time."""
    times: dict[str, int] = {}
    out: list[int] = []
    for i, value in enumerate(values):
        key = _canonical(value)
        times[key] = times.get(key, 0) + 1
        if times[key] == 2:
            out.append(i)
    return out


def _canonical(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{k!r}:{_canonical(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(_canonical, value))}]"
    return f"{type(value).__name__}:{value!r}"
