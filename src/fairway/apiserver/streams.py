"""Requests that go on as streams to a pod: which pod, which container; who speaks with it is `io/`'s business."""

from __future__ import annotations

from fairway.apiserver import errors
from fairway.apiserver.context import Call
from fairway.apiserver.kinds.base import get
from fairway.apiserver.options import flag
from fairway.apiserver.request import Json, Request, Upgrade
from fairway.apiserver.routes import Route


def open_stream(call: Call, route: Route) -> Upgrade:
    """Check log, exec, attach, portforward and proxy; the stream itself is opened by the caller."""
    kind, request = route.subresource, call.request
    if kind == "log" and request.method != "GET":
        raise errors.method_not_allowed()
    if kind in ("attach", "exec", "portforward") and request.method not in ("GET", "POST"):
        raise errors.method_not_allowed()
    if call.resource.plural == "services":
        return _service_proxy(call, route)
    if kind == "proxy":
        return _pod_proxy(call, route)
    pod = call.server.read("pods", call.key(route.name))
    if pod is None:
        raise errors.not_found("pods", "", route.name)
    if kind in ("attach", "exec", "log"):
        _check_container(pod, request, route.name, kind)
    if not pod["spec"].get("nodeName"):
        raise errors.bad_request(f"pod {route.name} does not have a host assigned")
    return Upgrade(kind, route.namespace, route.name, request, pod, route.rest)


def container_of(pod: Json, request: Request) -> str:
    """The container that a request means."""
    spec = pod["spec"]
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container", "")
    named = request.first("container")
    return named or default or str((spec.get("containers") or [{}])[0].get("name", ""))


def _check_container(pod: Json, request: Request, name: str, kind: str) -> None:
    spec = pod["spec"]
    known = [
        c.get("name", "") for n in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(n) or []
    ]
    wanted = request.first("container")
    if wanted:
        if wanted not in known:
            raise errors.bad_request(f"container {wanted} is not valid for pod {name}")
    elif len(spec.get("containers") or []) != 1:
        listed = " ".join(c.get("name", "") for c in spec.get("containers") or [])
        raise errors.bad_request(f"a container name must be specified for pod {name}, choose one of: [{listed}]")
    if kind == "exec" and not request.query.get("command"):
        raise errors.bad_request("you must specify at least one command for the container")
    wants = ("stdin", "stdout", "stderr")
    if kind in ("exec", "attach") and not any(flag(request, w) for w in wants):
        raise errors.bad_request("you must specify at least one of stdin, stdout, stderr")
    if kind in ("exec", "attach") and flag(request, "tty") and flag(request, "stderr"):
        raise errors.bad_request("tty and stderr cannot both be true")


# ---- proxies ----------------------------------------------------------------------------------------------------
def split_target(text: str) -> tuple[str, str, str]:
    """`[scheme:]name[:port]` → scheme, name, port."""
    parts = text.split(":")
    if len(parts) == 3 and parts[0] in ("http", "https", ""):
        return parts[0], parts[1], parts[2]
    if len(parts) <= 2:
        return "", parts[0], parts[1] if len(parts) == 2 else ""
    raise errors.bad_request(f"invalid service request {text!r}".replace("'", '"'))


def _pod_proxy(call: Call, route: Route) -> Upgrade:
    scheme, name, port = split_target(route.name)
    pod = call.server.read("pods", call.key(name))
    if pod is None:
        raise errors.not_found("pods", "", name)
    address = get(pod, "status", "podIP")
    if not address:
        raise errors.bad_request("pod does not have an IP address")
    if not port:
        port = next(
            (str(p.get("containerPort")) for c in pod["spec"]["containers"] for p in c.get("ports") or []), "80"
        )
    if not port.isdigit():
        named = [p for c in pod["spec"]["containers"] for p in c.get("ports") or [] if p.get("name") == port]
        if not named:
            raise errors.bad_request(f"invalid pod port name {port!r}".replace("'", '"'))
        port = str(named[0]["containerPort"])
    return Upgrade(
        "proxy", route.namespace, name, call.request, pod, route.rest, (scheme or "http", address, int(port))
    )


def _service_proxy(call: Call, route: Route) -> Upgrade:
    """An endpoint that backs the service's port, from its slices."""
    scheme, name, port = split_target(route.name)
    service = call.server.read("services", call.key(name))
    if service is None:
        raise errors.not_found("services", "", name)
    ports = service["spec"].get("ports") or []
    if port.isdigit():
        match = next((p for p in ports if p.get("port") == int(port)), None)
        if match is None:
            raise errors.service_unavailable(f'no service port {port} found for service "{name}"')
        port = match.get("name", "")
    found = _backends(call, name, port)
    if not found:
        raise errors.service_unavailable(f'no endpoints available for service "{route.name}"')
    address, number = found[call.server.env.random(1)[0] % len(found)]
    return Upgrade(
        "proxy", route.namespace, name, call.request, service, route.rest, (scheme or "http", address, number)
    )


def _backends(call: Call, service: str, port: str) -> list[tuple[str, int]]:
    from fairway.apiserver.context import decode

    out: list[tuple[str, int]] = []
    for _, entry in call.store.entries("endpointslices.discovery.k8s.io", f"{call.namespace}/"):
        if service.encode() not in entry.data:
            continue
        obj = decode(entry.data)
        if (obj["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != service:
            continue
        numbers = [p["port"] for p in obj.get("ports") or [] if p.get("name", "") == port and p.get("port")]
        for endpoint in obj.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                out += [(a, n) for a in endpoint.get("addresses") or [] for n in numbers]
    return out
