"""Field managers: who owns which field of an object, conflicts between them, and server-side apply.

Works on objects as the server encodes them; `now` is the text of the time. The rules are those of
sigs.k8s.io/structured-merge-diff's Updater (KEP-555).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fairway.apiserver import fieldsets
from fairway.apiserver.errors import ApiError
from fairway.apiserver.fieldsets import FieldSet, Path
from fairway.apiserver.schema import Json, TypeNode, zero

# Fields of the system that nobody owns.
_STRIPPED: frozenset[Path] = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        *(
            ("f:metadata", f"f:{n}")
            for n in (
                "name",
                "namespace",
                "creationTimestamp",
                "selfLink",
                "uid",
                "clusterName",
                "generation",
                "managedFields",
                "resourceVersion",
            )
        ),
    }
)
# Managers of updates beyond this many are folded into one (as upstream).
_MOST_UPDATERS = 10


class Manager(NamedTuple):
    """The key of one entry of metadata.managedFields."""

    name: str
    operation: str
    version: str
    subresource: str = ""


class Owned(NamedTuple):
    """What a manager owns, and since when."""

    fields: FieldSet
    time: str


Owners = dict[Manager, Owned]


def read(entries: Any) -> Owners:
    """metadata.managedFields → owners; entries that cannot be read are dropped."""
    out: Owners = {}
    for entry in entries or []:
        key = Manager(
            entry.get("manager") or "",
            entry.get("operation") or "",
            entry.get("apiVersion") or "",
            entry.get("subresource") or "",
        )
        out[key] = Owned(fieldsets.decode(entry.get("fieldsV1") or {}), entry.get("time") or "")
    return out


def write(owners: Owners) -> list[Json]:
    """Applies first, then by time, as upstream sorts them."""
    keys = sorted(owners, key=lambda m: (m.operation != "Apply", owners[m].time, m.name, m.version, m.subresource))
    out: list[Json] = []
    for key in keys:
        entry: Json = {"manager": key.name, "operation": key.operation, "apiVersion": key.version}
        if owners[key].time:
            entry["time"] = owners[key].time
        entry["fieldsType"] = "FieldsV1"
        entry["fieldsV1"] = fieldsets.encode(owners[key].fields)
        if key.subresource:
            entry["subresource"] = key.subresource
        out.append(entry)
    return out


def _without(paths: FieldSet, reset: tuple[Path, ...]) -> FieldSet:
    if not reset:
        return paths - _STRIPPED
    return frozenset(p for p in paths - _STRIPPED if not any(p[: len(r)] == r for r in reset))


def bare(obj: Json) -> Json:
    """The object without its record of owners."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}


class _Update(NamedTuple):
    owners: Owners
    compared: fieldsets.Comparison


def _update(old: Json, new: Json, node: TypeNode, owners: Owners, manager: Manager, force: bool) -> _Update:
    compared = fieldsets.compare(old, new, node)
    changed = compared.modified | compared.added
    conflicts = {
        m: owned.fields & changed
        for m, owned in owners.items()
        if m != manager and not owned.fields.isdisjoint(changed)
    }
    if conflicts and not force:
        raise conflict_error(conflicts)
    out: Owners = {}
    for key, owned in owners.items():
        left = owned.fields
        if key != manager:
            left = left - conflicts.get(key, frozenset()) - compared.removed
        if left:
            out[key] = Owned(left, owned.time)
    return _Update(out, compared)


def conflict_error(conflicts: dict[Manager, FieldSet]) -> ApiError:
    """409 with a cause for each field."""
    groups: dict[str, list[str]] = {}
    causes: list[Json] = []
    for key in sorted(conflicts):
        using = f" using {key.version}" if key.operation == "Update" else ""
        subresource = f' with subresource "{key.subresource}"' if key.subresource else ""
        who = f'"{key.name}"{subresource}{using}'
        for path in sorted(conflicts[key], key=_order):
            shown = fieldsets.show(path)
            groups.setdefault(who, []).append(shown)
            causes.append({"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": shown})
    lines = [
        f"conflict with {who}: {paths[0]}" if len(paths) == 1 else f"conflicts with {who}:\n- " + "\n- ".join(paths)
        for who, paths in groups.items()
    ]
    count = len(causes)
    message = f"Apply failed with {count} conflict{'' if count == 1 else 's'}: " + "\n".join(lines)
    return ApiError(409, "Conflict", message, {"causes": causes})


def _order(path: Path) -> tuple[Any, ...]:
    """Set members before children, as upstream iterates."""
    return (len(path), path)


def updated(
    old: Json | None, new: Json, node: TypeNode, manager: Manager, now: str, reset: tuple[Path, ...] = ()
) -> list[Json]:
    """metadata.managedFields after a create, update or patch."""
    given = (new.get("metadata") or {}).get("managedFields")
    entries = given if given is not None else (old or {}).get("metadata", {}).get("managedFields")
    if given == [] or (isinstance(given, list) and len(given) == 1 and not any(given[0].values())):
        return []  # a client resets the record with an empty list
    owners = read(entries)
    before = bare(old) if old is not None else zero(node)
    update = _update(before, bare(new), node, owners, manager, True)
    mine = owners.get(manager, Owned(frozenset(), "")).fields
    fields = (mine - update.compared.removed) | update.compared.modified | update.compared.added
    fields = _without(fields, reset)
    out = dict(update.owners)
    out.pop(manager, None)
    if fields:
        time = owners[manager].time if manager in owners and owners[manager].fields == fields else now
        out[manager] = Owned(fields, time)
    return write(_folded(out))


def _folded(owners: Owners) -> Owners:
    """At most so many updaters; the oldest are folded into `ancient-changes`."""
    updaters = sorted((m for m in owners if m.operation == "Update"), key=lambda m: owners[m].time)
    surplus = updaters[: max(0, len(updaters) - _MOST_UPDATERS)]
    if not surplus:
        return owners
    out = {m: o for m, o in owners.items() if m not in surplus}
    for key in surplus:
        ancient = Manager("ancient-changes", "Update", key.version)
        before = out.get(ancient, Owned(frozenset(), owners[key].time))
        out[ancient] = Owned(before.fields | owners[key].fields, owners[key].time)
    return out


class Applied(NamedTuple):
    """The object to store, and its new record of owners."""

    obj: Json
    entries: list[Json]


def apply(live: Json, config: Json, node: TypeNode, manager: Manager, options: ApplyOptions) -> Applied:
    """Server-side apply of a configuration onto a live object (the zero object when there is none)."""
    owners = read(live.get("metadata", {}).get("managedFields"))
    live = bare(live)
    merged: Json = fieldsets.merge(live, config, node)
    last = owners.get(manager)
    mine = _without(fieldsets.to_set(config, node), options.reset)
    time = last.time if last is not None and last.fields == mine else options.now
    owners[manager] = Owned(mine, time)
    if last is not None:
        merged = _prune(merged, node, last.fields, owners)
    update = _update(live, merged, node, owners, manager, options.force)
    return Applied(merged, write(update.owners))


class ApplyOptions(NamedTuple):
    force: bool
    now: str
    reset: tuple[Path, ...] = ()


def _prune(merged: Json, node: TypeNode, last: FieldSet, owners: Owners) -> Json:
    """Fields that this manager used to apply, left out now, and that nobody else owns, go."""
    owned: set[Path] = set()
    for entry in owners.values():
        for path in entry.fields:
            owned.update(path[:i] for i in range(1, len(path) + 1))
    gone = frozenset(p for p in last if p not in owned)
    out: Json = fieldsets.remove(merged, node, gone)
    return out
