"""CustomResourceDefinition: what it may say, its conditions, and its end together with its objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fairway.apiserver import names
from fairway.apiserver.context import encode
from fairway.apiserver.fielderrors import FieldError, invalid, required, unsupported
from fairway.apiserver.kinds import approval, crdversions
from fairway.apiserver.kinds.base import RESET_STATUS, Strategy, get
from fairway.apiserver.kinds.custom import register, resources_of, unregister
from fairway.apiserver.request import Json

if TYPE_CHECKING:
    from fairway.apiserver.context import Call, Server

KEY = "customresourcedefinitions.apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


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
        if not given.get("singular"):
            given["singular"] = kind.lower()
        if not given.get("listKind") and kind:
            given["listKind"] = f"{kind}List"
        spec.setdefault("conversion", {"strategy": "None"})

    def prepare_create(self, call: Call, obj: Json) -> None:
        super().prepare_create(call, obj)
        obj["status"] = _status(call.server, obj, call.time, {})

    def prepare_update(self, call: Call, obj: Json, old: Json) -> None:
        super().prepare_update(call, obj, old)
        obj["status"] = _status(call.server, obj, call.time, old.get("status") or {})

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        return _spec_errors(obj, None) + _stored_errors(obj) + approval.errors(obj, None)

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        out = _spec_errors(obj, old)
        for path in (("group",), ("scope",), ("names", "kind"), ("names", "plural")):
            new, was = get(obj["spec"], *path), get(old["spec"], *path)
            if new != was:
                out.append(invalid("spec." + ".".join(path), new, "field is immutable"))
        return out + _stored_errors(obj) + approval.errors(obj, old)

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        known = crdversions.unknown_formats(old) if old else []
        return [f'unrecognized format "{f}"' for f in crdversions.unknown_formats(obj) if f not in known]

    def after_write(self, call: Call, obj: Json) -> None:
        register(call.server, obj)

    def after_delete(self, call: Call, obj: Json) -> None:
        unregister(call.server, obj)

    def begin_delete(self, call: Call, obj: Json) -> bool:
        """The first deletion takes the objects along; the definition stays until the last of them is gone."""
        meta = obj["metadata"]
        if meta.get("deletionTimestamp"):
            return False
        meta["deletionTimestamp"] = call.time
        if CLEANUP not in (meta.get("finalizers") or []):
            meta["finalizers"] = [*(meta.get("finalizers") or []), CLEANUP]
        words = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
        conditions = obj.setdefault("status", {}).setdefault("conditions", [])
        conditions.append(_condition("Terminating", "InstanceDeletionPending", words, call.time))
        if not call.dry_run:
            call.server.write(KEY, meta["name"], obj, call.now)
            _delete_objects(call, obj)
            finish_deletion(call.server, meta["name"], call.now)
        return True


def _in_progress(crd: Json) -> None:
    for condition in get(crd, "status", "conditions") or []:
        if condition["type"] == "Terminating":
            condition["reason"] = "InstanceDeletionInProgress"
            condition["message"] = "CustomResource deletion is in progress"


def _delete_objects(call: Call, crd: Json) -> None:
    """Delete every object; those with finalizers are only marked."""
    from fairway.apiserver.context import Call as OneCall
    from fairway.apiserver.deleting import delete
    from fairway.apiserver.options import DeleteOptions

    for resource in resources_of(crd)[:1]:
        for key in list(call.store.keys(resource.key)):
            namespace, _, name = key.rpartition("/")
            one = OneCall(call.server, call.request, resource, namespace, call.now)
            delete(one, name, DeleteOptions(call.dry_run, None, "", "", ""))


def finish_deletion(server: Server, name: str, now: float) -> None:
    """Take our finalizer from a definition that is going, when no object is left; without others it is gone."""
    crd = server.read(KEY, name)
    if crd is None or not crd["metadata"].get("deletionTimestamp"):
        return
    meta = crd["metadata"]
    if server.store.keys(name):
        before = encode(crd)
        _in_progress(crd)
        if encode(crd) != before:
            server.write(KEY, name, crd, now)
        return
    meta["finalizers"] = [f for f in meta.get("finalizers") or [] if f != CLEANUP]
    if meta["finalizers"]:
        server.write(KEY, name, crd, now)
        return
    server.remove(KEY, name, crd, now)
    unregister(server, crd)


def is_terminating(server: Server, name: str) -> bool:
    """Whether a definition is on its way out: nothing new of its kind is taken."""
    crd = server.read(KEY, name)
    return crd is not None and bool(crd["metadata"].get("deletionTimestamp"))


# ---- what it may say --------------------------------------------------------------------------------------------
def _spec_errors(obj: Json, old: Json | None) -> list[FieldError]:
    spec = obj["spec"]
    given, group = spec["names"], spec.get("group", "")
    out: list[FieldError] = []
    if not group:
        out.append(required("spec.group"))
    elif found := names.subdomain_errors(group):
        out.append(invalid("spec.group", group, ",".join(found)))
    elif "." not in group:
        out.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    if obj["metadata"].get("name") != f"{given.get('plural', '')}.{group}":
        words = 'must be spec.names.plural+"."+spec.group'
        out.append(invalid("metadata.name", obj["metadata"].get("name", ""), words))
    if not spec.get("scope"):
        out.append(required("spec.scope"))
    elif spec["scope"] not in ("Cluster", "Namespaced"):
        out.append(unsupported("spec.scope", spec["scope"], ("Cluster", "Namespaced")))
    out += crdversions.validate(spec, (old or {}).get("spec"))
    out += [required(f"spec.names.{n}") for n in ("plural", "singular", "kind", "listKind") if not given.get(n)]
    out += _name_errors(given) + crdversions.conversion_errors(spec.get("conversion") or {})
    if spec.get("preserveUnknownFields"):
        words = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        )
        out.append(invalid("spec.preserveUnknownFields", True, words))
    return out


def _name_errors(given: Json) -> list[FieldError]:
    out: list[FieldError] = []
    kinds = "may have mixed case, but should otherwise match: "
    for name in ("plural", "singular", "kind", "listKind"):
        text = given.get(name) or ""
        is_kind = name in ("kind", "listKind")
        found = names.dns_1035_errors(text.lower() if is_kind else text) if text else []
        if found:
            out.append(invalid(f"spec.names.{name}", text, (kinds if is_kind else "") + ",".join(found)))
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        out.append(invalid("spec.names.listKind", given["listKind"], "kind and listKind may not be the same"))
    for name in ("shortNames", "categories"):
        for i, text in enumerate(given.get(name) or []):
            if found := names.dns_1035_errors(text):
                out.append(invalid(f"spec.names.{name}[{i}]", text, ",".join(found)))
    return out


def _stored_errors(obj: Json) -> list[FieldError]:
    """Versions that objects may be stored in cannot go."""
    versions = obj["spec"].get("versions") or []
    present = {v.get("name") for v in versions}
    stored = get(obj, "status", "storedVersions") or []
    if not stored:
        return [invalid("status.storedVersions", None, "must have at least one stored version")]
    out = [
        invalid("status.storedVersions", stored, f"must have the storage version {v.get('name')}")
        for v in versions
        if v.get("storage") and v.get("name") not in stored
    ]
    for i, name in enumerate(stored):
        if name not in present:
            words = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                f"{name} from status.storedVersions"
            )
            out.append(invalid(f"status.storedVersions[{i}]", name, words))
    return out


# ---- conditions -------------------------------------------------------------------------------------------------
def _condition(kind: str, reason: str, message: str, time: str, *, holds: bool = True) -> Json:
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "lastTransitionTime": time,
        "reason": reason,
        "message": message,
    }


def _status(server: Server, obj: Json, time: str, before: Json) -> Json:
    """Names that are free are accepted; a definition whose names are all accepted is established for good."""
    accepted, conflict = _accepted(server, obj, before.get("acceptedNames") or {})
    known = {c["type"]: c for c in before.get("conditions") or []}
    if conflict:
        named = _condition("NamesAccepted", *conflict, time, holds=False)
        made = _condition("Established", "NotAccepted", "not all names are accepted", time, holds=False)
    else:
        named = _condition("NamesAccepted", "NoConflicts", "no conflicts found", time)
        made = _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", time)
    was = known.get("Established")
    if was is not None and was["status"] == "True":
        made = was
    was = known.get("NamesAccepted")
    if was is not None and (was["status"], was["message"]) == (named["status"], named["message"]):
        named = was
    rest = [c for t, c in known.items() if t not in ("NamesAccepted", "Established", approval.CONDITION)]
    agreed = approval.condition(obj)
    if agreed is not None:
        was = known.get(approval.CONDITION, {})
        same = was.get("status") == agreed[0] and was.get("message") == agreed[2]
        kind, (holds, reason, message) = approval.CONDITION, agreed
        rest.append(was if same else _condition(kind, reason, message, time, holds=holds == "True"))
    current = [v["name"] for v in obj["spec"].get("versions") or [] if v.get("storage")][:1]
    stored = list(dict.fromkeys([*(before.get("storedVersions") or []), *current]))
    return {"conditions": [named, made, *rest], "acceptedNames": accepted, "storedVersions": stored}


def _accepted(server: Server, obj: Json, had: Json) -> tuple[Json, tuple[str, str] | None]:
    """The names that the definition may use, and why not all of them."""
    wanted = obj["spec"]["names"]
    used_names, used_kinds = _used(server, obj)
    out: Json = {k: v for k, v in had.items() if k != "categories"}
    conflict: tuple[str, str] | None = None
    for name, reason, used in (
        ("plural", "PluralConflict", used_names),
        ("singular", "SingularConflict", used_names),
        ("shortNames", "ShortNamesConflict", used_names),
        ("kind", "KindConflict", used_kinds),
        ("listKind", "ListKindConflict", used_kinds),
    ):
        given = wanted.get(name)
        taken = [n for n in (given if isinstance(given, list) else [given]) if n in used and n != had.get(name)]
        if taken:
            conflict = (reason, ", ".join(f'"{n}" is already in use' for n in taken))
        elif given is not None:
            out[name] = given
    if wanted.get("categories"):
        out["categories"] = wanted["categories"]
    return {"plural": "", "kind": "", **out}, conflict


def _used(server: Server, obj: Json) -> tuple[set[str], set[str]]:
    """Names of other definitions in the group."""
    used_names: set[str] = set()
    used_kinds: set[str] = set()
    for other in _others(server, obj):
        accepted = get(other, "status", "acceptedNames") or {}
        used_names |= {accepted.get("plural", ""), accepted.get("singular", ""), *(accepted.get("shortNames") or ())}
        used_kinds |= {accepted.get("kind", ""), accepted.get("listKind", "")}
    return used_names - {""}, used_kinds - {""}


def _others(server: Server, obj: Json) -> Iterable[Json]:
    from fairway.apiserver.context import decode

    group = obj["spec"].get("group", "")
    for key, entry in server.store.entries(KEY):
        if key.endswith(f".{group}") and key != obj["metadata"].get("name"):
            other: Json = decode(entry.data)
            if other["spec"].get("group") == group:
                yield other


def restore(server: Server) -> None:
    """After a start: every definition that is stored."""
    from fairway.apiserver.context import decode

    for _, entry in server.store.entries(KEY):
        register(server, decode(entry.data))
