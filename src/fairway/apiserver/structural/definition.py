"""Whether a schema may stand in a CustomResourceDefinition: structural, with sound lists, defaults and rules.

The checks, their words and which of them hides which are those of k8s.io/apiextensions-apiserver. Not made: the
estimate of what a rule may cost at most.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, required, unsupported
from fairway.apiserver.schema import Json
from fairway.apiserver.structural import defaults, structure
from fairway.apiserver.structural.fieldpath import FieldPathError, normalized

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_META = ("metadata", "kind", "apiVersion")
RULES = "x-kubernetes-validations"


class _Place(NamedTuple):
    """What holds where a part of the schema stands."""

    path: str
    root: bool = False
    in_meta: bool = False
    no_defaults: str | None = None  # why not
    uncorrelated: str = ""  # the path within which oldSelf means nothing
    rules: bool = True  # not inside of allOf and the like

    def below(self, step: str, **changes: Any) -> _Place:
        return self._replace(path=self.path + step, root=False, **changes)


def validate(schema: Json, path: str, *, old: Json | None = None) -> list[FieldError]:
    """Everything against a version's openAPIV3Schema; what was wrong in the old one is let pass."""
    if old is not None and old == schema:
        return []
    shape = structure.validate(schema, path) or defaults.validate(schema, path)
    checker = _Checker(compile_rules=not shape)
    checker.check(schema, _Place(path, root=True))
    return shape + checker.schema_errors + (checker.rule_errors if not shape else [])


class _Checker:
    def __init__(self, *, compile_rules: bool) -> None:
        self._compile = compile_rules
        self.schema_errors: list[FieldError] = []
        self.rule_errors: list[FieldError] = []

    def check(self, schema: Json, at: _Place) -> None:
        """A part of the schema, what is in it first."""
        before = len(self.schema_errors)
        self.schema_errors += _supported(schema, at)
        self._children(schema, at)
        self.schema_errors += [*_extensions(schema, at.path), *_lists(schema, at.path)]
        rules = schema.get(RULES) or []
        for i, rule in enumerate(rules):
            self.schema_errors += _rule_form(rule, schema, f"{at.path}.{RULES}[{i}]")
        if rules and self._compile and at.rules and len(self.schema_errors) == before:
            self.rule_errors += _compiled(schema, at)

    def _children(self, schema: Json, at: _Place) -> None:
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            why = "inside additionalProperties applying to object metadata" if at.in_meta else at.no_defaults
            self.check(extra, at.below(".additionalProperties", no_defaults=why))
        for name, below in (schema.get("properties") or {}).items():
            self.check(below, _property(schema, name, at))
        for name in ("allOf", "oneOf", "anyOf"):
            for i, part in enumerate(schema.get(name) or []):
                self.check(part, at.below(f".{name}[{i}]", rules=False))
        if isinstance(schema.get("not"), dict):
            self.check(schema["not"], at.below(".not", rules=False))
        if isinstance(schema.get("items"), dict):
            mapped = schema.get("x-kubernetes-list-type") == "map"
            self.check(schema["items"], at.below(".items", uncorrelated=at.uncorrelated or ("" if mapped else at.path)))


def _property(schema: Json, name: str, at: _Place) -> _Place:
    meta = (at.root or schema.get("x-kubernetes-embedded-resource")) and name in _META
    why = f"in top-level {name}" if meta and at.root else at.no_defaults
    return at.below(f".properties[{name}]", in_meta=at.in_meta or bool(meta), no_defaults=why)


# ---- single checks ----------------------------------------------------------------------------------------------
def _supported(schema: Json, at: _Place) -> list[FieldError]:
    out: list[FieldError] = []
    path, kind = at.path, schema.get("type")
    if kind and kind not in _TYPES:
        out.append(unsupported(f"{path}.type", kind, _TYPES))
    if schema.get("default") is not None and at.no_defaults is not None:
        out.append(forbidden(f"{path}.default", f"must not be set {at.no_defaults}".strip()))
    out += [forbidden(f"{path}.{name}", f"{name} is not supported") for name in _UNSUPPORTED if schema.get(name)]
    if kind == "null":
        out.append(forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative"))
    if isinstance(schema.get("items"), list):
        out.append(forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if at.in_meta and schema.get("x-kubernetes-embedded-resource"):
        out.append(forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta"))
    if schema.get("uniqueItems"):
        words = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        out.append(forbidden(f"{path}.uniqueItems", words))
    if schema.get("properties") and schema.get("additionalProperties") not in (None, True):
        words = "additionalProperties and properties are mutual exclusive"
        out.append(forbidden(f"{path}.additionalProperties", words))
    return out


def _typed(schema: Json, path: str, extension: str, wanted: str) -> list[FieldError]:
    """An extension is for one type only."""
    if extension not in schema or schema.get("type") == wanted:
        return []
    words = f"must be {wanted} if {extension} is specified"
    kind = schema.get("type")
    return [invalid(f"{path}.type", kind, words) if kind else required(f"{path}.type", words)]


def _extensions(schema: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        out.append(invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined"))
    out += _typed(schema, path, "x-kubernetes-map-type", "object")
    relation = schema.get("x-kubernetes-map-type")
    if relation not in (None, "atomic", "granular"):
        out.append(unsupported(f"{path}.x-kubernetes-map-type", relation, ("atomic", "granular")))
    return out


def _lists(schema: Json, path: str) -> list[FieldError]:
    relation, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    items = schema.get("items") if isinstance(schema.get("items"), dict) else None
    out = _typed(schema, path, "x-kubernetes-list-type", "array")
    if not out and relation == "set" and items:
        out += _set_items(items, path)
    if relation not in (None, "atomic", "set", "map"):
        out.append(unsupported(f"{path}.x-kubernetes-list-type", relation, ("atomic", "set", "map")))
    if keys and relation != "map":
        words = "must be map if x-kubernetes-list-map-keys is non-empty"
        place = f"{path}.x-kubernetes-list-type"
        out.append(required(place, words) if relation is None else invalid(place, relation, words))
    if relation == "map":
        out += _map_form(items, keys, path)
    if relation in ("map", "set") and items:
        out += _keyed_items(items, keys if relation == "map" else [], relation, path)
    return out


def _set_items(items: Json, path: str) -> list[FieldError]:
    words = "must be atomic as item of a list with x-kubernetes-list-type=set"
    kind, relation = items.get("type"), items.get("x-kubernetes-list-type")
    if kind == "array" and relation not in (None, "atomic"):
        return [invalid(f"{path}.items.x-kubernetes-list-type", relation, words)]
    if kind == "object" and items.get("x-kubernetes-map-type") != "atomic":
        return [invalid(f"{path}.items.x-kubernetes-map-type", relation, words)]
    return []


def _map_form(items: Json | None, keys: list[str], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    place = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        out.append(required(place, "must not be empty if x-kubernetes-list-type is map"))
    if items is None:
        return [*out, required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")]
    kind = items.get("type")
    if kind != "object":
        words = "must be object if parent array's x-kubernetes-list-type is map"
        return [*out, invalid(f"{path}.items.type", kind or "", words)]
    properties = items.get("properties") or {}
    for i, key in enumerate(keys):
        if key not in properties:
            out.append(invalid(place, keys, "entries must all be names of item properties"))
        elif properties[key].get("type") in ("array", "object"):
            words = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            out.append(invalid(f"{path}.items.properties[{key}].type", kind, words))
        if key in keys[:i]:
            out.append(invalid(place, keys, "must not contain duplicate entries"))
    return out


def _keyed_items(items: Json, keys: list[str], relation: str, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    if items.get("nullable"):
        words = f"cannot be nullable when x-kubernetes-list-type is {relation}"
        out.append(forbidden(f"{path}.items.nullable", words))
    for key in keys:
        found = (items.get("properties") or {}).get(key)
        if found is None:
            continue
        place = f"{path}.items.properties[{key}]"
        if key not in (items.get("required") or []) and found.get("default") is None:
            words = "so it must have a default or be a required property"
            out.append(required(f"{place}.default", f"this property is in x-kubernetes-list-map-keys, {words}"))
        if found.get("nullable"):
            words = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            out.append(forbidden(f"{place}.nullable", words))
    return out


# ---- rules ------------------------------------------------------------------------------------------------------
def _rule_form(rule: Json, schema: Json, path: str) -> list[FieldError]:
    """What is wrong with a rule without looking into its expression."""
    text, message = (rule.get("rule") or "").strip(), rule.get("message") or ""
    out: list[FieldError] = []
    if not text:
        out.append(required(f"{path}.rule", "rule is not specified"))
    elif message and not message.strip():
        out.append(invalid(f"{path}.message", message, "must be non-empty if specified"))
    elif _broken(message.strip()):
        out.append(invalid(f"{path}.message", message, "must not contain line breaks"))
    elif _broken(text) and not message.strip():
        out.append(required(f"{path}.message", "message must be specified if rule contains line breaks"))
    expression = rule.get("messageExpression") or ""
    if expression and not expression.strip():
        words = "messageExpression must be non-empty if specified"
        out.append(required(f"{path}.messageExpression", words))
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        out.append(unsupported(f"{path}.reason", reason, _REASONS))
    return out + _field_path(rule.get("fieldPath") or "", schema, f"{path}.fieldPath")


def _broken(text: str) -> bool:
    return "\n" in text or "\r" in text


def _field_path(text: str, schema: Json, path: str) -> list[FieldError]:
    if not text:
        return []
    out: list[FieldError] = []
    if not text.strip():
        out.append(invalid(path, text, "must be non-empty if specified"))
    if _broken(text):
        out.append(invalid(path, text, "must not contain line breaks"))
    try:
        normalized(text, schema)
    except FieldPathError:
        out.append(invalid(path, text, "must be a valid path"))
    return out


def _compiled(schema: Json, at: _Place) -> list[FieldError]:
    """What is wrong with the expressions of one place."""
    from fairway.apiserver.structural.declared import declared
    from fairway.apiserver.structural.rules import SELF_TYPE, Rule, RuleError

    root = at.root or bool(schema.get("x-kubernetes-embedded-resource"))
    self_type = declared(schema, SELF_TYPE, root=root)
    if self_type is None:
        words = "internal error: failed to retrieve type information for x-kubernetes-validations"
        return [FieldError("InternalError", f"{at.path}.{RULES}", f"Internal error: {words}")]
    out: list[FieldError] = []
    for i, given in enumerate(schema[RULES]):
        path = f"{at.path}.{RULES}[{i}]"
        try:
            rule = Rule(given, self_type, schema)
        except RuleError as error:
            out.append(invalid(f"{path}.{error.field}", _shown(given), str(error)))
            continue
        if rule.transition and at.uncorrelated:
            words = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {at.uncorrelated}"
            out.append(invalid(f"{path}.rule", given["rule"], words))
        elif not rule.transition and given.get("optionalOldSelf") is not None:
            words = "may not be set if oldSelf is not used in rule"
            out.append(invalid(f"{path}.optionalOldSelf", given["optionalOldSelf"], words))
    return out


def _shown(rule: Json) -> Json:
    """A rule as Go's internal type marshals."""
    return {
        "Rule": rule.get("rule") or "",
        "Message": rule.get("message") or "",
        "MessageExpression": rule.get("messageExpression") or "",
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath") or "",
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }
