"""create, update, patch and apply: the order of checks, allocation and storage that the real server's registry has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fairway.apiserver import bodies, decode, errors, fieldsets, lastapplied, managed, patches
from fairway.apiserver.context import Call, encode
from fairway.apiserver.context import decode as load
from fairway.apiserver.fielderrors import FieldError, invalid
from fairway.apiserver.kinds.base import Resource, validate_meta, validate_meta_update
from fairway.apiserver.managed import Manager
from fairway.apiserver.options import WriteOptions
from fairway.apiserver.request import Json
from fairway.apiserver.schema import zero
from fairway.apiserver.store import Entry

_PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


_NOT_YET = ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")
REJECTED = "the server rejected our request due to an error in our request"


class Written(NamedTuple):
    """The object after a write, and whether it is new."""

    obj: Json
    created: bool = False


def check_namespace(call: Call, obj: Json) -> None:
    """The object's namespace must be the request's."""
    meta = obj["metadata"]
    if not call.resource.namespaced:
        meta.pop("namespace", None)
        return
    given = meta.get("namespace", "")
    if given and given != call.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    meta["namespace"] = call.namespace


def check_name(obj: Json, wanted: str) -> None:
    """The object's name must be the URL's."""
    name = obj["metadata"].get("name", "")
    if not name:
        raise errors.bad_request(
            f"the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        )
    if name != wanted:
        raise errors.bad_request(f"the name of the object ({name}) does not match the name on the URL ({wanted})")


def check_living(call: Call, name: str) -> None:
    """NamespaceLifecycle admission: nothing new in a namespace that is not there, or that is going."""
    if not call.resource.namespaced:
        return
    entry = call.store.get("namespaces", call.namespace)
    if entry is None:
        raise errors.not_found("namespaces", "", call.namespace)
    if b'"deletionTimestamp"' not in entry.data:
        return
    if load(entry.data)["metadata"].get("deletionTimestamp"):
        raise errors.terminating(call.resource.plural, call.resource.group, name, call.namespace)


def run_invalid(resource: Resource, name: str, found: list[FieldError]) -> None:
    if found:
        raise errors.invalid(resource.kind, resource.stored_group, name, found)


# ---- create -----------------------------------------------------------------------------------------------------
def create(call: Call, obj: Json, *, manager: Manager | None = None) -> Written:
    """Store a decoded object as a new one."""
    resource = call.resource
    check_namespace(call, obj)
    if manager is not None:
        for name in _NOT_YET:
            obj["metadata"].pop(name, None)
        managed.record(obj, managed.updated(None, obj, resource.type, manager, call.time, resource.strategy.reset))
    return _create_prepared(call, obj)


def _create_prepared(call: Call, obj: Json) -> Written:
    resource, strategy, meta = call.resource, call.resource.strategy, obj["metadata"]
    check_living(call, meta.get("name", ""))
    strategy.admit(call, obj, None)
    meta["uid"], meta["creationTimestamp"] = call.new_uid(), call.time
    for name in _NOT_YET:
        meta.pop(name, None)
    if not meta.get("name") and meta.get("generateName"):
        _generate_name(call, meta)
    strategy.begin_create(call, obj)
    strategy.prepare_create(call, obj)
    own = strategy.validate(call, obj)
    if strategy.meta_last:
        run_invalid(resource, meta.get("name", ""), own)
        own = []
    run_invalid(resource, meta.get("name", ""), validate_meta(resource, obj) + own)
    call.warn(*strategy.warnings(call, obj, None))
    if meta.get("resourceVersion", "0").lstrip("0").isdigit():
        raise errors.plain_internal("resourceVersion should not be set on objects to be created")
    there = call.store.get(resource.key, call.key(meta["name"]))
    if there is not None:
        error = errors.already_exists(resource.plural, resource.group, meta["name"])
        if b'"deletionTimestamp"' in there.data and load(there.data)["metadata"].get("deletionTimestamp"):
            error.message = f"object is being deleted: {error.message}"
        raise error
    if call.dry_run:
        return Written(obj, True)
    return Written(store(call, obj), True)


def _generate_name(call: Call, meta: Json) -> None:
    base = meta["generateName"][:58]
    for _ in range(8):
        meta["name"] = base + call.suffix()
        if call.store.get(call.resource.key, call.key(meta["name"])) is None:
            return


def store(call: Call, obj: Json) -> Json:
    """Write, after what the kind wants written before it."""
    for step in call.after:
        step()
    call.after.clear()
    resource = call.resource
    if resource.to_storage is not None:
        call.server.write(resource.key, call.key(obj["metadata"]["name"]), resource.to_storage(obj), call.now)
        obj["metadata"]["resourceVersion"] = str(call.store.version)
        return obj
    call.server.write(resource.key, call.key(obj["metadata"]["name"]), obj, call.now)
    resource.strategy.after_write(call, obj)
    return obj


# ---- update -----------------------------------------------------------------------------------------------------
class Update(NamedTuple):
    """What an update of one object is about."""

    name: str
    options: WriteOptions
    status: bool = False  # the status sub-resource
    uid: str = ""  # a precondition


Change = Callable[[Json], Json]


def current(call: Call, name: str) -> tuple[Entry, Json] | None:
    entry = call.store.get(call.resource.key, call.key(name))
    if entry is None:
        return None
    obj = load(entry.data)
    return entry, (call.resource.from_storage(obj) if call.resource.from_storage else obj)


def replace(call: Call, obj: Json, update: Update, manager: Manager) -> Written:
    """PUT."""
    resource = call.resource
    meta = obj["metadata"]
    check_namespace(call, obj)
    check_name(obj, update.name)
    found = current(call, update.name)
    if found is None:
        return _create_by_put(call, obj, update, manager)
    entry, old = found
    uid = meta.get("uid")
    if uid and uid != old["metadata"].get("uid"):
        why = (
            f"StorageError: invalid object, Code: 4, Key: {_etcd_key(call, update.name)}, ResourceVersion: 0, "
            f"AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: "
            f"{old['metadata'].get('uid')}"
        )
        raise errors.conflict(resource.plural, resource.group, update.name, why)
    managed.record(obj, managed.updated(old, obj, resource.type, manager, call.time, _reset(call, update)))
    return finish(call, obj, entry, old, update)


_ETCD_FOLDERS = {
    "nodes": "minions",
    "services": "services/specs",
    "endpoints": "services/endpoints",
    "replicationcontrollers": "controllers",
    "ingresses": "ingress",
    "customresourcedefinitions": "apiextensions.k8s.io/customresourcedefinitions",
}


def _etcd_key(call: Call, name: str) -> str:
    """Where the real server would keep an object: some of its words name the place."""
    resource = call.resource
    folder = f"{resource.group}/{resource.plural}" if resource.custom else resource.plural
    return f"/registry/{_ETCD_FOLDERS.get(folder, folder)}/{call.key(name)}"


def _create_by_put(call: Call, obj: Json, update: Update, manager: Manager) -> Written:
    resource = call.resource
    meta = obj["metadata"]
    if not resource.strategy.creates_on_update or update.status:
        raise errors.not_found(resource.plural, resource.group, update.name)
    if meta.get("uid"):
        why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: "
        raise errors.conflict(resource.plural, resource.group, update.name, why)
    if meta.pop("resourceVersion", "") not in ("", "0"):
        raise errors.not_found(resource.plural, resource.group, update.name)
    return create(call, obj, manager=manager)


def _reset(call: Call, update: Update) -> tuple[fieldsets.Path, ...]:
    return call.resource.strategy.status_reset() if update.status else call.resource.strategy.reset


def finish(call: Call, obj: Json, entry: Entry, old: Json, update: Update) -> Written:
    """What PUT, PATCH and apply share: version check, hooks, validity, storage (or the end of a deletion)."""
    resource, strategy = call.resource, call.resource.strategy
    meta, was = obj["metadata"], old["metadata"]
    given = meta.get("resourceVersion")
    if given in (None, "", "0"):
        if strategy.needs_version and not update.status:
            error = invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise errors.invalid(resource.plural, resource.group, update.name, [error])
    elif not given.isdigit():
        raise errors.plain_internal(f'strconv.ParseUint: parsing "{given}": invalid syntax')
    elif int(given) != entry.version:
        raise errors.stale(resource.plural, resource.group, update.name)
    _carry_over(meta, was)
    if update.status:
        strategy.prepare_status(call, obj, old)
        errs = validate_meta_update(resource, obj, old) + strategy.validate_status(call, obj, old)
    else:
        strategy.admit(call, obj, old)
        strategy.begin_update(call, obj, old)
        strategy.prepare_update(call, obj, old)
        errs = validate_meta_update(resource, obj, old) + strategy.validate_update(call, obj, old)
    run_invalid(resource, update.name, errs)
    if not update.status:
        call.warn(*strategy.warnings(call, obj, old))
    return _store_update(call, obj, old, update)


def _carry_over(meta: Json, was: Json) -> None:
    """The system's own fields, which no client changes."""
    meta["resourceVersion"] = was.get("resourceVersion", "")
    for name in ("creationTimestamp", "generation", "selfLink"):
        if name in was:
            meta[name] = was[name]
        else:
            meta.pop(name, None)
    if not meta.get("uid"):
        meta["uid"] = was.get("uid", "")
    if was.get("deletionTimestamp"):
        meta["deletionTimestamp"] = was["deletionTimestamp"]
    if was.get("deletionGracePeriodSeconds") is not None and meta.get("deletionGracePeriodSeconds") is None:
        meta["deletionGracePeriodSeconds"] = was["deletionGracePeriodSeconds"]


def _store_update(call: Call, obj: Json, old: Json, update: Update) -> Written:
    if _vanishes(call, obj):
        if not call.dry_run:
            call.server.remove(call.resource.key, call.key(update.name), obj, call.now)
            call.resource.strategy.after_delete(call, obj)
        return Written(obj)
    if call.dry_run or obj == old:
        return Written(obj)
    return Written(store(call, obj))


def _vanishes(call: Call, obj: Json) -> bool:
    """Does this update take the last finalizer of an object that is going? Namespaces have finalizers of their own."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return not (obj.get("spec") or {}).get("finalizers") if call.resource.kind == "Namespace" else True


# ---- patch ------------------------------------------------------------------------------------------------------
def patch(call: Call, update: Update) -> Written:
    """All patch types but apply."""
    resource, request = call.resource, call.request
    media = bodies.media_type(request)
    if media not in _PATCH_TYPES or (resource.custom and "strategic" in media):
        raise errors.unsupported_media("415: Unsupported Media Type", {})
    if media == "application/apply-patch+yaml":
        return apply(call, update)
    found = current(call, update.name)
    if found is None:
        raise errors.not_found(resource.plural, resource.group, update.name)
    document = _parse_patch(request.body)
    entry, old = found
    full = {"kind": resource.kind, "apiVersion": resource.api_version, **load(encode(old))}
    changed = _changed(full, document, media, resource)
    obj = _decode_patched(call, changed, document, media, update)
    check_namespace(call, obj)
    check_name(obj, update.name)
    manager = Manager(update.options.manager, "Update", resource.api_version, "status" if update.status else "")
    managed.record(obj, managed.updated(old, obj, resource.type, manager, call.time, _reset(call, update)))
    return finish(call, obj, entry, old, update)


def _parse_patch(body: bytes) -> Any:
    try:
        return decode.parse_json(body)
    except ValueError as error:
        raise errors.bad_request(f"error decoding patch: {error}") from None


def _changed(full: Json, document: Any, media: str, resource: Resource) -> Json:
    try:
        if media == "application/json-patch+json":
            if not isinstance(document, list) or not all(isinstance(o, dict) for o in document):
                shown = decode.json_name(
                    document if not isinstance(document, list) else next(o for o in document if not isinstance(o, dict))
                )
                raise errors.bad_request(
                    f"error decoding patch: json: cannot unmarshal {shown} into Go value of type []handlers.jsonPatchOp"
                )
            return patches.json_patch(full, document)
        if not isinstance(document, dict):
            shown = decode.json_name(document)
            raise errors.bad_request(
                f"error decoding patch: json: cannot unmarshal {shown} into Go value of type map[string]interface {{}}"
            )
        if media == "application/merge-patch+json":
            merged: Json = patches.merge_patch(full, document)
            return merged
        return patches.strategic_patch(full, document, resource.type)
    except patches.PatchError as error:
        if error.code == 400:
            raise errors.bad_request(str(error)) from None
        if error.code == 422:
            raise errors.ApiError(422, "Invalid", REJECTED, {}) from None
        raise errors.plain_internal(str(error)) from None


def _decode_patched(call: Call, changed: Json, document: Any, media: str, update: Update) -> Json:
    """The patched document as an object; what is wrong with it is told about `patch`."""
    resource = call.resource
    strategic = "strategic" in media
    shown = patches.go_map(document) if strategic else encode(changed).decode()
    kind, api_version = changed.get("kind"), changed.get("apiVersion")
    if not strategic and (kind, api_version) != (resource.kind, resource.api_version):
        try:
            bodies.check_kind(changed, resource)
        except errors.ApiError as error:
            words = error.message.split(": ", 1)[-1]
            raise errors.invalid("", "", "", [invalid("patch", shown, words)]) from None
    strict = bodies.Strict(update.options.validation)
    try:
        obj = bodies.typed(changed, resource, strict, b"")
    except errors.ApiError as error:
        words = error.message.split(": ", 1)[1]
        raise errors.invalid("", "", "", [invalid("patch", shown, words)]) from None
    if call.request.body and strict.validation != "Ignore" and media != "application/json-patch+json":
        strict.found = _doubled(call.request.body, document) + strict.found
    if strict.found and strict.validation == "Strict":
        words = f"strict decoding error: {', '.join(strict.found)}"
        raise errors.invalid("", "", "", [invalid("patch", shown, words)])
    strict.finish(call.request, "")
    resource.strategy.default(obj)
    return obj


def _doubled(body: bytes, document: Any) -> list[str]:
    return decode.strict_errors(body, []) if body.count(b'":') != decode.count_keys(document) else []


# ---- apply ------------------------------------------------------------------------------------------------------
def apply(call: Call, update: Update) -> Written:
    """Server-side apply; creates what is not there."""
    resource, options = call.resource, update.options
    config = _configuration(call, update)
    found = current(call, update.name)
    manager = Manager(options.manager, "Apply", resource.api_version, "status" if update.status else "")
    live = load(encode(found[1])) if found else zero(resource.type)
    by_kubectl = options.manager == lastapplied.MANAGER
    allowed = lastapplied.allowed(live, resource.type, resource.api_version) if by_kubectl else frozenset()
    how = managed.ApplyOptions(options.force, call.time, _reset(call, update), allowed)
    given = (config.get("metadata") or {}).pop("resourceVersion", None)
    try:
        applied = managed.apply(live, config, resource.type, manager, how)
    except fieldsets.DuplicateError:
        raise errors.plain_internal("failed to create manager for existing fields: duplicate entries for key") from None
    _check_doubled(call, options.validation)
    if by_kubectl:
        lastapplied.follow(applied.obj, config, {"apiVersion": resource.api_version, "kind": resource.kind})
    strict = bodies.Strict("Ignore")
    obj = bodies.typed(applied.obj, resource, strict, b"")
    resource.strategy.default(obj)
    managed.record(obj, applied.entries)
    if obj["metadata"].setdefault("name", update.name) != update.name:
        check_name(obj, update.name)
    check_namespace(call, obj)
    if found is None:
        if update.status:
            raise errors.not_found(resource.plural, resource.group, update.name)
        if given:
            raise errors.not_found(resource.plural, resource.group, update.name)
        return _create_prepared(call, obj)
    if given:
        obj["metadata"]["resourceVersion"] = given
    return finish(call, obj, found[0], found[1], update)


def _check_doubled(call: Call, validation: str) -> None:
    """Keys that stand twice in the body of an apply."""
    doubled = bodies.doubled_keys(call.request.body) if validation != "Ignore" else []
    if doubled and validation == "Strict":
        words = bodies.unmarshal_errors(doubled)
        raise errors.bad_request(f"error strict decoding YAML: error converting YAML to JSON: {words}")
    call.warn(*doubled)


def _configuration(call: Call, update: Update) -> Json:
    """The body of an apply, checked: its kind, name and fields."""
    resource, request = call.resource, call.request
    try:
        raw = bodies.parse_yaml(request.body)
    except ValueError as error:
        raise errors.bad_request(f"error decoding YAML: {error}") from None
    if not isinstance(raw, dict):
        words = f"error decoding YAML: json: cannot unmarshal {decode.json_name(raw)} into Go value of type"
        raise errors.bad_request(f"{words} map[string]interface {{}}")
    if (raw.get("apiVersion"), raw.get("kind")) != (resource.api_version, resource.kind):
        api_version = raw.get("apiVersion") if isinstance(raw.get("apiVersion"), str) else ""
        shown = bodies.go_kind(api_version or "", str(raw.get("kind") or ""))
        raise errors.bad_request(f"invalid object type: {shown}")
    metadata = raw.get("metadata") or {}
    name = metadata.get("name", "") if isinstance(metadata, dict) else ""
    if not isinstance(raw.get("metadata"), dict):
        check_name({"metadata": {}}, update.name)
    if metadata.get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    config = {k: v for k, v in raw.items() if k not in ("kind", "apiVersion")}
    told = fieldsets.undeclared(config, resource.type)
    if told:
        where = f"({metadata.get('namespace', '')}/{name}; {bodies.go_kind(resource.api_version, resource.kind)})"
        listed = told[0] if len(told) == 1 else "errors:\n" + "\n".join(f"  {w}" for w in told)
        raise errors.plain_internal(f"failed to create typed patch object {where}: {listed}")
    return _checked(config, resource)


def _checked(config: Json, resource: Resource) -> Json:
    """The configuration with its values normalized (quantities and the like) but nothing added."""
    if resource.custom:
        return config
    decoder = decode.Decoder()
    try:
        decoder.decode(config, resource.type)
    except decode.TypeMismatch as error:
        raise errors.bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {error}'
        ) from None
    return config
