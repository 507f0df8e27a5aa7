"""What the OpenAPI part of a schema says against a value, in kube-openapi's order and words.

Every check that fits the value's form is made, also when its type is wrong. With a `Correlation`, errors about what an
update did not change are let pass; inside of allOf, anyOf, oneOf and not they are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fairway.apiserver import regexes
from fairway.apiserver.cel.numbers import go_float
from fairway.apiserver.fielderrors import FieldError, invalid, required, too_long, too_many, type_invalid, unsupported
from fairway.apiserver.schema import Json
from fairway.apiserver.structural import formats
from fairway.apiserver.structural.correlation import Correlation, same

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, float),
}
_FORMATS = {"integer": ("int32", "int64"), "number": ("float", "double")}
_NO_FIELD = "<nil>"


class Result(NamedTuple):
    """Errors, and how many checks went well: of alternatives, the one that went farthest is told."""

    errors: list[FieldError]
    matches: int


def validate(value: Any, schema: Json, path: str, before: Correlation | None = None) -> list[FieldError]:
    """Everything that the schema says against a value."""
    return _validate(value, schema, path, before).errors


def validate_at(value: Any, schema: Json, path: str, before: Correlation | None = None) -> list[FieldError]:
    """The same of a value that the real server validates by itself: only the place of an error is the whole path."""
    found = validate(value, schema, "", before)
    return [e._replace(field=path if e.field in ("", _NO_FIELD) else f"{path}.{e.field}") for e in found]


def _validate(value: Any, schema: Json, path: str, before: Correlation | None) -> Result:
    checks = [_type(value, schema, path)]
    if value is None:
        return _total([*checks, _enum(value, schema, path)])
    checks.append(_combined(value, schema, path))
    if isinstance(value, str):
        checks += [_string(value, schema, path), _format(value, schema, path)]
    elif isinstance(value, list):
        checks.append(_array(value, schema, path, before))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        checks.append(_number(value, schema, path))
    checks.append(_enum(value, schema, path))
    if isinstance(value, dict):
        checks.append(_object(value, schema, path, before))
    found = _total(checks)
    if found.errors and before is not None and before.unchanged():
        return Result([], found.matches)
    return found


def _total(checks: list[Result]) -> Result:
    errors = [e for c in checks for e in c.errors]
    return Result(errors, sum(c.matches for c in checks) + sum(not c.errors for c in checks))


# ---- type and enum ----------------------------------------------------------------------------------------------
def name_of(value: Any) -> str:
    """The type of a value in JSON."""
    return "null" if value is None else next(n for n, fits in _TYPES.items() if fits(value))


def _type(value: Any, schema: Json, path: str) -> Result:
    wanted = ["integer", "string"] if schema.get("x-kubernetes-int-or-string") else [schema.get("type") or ""]
    form = schema.get("format") or ""
    if len(wanted) == 1 and form not in _FORMATS.get(wanted[0], (form,) if wanted[0] in ("", "string") else ()):
        form = ""
    if value is None:
        wrong = bool(wanted[0]) and not schema.get("nullable")
        return Result([_wrong_type(path, ",".join(wanted), "null")] if wrong else [], 1)
    given = name_of(value)
    fits = given in wanted or not wanted[0] or _convertible(value, wanted)
    if form and not fits and not isinstance(value, str | list):
        return Result([_wrong_type(path, form, {"integer": "int64", "number": "float64"}.get(given, ""))], 0)
    return Result([] if fits else [_wrong_type(path, ",".join(wanted), given)], int(fits))


def _convertible(value: Any, wanted: list[str]) -> bool:
    """1.0 is an integer, and an integer is a number."""
    if isinstance(value, float):
        return value.is_integer() and "integer" in wanted
    return "number" in wanted and _TYPES["integer"](value)


def _wrong_type(path: str, wanted: str, given: str) -> FieldError:
    return type_invalid(path or _NO_FIELD, given, f'{path} in body must be of type {wanted}: "{given}"')


def _enum(value: Any, schema: Json, path: str) -> Result:
    allowed = schema.get("enum")
    if not allowed or any(same(value, a) for a in allowed):
        return Result([], 1)
    shown = [a if isinstance(a, str) else _json(a) for a in allowed]
    return Result([unsupported(path, value, shown)], 0)


def _json(value: Any) -> str:
    from fairway.apiserver.fielderrors import show

    return show(value)


# ---- by form ----------------------------------------------------------------------------------------------------
def _object(value: Json, schema: Json, path: str, before: Correlation | None) -> Result:
    size, prefix = len(value), f"{path}." if path else ""
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    out: list[FieldError] = []
    if size < schema.get("minProperties", 0):
        out.append(invalid(path, size, f"{path} in body should have at least {schema['minProperties']} properties"))
    if size > schema.get("maxProperties", size):
        out.append(too_many(path, size, schema["maxProperties"]))
    checks: list[Result] = []
    for key, item in value.items():
        inside = properties.get(key)
        if inside is None and isinstance(extra, dict):
            inside = extra
        if inside is not None:
            below = before.key(key) if before else None
            checks.append(_validate(item, inside, prefix + key, None if _is_type(path, key) else below))
        elif extra is False:
            out.append(invalid(path, key, f"{path}.{key} in body is a forbidden property"))
    out += [required(prefix + name) for name in schema.get("required") or [] if name not in value]
    total = _total(checks)
    return Result(out + total.errors, total.matches)


def _is_type(path: str, key: str) -> bool:
    return not path and key in ("kind", "apiVersion")


def _array(value: list[Any], schema: Json, path: str, before: Correlation | None) -> Result:
    items, size = schema.get("items") or {}, len(value)
    total = _total(
        [_validate(v, items, f"{path}[{i}]", before.index(i) if before else None) for i, v in enumerate(value)]
    )
    out = total.errors
    if size < schema.get("minItems", 0):
        out.append(invalid(path, size, f"{path} in body should have at least {schema['minItems']} items"))
    if size > schema.get("maxItems", size):
        out.append(too_many(path, size, schema["maxItems"]))
    return Result(out, total.matches)


def _string(value: str, schema: Json, path: str) -> Result:
    """The first thing that is wrong."""
    if len(value) > schema.get("maxLength", len(value)):
        return Result([too_long(path, schema["maxLength"])], 0)
    if len(value) < schema.get("minLength", 0):
        return Result([invalid(path, value, f"{path} in body should be at least {schema['minLength']} chars long")], 0)
    pattern = schema.get("pattern")
    if pattern and not _matches(pattern, value):
        return Result([invalid(path, value, f"{path} in body should match '{pattern}'")], 0)
    return Result([], 0)


def _matches(pattern: str, value: str) -> bool:
    """A pattern that cannot be run here is not held against the object."""
    try:
        return regexes.matches(pattern, value)
    except regexes.RegexError:
        return True


def _format(value: str, schema: Json, path: str) -> Result:
    form = schema.get("format")
    if not form or schema.get("type") not in (None, "", "string") or formats.valid(form, value):
        return Result([], 0)
    return Result([type_invalid(path, value, f"{path} in body must be of type {form}: {_json(value)}")], 0)


def _limit(limit: float, value: float) -> str:
    """A bound as Go shows it: whole beside whole numbers."""
    return str(int(limit)) if isinstance(value, int) else go_float(float(limit))


def _number(value: float, schema: Json, path: str) -> Result:
    out = _range(value, schema, path)
    low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if step and value % step:
        out.append(invalid(path, value, f"{path} in body should be a multiple of {go_float(float(step))}"))
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        word = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        out.append(invalid(path, value, f"{path} in body should be {word} {_limit(low, value)}"))
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        word = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        out.append(invalid(path, value, f"{path} in body should be {word} {_limit(high, value)}"))
    return Result(out, int(not out))


def _range(value: float, schema: Json, path: str) -> list[FieldError]:
    """Whether a number is one of the type and format that the schema asks for."""
    if schema.get("type") != "integer":
        return []
    form = schema.get("format") if schema.get("format") in _FORMATS["integer"] else ""
    top = 1 << (31 if form == "int32" else 63)
    if value == int(value) and -top <= value < top:
        return []
    shown = f"with format {form}" if form else "(default format)"
    return [invalid(_NO_FIELD, "", f"Checked value must be of type integer {shown} in {path}")]


# ---- combinations -----------------------------------------------------------------------------------------------
def _combined(value: Any, schema: Json, path: str) -> Result:
    parts = [
        _any_of(value, schema.get("anyOf") or [], path),
        _one_of(value, schema.get("oneOf") or [], path),
        _all_of(value, schema.get("allOf") or [], path),
    ]
    if "not" in schema and not validate(value, schema["not"], path):
        parts.append(Result([_about(path, "must not validate the schema (not)")], 0))
    return _total(parts)


def _about(path: str, words: str) -> FieldError:
    return invalid(_NO_FIELD, "", f'"{path}" {words}')


def _best(results: list[Result]) -> Result:
    return max(results, key=lambda r: r.matches)


def _any_of(value: Any, schemas: list[Json], path: str) -> Result:
    if not schemas:
        return Result([], 0)
    found: list[Result] = []
    for schema in schemas:
        found.append(_validate(value, schema, path, None))
        if not found[-1].errors:
            return Result([], found[-1].matches)
    best = _best(found)
    return Result([_about(path, "must validate at least one schema (anyOf)"), *best.errors], best.matches)


def _one_of(value: Any, schemas: list[Json], path: str) -> Result:
    if not schemas:
        return Result([], 0)
    found = [_validate(value, s, path, None) for s in schemas]
    fits = [r for r in found if not r.errors]
    if len(fits) == 1:
        return Result([], fits[0].matches)
    many = f"Found {len(fits)} valid alternatives" if fits else "Found none valid"
    words = _about(path, f"must validate one and only one schema (oneOf). {many}")
    best = Result([], 0) if fits else _best(found)
    return Result([words, *best.errors], best.matches)


def _all_of(value: Any, schemas: list[Json], path: str) -> Result:
    found = [_validate(value, s, path, None) for s in schemas]
    wrong = [r for r in found if r.errors]
    out = [e for r in found for e in r.errors]
    if wrong:
        rest = ". None validated" if len(wrong) == len(found) else ""
        out.append(_about(path, f"must validate all the schemas (allOf){rest}"))
    return Result(out, sum(r.matches for r in found))
