"""The `scale` sub-resource: a Scale seen through a workload; read, replaced, patched and applied as an object.

Who owns `spec.replicas` is kept in the workload; a write sees it as owners of the Scale's field, and puts back what it
made of them (k8s.io/apimachinery, managedfields/scalehandler.go, with its rule that an entry of a write has no time).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from fairway.apiserver import accept, applying, bodies, errors, managed, reading, writing
from fairway.apiserver.context import Call, encode
from fairway.apiserver.context import decode as load
from fairway.apiserver.fielderrors import invalid
from fairway.apiserver.fieldsets import FieldSet, Path
from fairway.apiserver.kinds.base import Resource, Strategy, get, validate_meta
from fairway.apiserver.kinds.cells import count, selector_text
from fairway.apiserver.managed import Manager, Owned
from fairway.apiserver.options import WriteOptions, write_options
from fairway.apiserver.request import Json, Response
from fairway.apiserver.schema import builtin
from fairway.apiserver.store import Entry
from fairway.apiserver.tables import AGE, NAME
from fairway.apiserver.writing import Update

_VERSION = "autoscaling/v1"
_OWNED: FieldSet = frozenset({("f:spec", "f:replicas")})


class _View(NamedTuple):
    """Where an object has what its Scale shows; a custom resource has its selector as text, and checks by itself."""

    replicas: tuple[str, ...] = ("spec", "replicas")
    ready: tuple[str, ...] = ("status", "replicas")
    selector: tuple[str, ...] = ("spec", "selector")
    custom: bool = False

    @property
    def owned(self) -> Path:
        return tuple(f"f:{step}" for step in self.replicas)


def _view(resource: Resource) -> _View:
    paths = resource.strategy.scale
    if paths is None:
        return _View()
    names = ("specReplicasPath", "statusReplicasPath", "labelSelectorPath")
    replicas, ready, selector = (_steps(paths.get(n) or "") for n in names)
    return _View(replicas, ready, selector, custom=True)


def _steps(path: str) -> tuple[str, ...]:
    return tuple(step for step in path.split(".") if step)


class _ScaleStrategy(Strategy):
    columns = (
        NAME._replace(format=""),
        count("Desired", "spec", "replicas"),
        count("Available", "status", "replicas"),
        AGE,
    )


SCALE = Resource("autoscaling", "v1", "scales", "Scale", builtin("autoscaling.Scale"), _ScaleStrategy())


def scale(call: Call, name: str) -> Response:
    """GET, PUT and PATCH of a workload's Scale."""
    request = call.request
    seen = dataclasses.replace(call, resource=SCALE)
    if request.method == "GET":
        shape = accept.negotiate(request.headers.get("accept"), "get")
        return reading.one(seen, encode(_scale_of(_found(call, name)[1], _view(call.resource))), shape)
    shape = accept.negotiate(request.headers.get("accept"), "other")
    if request.method == "PUT":
        update = Update(name, write_options(request, "UpdateOptions"), "scale")
        given = _replacement(seen, update.options, name)
    else:
        writing.check_patch_type(seen)
        update = Update(name, write_options(request, "PatchOptions", apply=writing.is_apply(seen)), "scale")
        given = None
    call.dry_run = seen.dry_run = update.options.dry_run
    entry, old = _found(call, name)
    view = _view(call.resource)
    new = _changed(seen, _owned_scale(old, view), given, update)
    _check(call, new, old, name)
    obj = _moved(call, new, old)
    written = writing.finish(call, obj, entry, old, update)
    return reading.one(seen, encode(_scale_of(written.obj, view)), shape)


def _found(call: Call, name: str) -> tuple[Entry, Json]:
    found = writing.current(call, name)
    if found is None:
        raise errors.not_found(call.resource.plural, call.resource.group, name)
    return found


def _scale_of(obj: Json, view: _View) -> Json:
    meta, replicas = obj["metadata"], get(obj, *view.replicas)
    kept = {k: meta[k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if k in meta}
    out: Json = {"metadata": kept, "spec": {"replicas": replicas} if replicas else {}}
    out["status"] = {"replicas": get(obj, *view.ready) or 0}
    text = _selector(get(obj, *view.selector) if view.selector else None)
    if text:
        out["status"]["selector"] = text
    return out


def _selector(given: Any) -> str:
    if isinstance(given, str) or not given:
        return given or ""
    if "matchLabels" not in given and "matchExpressions" not in given:
        given = {"matchLabels": given}
    text = selector_text(given)
    return "" if text == "<none>" else text


def _owned_scale(obj: Json, view: _View) -> Json:
    """The Scale with the owners of its replicas."""
    out = _scale_of(obj, view)
    owners = managed.read(obj["metadata"].get("managedFields"))
    rows = [(k._replace(version=_VERSION), Owned(_OWNED, o.time)) for k, o in owners.items() if view.owned in o.fields]
    managed.record(out, managed.write(rows))
    return out


def _replacement(seen: Call, options: WriteOptions, name: str) -> Json:
    new = bodies.object_of(seen.request, SCALE, options.validation)
    writing.check_namespace(seen, new)
    writing.check_name(new, name)
    return new


def _changed(seen: Call, old: Json, given: Json | None, update: Update) -> Json:
    """What the request makes of the Scale."""
    if given is None and writing.is_apply(seen):
        return applying.applied(seen, old, applying.configuration(seen, update), update)
    new = given if given is not None else writing.patched(seen, old, update)
    manager = Manager(update.options.manager, "Update", _VERSION, "scale")
    managed.record(new, managed.updated(old, new, SCALE.type, manager, seen.time))
    return new


def _check(call: Call, new: Json, old: Json, name: str) -> None:
    replicas = get(new, "spec", "replicas") or 0
    found = validate_meta(SCALE, new)
    if replicas < 0 and not _view(call.resource).custom:
        found.append(invalid("spec.replicas", replicas, "must be greater than or equal to 0"))
    if found:
        raise errors.invalid("Scale", "autoscaling", name, found)
    writing.check_uid(call, new, old, name)


def _moved(call: Call, new: Json, old: Json) -> Json:
    """The workload with the Scale's replicas, version and owners."""
    obj: Json = load(encode(old))
    *above, last = _view(call.resource).replicas
    inside = obj
    for step in above:
        inside = inside.setdefault(step, {})
    inside[last] = get(new, "spec", "replicas") or 0
    obj["metadata"]["resourceVersion"] = new["metadata"].get("resourceVersion", "")
    managed.record(obj, _parent_owners(call, obj, new))
    return obj


def _parent_owners(call: Call, obj: Json, new: Json) -> list[Json]:
    left = dict(managed.read(new["metadata"].get("managedFields")))
    rows: list[tuple[Manager, Owned]] = []
    path = _view(call.resource).owned
    for key, owned in managed.read(obj["metadata"].get("managedFields")).items():
        kept = owned.fields
        if path in kept and left.pop(_in_scale(key), None) is None:
            kept = kept - {path}
        if kept:
            rows.append((key, owned._replace(fields=kept)))
    rows += [(key._replace(version=call.resource.api_version), Owned(frozenset({path}), "")) for key in left]
    return managed.write(rows)


def _in_scale(key: Manager) -> Manager:
    """The Scale's entry that is the same manager's: only appliers are known again, updaters go by their version."""
    return key._replace(version=_VERSION) if key.operation == "Apply" else key
