"""delete and deletecollection: preconditions, grace of pods, finalizers and propagation."""

from __future__ import annotations

from typing import Any

from fairway.apiserver import bodies, decode, errors, gotime
from fairway.apiserver.context import Call
from fairway.apiserver.context import decode as load
from fairway.apiserver.options import DeleteOptions, delete_options, queried_delete_options
from fairway.apiserver.reading import Page
from fairway.apiserver.request import Json, Request
from fairway.apiserver.schema import builtin
from fairway.apiserver.writing import Written


def options_of(request: Request) -> DeleteOptions:
    """DeleteOptions from the body, or else from the query."""
    if not request.body:
        return queried_delete_options(request)
    raw: Any = bodies.parse(request)
    if raw is None:
        return delete_options({})
    bodies.check_object(raw, "", request.body)
    bodies.check_texts(raw, "", request.body)
    kind, api_version = raw.get("kind") or "DeleteOptions", raw.get("apiVersion") or ""
    if kind != "DeleteOptions":
        raise errors.bad_request(f'no kind "{kind}" is registered for version "{api_version or "meta.k8s.io/v1"}"')
    document = {k: v for k, v in raw.items() if k not in ("kind", "apiVersion")}
    try:
        return delete_options(decode.Decoder().decode(document, builtin("meta.DeleteOptions")))
    except decode.TypeMismatch as error:
        raise errors.bad_request(str(error)) from None


def check_preconditions(call: Call, obj: Json, options: DeleteOptions, name: str) -> None:
    meta, kind = obj["metadata"], call.resource.kind
    if kind == "Namespace":
        _check_namespace_preconditions(meta, options, name)
    if options.uid and options.uid != meta.get("uid"):
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({meta.get('uid')}). "
            "The object might have been deleted and then recreated"
        )
    elif options.version and options.version != meta.get("resourceVersion"):
        why = (
            f"the ResourceVersion in the precondition ({options.version}) does not match the ResourceVersion in record "
            f"({meta.get('resourceVersion')}). The object might have been modified"
        )
    else:
        return
    raise errors.conflict(kind, call.resource.stored_group, name, why)


def _check_namespace_preconditions(meta: Json, options: DeleteOptions, name: str) -> None:
    """Namespaces have words of their own."""
    for what, wanted, found in (
        ("UID", options.uid, meta.get("uid")),
        ("ResourceVersion", options.version, meta.get("resourceVersion")),
    ):
        if wanted and wanted != found:
            why = f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            raise errors.conflict("namespaces", "", name, why)


def delete(call: Call, name: str, options: DeleteOptions) -> tuple[Written, bool]:
    """Delete one object; the second value says that it is gone (and not only going)."""
    resource = call.resource
    obj = call.server.read(resource, call.key(name))
    if obj is None:
        raise errors.not_found(resource.plural, resource.group, name)
    if resource.kind == "Namespace" and name in _IMMORTAL:
        raise errors.forbidden("namespaces", "", name, "this namespace may not be deleted")
    check_preconditions(call, obj, options, name)
    return _delete(call, obj, options)


_IMMORTAL = ("default", "kube-public", "kube-system")


def _delete(call: Call, obj: Json, options: DeleteOptions) -> tuple[Written, bool]:
    strategy, meta = call.resource.strategy, obj["metadata"]
    if call.resource.kind == "Namespace" and not _is_over(obj):
        return _terminate(call, obj, options), False
    if strategy.begin_delete(call, obj):
        return Written(obj), False
    before = load_copy(obj)
    graceful = _begin_grace(call, obj, options)
    if not options.propagation and strategy.orphans and _PROPAGATING.isdisjoint(meta.get("finalizers") or ()):
        options = options._replace(propagation="Orphan")
    if strategy.propagates:
        _set_finalizers(meta, options)
    waits = bool(meta.get("finalizers"))
    if waits and not meta.get("deletionTimestamp"):
        meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"] = call.time, 0
        if meta.get("generation"):
            meta["generation"] += 1
    if waits or graceful:
        if obj != before and not call.dry_run:
            _write(call, obj)
        return Written(obj), False
    if not call.dry_run:
        if obj != before:
            _write(call, obj)  # the last word of a deletion is a change of its own, then the object goes
        meta["resourceVersion"] = call.server.remove(call.resource.key, call.key(meta["name"]), obj, call.now)
        strategy.after_delete(call, obj)
    return Written(obj), True


def load_copy(obj: Json) -> Json:
    from fairway.apiserver.context import encode

    copied: Json = load(encode(obj))
    return copied


def _write(call: Call, obj: Json) -> None:
    call.server.write(call.resource.key, call.key(obj["metadata"]["name"]), obj, call.now)


_PROPAGATING = frozenset({"orphan", "foregroundDeletion"})


def _is_over(namespace: Json) -> bool:
    """Whether a namespace is terminating and nothing of it is left: then its deletion is as any object's."""
    return bool(namespace["metadata"].get("deletionTimestamp")) and not (namespace.get("spec") or {}).get("finalizers")


def _terminate(call: Call, obj: Json, options: DeleteOptions) -> Written:
    """The first deletion of a namespace starts its end; another changes nothing while the end goes on."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp"):
        meta["deletionTimestamp"] = call.time
        _set_finalizers(meta, options)
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        if not call.dry_run:
            _write(call, obj)
    return Written(obj)


def _begin_grace(call: Call, obj: Json, options: DeleteOptions) -> bool:
    """Pods with a node end gracefully: the object stays until the kubelet's own delete with grace 0."""
    if call.resource.kind != "Pod":
        return False
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    grace = options.grace
    if grace is None:
        grace = spec.get("terminationGracePeriodSeconds", 30) if not meta.get("deletionTimestamp") else None
    if grace is not None and grace < 0:
        grace = 1
    if not spec.get("nodeName") or status.get("phase") in ("Failed", "Succeeded"):
        grace = 0
    if meta.get("deletionTimestamp"):
        return _shorten_grace(meta, grace, call)
    grace = grace or 0
    meta["deletionTimestamp"] = gotime.from_seconds(call.now + grace)
    meta["deletionGracePeriodSeconds"] = grace
    if meta.get("generation"):
        meta["generation"] += 1
    return grace > 0


def _shorten_grace(meta: Json, grace: int | None, call: Call) -> bool:
    """A pod that is going already: a shorter grace wins, 0 ends it, a longer one changes nothing."""
    period = meta.get("deletionGracePeriodSeconds")
    if not period:
        return False
    if grace == 0:
        meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"] = call.time, 0
        return False
    if grace is not None and grace < period:
        end = gotime.seconds(meta["deletionTimestamp"]) - period + grace
        meta["deletionTimestamp"] = gotime.from_seconds(max(end, int(call.now)))
        meta["deletionGracePeriodSeconds"] = grace if end >= call.now else 1
    return True


def _set_finalizers(meta: Json, options: DeleteOptions) -> None:
    """Propagation becomes a finalizer that the garbage collector acts on."""
    kept = [f for f in meta.get("finalizers") or [] if f not in _PROPAGATING or not options.propagation]
    if options.propagation == "Orphan":
        kept.append("orphan")
    elif options.propagation == "Foreground":
        kept.append("foregroundDeletion")
    if kept:
        meta["finalizers"] = kept
    else:
        meta.pop("finalizers", None)


def delete_collection(call: Call, options: DeleteOptions, listed: Page) -> None:
    """Delete all that a page of a list has."""
    resource = call.resource
    for key, entry in listed.entries:
        obj = load(entry.data)
        one = Call(call.server, call.request, resource, key.rpartition("/")[0], call.now, call.dry_run)
        check_preconditions(one, obj, options, obj["metadata"]["name"])
        _delete(one, obj, options)
