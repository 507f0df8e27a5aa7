"""The versions of a CustomResourceDefinition: their schemas, sub-resources, columns and selectable fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairway.apiserver import names
from fairway.apiserver.fielderrors import FieldError, duplicate, forbidden, invalid, required, too_many, unsupported
from fairway.apiserver.kinds.base import get
from fairway.apiserver.request import Json
from fairway.apiserver.structural import definition
from fairway.apiserver.structural.fieldpath import FieldPathError, resolved

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_FORMATS = frozenset(
    [
        "bsonobjectid",
        "uri",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "cidr",
        "mac",
        "uuid",
        "uuid3",
        "uuid4",
        "uuid5",
        "isbn",
        "isbn10",
        "isbn13",
        "creditcard",
        "ssn",
        "hexcolor",
        "rgbcolor",
        "byte",
        "password",
        "date",
        "duration",
        "datetime",
        "k8sshortname",
        "k8slongname",
    ]
)
_NUMBER_FORMATS = {"integer": ("int32", "int64"), "number": ("float", "double")}
_ROOT = (
    "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern "
    "MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields "
    "XValidations"
)
_NOT_AT_ROOT = {
    "allOf", "anyOf", "oneOf", "not", "enum", "default", "nullable", "maxProperties", "minProperties",
    "additionalProperties", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
}  # fmt: skip
_MOST_FIELDS = 8


def validate(spec: Json, old: Json | None) -> list[FieldError]:
    """What is wrong with the versions of a spec; schemas that an update leaves alone are not looked at."""
    versions = spec.get("versions") or []
    known = {v.get("name"): get(v, "schema", "openAPIV3Schema") for v in (old or {}).get("versions") or []}
    out: list[FieldError] = []
    for i, version in enumerate(versions):
        path = f"spec.versions[{i}]"
        if get(version, "schema", "openAPIV3Schema") is None:
            out.append(required(f"{path}.schema.openAPIV3Schema"))
    shared = {part for part, _ in _PARTS if _identical(versions, part)}
    seen: set[str] = set()
    doubled = False
    for i, version in enumerate(versions):
        name, path = version.get("name", ""), f"spec.versions[{i}]"
        doubled |= name in seen
        seen.add(name)
        if found := names.dns_1035_errors(name):
            out.append(invalid(f"{path}.name", name, ",".join(found)))
        out += _deprecation(version, path)
        for part, check in _PARTS:
            if part not in shared:
                out += check(version, f"{path}.{part}", known.get(name))
    for part, check in _PARTS if versions else ():
        if part in shared:
            out += check(versions[0], f"spec.{_HOISTED.get(part, part)}", known.get(versions[0].get("name")))
    if versions and (found := names.dns_1035_errors(versions[0].get("name", ""))):
        out.append(invalid("spec.version", versions[0].get("name", ""), ",".join(found)))
    if doubled:
        out.append(_about_all(versions, "must contain unique version names"))
    if sum(bool(v.get("storage")) for v in versions) != 1:
        out.append(_about_all(versions, "must have exactly one version marked as storage version"))
    return out


def _about_all(versions: list[Json], words: str) -> FieldError:
    """The versions as Go's internal type marshals; what is common to all stands elsewhere."""
    shown = [
        {
            "Name": v.get("name", ""),
            "Served": v.get("served", False),
            "Storage": v.get("storage", False),
            "Deprecated": v.get("deprecated", False),
            "DeprecationWarning": v.get("deprecationWarning"),
            "Schema": None,
            "Subresources": None,
            "AdditionalPrinterColumns": None,
            "SelectableFields": None,
        }
        for v in versions
    ]
    return invalid("spec.versions", shown, words)


def _identical(versions: list[Json], part: str) -> bool:
    """The real server keeps what all versions have in common in one place, and its errors name that place."""
    return all(v.get(part) == versions[0].get(part) for v in versions[1:])


def _deprecation(version: Json, path: str) -> list[FieldError]:
    warning = version.get("deprecationWarning")
    if warning is None or version.get("deprecated"):
        return []
    return [invalid(f"{path}.deprecationWarning", warning, "can only be set for deprecated versions")]


def _schema(version: Json, path: str, old: Json | None) -> list[FieldError]:
    schema = get(version, "schema", "openAPIV3Schema")
    if schema is None:
        return []
    where = f"{path}.openAPIV3Schema"
    has_status = get(version, "subresources", "status") is not None
    return (_root(schema, where) if has_status else []) + definition.validate(schema, where, old=old)


def _subresources(version: Json, path: str, _old: Json | None) -> list[FieldError]:
    return _scale(get(version, "subresources", "scale"), f"{path}.scale")


def _columns(version: Json, path: str, _old: Json | None) -> list[FieldError]:
    given = version.get("additionalPrinterColumns") or []
    return [e for i, c in enumerate(given) for e in _column(c, f"{path}[{i}]")]


def _fields(version: Json, path: str, _old: Json | None) -> list[FieldError]:
    schema = get(version, "schema", "openAPIV3Schema") or {}
    return _selectable(version.get("selectableFields") or [], schema, path)


def _root(schema: Json, path: str) -> list[FieldError]:
    """With a status sub-resource, the status's part of the schema must say all about it."""
    if schema.get("type") not in (None, "", "object"):
        words = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        return [invalid(f"{path}.type", schema["type"], words)]
    if any(schema.get(n) for n in _NOT_AT_ROOT):
        words = f"only [{_ROOT}] fields are allowed at the root of the schema if the status subresource is enabled"
        return [invalid(path, schema, words)]
    if schema.get("nullable"):
        return [forbidden(f"{path}.nullable", "nullable cannot be true at the root")]
    return []


def _scale(scale: Json | None, path: str) -> list[FieldError]:
    if scale is None:
        return []
    out: list[FieldError] = []
    for name, parts in (
        ("specReplicasPath", (".spec.",)),
        ("statusReplicasPath", (".status.",)),
        ("labelSelectorPath", (".spec.", ".status.")),
    ):
        given, place = scale.get(name) or "", f"{path}.{name}"
        if not given:
            out += [required(place)] if name != "labelSelectorPath" else []
        elif given[0] != ".":
            out.append(invalid(place, given, "must be a simple json path starting with ."))
        elif not given.startswith(parts):
            under = "either .spec or .status" if len(parts) > 1 else parts[0].rstrip(".")
            out.append(invalid(place, given, f"should be a json path under {under}"))
    return out


def _column(column: Json, path: str) -> list[FieldError]:
    out = [] if column.get("name") else [required(f"{path}.name")]
    kinds = f"must be one of {','.join(_COLUMN_TYPES)}"
    kind, form, where = column.get("type") or "", column.get("format") or "", column.get("jsonPath") or ""
    if not kind:
        out.append(required(f"{path}.type", kinds))
    elif kind not in _COLUMN_TYPES:
        out.append(invalid(f"{path}.type", kind, kinds))
    if form and form not in _COLUMN_FORMATS:
        out.append(invalid(f"{path}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}"))
    if not where:
        out.append(required(f"{path}.JSONPath"))
    elif where[0] != ".":
        out.append(invalid(f"{path}.JSONPath", where, "must be a simple json path starting with ."))
    return out


def _selectable(given: list[Json], schema: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, field in enumerate(given):
        where, place = field.get("jsonPath") or "", f"{path}[{i}].jsonPath"
        if not where:
            out.append(required(place))
            continue
        try:
            normal, found = resolved(where, schema, brackets=False)
        except FieldPathError as error:
            out.append(invalid(place, where, f"is an invalid path: {error}"))
            continue
        if normal.split(".")[1] == "metadata":
            out.append(invalid(place, where, "must not point to fields in metadata"))
        if found.get("type") not in ("string", "boolean", "integer"):
            words = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats "
                "are allowed."
            )
            out.append(invalid(place, where, words))
        if normal in seen:
            out.append(duplicate(place, where))
        seen.add(normal)
    return [*out, too_many(path, len(seen), _MOST_FIELDS)] if len(seen) > _MOST_FIELDS else out


_PARTS: tuple[tuple[str, Callable[[Json, str, Json | None], list[FieldError]]], ...] = (
    ("schema", _schema),
    ("subresources", _subresources),
    ("additionalPrinterColumns", _columns),
    ("selectableFields", _fields),
)
_HOISTED = {"schema": "validation"}


def conversion_errors(conversion: Json) -> list[FieldError]:
    """Between versions: nothing but the name changes, or a webhook, which nothing here calls."""
    path, strategy = "spec.conversion", conversion.get("strategy") or ""
    webhook = conversion.get("webhook") or {}
    client, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    out: list[FieldError] = []
    if not strategy:
        out.append(required(f"{path}.strategy"))
    elif strategy not in ("None", "Webhook"):
        out.append(unsupported(f"{path}.strategy", strategy, ("None", "Webhook")))
    if strategy != "Webhook":
        words = "should not be set when strategy is not set to Webhook"
        given = (("webhookClientConfig", client), ("conversionReviewVersions", reviews))
        return out + [forbidden(f"{path}.{name}", words) for name, value in given if value]
    if client is None:
        out.append(required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook"))
    elif ("url" in client) == ("service" in client):
        out.append(required(f"{path}.webhookClientConfig", "exactly one of url or service is required"))
    if not reviews:
        out.append(required(f"{path}.conversionReviewVersions"))
    elif not {"v1", "v1beta1"} & set(reviews):
        words = "must include at least one of v1, v1beta1"
        out.append(invalid(f"{path}.conversionReviewVersions", reviews, words))
    return out


def unknown_formats(crd: Json) -> list[str]:
    """Formats in schemas that nobody checks."""
    out: list[str] = []
    for version in get(crd, "spec", "versions") or []:
        _formats(get(version, "schema", "openAPIV3Schema"), out)
    return out


def _formats(schema: Any, out: list[str]) -> None:
    if isinstance(schema, list):
        for part in schema:
            _formats(part, out)
        return
    if not isinstance(schema, dict):
        return
    form, kind = schema.get("format"), schema.get("type")
    if isinstance(form, str) and form and not _known(form, kind if isinstance(kind, str) else ""):
        out.append(form)
    for name in ("properties", "items", "additionalProperties", "allOf", "anyOf", "oneOf", "not"):
        below = schema.get(name)
        _formats(list(below.values()) if name == "properties" and isinstance(below, dict) else below, out)


def _known(form: str, kind: str) -> bool:
    if kind in ("", "string"):
        return form.replace("-", "") in _FORMATS
    return form in _NUMBER_FORMATS.get(kind, ())
