"""create, update and patch: the order of checks, allocation and storage that the real server's registry has."""

from __future__ import annotations

from typing import Any, NamedTuple

from fairway.apiserver import bodies, decode, errors, fieldsets, managed, patches
from fairway.apiserver.context import Call, encode
from fairway.apiserver.context import decode as load
from fairway.apiserver.fielderrors import FieldError, invalid
from fairway.apiserver.kinds.base import Resource, validate_meta, validate_meta_update
from fairway.apiserver.managed import Manager
from fairway.apiserver.options import WriteOptions
from fairway.apiserver.request import Json
from fairway.apiserver.store import Entry

_PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


_MOST_OPERATIONS = 10000
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
    single_owners(call, obj)
    if manager is not None:
        for name in _NOT_YET:
            obj["metadata"].pop(name, None)
        managed.record(obj, managed.updated(None, obj, resource.type, manager, call.time, resource.strategy.reset))
    return create_prepared(call, obj)


def create_prepared(call: Call, obj: Json) -> Written:
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
    subresource: str = ""

    @property
    def status(self) -> bool:
        return self.subresource == "status"


def current(call: Call, name: str) -> tuple[Entry, Json] | None:
    entry = call.store.get(call.resource.key, call.key(name))
    if entry is None:
        return None
    obj = load(entry.data)
    return entry, (call.resource.from_storage(obj) if call.resource.from_storage else obj)


def replace(call: Call, obj: Json, update: Update, manager: Manager) -> Written:
    """PUT."""
    resource = call.resource
    check_namespace(call, obj)
    check_name(obj, update.name)
    found = current(call, update.name)
    if found is None:
        return _create_by_put(call, obj, update, manager)
    entry, old = found
    check_uid(call, obj, old, update.name)
    single_owners(call, obj)
    managed.record(obj, managed.updated(old, obj, resource.type, manager, call.time, reset(call, update)))
    return finish(call, obj, entry, old, update)


def single_owners(call: Call, obj: Json, when: str = "") -> None:
    """Of equal owner references one is kept, and the client is warned."""
    given = obj["metadata"].get("ownerReferences") or []
    kept: list[Json] = []
    doubled: list[str] = []
    for ref in given:
        if ref in kept:
            doubled.append(str(ref.get("uid", "")))
        else:
            kept.append(ref)
    if doubled:
        obj["metadata"]["ownerReferences"] = kept
        call.warn(
            f".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, "
            "and may reject such requests as early as 1.24; please fix your requests; "
            f"duplicate UID(s) observed: {', '.join(doubled)}"
        )


def check_uid(call: Call, obj: Json, old: Json, name: str) -> None:
    """A uid that a client sends is a precondition."""
    uid, found = obj["metadata"].get("uid"), old["metadata"].get("uid")
    if not uid or uid == found:
        return
    why = (
        f"StorageError: invalid object, Code: 4, Key: {_etcd_key(call, name)}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
    )
    raise errors.conflict(call.resource.plural, call.resource.group, name, why)


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
    if not resource.strategy.creates_on_update:
        raise errors.not_found(resource.plural, resource.group, update.name)
    if meta.get("uid"):
        why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: "
        raise errors.conflict(resource.plural, resource.group, update.name, why)
    if meta.pop("resourceVersion", "") not in ("", "0"):
        raise errors.not_found(resource.plural, resource.group, update.name)
    return create(call, obj, manager=manager)


def reset(call: Call, update: Update) -> tuple[fieldsets.Path, ...]:
    strategy = call.resource.strategy
    if update.status:
        return strategy.status_reset()
    return strategy.other_reset(update.subresource) if update.subresource else strategy.reset


def finish(call: Call, obj: Json, entry: Entry, old: Json, update: Update) -> Written:
    """What PUT, PATCH and apply share: version check, hooks, validity, storage (or the end of a deletion)."""
    resource, strategy = call.resource, call.resource.strategy
    meta, was = obj["metadata"], old["metadata"]
    given = meta.get("resourceVersion")
    if given in (None, "", "0"):
        if strategy.needs_version and not update.subresource:
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
    elif update.subresource in strategy.parts:
        strategy.prepare_part(call, obj, old, update.subresource)
        errs = validate_meta_update(resource, obj, old) + strategy.validate_part(call, obj, old, update.subresource)
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
    if _only_times_differ(obj, old):
        obj["metadata"]["managedFields"] = old["metadata"]["managedFields"]
    if call.dry_run or obj == old:
        return Written(obj)
    return Written(store(call, obj))


def _only_times_differ(obj: Json, old: Json) -> bool:
    """Whether nothing differs but when fields were taken last: that is no change."""
    records = [o["metadata"].get("managedFields") or [] for o in (obj, old)]
    if records[0] == records[1] or managed.bare(obj) != managed.bare(old):
        return False
    new, was = ([{k: v for k, v in entry.items() if k != "time"} for entry in record] for record in records)
    return new == was


def _vanishes(call: Call, obj: Json) -> bool:
    """Does this update take the last finalizer of an object that is going? Namespaces have finalizers of their own."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return not (obj.get("spec") or {}).get("finalizers") if call.resource.kind == "Namespace" else True


# ---- patch ------------------------------------------------------------------------------------------------------
def patch(call: Call, update: Update) -> Written:
    """All patch types but apply."""
    resource = call.resource
    check_patch_type(call)
    found = current(call, update.name)
    if found is None:
        raise errors.not_found(resource.plural, resource.group, update.name)
    entry, old = found
    obj = patched(call, old, update)
    manager = Manager(update.options.manager, "Update", resource.api_version, update.subresource)
    managed.record(obj, managed.updated(old, obj, resource.type, manager, call.time, reset(call, update)))
    return finish(call, obj, entry, old, update)


def is_apply(call: Call) -> bool:
    return bodies.patch_type(call.request) == "application/apply-patch+yaml"


def check_patch_type(call: Call) -> None:
    media = bodies.patch_type(call.request)
    if call.resource.custom and (media not in _PATCH_TYPES or "strategic" in media):
        listed = ", ".join(t for t in _PATCH_TYPES if "strategic" not in t)
        words = f"the body of the request was in an unknown format - accepted media types include: {listed}"
        raise errors.unsupported_media(words)
    if media not in _PATCH_TYPES:
        raise errors.unsupported_media("415: Unsupported Media Type", {})


def patched(call: Call, old: Json, update: Update) -> Json:
    """The object that a patch of any type but apply makes of another."""
    resource, request = call.resource, call.request
    media = bodies.patch_type(request)
    document = _parse_patch(request.body)
    full = {"kind": resource.kind, "apiVersion": resource.api_version, **load(encode(old))}
    changed = _changed(full, document, media, resource)
    obj = _decode_patched(call, changed, document, media, update)
    check_namespace(call, obj)
    check_name(obj, update.name)
    single_owners(call, obj, " after mutating admission happens")
    return obj


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
            if len(document) > _MOST_OPERATIONS:
                words = f"The allowed maximum operations in a JSON patch is {_MOST_OPERATIONS}, got {len(document)}"
                raise errors.ApiError(413, "RequestEntityTooLarge", f"Request entity too large: {words}")
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

    def shown() -> str:
        if strategic:
            return patches.go_map(document)
        return encode(patches.go_ordered(changed, document, resource.type)).decode()

    kind, api_version = changed.get("kind"), changed.get("apiVersion")
    if not strategic and (kind, api_version) != (resource.kind, resource.api_version):
        try:
            bodies.check_kind(changed, resource)
        except errors.ApiError as error:
            words = error.message.split(": ", 1)[-1]
            raise errors.invalid("", "", "", [invalid("patch", shown(), words)]) from None
    strict = bodies.Strict(update.options.validation, converts=strategic)
    try:
        obj = bodies.typed(changed, resource, strict, b"")
    except errors.ApiError as error:
        words = error.message.split(": ", 1)[1]
        raise errors.invalid("", "", "", [invalid("patch", shown(), words)]) from None
    if call.request.body and strict.validation != "Ignore":
        strict.found = _doubled(call.request.body, document) + strict.found
    if strict.found and strict.validation == "Strict":
        words = f"strict decoding error: {', '.join(strict.found)}"
        raise errors.invalid("", "", "", [invalid("patch", shown(), words)])
    strict.finish(call.request, "")
    resource.strategy.default(obj)
    return obj


def _doubled(body: bytes, document: Any) -> list[str]:
    if isinstance(document, list):
        return decode.operation_errors(body)
    return decode.strict_errors(body, []) if body.count(b'":') != decode.count_keys(document) else []
