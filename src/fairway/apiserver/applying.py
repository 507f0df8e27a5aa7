"""Server-side apply: the configuration of a request, checked, and what it makes of an object."""

from __future__ import annotations

from fairway.apiserver import bodies, decode, errors, fieldsets, lastapplied, managed
from fairway.apiserver.context import Call, encode
from fairway.apiserver.context import decode as load
from fairway.apiserver.managed import Manager
from fairway.apiserver.request import Json
from fairway.apiserver.schema import zero
from fairway.apiserver.structural.typed import mistyped
from fairway.apiserver.writing import (
    Update,
    Written,
    check_name,
    check_namespace,
    create_prepared,
    current,
    finish,
    reset,
)


def apply(call: Call, update: Update) -> Written:
    """Server-side apply; creates what is not there."""
    resource = call.resource
    config = configuration(call, update)
    found = current(call, update.name)
    obj = applied(call, found[1] if found else None, config, update)
    if found is not None:
        return finish(call, obj, found[0], found[1], update)
    if update.subresource:
        raise errors.not_found(resource.plural, resource.group, update.name)
    obj["metadata"].pop("resourceVersion", None)
    return create_prepared(call, obj)


def applied(call: Call, old: Json | None, config: Json, update: Update) -> Json:
    """The object that an apply makes of another, or anew; its resourceVersion is the one that the client named."""
    resource, options = call.resource, update.options
    manager = Manager(options.manager, "Apply", resource.api_version, update.subresource)
    live = load(encode(old)) if old is not None else zero(resource.type)
    by_kubectl = options.manager == lastapplied.MANAGER
    allowed = lastapplied.allowed(live, resource.type, resource.api_version) if by_kubectl else frozenset()
    how = managed.ApplyOptions(options.force, call.time, reset(call, update), allowed)
    given = (config.get("metadata") or {}).pop("resourceVersion", None)
    try:
        result = managed.apply(live, config, resource.type, manager, how)
    except fieldsets.DuplicateError:
        raise errors.plain_internal("failed to create manager for existing fields: duplicate entries for key") from None
    _check_decodable(call, config)
    _check_doubled(call, options.validation)
    if by_kubectl:
        lastapplied.follow(result.obj, config, {"apiVersion": resource.api_version, "kind": resource.kind})
    obj = bodies.typed(result.obj, resource, bodies.Strict("Ignore", nulls=True), b"")
    resource.strategy.default(obj)
    managed.record(obj, result.entries)
    check_name(obj, update.name)
    check_namespace(call, obj)
    if given:
        obj["metadata"]["resourceVersion"] = given
    return obj


def _may_double(call: Call) -> bool:
    """JSON is counted first: that is quicker than reading it as YAML with the places of its keys."""
    body = call.request.body
    return body.lstrip()[:1] != b"{" or body.count(b'":') != decode.count_keys(decode.parse_json(body))


def _check_doubled(call: Call, validation: str) -> None:
    """Keys that stand twice in the body of an apply."""
    doubled = bodies.doubled_keys(call.request.body) if validation != "Ignore" and _may_double(call) else []
    if doubled and validation == "Strict":
        words = bodies.unmarshal_errors(doubled)
        raise errors.bad_request(f"error strict decoding YAML: error converting YAML to JSON: {words}")
    call.warn(*doubled)


def configuration(call: Call, update: Update) -> Json:
    """The body of an apply, checked: its kind and fields; its name may be left to the object that it is merged into."""
    resource, request = call.resource, call.request
    raw = _document(request.body)
    api_version, kind = (v if isinstance(v, str) else "" for v in (raw.get("apiVersion"), raw.get("kind")))
    if (api_version, kind) != (resource.api_version, resource.kind):
        raise errors.bad_request(f"invalid object type: {bodies.go_kind(api_version, kind)}")
    metadata = raw.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise errors.bad_request("metadata.managedFields must be nil")
    config = {k: v for k, v in raw.items() if k not in ("kind", "apiVersion")}
    told = mistyped(config, resource.type) if resource.custom else []
    told = told or fieldsets.undeclared(config, resource.type)
    if told:
        where = f"({_who(config)}; {bodies.go_kind(resource.api_version, resource.kind)})"
        listed = told[0] if len(told) == 1 else "errors:\n" + "\n".join(f"  {w}" for w in told)
        raise errors.plain_internal(f"failed to create typed patch object {where}: {listed}")
    return config


def _document(body: bytes) -> Json:
    """The body as YAML, of which JSON is a part; an empty one is an empty object."""
    try:
        raw = bodies.load_yaml(body)
    except ValueError as error:
        raise errors.bad_request(f"error decoding YAML: error converting YAML to JSON: {error}") from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        words = f"while decoding JSON: json: cannot unmarshal {decode.json_name(raw)} into Go value of type"
        raise errors.bad_request(f"error decoding YAML: error unmarshaling JSON: {words} map[string]interface {{}}")
    return raw


def _check_decodable(call: Call, config: Json) -> None:
    """Values that are no quantities, times or the like are told of after conflicts, as those of the merged object."""
    resource = call.resource
    if resource.custom:
        return
    try:
        decode.Decoder().decode(config, resource.type)
    except decode.TypeMismatch as error:
        kind = bodies.go_kind(resource.api_version, resource.kind)
        head = f"failed to convert new object ({_who(config)}; {kind}) to proper version: "
        words = f"{head}unable to convert unstructured object to {kind}: {error.converted or error}"
        raise errors.plain_internal(words) from None


def _who(config: Json) -> str:
    """Namespace and name that the body gives."""
    metadata = config.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    return "/".join(v if isinstance(v, str) else "" for v in (named.get("namespace"), named.get("name")))
