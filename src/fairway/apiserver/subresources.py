"""Sub-resources that are more than a view: scale, binding, eviction, token, finalize, ephemeralcontainers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairway.apiserver import bodies, decode, errors, gotime, managed, patches
from fairway.apiserver.context import Call, encode
from fairway.apiserver.context import decode as load
from fairway.apiserver.deleting import delete
from fairway.apiserver.fielderrors import FieldError, invalid, required, unsupported
from fairway.apiserver.kinds.cells import selector_text
from fairway.apiserver.managed import Manager
from fairway.apiserver.options import DeleteOptions, WriteOptions, write_options
from fairway.apiserver.request import Json, Response
from fairway.apiserver.schema import builtin
from fairway.apiserver.writing import Update, _carry_over, current, finish, store


def _decoded(call: Call, kind: str, api_version: str, key: str, options: WriteOptions) -> Json:
    """The body of a sub-resource whose kind is its own."""
    raw = bodies.parse(call.request, kind)
    if not isinstance(raw, dict):
        raise errors.bad_request(f"the object provided is unrecognized (must be of type {kind})")
    given = (raw.get("apiVersion") or api_version, raw.get("kind") or kind)
    if not all(isinstance(g, str) for g in given):
        raise errors.bad_request(f"the object provided is unrecognized (must be of type {kind})")
    if given[1] != kind:
        head = f'{given[1]} in version "{given[0].rpartition("/")[2]}" cannot be handled as a {kind}'
        raise errors.bad_request(f'{head}: no kind "{given[1]}" is registered for version "{given[0]}"')
    decoder = decode.Decoder()
    document = {k: v for k, v in raw.items() if k not in ("kind", "apiVersion")}
    try:
        obj = decoder.decode(document, builtin(key))
    except decode.TypeMismatch as error:
        raise errors.bad_request(
            f'{kind} in version "{api_version.rpartition("/")[2]}" cannot be handled as a {kind}: {error}'
        ) from None
    strict = bodies.Strict(options.validation)
    strict.found += [f'unknown field "{u}"' for u in decoder.unknown]
    strict.finish(call.request, f'{kind} in version "{api_version.rpartition("/")[2]}" cannot be handled as a {kind}: ')
    return obj


def _answer(body: Json, code: int = 200) -> Response:
    return Response(code, encode(body))


def _found(call: Call, name: str) -> tuple[Any, Json]:
    found = current(call, name)
    if found is None:
        raise errors.not_found(call.resource.plural, call.resource.group, name)
    return found


# ---- scale ------------------------------------------------------------------------------------------------------
def _scale_of(call: Call, obj: Json) -> Json:
    spec, status, meta = obj["spec"], obj.get("status") or {}, obj["metadata"]
    selector = spec.get("selector")
    if selector is not None and "matchLabels" not in selector and "matchExpressions" not in selector:
        selector = {"matchLabels": selector}
    kept = {k: meta[k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if k in meta}
    out: Json = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": kept}
    out["spec"] = {"replicas": spec["replicas"]} if spec.get("replicas") else {}
    out["status"] = {"replicas": status.get("replicas", 0)}
    text = selector_text(selector)
    if selector and text != "<none>":
        out["status"]["selector"] = text
    return out


def scale(call: Call, name: str) -> Response:
    request = call.request
    entry, old = _found(call, name)
    if request.method == "GET":
        return _answer(_scale_of(call, old))
    kind = "UpdateOptions" if request.method == "PUT" else "PatchOptions"
    options = write_options(request, kind)
    call.dry_run = options.dry_run
    live = _scale_of(call, old)
    if request.method == "PUT":
        new = _decoded(call, "Scale", "autoscaling/v1", "autoscaling.Scale", options)
    else:
        document = bodies.parse_yaml(request.body)
        try:
            changed = (
                patches.json_patch(live, document)
                if isinstance(document, list)
                else patches.merge_patch(live, document)
            )
            new = decode.Decoder().decode(
                {k: v for k, v in changed.items() if k not in ("kind", "apiVersion")}, builtin("autoscaling.Scale")
            )
        except (patches.PatchError, decode.TypeMismatch) as error:
            raise errors.bad_request(str(error)) from None
    replicas = (new.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        found = [invalid("spec.replicas", replicas, "must be greater than or equal to 0")]
        raise errors.invalid("Scale", "autoscaling", name, found)
    obj = load(encode(old))
    obj["spec"]["replicas"] = replicas
    version = (new.get("metadata") or {}).get("resourceVersion")
    if version:
        obj["metadata"]["resourceVersion"] = version
    manager = Manager(options.manager, "Update", call.resource.api_version, "scale")
    managed.record(obj, managed.updated(old, obj, call.resource.type, manager, call.time))
    written = finish(call, obj, entry, old, Update(name, options))
    return _answer(_scale_of(call, written.obj))


# ---- pods -------------------------------------------------------------------------------------------------------
_SUCCESS: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


def binding(call: Call, name: str) -> Response:
    """Give a pod its node."""
    options = write_options(call.request, "CreateOptions")
    body = _decoded(call, "Binding", "v1", "core.Binding", options)
    given = body["metadata"].get("name") or name
    if given != name:
        raise errors.bad_request("name in URL does not match name in Binding object")
    target = body.get("target") or {}
    found: list[FieldError] = []
    if target.get("kind") not in (None, "", "Node"):
        found.append(unsupported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        found.append(required("target.name"))
    if found:
        texts = [str(e) for e in found]
        raise errors.plain_internal(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    _, pod = _found(call, name)
    _check_bindable(pod, name, body)
    spec, status = pod["spec"], pod.setdefault("status", {})
    spec["nodeName"] = target["name"]
    conditions = [c for c in status.get("conditions") or [] if c.get("type") != "PodScheduled"]
    new = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": call.time}
    status["conditions"] = [*conditions, new]
    annotations = body["metadata"].get("annotations")
    if annotations:
        pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), **annotations}
    if not options.dry_run:
        store(call, pod)
    return _answer({**_SUCCESS, "code": 201}, 201)


def _check_bindable(pod: Json, name: str, body: Json) -> None:
    uid = body["metadata"].get("uid")
    if uid and uid != pod["metadata"].get("uid"):
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {pod['metadata'].get('uid')}"
        raise errors.conflict("pods/binding", "", name, why)
    if pod["metadata"].get("deletionTimestamp"):
        raise errors.conflict("pods/binding", "", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if pod["spec"].get("nodeName"):
        raise errors.conflict(
            "pods/binding", "", name, f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"'
        )
    if pod["spec"].get("schedulingGates"):
        raise errors.conflict("pods/binding", "", name, f"pod {name} has non-empty .spec.schedulingGates")


def eviction(call: Call, name: str) -> Response:
    """Delete a pod, politely. Disruption budgets do not exist here, so none is in the way."""
    options = write_options(call.request, "CreateOptions")
    body = _decoded(call, "Eviction", "policy/v1", "policy.Eviction", options)
    given = body["metadata"].get("name") or name
    if given != name:
        raise errors.bad_request("name in URL does not match name in Eviction object")
    raw = body.get("deleteOptions") or {}
    preconditions = raw.get("preconditions") or {}
    call.dry_run = options.dry_run or bool(raw.get("dryRun"))
    how = DeleteOptions(
        call.dry_run,
        raw.get("gracePeriodSeconds"),
        raw.get("propagationPolicy") or "",
        preconditions.get("uid") or "",
        preconditions.get("resourceVersion") or "",
    )
    delete(call, name, how)
    return _answer({**_SUCCESS, "code": 201}, 201)


def ephemeral_containers(call: Call, name: str) -> Response:
    """`kubectl debug`: containers are added to a pod, never changed or taken away."""
    _, old = _found(call, name)
    request = call.request
    if request.method == "GET":
        return _answer({"kind": "Pod", "apiVersion": "v1", **old})
    options = write_options(request, "UpdateOptions" if request.method == "PUT" else "PatchOptions")
    call.dry_run = options.dry_run
    if request.method == "PUT":
        new = bodies.object_of(request, call.resource, options.validation)
    else:
        document = bodies.parse_yaml(request.body)
        media = bodies.media_type(request)
        full = load(encode(old))
        try:
            if media == "application/json-patch+json":
                new = patches.json_patch(full, document)
            elif media == "application/strategic-merge-patch+json":
                new = patches.strategic_patch(full, document, call.resource.type)
            else:
                new = patches.merge_patch(full, document)
            new = decode.Decoder().decode(
                {k: v for k, v in new.items() if k not in ("kind", "apiVersion")}, call.resource.type
            )
        except (patches.PatchError, decode.TypeMismatch) as error:
            raise errors.bad_request(str(error)) from None
    call.resource.strategy.default(new)
    return _answer({"kind": "Pod", "apiVersion": "v1", **_add_ephemeral(call, new, old, name)})


def _add_ephemeral(call: Call, new: Json, old: Json, name: str) -> Json:
    had = {c.get("name"): c for c in old["spec"].get("ephemeralContainers") or []}
    wanted = new["spec"].get("ephemeralContainers") or []
    names = [c.get("name") for c in wanted]
    for existing in had:
        if existing not in names:
            found = [
                FieldError(
                    "FieldValueForbidden",
                    "spec.ephemeralContainers",
                    f'Forbidden: existing ephemeral containers "{existing}" may not be removed\n',
                )
            ]
            raise errors.invalid("Pod", "", name, found)
    obj: Json = load(encode(old))
    obj["spec"]["ephemeralContainers"] = wanted
    _carry_over(obj["metadata"], old["metadata"])
    found = call.resource.strategy.validate(call, obj)
    if found:
        raise errors.invalid("Pod", "", name, found)
    if obj != old and not call.dry_run:
        obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        store(call, obj)
    return obj


# ---- namespaces -------------------------------------------------------------------------------------------------
def finalize(call: Call, name: str) -> Response:
    """The one way to change a namespace's own finalizers; the last one gone, so is the namespace."""
    entry, old = _found(call, name)
    options = write_options(call.request, "UpdateOptions")
    call.dry_run = options.dry_run
    new = bodies.object_of(call.request, call.resource, options.validation)
    version = new["metadata"].get("resourceVersion")
    if version and version != str(entry.version):
        raise errors.stale(call.resource.plural, call.resource.group, name)
    obj = load(encode(old))
    finalizers = (new.get("spec") or {}).get("finalizers")
    obj["spec"] = {"finalizers": finalizers} if finalizers else {}
    meta = obj["metadata"]
    if meta.get("deletionTimestamp") and not finalizers and not meta.get("finalizers"):
        if not call.dry_run:
            call.server.remove("namespaces", name, obj, call.now)
    elif obj != old and not call.dry_run:
        store(call, obj)
    return _answer({"kind": "Namespace", "apiVersion": "v1", **obj})


# ---- service accounts -------------------------------------------------------------------------------------------
def token(call: Call, name: str) -> Response:
    """TokenRequest: a signed token of this account, bound to a pod if the request says so."""
    options = write_options(call.request, "CreateOptions")
    body = _decoded(call, "TokenRequest", "authentication.k8s.io/v1", "authentication.TokenRequest", options)
    _, account = _found(call, name)
    spec = body.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    seconds = 3600 if seconds is None else seconds
    if not 600 <= seconds <= 1 << 32:
        words = (
            "may not specify a duration less than 10 minutes"
            if seconds < 600
            else "may not specify a duration larger than 2^32 seconds"
        )
        raise errors.invalid(
            "TokenRequest", "authentication.k8s.io", "", [invalid("spec.expirationSeconds", seconds, words)]
        )
    signer = call.server.signer
    audiences = spec.get("audiences") or [signer.issuer]
    claims = _claims(call, account, spec.get("boundObjectRef"), name)
    claims |= {
        "aud": audiences,
        "exp": int(call.now) + seconds,
        "iat": int(call.now),
        "nbf": int(call.now),
        "iss": signer.issuer,
    }
    claims["jti"] = call.new_uid()
    status = {"token": signer.sign(claims), "expirationTimestamp": gotime.from_seconds(int(call.now) + seconds)}
    metadata = {"name": name, "namespace": call.namespace, "creationTimestamp": call.time}
    shown: Json = {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": spec.get("boundObjectRef")}
    out = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": metadata,
        "spec": shown,
        "status": status,
    }
    return _answer(out, 201)


def _claims(call: Call, account: Json, bound: Json | None, name: str) -> Json:
    about: Json = {"namespace": call.namespace, "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]}}
    if bound:
        resource = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}.get(bound.get("kind", ""))
        if resource is None:
            words = f'cannot bind token for serviceaccount "{name}" to object {bound.get("kind", "")}'
            raise errors.bad_request(f"{words}, only Pod, Secret and Node are supported")
        key = bound.get("name", "") if resource == "nodes" else f"{call.namespace}/{bound.get('name', '')}"
        obj = call.server.read(resource, key)
        if obj is None:
            raise errors.not_found(resource, "", bound.get("name", ""))
        if bound.get("uid") and bound["uid"] != obj["metadata"]["uid"]:
            why = (
                f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record. The object "
                "might have been deleted and then recreated"
            )
            raise errors.conflict(resource, "", bound.get("name", ""), why)
        about[bound["kind"].lower()] = {"name": bound.get("name", ""), "uid": obj["metadata"]["uid"]}
    return {"sub": f"system:serviceaccount:{call.namespace}:{name}", "kubernetes.io": about}


HANDLERS: dict[str, tuple[tuple[str, ...], Callable[[Call, str], Response]]] = {
    "scale": (("GET", "PUT", "PATCH"), scale),
    "binding": (("POST",), binding),
    "eviction": (("POST",), eviction),
    "ephemeralcontainers": (("GET", "PUT", "PATCH"), ephemeral_containers),
    "finalize": (("PUT",), finalize),
    "token": (("POST",), token),
}
