"""Field managers: who owns which field of an object, conflicts between them, and server-side apply.

Works on objects as the server encodes them; `now` is the text of the time. The rules are those of
sigs.k8s.io/structured-merge-diff's Updater (KEP-555).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from fairway.apiserver import fieldsets
from fairway.apiserver.errors import ApiError
from fairway.apiserver.fieldsets import FieldSet, Path
from fairway.apiserver.schema import Json, TypeNode, zero
from fairway.apiserver.structural.typed import mistyped

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
_NONE: FieldSet = frozenset()
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


def write(owners: Iterable[tuple[Manager, Owned]]) -> list[Json]:
    """Applies first, then by time, as upstream sorts them."""

    def order(row: tuple[Manager, Owned]) -> tuple[bool, str, str, str, str]:
        key, owned = row
        return (key.operation != "Apply", owned.time, key.name, key.version, key.subresource)

    out: list[Json] = []
    for key, owned in sorted(owners, key=order):
        entry: Json = {"manager": key.name, "operation": key.operation, "apiVersion": key.version}
        if owned.time:
            entry["time"] = owned.time
        entry["fieldsType"] = "FieldsV1"
        entry["fieldsV1"] = fieldsets.encode(owned.fields)
        if key.subresource:
            entry["subresource"] = key.subresource
        out.append(entry)
    return out


def _without(paths: FieldSet, reset: tuple[Path, ...]) -> FieldSet:
    return _outside(paths - _STRIPPED, reset)


def _outside(paths: FieldSet, reset: tuple[Path, ...]) -> FieldSet:
    if not reset:
        return paths
    return frozenset(p for p in paths if not any(p[: len(r)] == r for r in reset))


def record(obj: Json, entries: list[Json]) -> None:
    """Put a record of owners into an object; an empty one is left out."""
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def bare(obj: Json) -> Json:
    """The object without its record of owners."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}


class ApplyOptions(NamedTuple):
    """`allowed` are fields that may be taken from others without force; those below `reset` cannot change."""

    force: bool
    now: str
    reset: tuple[Path, ...] = ()
    allowed: FieldSet = _NONE


class _Change(NamedTuple):
    before: Json
    after: Json
    node: TypeNode


class _Update(NamedTuple):
    owners: Owners
    compared: fieldsets.Comparison


def _update(change: _Change, owners: Owners, manager: Manager, options: ApplyOptions) -> _Update:
    """Who loses what by a change, of the fields that a write of this sort can change at all."""
    compared = fieldsets.Comparison(*(_outside(paths, options.reset) for paths in fieldsets.compare(*change)))
    force, allowed = options.force, options.allowed
    changed = compared.modified | compared.added
    conflicts = {
        m: owned.fields & changed
        for m, owned in owners.items()
        if m != manager and not owned.fields.isdisjoint(changed)
    }
    refused = {m: fields - allowed for m, fields in conflicts.items() if fields - allowed}
    if refused and not force:
        raise conflict_error(refused)
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
        for path in _ordered(conflicts[key]):
            shown = fieldsets.show(path)
            groups.setdefault(who, []).append(shown)
            causes.append({"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": shown})
    if len(causes) == 1:
        ((who, shown_paths),) = groups.items()
        message = f"Apply failed with 1 conflict: conflict with {who}: {shown_paths[0]}"
    else:
        lines = [f"conflicts with {who}:\n- " + "\n- ".join(paths) for who, paths in groups.items()]
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", message, {"causes": causes})


def _ordered(paths: FieldSet) -> list[Path]:
    """At each level what is a member itself, then what lies below: as upstream iterates."""
    inner = {path[:depth] for path in paths for depth in range(1, len(path))}

    def order(path: Path) -> list[tuple[bool, str]]:
        steps = [(path[:depth] in inner, path[depth - 1]) for depth in range(1, len(path) + 1)]
        steps[-1] = (False, path[-1])
        return steps

    return sorted(paths, key=order)


def updated(
    old: Json | None, new: Json, node: TypeNode, manager: Manager, now: str, reset: tuple[Path, ...] = ()
) -> list[Json]:
    """metadata.managedFields after a create, update or patch.

    An object whose record is empty (a client emptied it) is followed again only from its first apply on.
    """
    owners = _given_or_live(old, new, manager)
    if (old is not None and not owners) or (node.loose and _misfits(new, node)):
        return []
    before = bare(old) if old is not None else zero(node)
    return write(_folded(_taken(_Change(before, bare(new), node), owners, manager, now, reset)).items())


def _misfits(obj: Json, node: TypeNode) -> bool:
    return bool(mistyped({k: v for k, v in obj.items() if k != "metadata"}, node, doubled=True))


def _given_or_live(old: Json | None, new: Json, manager: Manager) -> Owners:
    """The record that a request carries, unless it carries none or goes to a sub-resource; an empty one resets it."""
    live = read((old or {}).get("metadata", {}).get("managedFields"))
    given = (new.get("metadata") or {}).get("managedFields")
    if given is None or (manager.subresource and old is not None):
        return live
    if len(given) == 1 and not any(given[0].values()):
        return {}
    return (read(given) if _is_sound(given) else {}) or live


def _is_sound(entries: list[Json]) -> bool:
    """Can a record that a client sends be read? A record that cannot is as good as none."""
    return all(
        e.get("operation") in ("Apply", "Update")
        and e.get("apiVersion")
        and e.get("fieldsType") == "FieldsV1"
        and _has_sound_steps(e.get("fieldsV1") or {})
        for e in entries
    )


def _has_sound_steps(tree: Json) -> bool:
    return all(
        (step == "." or step[:2] in ("f:", "k:", "v:", "i:")) and isinstance(below, dict) and _has_sound_steps(below)
        for step, below in tree.items()
    )


def _taken(change: _Change, owners: Owners, manager: Manager, now: str, reset: tuple[Path, ...]) -> Owners:
    """The owners after a manager made a change. Its time is that of the last change in which it took a field."""
    update = _update(change, owners, manager, ApplyOptions(True, now, reset))
    mine = owners.get(manager, Owned(frozenset(), ""))
    changed = update.compared.modified | update.compared.added
    taken = _without(changed, reset)
    fields = (mine.fields - update.compared.removed - changed) | taken
    out = dict(update.owners)
    out.pop(manager, None)
    if fields:
        out[manager] = Owned(fields, now if taken else mine.time)
    return out


def _folded(owners: Owners) -> Owners:
    """At most so many updaters; the oldest two or more of a version are folded into `ancient-changes`."""
    updaters = sorted((m for m in owners if m.operation == "Update"), key=lambda m: (owners[m].time, m))
    left = len(updaters)
    out, first = dict(owners), dict[str, Manager]()
    for key in updaters:
        if left <= _MOST_UPDATERS:
            break
        if key.version not in first:
            first[key.version] = key
            continue
        ancient = Manager("ancient-changes", "Update", key.version)
        if ancient not in out:
            out[ancient] = out.pop(first[key.version])
        out[ancient] = Owned(out[ancient].fields | out[key].fields, out[key].time)
        if key != ancient:
            del out[key]
        left -= 1
    return out


class Applied(NamedTuple):
    """The object to store, and its new record of owners."""

    obj: Json
    entries: list[Json]


def apply(live: Json, config: Json, node: TypeNode, manager: Manager, options: ApplyOptions) -> Applied:
    """Server-side apply of a configuration onto a live object (the zero object when there is none)."""
    owners = read(live.get("metadata", {}).get("managedFields"))
    live = bare(live)
    if not owners and (live.get("metadata") or {}).get("uid"):
        first = Manager("before-first-apply", "Update", manager.version, manager.subresource)
        owners = _taken(_Change(zero(node), live, node), {}, first, options.now, options.reset)
    merged: Json = fieldsets.merge(live, config, node)
    last = owners.get(manager)
    named = fieldsets.to_set(config, node)
    mine = _without(named, options.reset)
    owners[manager] = Owned(mine, last.time if last is not None else "")
    if last is not None:
        merged = _prune(merged, node, last.fields, named.union(*(o.fields for o in owners.values())))
    change = _Change(live, merged, node)
    update = _update(change, owners, manager, options)
    if not update.compared.same() and manager in update.owners:
        update.owners[manager] = Owned(mine, options.now)
    return Applied(merged, write(update.owners.items()))


def _prune(merged: Json, node: TypeNode, last: FieldSet, owned: FieldSet) -> Json:
    """Fields that this manager used to apply, left out now, and that nobody else owns, go.

    A declared field goes with all that was below it, what others own is put back, and so is what this manager
    never owned: in the three steps of structured-merge-diff's `prune`.
    """

    def named(value: Json) -> FieldSet:
        return fieldsets.with_fields(fieldsets.to_set(value, node), node)

    whole, last = named(merged), fieldsets.with_fields(last, node)
    owned = fieldsets.with_fields(owned, node)
    left = fieldsets.remove(merged, node, last)
    left = fieldsets.remove(merged, node, whole - (named(left or {}) | owned))
    out: Json = fieldsets.remove(merged, node, (whole - named(left or {})) & last) or {}
    return out
