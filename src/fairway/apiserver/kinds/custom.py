"""Custom resources: each served version of a definition is an entry in the registry, with a strategy of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fairway.apiserver import errors, gotime, names, openapi
from fairway.apiserver.context import encode
from fairway.apiserver.fielderrors import FieldError, invalid
from fairway.apiserver.fieldsets import Path
from fairway.apiserver.kinds.base import RESET_STATUS, Resource, Strategy, get
from fairway.apiserver.request import Json
from fairway.apiserver.structural import defaulting, embedded, jsonpath, listtypes, pruning, types, validation
from fairway.apiserver.structural.correlation import Correlation
from fairway.apiserver.tables import AGE, NAME, Cell, Column

if TYPE_CHECKING:
    from fairway.apiserver.context import Call, Server
    from fairway.apiserver.structural.rules import Rules, Run

_BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")  # in discovery's order
_STANDARD = ("kubernetes", "orphan", "foregroundDeletion")


class CustomStrategy(Strategy):
    """One version of a custom resource."""

    has_generation = True
    returns_deleted = False
    standard_finalizers = False
    name_rule = staticmethod(names.subdomain_name)

    def __init__(self, version: Json, api_version: str, kind: str) -> None:
        self.schema: Json = get(version, "schema", "openAPIV3Schema") or {}
        self.root = {**self.schema, "x-kubernetes-embedded-resource": True}
        self.head = {"apiVersion": api_version, "kind": kind}
        self.has_status = get(version, "subresources", "status") is not None
        self.scale = get(version, "subresources", "scale")
        self.reset = RESET_STATUS if self.has_status else ()
        self.columns = _columns(version.get("additionalPrinterColumns") or [])
        given = [f["jsonPath"] for f in version.get("selectableFields") or []]
        self.selectable = tuple(p.removeprefix(".") for p in given)
        self._selected = [(p.removeprefix("."), jsonpath.compiled(p)) for p in given]
        self.deprecated = _deprecation(version, api_version, kind)

    @functools.cached_property
    def rules(self) -> Rules | None:
        """The CEL rules, compiled when the first object comes; the language is not even loaded without any."""
        if not _has_rules(self.schema):
            return None
        from fairway.apiserver.structural import rules

        return rules.build(self.schema)

    # ---- decoding ----------------------------------------------------------------------------------------------
    def pruned(self, obj: Json, unknown: list[str], *, nulls: bool = False) -> Json:
        """What the schema keeps of an object without its metadata."""
        kept: Json = pruning.prune(obj, self.root, "", unknown)
        if not nulls:
            pruning.drop_nulls(kept, self.schema)
        return kept

    def default(self, obj: Json) -> None:
        defaulting.default(obj, self.schema)

    # ---- writes ------------------------------------------------------------------------------------------------
    def admit(self, call: Call, obj: Json, old: Json | None) -> None:
        """Nothing new of a kind that is going."""
        from fairway.apiserver.kinds.crds import is_terminating

        resource = call.resource
        if old is None and is_terminating(call.server, resource.key):
            why = "create not allowed while custom resource definition is terminating"
            raise errors.forbidden(resource.plural, resource.group, obj["metadata"].get("name", ""), why)

    def prepare_create(self, call: Call, obj: Json) -> None:
        if self.has_status:
            obj.pop("status", None)
        obj["metadata"]["generation"] = 1

    def bump_generation(self, obj: Json, old: Json) -> None:
        ignored = ("metadata", "status") if self.has_status else ("metadata",)
        new, was = ({k: v for k, v in o.items() if k not in ignored} for o in (obj, old))
        obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + (1 if new != was else 0)

    def prepare_status(self, call: Call, obj: Json, old: Json) -> None:
        """Nothing but the status changes: not even labels."""
        managed = obj["metadata"].get("managedFields")
        status = obj.get("status")
        version = obj["metadata"].get("resourceVersion", "")
        obj.clear()
        obj.update({**old, "metadata": {**old["metadata"], "resourceVersion": version}})
        if managed is not None:
            obj["metadata"]["managedFields"] = managed
        else:
            obj["metadata"].pop("managedFields", None)
        if status is None:
            obj.pop("status", None)
        else:
            obj["status"] = status

    def status_reset(self) -> tuple[Path, ...]:
        return (("f:metadata",), ("f:spec",))

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        whole = {**self.head, **obj}
        out = validation.validate(whole, self.schema, "")
        out += self._scale_errors(obj, status=False)
        out += embedded.validate(whole, self.schema, "")
        out += listtypes.validate(whole, self.schema, "")
        return out + self._rule_errors(call, (whole, None, None), out)

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        whole, was = {**self.head, **obj}, {**self.head, **old}
        before = Correlation(whole, was, self.schema)
        out = validation.validate(whole, self.schema, "", before)
        out += self._scale_errors(obj, status=False)
        return self._checked_update(call, (whole, was, before), out)

    def validate_status(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        whole, was = {**self.head, **obj}, {**self.head, **old}
        before = Correlation(whole, was, self.schema)
        schema = (self.schema.get("properties") or {}).get("status")
        out: list[FieldError] = []
        if schema is not None and "status" in obj:
            out += validation.validate_at(obj["status"], schema, "status", before.key("status"))
        out += self._scale_errors(obj, status=True)
        return self._checked_update(call, (whole, was, before), out)

    def _checked_update(
        self, call: Call, states: tuple[Json, Json, Correlation], out: list[FieldError]
    ) -> list[FieldError]:
        whole, was, _ = states
        out += embedded.validate(whole, self.schema, "")
        doubled = listtypes.validate(whole, self.schema, "")
        if doubled and not listtypes.validate(was, self.schema, ""):
            out += doubled
        return out + self._rule_errors(call, states, out)

    def _rule_errors(
        self, call: Call, states: tuple[Json, Json | None, Correlation | None], found: list[FieldError]
    ) -> list[FieldError]:
        """What the rules say, unless the object is so wrong that they could not tell."""
        rules = self.rules
        if rules is None:
            return []
        if any(e.reason in _BLOCKING for e in found):
            return [invalid("<nil>", None, _NOT_CHECKED)]
        done = _run(rules, *states)
        call.warn(*done.warnings)
        return done.errors

    def _scale_errors(self, obj: Json, *, status: bool) -> list[FieldError]:
        """The counts that the scale sub-resource reads."""
        if self.scale is None:
            return []
        names_ = ["statusReplicasPath"] if status else ["specReplicasPath", "statusReplicasPath"]
        out: list[FieldError] = []
        for path in (self.scale[n] for n in names_):
            count = at_path(obj, path)
            if isinstance(count, int) and count < 0:
                out.append(invalid(path, count, "should be a non-negative integer"))
            elif isinstance(count, int) and count > (1 << 31) - 1:
                out.append(invalid(path, count, f"should be less than or equal to {(1 << 31) - 1}"))
        return out

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        had = set(old["metadata"].get("finalizers") or ()) if old else set()
        added = sorted(set(obj["metadata"].get("finalizers") or ()) - had)
        return [_finalizer_warning(f) for f in added if "/" not in f and f not in _STANDARD]

    def after_delete(self, call: Call, obj: Json) -> None:
        from fairway.apiserver.kinds.crds import finish_deletion

        finish_deletion(call.server, f"{call.resource.plural}.{call.resource.group}", call.now)

    def fields(self, obj: Json) -> dict[str, str]:
        found = {name: find({**self.head, **obj}) for name, find in self._selected}
        return {
            name: jsonpath.text(values[0]) if values and values[0] is not None else "" for name, values in found.items()
        }


def _has_rules(schema: Any) -> bool:
    """As `rules.has_rules`, which would load the language."""
    if isinstance(schema, dict):
        return bool(schema.get("x-kubernetes-validations")) or any(map(_has_rules, schema.values()))
    return isinstance(schema, list) and any(map(_has_rules, schema))


def _run(rules: Rules, whole: Json, old: Json | None, before: Correlation | None) -> Run:
    from fairway.apiserver.structural.rules import run

    return run(rules, whole, old, before)


def _finalizer_warning(name: str) -> str:
    path = " including a path (/)" if "." in name else ""
    return (
        f'metadata.finalizers: "{name}": prefer a domain-qualified finalizer name{path} to avoid accidental conflicts '
        "with other finalizer writers"
    )


def _deprecation(version: Json, api_version: str, kind: str) -> str:
    if not version.get("deprecated"):
        return ""
    return str(version.get("deprecationWarning") or f"{api_version} {kind} is deprecated")


def at_path(obj: Json, path: str) -> Any:
    """The value at a path in dots."""
    return get(obj, *path.removeprefix(".").split("."))


# ---- columns ----------------------------------------------------------------------------------------------------
def _columns(given: list[Json]) -> tuple[Column, ...]:
    if not given:
        return (NAME, AGE._replace(type="date"))
    return (NAME, *(_column(c) for c in given))


def _column(given: Json) -> Column:
    path = given.get("jsonPath", "")
    words = given.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
    kind, form = given.get("type", "string"), given.get("format") or ""
    return Column(given["name"], _cell(path, kind), kind, given.get("priority", 0), words, form)


def _cell(path: str, kind: str) -> Cell:
    find = jsonpath.compiled(path)

    def cell(obj: Json, now: float) -> Any:
        values = find(obj)
        if not values:
            return None
        return jsonpath.text(values[0]) if kind == "string" else _cell_value(values[0], kind, now)

    return cell


def _cell_value(value: Any, kind: str, now: float) -> Any:
    """A value as a cell of a type, or nothing when it is not one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "integer" if number:
            return int(value)
        case "number" if number:
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "date" if isinstance(value, str):
            return _age(value, now)
    return None


def _age(value: str, now: float) -> str:
    try:
        return gotime.age(value, now)
    except ValueError:
        return "<invalid>"


# ---- the registry -----------------------------------------------------------------------------------------------
def resources_of(crd: Json) -> list[Resource]:
    """A registry entry for each served version."""
    spec = crd["spec"]
    given = get(crd, "status", "acceptedNames") or spec["names"]
    out: list[Resource] = []
    made = {
        v["name"]: CustomStrategy(v, f"{spec['group']}/{v['name']}", given["kind"]) for v in spec.get("versions") or []
    }
    storage_name = next((v["name"] for v in spec.get("versions") or [] if v.get("storage")), "")
    storage = made.get(storage_name)
    schemas = {encode(s.schema) for s in made.values()}
    again = crd["metadata"].get("generation", 1) > 1
    for version in spec.get("versions") or []:
        if not version.get("served"):
            continue
        strategy = made[version["name"]]
        out.append(
            Resource(
                spec["group"],
                version["name"],
                given["plural"],
                given["kind"],
                types.type_of(strategy.schema, given["kind"]),
                strategy,
                spec.get("scope") == "Namespaced",
                tuple(given.get("shortNames") or ()),
                tuple(given.get("categories") or ()),
                _VERBS,
                tuple(n for n in ("status", "scale") if get(version, "subresources", n) is not None),
                list_kind=given.get("listKind") or "",
                singular=given.get("singular") or given["kind"].lower(),
                custom=True,
                from_storage=_reader(strategy, storage or strategy, changed=len(schemas) > 1 or again),
                to_storage=_writer(storage or strategy) if len(schemas) > 1 else None,
                storage_version=storage_name,
            )
        )
    return out


def _without_meta(obj: Json) -> Json:
    return {k: v for k, v in obj.items() if k != "metadata"}


def _writer(storage: CustomStrategy) -> Callable[[Json], Json]:
    """What is stored of an object that came in some version: what the storage version knows."""

    def write(obj: Json) -> Json:
        kept = {"metadata": obj["metadata"], **storage.pruned(_without_meta(obj), [])}
        storage.default(kept)
        return kept

    return write


def _reader(strategy: CustomStrategy, storage: CustomStrategy, *, changed: bool) -> Callable[[Json], Json] | None:
    """What is seen of a stored object: defaults that came later, and no field that the version asked for lacks."""
    if not changed and not defaulting.has_defaults(storage.schema):
        return None

    def read(obj: Json) -> Json:
        storage.default(obj)
        return {"metadata": obj["metadata"], **strategy.pruned(_without_meta(obj), [])} if changed else obj

    return read


def register(server: Server, crd: Json) -> None:
    """Serve what a definition says, and no longer what it used to say."""
    _remove(server, crd)
    if established(crd):
        for resource in resources_of(crd):
            server.registry.add(resource)
    _document(server, crd["spec"]["group"])


def unregister(server: Server, crd: Json) -> None:
    _remove(server, crd)
    _document(server, crd["spec"]["group"])


def established(crd: Json) -> bool:
    """Whether its names were free when it came."""
    conditions = get(crd, "status", "conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def _remove(server: Server, crd: Json) -> None:
    spec = crd["spec"]
    for resource in server.registry:
        if resource.custom and (resource.group, resource.plural) == (spec["group"], spec["names"]["plural"]):
            server.registry.remove(resource)


def _document(server: Server, group: str) -> None:
    """OpenAPI documents of a group's versions."""
    for path in [p for p in server.documents if p.startswith(f"apis/{group}/")]:
        del server.documents[path]
    if group not in server.registry.groups():
        return
    for version in server.registry.versions(group):
        kinds: list[Json] = [
            {
                "group": group,
                "version": version,
                "kind": r.kind,
                "plural": r.plural,
                "namespaced": r.namespaced,
                "schema": r.strategy.schema,
            }
            for r in server.registry.of(group, version)
            if isinstance(r.strategy, CustomStrategy)
        ]
        if kinds:
            server.documents[f"apis/{group}/{version}"] = openapi.custom_document(kinds)
