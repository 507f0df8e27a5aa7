"""Whether a schema is structural: the shape stands outside of allOf, anyOf, oneOf and not, which only check."""

from __future__ import annotations

from fairway.apiserver import regexes
from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, required
from fairway.apiserver.schema import Json

_PRESERVE, _EMBEDDED = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_INT_OR_STRING_TYPES = [{"type": "integer"}, {"type": "string"}]
_WHERE = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}
_NESTED = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    _PRESERVE: "must be false to be structural",
    _EMBEDDED: "must be false to be structural",
    _INT_OR_STRING: "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}


def validate(schema: Json, path: str) -> list[FieldError]:
    """Why a schema is not structural, in the order of the words."""
    return sorted([*_part(schema, path, "root"), *_complete(schema, schema, path, path)], key=str)


def _part(schema: Json, path: str, level: str) -> list[FieldError]:
    out: list[FieldError] = []
    items, extra = schema.get("items"), schema.get("additionalProperties")
    if schema.get("type") == "array" and items is None:
        out.append(required(f"{path}.items", "must be specified"))
    if isinstance(items, dict):
        out += _part(items, f"{path}.items", "item")
    for name, below in (schema.get("properties") or {}).items():
        out += _part(below, f"{path}.properties[{name}]", "field")
    if extra is not None and level == "root":
        out.append(forbidden(f"{path}.additionalProperties", "must not be used at the root"))
    if isinstance(extra, dict):
        out += _part(extra, f"{path}.additionalProperties", "field")
    out += _int_or_string(schema, path)
    out += _checks(schema, path, skip=schema.get("anyOf") == _INT_OR_STRING_TYPES, first=_first_of_all(schema))
    return out + _type(schema, path, level) + _meta(schema, path, level)


def _first_of_all(schema: Json) -> bool:
    return bool(schema.get("allOf")) and schema["allOf"][0].get("anyOf") == _INT_OR_STRING_TYPES


def _int_or_string(schema: Json, path: str) -> list[FieldError]:
    words = f"must be false if {_INT_OR_STRING} is true"
    found = [n for n in (_PRESERVE, _EMBEDDED) if schema.get(_INT_OR_STRING) and schema.get(n)]
    return [invalid(f"{path}.{n}", True, words) for n in found]


def _type(schema: Json, path: str, level: str) -> list[FieldError]:
    kind, embedded = schema.get("type"), schema.get(_EMBEDDED)
    out: list[FieldError] = []
    if embedded and kind != "object":
        words = f"must be object if {_EMBEDDED} is true"
        out.append(invalid(f"{path}.type", kind, words) if kind else required(f"{path}.type", words))
    elif not kind and not schema.get(_INT_OR_STRING) and not schema.get(_PRESERVE):
        out.append(required(f"{path}.type", f"must not be empty {_WHERE[level]}"))
    if embedded and schema.get("additionalProperties") is not None:
        out.append(forbidden(f"{path}.additionalProperties", f"must not be used if {_EMBEDDED} is set"))
    if level == "root" and kind and kind != "object":
        out.append(invalid(f"{path}.type", kind, "must be object at the root"))
    if embedded and not schema.get(_PRESERVE) and not schema.get("properties"):
        words = f"must not be empty if {_EMBEDDED} is true without {_PRESERVE}"
        out.append(required(f"{path}.properties", words))
    return out


def _meta(schema: Json, path: str, level: str) -> list[FieldError]:
    """kind, apiVersion and metadata of a resource are the API's own."""
    out: list[FieldError] = []
    properties = schema.get("properties") or {}
    if level != "root" and not schema.get(_EMBEDDED):
        return out
    for name, wanted in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
        if name in properties and properties[name].get("type") != wanted:
            given = properties[name].get("type") or ""
            out.append(invalid(f"{path}.properties[{name}].type", given, f"must be {wanted}"))
    metadata = properties.get("metadata")
    if level == "root" and metadata is not None and not _plain_meta(metadata):
        words = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        out.append(forbidden(f"{path}.properties[metadata]", words))
    return out


def _plain_meta(metadata: Json) -> bool:
    said = {k for k, v in metadata.items() if v and k not in ("type", "properties", "default")}
    return not said and not set(metadata.get("properties") or {}) - {"name", "generateName"}


# ---- inside of allOf and the like -------------------------------------------------------------------------------
def _checks(schema: Json, path: str, *, skip: bool, first: bool = False) -> list[FieldError]:
    """The parts of a schema that only check."""
    out: list[FieldError] = []
    for name in ("anyOf", "allOf", "oneOf"):
        for i, part in enumerate([] if name == "anyOf" and skip else schema.get(name) or []):
            out += _nested(part, f"{path}.{name}[{i}]", skip=first and name == "allOf" and i == 0)
    if isinstance(schema.get("not"), dict):
        out += _nested(schema["not"], f"{path}.not", skip=False)
    pattern = schema.get("pattern")
    if pattern and (why := _bad_pattern(pattern)):
        words = f"must be a valid regular expression, but isn't: {why}"
        out.append(invalid(f"{path}.pattern", pattern, words))
    return out


def _bad_pattern(pattern: str) -> str:
    try:
        regexes.compiled(pattern)
    except regexes.RegexError as error:
        return str(error)
    return ""


def _nested(schema: Json, path: str, *, skip: bool) -> list[FieldError]:
    out = _checks(schema, path, skip=skip)
    if isinstance(schema.get("items"), dict):
        out += _nested(schema["items"], f"{path}.items", skip=False)
    properties = schema.get("properties") or {}
    for name, below in properties.items():
        out += _nested(below, f"{path}.properties[{name}]", skip=False)
    out += [forbidden(f"{path}.{name}", words) for name, words in _NESTED.items() if schema.get(name)]
    if "metadata" in properties:
        out.append(forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context"))
    return out


def _complete(checks: Json, shape: Json | None, at: str, path: str) -> list[FieldError]:
    """Every field that is checked is there; `at` is where the shape should be, `path` where the check is."""
    if shape is None:
        return [required(at, f"because it is defined in {path}")]
    out: list[FieldError] = []
    for name in ("allOf", "anyOf", "oneOf"):
        for i, part in enumerate(checks.get(name) or []):
            out += _nested_complete(part, shape, at, f"{path}.{name}[{i}]")
    if isinstance(checks.get("not"), dict):
        out += _nested_complete(checks["not"], shape, at, f"{path}.not")
    return out


def _nested_complete(checks: Json, shape: Json, at: str, path: str) -> list[FieldError]:
    out = _complete(checks, shape, at, path)
    if isinstance(checks.get("items"), dict):
        inner = shape.get("items")
        if inner is None:
            out.append(required(f"{at}.items", f"because it is defined in {path}.items"))
        else:
            out += _nested_complete(checks["items"], inner, f"{at}.items", f"{path}.items")
    for name, below in (checks.get("properties") or {}).items():
        step = f".properties[{name}]"
        inner = (shape.get("properties") or {}).get(name)
        if inner is None:
            out.append(required(at + step, f"because it is defined in {path + step}"))
        else:
            out += _nested_complete(below, inner, at + step, path + step)
    return out
