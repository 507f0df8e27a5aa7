"""Requests that go on to a pod's node, or to an address: which, and by what path; the sending is `io/`'s business.

log, exec, attach and port-forward go to the kubelet of the pod's node, by its own paths and options; proxies go to
the address that stands behind the name.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from fairway.apiserver import errors
from fairway.apiserver.context import Call, decode
from fairway.apiserver.fielderrors import FieldError, forbidden, invalid
from fairway.apiserver.kinds.base import get
from fairway.apiserver.options import flag
from fairway.apiserver.request import Json, Location, Request, Response, Upgrade
from fairway.apiserver.routes import Route

KUBELET_PORT = 10250
_PREFERRED = ("InternalIP", "Hostname", "InternalDNS", "ExternalDNS", "ExternalIP")
_KUBELET_PATHS = {"log": "containerLogs", "portforward": "portForward"}
_LOG_OPTIONS = (
    *("follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes"),
    "stream",
)
_WIRED = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""Options of exec and attach, and what kubelets call them."""


def open_stream(call: Call, route: Route) -> Upgrade | Response:
    """Check log, exec, attach, portforward and proxy; the stream itself is opened by the caller."""
    kind, request = route.subresource, call.request
    if kind == "log" and request.method != "GET":
        raise errors.method_not_allowed()
    if kind in ("attach", "exec", "portforward") and request.method not in ("GET", "POST"):
        raise errors.method_not_allowed()
    if kind == "proxy":
        return _proxy(call, route)
    pod = call.server.read("pods", call.key(route.name))
    if pod is None:
        raise errors.not_found("pods", "", route.name)
    if kind == "log":
        _check_log_options(request, route.name)
    if kind in ("attach", "exec", "log"):
        _check_container(pod, request, route.name, kind)
    node = pod["spec"].get("nodeName")
    if not node and kind == "log":
        return Response(204, b"", "")
    if not node:
        raise errors.bad_request(f"pod {route.name} does not have a host assigned")
    return _to_kubelet(call, route, node, container_of(pod, request))


def container_of(pod: Json, request: Request) -> str:
    """The container that a request means."""
    spec = pod["spec"]
    return request.first("container") or str((spec.get("containers") or [{}])[0].get("name", ""))


def _to_kubelet(call: Call, route: Route, node: str, container: str) -> Upgrade:
    kind, request = route.subresource, call.request
    parts = [_KUBELET_PATHS.get(kind, kind), route.namespace, route.name]
    if kind == "portforward":
        query = [("port", ",".join(request.query["ports"]))] if request.query.get("ports") else []
    elif kind == "log":
        query = [(name, request.first(name)) for name in _LOG_OPTIONS if request.query.get(name)]
    else:
        query = [(wired, "1") for name, wired in _WIRED.items() if flag(request, name)]
        query += [("command", word) for word in request.query.get("command", ()) if kind == "exec"]
    path = "/" + "/".join([*parts, container] if kind != "portforward" else parts)
    location = node_location(call, node, path + (f"?{urlencode(query)}" if query else ""))
    return Upgrade(kind, route.namespace, route.name, request, container, location=location)


def node_location(call: Call, name: str, path: str) -> Location:
    """The kubelet of a node, at the address and port of the node's own status."""
    node = call.server.read("nodes", name)
    if node is None:
        raise errors.not_found("nodes", "", name)
    known = get(node, "status", "addresses") or []
    found = [(_PREFERRED.index(a["type"]), a["address"]) for a in known if a.get("type") in _PREFERRED]
    if not found:
        raise errors.plain_internal(f"no preferred addresses found; known addresses: {[a['address'] for a in known]}")
    port = get(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port") or KUBELET_PORT
    return Location("https", min(found)[1], int(port), path, is_node=True)


def _check_log_options(request: Request, name: str) -> None:
    """422 as the API gives it."""
    found: list[FieldError] = []
    for option, least, words in (
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ):
        text = request.first(option)
        if text and not text.removeprefix("-").isdigit():
            raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        if text and int(text) < least:
            found.append(invalid(option, int(text), words))
    if request.first("sinceSeconds") and request.first("sinceTime"):
        found.append(forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if found:
        raise errors.invalid("PodLogOptions", "", name, found)


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


def _proxy(call: Call, route: Route) -> Upgrade | Response:
    request = call.request
    _, _, rest = request.path.partition(f"/{route.plural}/{route.name}/proxy")
    query = urlencode(request.query, doseq=True)
    tail = f"?{query}" if query else ""
    if not rest and request.method in ("GET", "HEAD") and "upgrade" not in request.headers:
        return Response(301, b"", "", (("Location", f"{request.path}/{tail}"),))
    path = (quote(rest, safe="/%:@!$&'()*+,;=~") or "/") + tail
    find = {"nodes": _node_behind, "services": _service_behind}.get(call.resource.plural, _pod_behind)
    location = find(call, route.name, path)
    prefix = request.path.removesuffix(rest)
    return Upgrade("proxy", route.namespace, route.name, request, location=location, prefix=prefix)


def _node_behind(call: Call, target: str, path: str) -> Location:
    scheme, name, port = split_target(target)
    kubelet = node_location(call, name, path)
    if port in ("", str(kubelet.port)):
        return kubelet
    return Location(scheme or "http", kubelet.host, _number(port), path)


def _number(port: str) -> int:
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise errors.bad_request(f'invalid port "{port}"')
    return int(port)


def _pod_behind(call: Call, target: str, path: str) -> Location:
    scheme, name, port = split_target(target)
    pod = call.server.read("pods", call.key(name))
    if pod is None:
        raise errors.not_found("pods", "", name)
    address = get(pod, "status", "podIP")
    if not address:
        raise errors.bad_request("pod does not have an IP address")
    ports = [p for c in pod["spec"]["containers"] for p in c.get("ports") or []]
    if not port:
        port = str(ports[0]["containerPort"]) if ports else "80"
    elif not port.isdigit():
        named = [p for p in ports if p.get("name") == port]
        if not named:
            raise errors.bad_request(f'invalid pod port name "{port}"')
        port = str(named[0]["containerPort"])
    return Location(scheme or "http", address, _number(port), path)


def _service_behind(call: Call, target: str, path: str) -> Location:
    """An endpoint that backs the service's port, from its slices."""
    scheme, name, port = split_target(target)
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
        raise errors.service_unavailable(f'no endpoints available for service "{target}"')
    address, number = found[call.server.env.random(1)[0] % len(found)]
    return Location(scheme or "http", address, number, path)


def _backends(call: Call, service: str, port: str) -> list[tuple[str, int]]:
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
