"""CustomResourceDefinition, and the kinds that it makes: each served version becomes an entry in the registry."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fairway.apiserver import gotime, names, openapi, structural
from fairway.apiserver.fielderrors import FieldError, duplicate, invalid, required, unsupported
from fairway.apiserver.kinds.base import ALL_VERBS, RESET_STATUS, Resource, Strategy, get
from fairway.apiserver.request import Json
from fairway.apiserver.tables import AGE, NAME, Cell, Column

if TYPE_CHECKING:
    from fairway.apiserver.context import Call, Server

KEY = "customresourcedefinitions.apiextensions.k8s.io"


class CrdStrategy(Strategy):
    """apiextensions.k8s.io/v1."""

    has_status = True
    has_generation = True
    returns_deleted = True
    reset = RESET_STATUS

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        given = spec.setdefault("names", {})
        kind = given.get("kind", "")
        given.setdefault("singular", kind.lower())
        given.setdefault("listKind", f"{kind}List")
        spec.setdefault("conversion", {"strategy": "None"})

    def prepare_create(self, call: Call, obj: Json) -> None:
        super().prepare_create(call, obj)
        obj["status"] = _status(obj, call.time, [])

    def prepare_update(self, call: Call, obj: Json, old: Json) -> None:
        super().prepare_update(call, obj, old)
        stored = get(old, "status", "storedVersions") or []
        before = {c["type"]: c for c in get(old, "status", "conditions") or []}
        status = _status(obj, call.time, stored)
        status["conditions"] = [before.get(c["type"], c) for c in status["conditions"]]
        obj["status"] = status

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        spec = obj["spec"]
        given, group = spec["names"], spec.get("group", "")
        out: list[FieldError] = []
        if not group:
            out.append(required("spec.group"))
        else:
            out += [invalid("spec.group", group, m) for m in names.subdomain_errors(group)]
            if "." not in group:
                out.append(invalid("spec.group", group, "should be a domain with at least one dot"))
        if not given.get("plural"):
            out.append(required("spec.names.plural"))
        if not given.get("kind"):
            out.append(required("spec.names.kind"))
        wanted = f"{given.get('plural', '')}.{group}"
        if obj["metadata"].get("name") != wanted:
            out.append(
                invalid("metadata.name", obj["metadata"].get("name", ""), 'must be spec.names.plural+"."+spec.group')
            )
        if spec.get("scope") not in ("Cluster", "Namespaced"):
            out.append(unsupported("spec.scope", spec.get("scope", ""), ("Cluster", "Namespaced")))
        return out + _version_errors(spec.get("versions") or [])

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        out = self.validate(call, obj)
        for path in (("group",), ("scope",), ("names", "kind"), ("names", "plural")):
            new, was = get(obj["spec"], *path), get(old["spec"], *path)
            if new != was:
                out.append(invalid("spec." + ".".join(path), new, "field is immutable"))
        return out

    def after_write(self, call: Call, obj: Json) -> None:
        register(call.server, obj)

    def after_delete(self, call: Call, obj: Json) -> None:
        """The custom resources go with their definition."""
        for resource in resources_of(obj):
            for key in call.store.keys(resource.key):
                gone = call.server.read(resource, key)
                if gone is not None:
                    call.server.remove(resource.key, key, gone, call.now)
        unregister(call.server, obj)


def _version_errors(versions: list[Json]) -> list[FieldError]:
    out: list[FieldError] = []
    if not versions:
        out.append(required("spec.versions"))
    seen: set[str] = set()
    for i, version in enumerate(versions):
        name, path = version.get("name", ""), f"spec.versions[{i}]"
        out += [invalid(f"{path}.name", name, m) for m in names.dns_1035_errors(name)]
        if name in seen:
            out.append(duplicate(f"{path}.name", name))
        seen.add(name)
        if get(version, "schema", "openAPIV3Schema") is None:
            out.append(required(f"{path}.schema.openAPIV3Schema", "schemas are required"))
        elif version["schema"]["openAPIV3Schema"].get("type") != "object":
            out.append(required(f"{path}.schema.openAPIV3Schema.type", "must not be empty at the root"))
    if sum(bool(v.get("storage")) for v in versions) != 1:
        out.append(invalid("spec.versions", versions, "must have exactly one version marked as storage version"))
    return out


def _status(obj: Json, time: str, stored: list[str]) -> Json:
    current = [v["name"] for v in obj["spec"].get("versions") or [] if v.get("storage")]

    def condition(kind: str, reason: str, message: str) -> Json:
        return {"type": kind, "status": "True", "lastTransitionTime": time, "reason": reason, "message": message}

    return {
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": obj["spec"]["names"],
        "storedVersions": list(dict.fromkeys([*stored, *current])),
    }


# ---- the kinds that it makes ------------------------------------------------------------------------------------
class CustomStrategy(Strategy):
    """One version of a custom resource."""

    has_generation = True
    name_rule = staticmethod(names.subdomain_name)

    def __init__(self, version: Json) -> None:
        self.schema: Json = get(version, "schema", "openAPIV3Schema") or {}
        self.has_status = get(version, "subresources", "status") is not None
        self.reset = RESET_STATUS if self.has_status else ()
        self.columns = _columns(version.get("additionalPrinterColumns") or [])
        self.selectable = tuple(f["jsonPath"].lstrip(".") for f in version.get("selectableFields") or [])

    def default(self, obj: Json) -> None:
        structural.default(obj, self.schema)

    def prepare_create(self, call: Call, obj: Json) -> None:
        if self.has_status:
            obj.pop("status", None)
        obj["metadata"]["generation"] = 1

    def bump_generation(self, obj: Json, old: Json) -> None:
        ignored = ("metadata", "status") if self.has_status else ("metadata",)
        new, was = ({k: v for k, v in o.items() if k not in ignored} for o in (obj, old))
        obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + (1 if new != was else 0)

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        return structural.validate(
            {k: v for k, v in obj.items() if k != "metadata"}, _without_metadata(self.schema), ""
        )

    def validate_status(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return self.validate(call, obj)

    def fields(self, obj: Json) -> dict[str, str]:
        found = {f: structural.json_path("." + f)(obj) for f in self.selectable}
        return {f: "" if v is None else str(v) for f, v in found.items()}


def _without_metadata(schema: Json) -> Json:
    properties = {
        k: v for k, v in (schema.get("properties") or {}).items() if k not in ("metadata", "kind", "apiVersion")
    }
    wanted = [r for r in schema.get("required") or [] if r not in ("metadata", "kind", "apiVersion")]
    return {**schema, "properties": properties, "required": wanted}


def _columns(given: list[Json]) -> tuple[Column, ...]:
    if not given:
        return (NAME, AGE)
    made = [
        Column(c["name"], _cell(c), c.get("type", "string"), c.get("priority", 0), c.get("description", ""))
        for c in given
    ]
    return (NAME, *made)


def _cell(column: Json) -> Cell:
    find: Callable[[Json], Any] = structural.json_path(column.get("jsonPath", ""))
    kind = column.get("type", "string")

    def cell(obj: Json, now: float) -> Any:
        value = find(obj)
        if kind == "date":
            return gotime.age(value, now) if isinstance(value, str) else "<unknown>" if value is None else str(value)
        if value is None:
            return None
        if kind in ("integer", "number", "boolean") and isinstance(value, int | float):
            return value
        return value if isinstance(value, str) else re.sub(r"\s+", " ", str(value))

    return cell


def resources_of(crd: Json) -> list[Resource]:
    """A registry entry for each served version."""
    spec = crd["spec"]
    given = spec["names"]
    out: list[Resource] = []
    for version in spec.get("versions") or []:
        if not version.get("served"):
            continue
        strategy = CustomStrategy(version)
        subresources = sorted(version.get("subresources") or {})
        if get(version, "subresources", "scale", "specReplicasPath") not in (None, ".spec.replicas"):
            subresources.remove("scale")
        out.append(
            Resource(
                spec["group"],
                version["name"],
                given["plural"],
                given["kind"],
                structural.type_of(strategy.schema, given["kind"]),
                strategy,
                spec.get("scope") == "Namespaced",
                tuple(given.get("shortNames") or ()),
                tuple(given.get("categories") or ()),
                ALL_VERBS,
                tuple(subresources),
                list_kind=given.get("listKind") or "",
                singular=given.get("singular") or given["kind"].lower(),
                custom=True,
                from_storage=_defaulted(strategy) if structural.has_defaults(strategy.schema) else None,
            )
        )
    return out


def _defaulted(strategy: CustomStrategy) -> Callable[[Json], Json]:
    """Defaults that came after an object was stored are in every answer."""

    def read(obj: Json) -> Json:
        strategy.default(obj)
        return obj

    return read


def register(server: Server, crd: Json) -> None:
    """Serve what a definition says, and no longer what it used to say."""
    unregister(server, crd)
    for resource in resources_of(crd):
        server.registry.add(resource)
    _document(server, crd["spec"]["group"])


def unregister(server: Server, crd: Json) -> None:
    spec = crd["spec"]
    for resource in server.registry:
        if resource.custom and (resource.group, resource.plural) == (spec["group"], spec["names"]["plural"]):
            server.registry.remove(resource)
    _document(server, spec["group"])


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


def restore(server: Server) -> None:
    """After a start: every definition that is stored."""
    from fairway.apiserver.context import decode

    for _, entry in server.store.entries(KEY):
        register(server, decode(entry.data))
