"""x-kubernetes-validations: the rules of a schema, compiled once, and run over objects.

A rule sees the value that it stands at as `self`, and the value before an update as `oldSelf`; rules with `oldSelf` run
on updates only, unless they say that it is optional. The words are those of k8s.io/apiextensions-apiserver.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairway.apiserver.cel import types
from fairway.apiserver.cel.convert import converter
from fairway.apiserver.cel.errors import CompileError, EvaluationError
from fairway.apiserver.cel.frames import Budget, CostError
from fairway.apiserver.cel.program import InstantiationError, Program, compile_text
from fairway.apiserver.cel.types import Type
from fairway.apiserver.cel.values import NONE, some
from fairway.apiserver.fielderrors import FieldError, duplicate, forbidden, invalid, required
from fairway.apiserver.schema import Json
from fairway.apiserver.structural.correlation import Correlation, index_of, old_item
from fairway.apiserver.structural.declared import declared, inside

PER_CALL, PER_OBJECT = 1_000_000, 10_000_000
_LONGEST = 5 * 1024
_OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
SELF_TYPE = "selfType"


class RuleError(Exception):
    """A rule or its message cannot be compiled; `field` is which of the two."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


class Rule:
    """One rule of a schema."""

    __slots__ = ("given", "message", "optional_old", "path", "program", "transition")

    def __init__(self, given: Json, self_type: Type, schema: Json) -> None:
        """Raises RuleError."""
        self.given = given
        self.optional_old = bool(given.get("optionalOldSelf"))
        old = types.optional_of(self_type) if self.optional_old else self_type
        variables = {"self": self_type, "oldSelf": old}
        self.program = _compiled(given.get("rule") or "", variables, "rule", types.BOOL)
        self.transition = "oldSelf" in self.program.used
        expression = given.get("messageExpression") or ""
        self.message = _compiled(expression, variables, "messageExpression", types.STRING) if expression else None
        self.path = _field_path(given.get("fieldPath") or "", schema)

    @property
    def shown(self) -> str:
        """The rule in errors: its message, or its text."""
        return str(given.strip() if (given := self.given.get("message") or "") else self.given["rule"].strip())

    @property
    def detail(self) -> str:
        message = self.given.get("message") or ""
        return str(message.strip()) if message else f"failed rule: {self.shown}"


def _compiled(text: str, variables: dict[str, Type], field: str, wanted: Type) -> Program:
    head = "messageExpression " if field == "messageExpression" else ""
    try:
        program = compile_text(text, variables)
    except CompileError as error:
        raise RuleError(field, f"{head}compilation failed: {error}") from None
    except InstantiationError as error:
        what = "messageExpression" if head else "program"
        raise RuleError(field, f"{what} instantiation failed: {error}") from None
    if program.result != wanted:
        words = "messageExpression must evaluate to a string" if head else "cel expression must evaluate to a bool"
        raise RuleError(field, words)
    return program


def _field_path(text: str, schema: Json) -> str:
    from fairway.apiserver.structural.fieldpath import FieldPathError, normalized

    try:
        return normalized(text, schema) if text else ""
    except FieldPathError:
        return ""


# ---- a schema's rules -------------------------------------------------------------------------------------------
class Rules:
    """The rules at one place of a schema and below it."""

    __slots__ = ("all_of", "convert", "extra", "items", "properties", "rules", "schema")

    def __init__(self, schema: Json, self_type: Type, rules: list[Json]) -> None:
        self.schema = schema
        self.rules = [Rule(r, self_type, schema) for r in rules if (r.get("rule") or "").strip()]
        self.convert: Callable[[Any], Any] | None = converter(self_type) if self.rules else None
        self.properties: dict[str, Rules] = {}
        self.extra: Rules | None = None
        self.items: Rules | None = None
        self.all_of: list[Rules] = []

    def __bool__(self) -> bool:
        return bool(self.rules or self.properties or self.extra or self.items or self.all_of)


def has_rules(schema: Any) -> bool:
    """Whether a rule stands anywhere in a schema."""
    if isinstance(schema, dict):
        return bool(schema.get("x-kubernetes-validations")) or any(map(has_rules, schema.values()))
    return isinstance(schema, list) and any(map(has_rules, schema))


def build(schema: Json, *, root: bool = True) -> Rules | None:
    """All rules of a schema that was found valid, or None when there are none."""
    self_type = declared(schema, SELF_TYPE, root=root)
    return _build(schema, schema, self_type) if self_type is not None and has_rules(schema) else None


def _build(given: Json, schema: Json, self_type: Type) -> Rules | None:
    """`given` has the rules, `schema` the structure; they differ within allOf."""
    out = Rules(schema, self_type, given.get("x-kubernetes-validations") or [])
    items, extra = given.get("items"), given.get("additionalProperties")
    if items and schema.get("items") and self_type.kind == "list":
        out.items = _build(items, schema["items"], self_type.params[0])
    if isinstance(extra, dict) and isinstance(schema.get("additionalProperties"), dict) and self_type.kind == "map":
        out.extra = _build(extra, schema["additionalProperties"], self_type.params[1])
    by_json = {f.json_name: f.type for f in self_type.fields.values()}
    for key, below in (given.get("properties") or {}).items():
        structure = (schema.get("properties") or {}).get(key)
        found = by_json.get(key) or inside(structure, SELF_TYPE)
        if structure is not None and found is not None and (made := _build(below, structure, found)):
            out.properties[key] = made
    for part in given.get("allOf") or []:
        if made := _build(part, schema, self_type):
            out.all_of.append(made)
    return out or None


# ---- running them -----------------------------------------------------------------------------------------------
class Run:
    """One object's validation: what is found, what is only warned of, and how much may still be spent."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []
        self.warnings: list[str] = []
        self._left = PER_OBJECT
        self._over = False

    def check(self, rules: Rules | None, value: Any, old: Any, path: str, before: _Ratchet) -> None:
        """A value and everything in it."""
        if rules is None or value is None or self._over:
            return
        self._here(rules, value, old, path, before)
        for part in rules.all_of:
            self.check(part, value, old, path, _Ratchet(None, before.parent))
        if isinstance(value, list) and rules.items is not None:
            index = index_of(old, rules.schema)
            for i, item in enumerate(value):
                was = old_item(index, item, rules.schema)
                self.check(rules.items, item, was, f"{path}[{i}]", before.index(i))
        elif isinstance(value, dict):
            self._inside(rules, value, old if isinstance(old, dict) else {}, path, before)

    def _inside(self, rules: Rules, value: Json, old: Json, path: str, before: _Ratchet) -> None:
        for key, item in value.items():
            if rules.extra is not None:
                self.check(rules.extra, item, old.get(key), f"{path}[{key}]", before.key(key))
            elif key in rules.properties:
                below = f"{path}.{key}" if path else key
                self.check(rules.properties[key], item, old.get(key), below, before.key(key))

    def _here(self, rules: Rules, value: Any, old: Any, path: str, before: _Ratchet) -> None:
        if not rules.rules:
            return
        convert = rules.convert
        now = convert(value) if convert else value
        was = convert(old) if convert and old is not None else old
        for rule in rules.rules:
            if rule.transition and old is None and not rule.optional_old:
                continue
            previous = (NONE if was is None else some(was)) if rule.optional_old else was
            if self._over:
                return
            found = self._run(rule, [now, previous], path, rules.schema)
            if found is not True:
                self._failed(rule, found, [now, previous], (path, value, rules.schema, before))

    def _spent(self, program: Program, values: list[Any]) -> Any:
        """Run a program; what it cost is gone also when it fails."""
        budget = Budget(min(PER_CALL, self._left))
        start = budget.left
        try:
            return program.run(values, budget)
        finally:
            self._left -= start - max(budget.left, 0) + 1

    def _run(self, rule: Rule, values: list[Any], path: str, schema: Json) -> Any:
        """True, False, or the error that an evaluation ended with."""
        kind = schema.get("type") or ""
        if self._left <= 0:
            self._over = True
            return invalid(path or "<nil>", kind, _OUT_OF_BUDGET)
        try:
            return self._spent(rule.program, values)
        except CostError as error:
            self._over = True
            words = f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: "
            return invalid(path or "<nil>", kind, words + rule.shown)
        except EvaluationError as error:
            return invalid(path or "<nil>", kind, _evaluation_words(str(error), rule))

    def _failed(self, rule: Rule, found: Any, values: list[Any], where: tuple[str, Any, Json, _Ratchet]) -> None:
        path, value, schema, before = where
        if isinstance(found, FieldError):
            self.errors.append(found)
            return
        detail = self._message(rule, values) or rule.detail
        place = f"{path}{rule.path}" if path else rule.path.removeprefix(".")
        error = _field_error(place or "<nil>", value, detail, rule.given.get("reason"), schema)
        if not rule.transition and before.lets_pass():
            self.warnings.append(str(error))
        else:
            self.errors.append(error)

    def _message(self, rule: Rule, values: list[Any]) -> str:
        """What messageExpression says; nothing when it cannot say it."""
        if rule.message is None:
            return ""
        try:
            text = self._spent(rule.message, values)
        except (EvaluationError, CostError):
            return ""
        text = text.strip() if isinstance(text, str) else ""
        return "" if len(text.encode()) > _LONGEST or "\n" in text else text


def _evaluation_words(error: str, rule: Rule) -> str:
    if error.startswith("no such overload"):
        words = "call arguments did not match a supported operator, function or macro signature for rule: "
        return f"'{error}': {words}{rule.shown}"
    return f"{error} evaluating rule: {rule.shown}"


def _field_error(path: str, value: Any, detail: str, reason: str | None, schema: Json) -> FieldError:
    omitted = schema.get("type") in ("object", "array")
    match reason:
        case "FieldValueForbidden":
            return forbidden(path, detail)
        case "FieldValueRequired":
            return required(path, detail)
        case "FieldValueDuplicate":
            return FieldError("FieldValueDuplicate", path, "Duplicate value") if omitted else duplicate(path, value)
    if omitted:
        return FieldError("FieldValueInvalid", path, f"Invalid value: {detail}")
    return invalid(path, value, detail)


class _Ratchet:
    """The nearest place that has an old value, for errors that are let pass."""

    __slots__ = ("here", "parent")

    def __init__(self, here: Correlation | None, parent: Correlation | None) -> None:
        self.here, self.parent = here, parent

    def lets_pass(self) -> bool:
        found = self.here or self.parent
        return found is not None and found.unchanged()

    def key(self, name: str) -> _Ratchet:
        if self.here is None:
            return self
        if self.parent is None and name in ("apiVersion", "kind"):
            return _Ratchet(None, None)
        return _Ratchet(self.here.key(name), self.here)

    def index(self, at: int) -> _Ratchet:
        return self if self.here is None else _Ratchet(self.here.index(at), self.here)


def run(rules: Rules, value: Any, old: Any, before: Correlation | None, path: str = "") -> Run:
    """Validate a value; `old` is None on creation."""
    out = Run()
    out.check(rules, value, old, path, _Ratchet(before, None))
    return out
