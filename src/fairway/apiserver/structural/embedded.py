"""Resources inside of resources (x-kubernetes-embedded-resource): they have a kind and metadata of their own."""

from __future__ import annotations

from typing import Any

from fairway.apiserver import decode, names
from fairway.apiserver.fielderrors import FieldError, invalid, required
from fairway.apiserver.schema import Json, builtin


class EmbeddedError(ValueError):
    """apiVersion, kind or metadata of an embedded resource are of a wrong type."""


def coerce(value: Any, schema: Json | None, path: str, unknown: list[str]) -> None:
    """Bring embedded resources into the form of their types, in place; raises EmbeddedError."""
    if not schema:
        return
    if isinstance(value, list):
        for i, item in enumerate(value):
            coerce(item, schema.get("items"), f"{path}[{i}]", unknown)
    elif isinstance(value, dict):
        if schema.get("x-kubernetes-embedded-resource"):
            _coerce_resource(value, path, unknown)
        properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, item in value.items():
            below = properties.get(key, extra if isinstance(extra, dict) else None)
            coerce(item, below, f"{path}.{key}" if path else key, unknown)


def _coerce_resource(value: Json, path: str, unknown: list[str]) -> None:
    for name in ("apiVersion", "kind"):
        if name in value and not isinstance(value[name], str):
            raise EmbeddedError(str(invalid(f"{path}.{name}", value[name], "must be a string")))
    if "metadata" not in value:
        return
    decoder = decode.Decoder()
    try:
        value["metadata"] = decoder.decode(value["metadata"], builtin("meta.ObjectMeta"))
    except (decode.TypeMismatch, AttributeError) as error:
        raise EmbeddedError(str(invalid(f"{path}.metadata", value["metadata"], str(error)))) from None
    unknown += [f"{path}.metadata.{u}" for u in decoder.unknown]


def validate(value: Any, schema: Json | None, path: str) -> list[FieldError]:
    """What is wrong with apiVersion, kind and metadata of every embedded resource."""
    if not schema:
        return []
    out: list[FieldError] = []
    if isinstance(value, list):
        for i, item in enumerate(value):
            out += validate(item, schema.get("items"), f"{path}[{i}]")
    elif isinstance(value, dict):
        if schema.get("x-kubernetes-embedded-resource"):
            out += _resource(value, path)
        properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, item in value.items():
            if key in properties:
                out += validate(item, properties[key], f"{path}.{key}" if path else key)
            elif isinstance(extra, dict):
                out += validate(item, extra, f"{path}[{key}]")
    return out


def _resource(value: Json, path: str) -> list[FieldError]:
    out = [required(f"{path}.{name}") for name in ("apiVersion", "kind") if name not in value]
    version, kind = value.get("apiVersion", "v1"), value.get("kind", "kind")
    for name, given in (("apiVersion", version), ("kind", kind)):
        if not isinstance(given, str):
            out.append(invalid(f"{path}.{name}", given, "must be a string"))
        elif not given:
            out.append(invalid(f"{path}.{name}", given, "must not be empty"))
    if isinstance(version, str) and version.count("/") > 1:
        out.append(invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    if isinstance(kind, str) and kind and (found := names.dns_1035_errors(kind.lower())):
        words = "may have mixed case, but should otherwise match: " + ",".join(found)
        out.append(invalid(f"{path}.kind", kind, words))
    return out + (_metadata(value["metadata"], f"{path}.metadata") if "metadata" in value else [])


def _metadata(given: Any, path: str) -> list[FieldError]:
    try:
        meta = decode.Decoder().decode(given, builtin("meta.ObjectMeta"))
    except (decode.TypeMismatch, AttributeError) as error:
        return [invalid(path, given, str(error))]
    out: list[FieldError] = []
    if meta.get("name"):
        out += [invalid(f"{path}.name", meta["name"], m) for m in names.path_segment_name(meta["name"], False)]
    out += names.labels_errors(meta.get("labels"), f"{path}.labels")
    return out + names.annotations_errors(meta.get("annotations"), f"{path}.annotations")
