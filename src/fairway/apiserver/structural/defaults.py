"""Whether the defaults of a schema are valid by it."""

from __future__ import annotations

import copy
from typing import Any

from fairway.apiserver.fielderrors import FieldError, invalid
from fairway.apiserver.schema import Json
from fairway.apiserver.structural import embedded, pruning, validation
from fairway.apiserver.structural.correlation import same


def validate(schema: Json, path: str) -> list[FieldError]:
    """What is wrong with the default at a place of a schema and with those below."""
    out = _default(schema["default"], schema, f"{path}.default") if schema.get("default") is not None else []
    if isinstance(schema.get("items"), dict):
        out += validate(schema["items"], f"{path}.items")
    for name, below in (schema.get("properties") or {}).items():
        out += validate(below, f"{path}.properties[{name}]")
    return out


def _default(value: Any, schema: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    unknown: list[str] = []
    if not same(pruning.prune(copy.deepcopy(value), schema, "", unknown), value):
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
