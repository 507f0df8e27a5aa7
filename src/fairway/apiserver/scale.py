"""The `scale` sub-resource: a Scale seen through a workload; read, replaced, patched and applied as an object.

Who owns `spec.replicas` is kept in the workload; a write sees it as owners of the Scale's field, and puts back what it
made of them (k8s.io/apimachinery, managedfields/scalehandler.go, with its rule that an entry of a write has no time).
"""

from __future__ import annotations

import dataclasses

from fairway.apiserver import accept, applying, bodies, errors, managed, reading, writing
from fairway.apiserver.context import Call, encode
from fairway.apiserver.context import decode as load
from fairway.apiserver.fielderrors import invalid
from fairway.apiserver.fieldsets import FieldSet
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
_REPLICAS = ("f:spec", "f:replicas")
_OWNED: FieldSet = frozenset({_REPLICAS})


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
        return reading.one(seen, encode(_scale_of(_found(call, name)[1])), shape)
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
    new = _changed(seen, _owned_scale(old), given, update)
    _check(call, new, old, name)
    obj = _moved(call, new, old)
    written = writing.finish(call, obj, entry, old, update)
    return reading.one(seen, encode(_scale_of(written.obj)), shape)


def _found(call: Call, name: str) -> tuple[Entry, Json]:
    found = writing.current(call, name)
    if found is None:
        raise errors.not_found(call.resource.plural, call.resource.group, name)
    return found


def _scale_of(obj: Json) -> Json:
    spec, status, meta = obj["spec"], obj.get("status") or {}, obj["metadata"]
    selector = spec.get("selector")
    if selector is not None and "matchLabels" not in selector and "matchExpressions" not in selector:
        selector = {"matchLabels": selector}
    kept = {k: meta[k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if k in meta}
    out: Json = {"metadata": kept, "spec": {"replicas": spec["replicas"]} if spec.get("replicas") else {}}
    out["status"] = {"replicas": status.get("replicas", 0)}
    text = selector_text(selector)
    if selector and text != "<none>":
        out["status"]["selector"] = text
    return out


def _owned_scale(obj: Json) -> Json:
    """The Scale with the owners of its replicas."""
    out = _scale_of(obj)
    owners = managed.read(obj["metadata"].get("managedFields"))
    rows = [(k._replace(version=_VERSION), Owned(_OWNED, o.time)) for k, o in owners.items() if _REPLICAS in o.fields]
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
    if replicas < 0:
        found.append(invalid("spec.replicas", replicas, "must be greater than or equal to 0"))
    if found:
        raise errors.invalid("Scale", "autoscaling", name, found)
    writing.check_uid(call, new, old, name)


def _moved(call: Call, new: Json, old: Json) -> Json:
    """The workload with the Scale's replicas, version and owners."""
    obj: Json = load(encode(old))
    obj["spec"]["replicas"] = get(new, "spec", "replicas") or 0
    obj["metadata"]["resourceVersion"] = new["metadata"].get("resourceVersion", "")
    managed.record(obj, _parent_owners(call, obj, new))
    return obj


def _parent_owners(call: Call, obj: Json, new: Json) -> list[Json]:
    left = dict(managed.read(new["metadata"].get("managedFields")))
    rows: list[tuple[Manager, Owned]] = []
    for key, owned in managed.read(obj["metadata"].get("managedFields")).items():
        kept = owned.fields
        if _REPLICAS in kept and left.pop(_in_scale(key), None) is None:
            kept = kept - _OWNED
        if kept:
            rows.append((key, owned._replace(fields=kept)))
    rows += [(key._replace(version=call.resource.api_version), Owned(_OWNED, "")) for key in left]
    return managed.write(rows)


def _in_scale(key: Manager) -> Manager:
    """The Scale's entry that is the same manager's: only appliers are known again, updaters go by their version."""
    return key._replace(version=_VERSION) if key.operation == "Apply" else key
