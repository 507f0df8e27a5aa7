"""Whether the defaults of a schema are valid by it."""

from __future__ import annotations

import copy
from typing import Any

from fairway.apiserver.fielderrors import FieldError, invalid
from fairway.apiserver.schema import Json
from fairway.apiserver.structural import embedded, pruning, validation
from fairway.apiserver.structural.correlation import same

_EMBEDDED = "x-kubernetes-embedded-resource"


def validate(schema: Json, path: str) -> list[FieldError]:
    """What is wrong with the defaults of a resource's schema."""
    return _part({**schema, _EMBEDDED: True}, path, in_meta=False)


def _part(schema: Json, path: str, *, in_meta: bool) -> list[FieldError]:
    """The default at a place and those below; what is in the metadata of a resource may be more than is declared."""
    resource = bool(schema.get(_EMBEDDED))
    in_meta = in_meta and not resource
    given = schema.get("default")
    out = _default(given, schema, f"{path}.default", in_meta=in_meta) if given is not None else []
    if isinstance(schema.get("items"), dict):
        out += _part(schema["items"], f"{path}.items", in_meta=in_meta)
    for name, below in (schema.get("properties") or {}).items():
        meta = in_meta or (resource and name in ("metadata", "apiVersion", "kind"))
        out += _part(below, f"{path}.properties[{name}]", in_meta=meta)
    return out


def _default(value: Any, schema: Json, path: str, *, in_meta: bool) -> list[FieldError]:
    out: list[FieldError] = []
    unknown: list[str] = []
    if not in_meta and not same(pruning.prune(copy.deepcopy(value), schema, "", unknown), value):
        out.append(invalid(path, value, "must not have unknown fields"))
    found = embedded.validate(value, schema, path) or validation.validate_at(value, schema, path)
    return [*out, *(found or _rules(value, schema, path))]


def _rules(value: Any, schema: Json, path: str) -> list[FieldError]:
    """A default must be good for a new object and for one that has it already."""
    from fairway.apiserver.structural.rules import RuleError, build, has_rules, run

    if not has_rules(schema):
        return []
    try:
        rules = build(schema, root=False)
    except RuleError:  # told where the rule stands
        return []
    if rules is None:
        return []
    return run(rules, value, value, None, path).errors or run(rules, value, None, None, path).errors
