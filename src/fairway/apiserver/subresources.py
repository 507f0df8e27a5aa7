"""Sub-resources with kinds of their own: binding, eviction and token. (`scale` has a file of its own.)"""

from __future__ import annotations

from collections.abc import Callable

from fairway.apiserver import bodies, errors, gotime, managed
from fairway.apiserver.context import Call, encode
from fairway.apiserver.deleting import check_preconditions, delete
from fairway.apiserver.fielderrors import FieldError, invalid, required, unsupported
from fairway.apiserver.kinds.base import Resource, Strategy
from fairway.apiserver.managed import Manager
from fairway.apiserver.options import WriteOptions, delete_options, write_options
from fairway.apiserver.request import Json, Response
from fairway.apiserver.scale import scale
from fairway.apiserver.schema import builtin
from fairway.apiserver.writing import check_namespace, check_uid, current, store


def _decoded(call: Call, kind: str, api_version: str, key: str, options: WriteOptions) -> Json:
    """The body of a sub-resource whose kind is its own."""
    group, _, version = api_version.rpartition("/")
    return bodies.object_of(
        call.request, Resource(group, version, "", kind, builtin(key), Strategy()), options.validation
    )


def _answer(body: Json, code: int = 200) -> Response:
    return Response(code, encode(body))


def _found(call: Call, name: str) -> Json:
    found = current(call, name)
    if found is None:
        raise errors.not_found(call.resource.plural, call.resource.group, name)
    return found[1]


# ---- pods -------------------------------------------------------------------------------------------------------
_SUCCESS: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


def binding(call: Call, name: str) -> Response:
    """Give a pod its node."""
    options = write_options(call.request, "CreateOptions")
    body = _decoded(call, "Binding", "v1", "core.Binding", options)
    check_namespace(call, body)
    if body["metadata"].get("name") != name:
        raise errors.bad_request("name in URL does not match name in Binding object")
    return _bind(call, name, body, dry_run=options.dry_run)


def bindings(call: Call) -> Response:
    """The same by a collection of its own: the binding says which pod."""
    options = write_options(call.request, "CreateOptions")
    body = _decoded(call, "Binding", "v1", "core.Binding", options)
    check_namespace(call, body)
    name = body["metadata"].get("name")
    if not name:
        raise errors.bad_request("Name parameter required.")
    return _bind(call, name, body, dry_run=options.dry_run)


def _bind(call: Call, name: str, body: Json, *, dry_run: bool) -> Response:
    target = body.get("target") or {}
    found: list[FieldError] = []
    if target.get("kind") not in (None, "", "Node"):
        found.append(unsupported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        found.append(required("target.name"))
    if found:
        texts = [str(e) for e in found]
        raise errors.plain_internal(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    pod = _found(call, name)
    check_uid(call, body, pod, name)
    _check_bindable(pod, name)
    pod["spec"]["nodeName"] = target["name"]
    _set_condition(pod, {"type": "PodScheduled", "status": "True", "lastProbeTime": None}, call.time)
    for kind in ("annotations", "labels"):
        if body["metadata"].get(kind):
            pod["metadata"][kind] = {**(pod["metadata"].get(kind) or {}), **body["metadata"][kind]}
    if not dry_run:
        store(call, pod)
    return _answer({**_SUCCESS, "code": 201}, 201)


def _set_condition(pod: Json, condition: Json, now: str) -> bool:
    """Put a condition into a pod's status; one that says the same already stays as it is."""
    status = pod.setdefault("status", {})
    old = next((c for c in status.get("conditions") or [] if c.get("type") == condition["type"]), None)
    if old is not None and all(old.get(k) == v for k, v in condition.items() if v is not None):
        return False
    others = [c for c in status.get("conditions") or [] if c is not old]
    status["conditions"] = [*others, {**condition, "lastTransitionTime": now}]
    return True


def _check_bindable(pod: Json, name: str) -> None:
    why = ""
    if pod["metadata"].get("deletionTimestamp"):
        why = f"pod {name} is being deleted, cannot be assigned to a host"
    elif pod["spec"].get("nodeName"):
        why = f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"'
    elif pod["spec"].get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
    if why:
        raise errors.conflict("pods/binding", "", name, why)


def eviction(call: Call, name: str) -> Response:
    """Delete a pod, politely. Disruption budgets do not exist here, so none is in the way."""
    options = write_options(call.request, "CreateOptions")
    older = b'"policy/v1beta1"' in call.request.body  # which kubectl still sends to old servers
    body = _decoded(call, "Eviction", "policy/v1beta1" if older else "policy/v1", "policy.Eviction", options)
    check_namespace(call, body)
    if body["metadata"].get("name") != name:
        raise errors.bad_request("name in URL does not match name in Eviction object")
    how = delete_options(body.get("deleteOptions") or {})
    call.dry_run = options.dry_run or how.dry_run
    pod = _found(call, name)
    check_preconditions(call, pod, how._replace(uid=""), name)
    told = {"reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
    condition = {"type": "DisruptionTarget", "status": "True", "lastProbeTime": None, **told}
    if _set_condition(pod, condition, call.time) and not call.dry_run:
        store(call, pod)
    delete(call, name, how._replace(version=""))
    return _answer({**_SUCCESS, "code": 201}, 201)


# ---- service accounts -------------------------------------------------------------------------------------------
_REQUEST = ("authentication.k8s.io/v1", "TokenRequest")


def token(call: Call, name: str) -> Response:
    """TokenRequest: a signed token of this account, bound to a pod if the request says so."""
    options = write_options(call.request, "CreateOptions")
    body = _decoded(call, "TokenRequest", _REQUEST[0], "authentication.TokenRequest", options)
    check_namespace(call, body)
    spec = body["spec"]
    if spec.get("expirationSeconds") is None:
        spec["expirationSeconds"] = 3600
    manager = Manager(options.manager, "Update", _REQUEST[0], "token")
    owners = managed.updated(None, body, builtin("authentication.TokenRequest"), manager, call.time)
    account = _found(call, name)
    _check_request(body, name)
    seconds, signer = spec["expirationSeconds"], call.server.signer
    audiences = spec.get("audiences") or [signer.issuer]
    claims = _claims(call, account, spec.get("boundObjectRef"), name)
    start, end = int(call.now), int(call.now) + seconds
    claims |= {"aud": audiences, "exp": end, "iat": start, "nbf": start, "iss": signer.issuer, "jti": call.new_uid()}
    metadata: Json = {"name": name, "namespace": call.namespace, "uid": account["metadata"]["uid"]}
    metadata |= {"creationTimestamp": call.time, "managedFields": owners}
    out: Json = {"kind": _REQUEST[1], "apiVersion": _REQUEST[0], "metadata": metadata}
    out["spec"] = {**spec, "audiences": audiences}
    out["spec"].setdefault("boundObjectRef", None)
    out["status"] = {"token": signer.sign(claims), "expirationTimestamp": gotime.from_seconds(end)}
    return _answer(out, 201)


def _check_request(body: Json, name: str) -> None:
    given, seconds = body["metadata"].get("name"), body["spec"]["expirationSeconds"]
    if given and given != name:
        wrong = invalid("metadata.name", given, "must match the service account name if specified")
        raise errors.invalid("TokenRequest", "authentication.k8s.io", name, [wrong])
    words = ""
    if seconds < 600:
        words = "may not specify a duration less than 10 minutes"
    elif seconds > 1 << 32:
        words = "may not specify a duration larger than 2^32 seconds"
    if words:
        wrong = invalid("spec.expirationSeconds", seconds, words)
        raise errors.invalid("TokenRequest", "authentication.k8s.io", "", [wrong])


_BINDABLE = {("v1", "Pod"): "pods", ("v1", "Secret"): "secrets", ("v1", "Node"): "nodes"}


def _claims(call: Call, account: Json, bound: Json | None, name: str) -> Json:
    about: Json = {"namespace": call.namespace, "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]}}
    if bound:
        about[bound.get("kind", "").lower()] = _bound(call, bound, name)
    return {"sub": f"system:serviceaccount:{call.namespace}:{name}", "kubernetes.io": about}


def _bound(call: Call, bound: Json, account: str) -> Json:
    """The object that a token ends with."""
    api_version, kind, name = (bound.get(k, "") for k in ("apiVersion", "kind", "name"))
    resource = _BINDABLE.get((api_version, kind))
    if resource is None:
        raise errors.bad_request(f"cannot bind token to object of type {bodies.go_kind(api_version, kind)}")
    obj = call.server.read(resource, name if resource == "nodes" else f"{call.namespace}/{name}")
    if obj is None:
        raise errors.not_found(resource, "", name)
    if resource == "pods" and obj["spec"].get("serviceAccountName") != account:
        words = f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
        raise errors.bad_request(words)
    if bound.get("uid") and bound["uid"] != obj["metadata"]["uid"]:
        why = (
            f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record. The object "
            "might have been deleted and then recreated"
        )
        raise errors.conflict(kind, "", name, why)
    return {"name": name, "uid": obj["metadata"]["uid"]}


HANDLERS: dict[str, tuple[tuple[str, ...], Callable[[Call, str], Response]]] = {
    "scale": (("GET", "PUT", "PATCH"), scale),
    "binding": (("POST",), binding),
    "eviction": (("POST",), eviction),
    "token": (("POST",), token),
}
