"""The cells of `kubectl get`, kind by kind, as the real server prints them (priority 1 is `-o wide`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairway.apiserver import gotime
from fairway.apiserver.kinds.base import get
from fairway.apiserver.request import Json
from fairway.apiserver.tables import AGE, NAME, Column

_NONE, _UNSET, _UNKNOWN = "<none>", "<unset>", "<unknown>"


def _path(*path: str, default: Any = "") -> Callable[[Json, float], Any]:
    def cell(obj: Json, _now: float) -> Any:
        value = get(obj, *path)
        return default if value is None else value

    return cell


def _wide(name: str, cell: Callable[[Json, float], Any], kind: str = "string") -> Column:
    return Column(name, cell, kind, 1)


def _listed(items: list[str], count: int, empty: str) -> str:
    text = ",".join(items[:3])
    return f"{text} + {count - 3} more..." if count > 3 else text or empty


def labels_text(labels: Json | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or _NONE


def selector_text(selector: Json | None) -> str:
    """FormatLabelSelector."""
    if selector is None:
        return _NONE
    parts = [(k, f"{k}={v}") for k, v in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or []:
        key, values = term.get("key", ""), ",".join(sorted(term.get("values") or []))
        shown = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append((key, shown.get(term.get("operator", ""), "<error>")))
    return ",".join(text for _, text in sorted(parts)) or _NONE


# ---- services and endpoints -------------------------------------------------------------------------------------
def _balancer(obj: Json) -> list[str]:
    items = get(obj, "status", "loadBalancer", "ingress") or []
    return sorted({i.get("ip") or i.get("hostname") for i in items if i.get("ip") or i.get("hostname")})


def _external_ip(obj: Json, _now: float) -> str:
    spec = obj["spec"]
    external = spec.get("externalIPs") or []
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(external) or _NONE
        case "LoadBalancer":
            return ",".join([*_balancer(obj), *external]) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName", ""))
    return _UNKNOWN


def _ports(obj: Json, _now: float) -> str:
    out = []
    for port in obj["spec"].get("ports") or []:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        out.append(f"{port.get('port', 0)}{node}/{port['protocol']}")
    return ",".join(out) or _NONE


SERVICE = (
    NAME,
    Column("Type", _path("spec", "type")),
    Column("Cluster-IP", lambda o, _: (o["spec"].get("clusterIPs") or [_NONE])[0]),
    Column("External-IP", _external_ip),
    Column("Port(s)", _ports),
    AGE,
    _wide("Selector", lambda o, _: labels_text(o["spec"].get("selector"))),
)


def _endpoints(obj: Json, _now: float) -> str:
    if not obj.get("subsets"):
        return _NONE
    shown: list[str] = []
    for subset in obj["subsets"]:
        addresses = [a.get("ip", "") for a in subset.get("addresses") or []]
        if not subset.get("ports"):
            shown += addresses
        for port in subset.get("ports") or []:
            shown += [f"[{a}]:{port.get('port', 0)}" if ":" in a else f"{a}:{port.get('port', 0)}" for a in addresses]
    return _listed(shown, len(shown), "")


ENDPOINTS = (NAME, Column("Endpoints", _endpoints), AGE)


def _slice_ports(obj: Json, _now: float) -> str:
    ports = obj.get("ports") or []
    shown = [
        str(p["port"]) if p.get("port") is not None else p.get("name") or ("" if "name" in p else "*") for p in ports
    ]
    return _listed(shown, len(ports), _UNSET)


def _slice_endpoints(obj: Json, _now: float) -> str:
    shown = [a for e in obj.get("endpoints") or [] for a in e.get("addresses") or []]
    return _listed(shown, len(shown), _UNSET)


ENDPOINTSLICE = (
    NAME,
    Column("AddressType", _path("addressType")),
    Column("Ports", _slice_ports),
    Column("Endpoints", _slice_endpoints),
    AGE,
)


# ---- networking -------------------------------------------------------------------------------------------------
def _hosts(obj: Json, _now: float) -> str:
    rules = get(obj, "spec", "rules") or []
    shown: list[str] = []
    more = False
    for rule in rules:
        more = more or len(shown) == 3
        if not more and rule.get("host"):
            shown.append(rule["host"])
    if not shown:
        return "*"
    return ",".join(shown) + (f" + {len(rules) - 3} more..." if more else "")


INGRESS = (
    NAME,
    Column("Class", _path("spec", "ingressClassName", default=_NONE)),
    Column("Hosts", _hosts),
    Column("Address", lambda o, _: ",".join(_balancer(o))),
    Column("Ports", lambda o, _: "80, 443" if get(o, "spec", "tls") else "80"),
    AGE,
)


def _parameters(obj: Json, _now: float) -> str:
    ref = get(obj, "spec", "parameters")
    if ref is None:
        return _NONE
    group = f".{ref['apiGroup']}" if ref.get("apiGroup") is not None else ""
    return f"{ref.get('kind', '')}{group}/{ref.get('name', '')}"


def _class_name(obj: Json, _now: float) -> str:
    marked = (obj["metadata"].get("annotations") or {}).get("ingressclass.kubernetes.io/is-default-class") == "true"
    return str(obj["metadata"]["name"]) + (" (default)" if marked else "")


INGRESSCLASS = (
    NAME._replace(cell=_class_name),
    Column("Controller", _path("spec", "controller")),
    Column("Parameters", _parameters),
    AGE,
)
NETWORKPOLICY = (NAME, Column("Pod-Selector", lambda o, _: selector_text(get(o, "spec", "podSelector") or {})), AGE)
SERVICECIDR = (NAME, Column("CIDRs", lambda o, _: ",".join(get(o, "spec", "cidrs") or [])), AGE)


def _parent(obj: Json, _now: float) -> str:
    ref = get(obj, "spec", "parentRef")
    if ref is None:
        return _NONE
    resource = (ref.get("resource", "") + (f".{ref['group']}" if ref.get("group") else "")).lower()
    return "/".join(p for p in (resource, ref.get("namespace", ""), ref.get("name", "")) if p)


IPADDRESS = (NAME, Column("ParentRef", _parent), AGE._replace(hidden=True))


# ---- pods -------------------------------------------------------------------------------------------------------
def _terminated(state: Json, head: str = "") -> str:
    if state.get("reason"):
        return f"{head}{state['reason']}"
    if state.get("signal"):
        return f"{head}Signal:{state['signal']}"
    return f"{head}ExitCode:{state.get('exitCode', 0)}"


def _is_sidecar(spec: Json, name: str) -> bool:
    return any(c.get("name") == name and c.get("restartPolicy") == "Always" for c in spec.get("initContainers") or [])


def _condition(status: Json, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or [])


class _PodCells:
    """printPod: ready count, reason and restarts hang together."""

    def __init__(self, obj: Json) -> None:
        self.spec, self.status, self.meta = obj["spec"], obj.get("status") or {}, obj["metadata"]
        self.ready = self.restarts = self._sidecar_restarts = 0
        self.last = self._sidecar_last = ""
        inits = self.spec.get("initContainers") or []
        self.total = len(self.spec.get("containers") or []) + sum(c.get("restartPolicy") == "Always" for c in inits)
        self.reason = self.status.get("reason") or self.status.get("phase", "")
        if any(
            c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated"
            for c in self.status.get("conditions") or []
        ):
            self.reason = "SchedulingGated"
        if not self._initializing(len(inits)) or _condition(self.status, "Initialized"):
            self.restarts, self.last = self._sidecar_restarts, self._sidecar_last
            self._running()
        if self.meta.get("deletionTimestamp"):
            if self.status.get("reason") == "NodeLost":
                self.reason = "Unknown"
            elif self.status.get("phase") not in ("Succeeded", "Failed"):
                self.reason = "Terminating"

    def _initializing(self, count: int) -> bool:
        for i, container in enumerate(self.status.get("initContainerStatuses") or []):
            state, sidecar = container.get("state") or {}, _is_sidecar(self.spec, container.get("name", ""))
            ended = get(container, "lastState", "terminated", "finishedAt") or ""
            self.restarts += container.get("restartCount", 0)
            self.last = max(self.last, ended)
            if sidecar:
                self._sidecar_restarts += container.get("restartCount", 0)
                self._sidecar_last = max(self._sidecar_last, ended)
            terminated, waiting = state.get("terminated"), state.get("waiting") or {}
            if terminated is not None and terminated.get("exitCode", 0) == 0:
                continue
            if sidecar and container.get("started"):
                self.ready += bool(container.get("ready"))
                continue
            if terminated is not None:
                self.reason = _terminated(terminated, "Init:")
            elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
                self.reason = f"Init:{waiting['reason']}"
            else:
                self.reason = f"Init:{i}/{count}"
            return True
        return False

    def _running(self) -> None:
        running, failed = False, ""
        for container in reversed(self.status.get("containerStatuses") or []):
            state = container.get("state") or {}
            self.restarts += container.get("restartCount", 0)
            self.last = max(self.last, get(container, "lastState", "terminated", "finishedAt") or "")
            if (state.get("waiting") or {}).get("reason"):
                self.reason = state["waiting"]["reason"]
            elif state.get("terminated") is not None:
                self.reason = _terminated(state["terminated"])
                if state["terminated"].get("exitCode", 0) != 0:
                    failed = self.reason
            elif container.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed":
            if running and _condition(self.status, "Ready"):
                self.reason = "Running"
            elif failed or running:
                self.reason = failed or "NotReady"

    def restarts_text(self, now: float) -> str:
        if self.restarts and self.last:
            return f"{self.restarts} ({gotime.age(self.last, now)} ago)"
        return str(self.restarts)


class _LastPod:
    """Three cells of a row ask for the same pod, one after the other."""

    def __init__(self) -> None:
        self._obj: Json = {}
        self._cells: _PodCells | None = None

    def cells(self, obj: Json) -> _PodCells:
        if self._cells is None or self._obj is not obj:
            self._obj, self._cells = obj, _PodCells(obj)
        return self._cells


_last_pod = _LastPod()


def _pod_ready(obj: Json, _now: float) -> str:
    cells = _last_pod.cells(obj)
    return f"{cells.ready}/{cells.total}"


def _gates(obj: Json, _now: float) -> str:
    gates = obj["spec"].get("readinessGates") or []
    if not gates:
        return _NONE
    met = sum(_condition(obj.get("status") or {}, g.get("conditionType", "")) for g in gates)
    return f"{met}/{len(gates)}"


def _pod_ip(obj: Json, _now: float) -> str:
    addresses = get(obj, "status", "podIPs") or [{}]
    return addresses[0].get("ip") or _NONE


POD = (
    NAME,
    Column("Ready", _pod_ready),
    Column("Status", lambda o, _: _last_pod.cells(o).reason),
    Column("Restarts", lambda o, now: _last_pod.cells(o).restarts_text(now)),
    AGE,
    _wide("IP", _pod_ip),
    _wide("Node", lambda o, _: o["spec"].get("nodeName") or _NONE),
    _wide("Nominated Node", lambda o, _: get(o, "status", "nominatedNodeName") or _NONE),
    _wide("Readiness Gates", _gates),
)


# ---- workloads --------------------------------------------------------------------------------------------------
def _containers(key: str) -> Callable[[Json, float], str]:
    def cell(obj: Json, _now: float) -> str:
        return ",".join(c.get(key, "") for c in get(obj, "spec", "template", "spec", "containers") or [])

    return cell


_TEMPLATE = (_wide("Containers", _containers("name")), _wide("Images", _containers("image")))
_SELECTOR = _wide("Selector", lambda o, _: selector_text(get(o, "spec", "selector")))


def _fraction(obj: Json, _now: float) -> str:
    return f"{get(obj, 'status', 'readyReplicas') or 0}/{get(obj, 'spec', 'replicas') or 0}"


def _count(name: str, *path: str) -> Column:
    return Column(name, _path(*path, default=0), "integer")


DEPLOYMENT = (
    NAME,
    Column("Ready", _fraction),
    Column("Up-to-date", _path("status", "updatedReplicas", default=0)),
    Column("Available", _path("status", "availableReplicas", default=0)),
    AGE,
    *_TEMPLATE,
    _SELECTOR,
)
_REPLICAS = (
    _count("Desired", "spec", "replicas"),
    _count("Current", "status", "replicas"),
    _count("Ready", "status", "readyReplicas"),
)
REPLICASET = (NAME, *_REPLICAS, AGE, *_TEMPLATE, _SELECTOR)
REPLICATIONCONTROLLER = (
    NAME,
    *_REPLICAS,
    AGE,
    *_TEMPLATE,
    _wide("Selector", lambda o, _: labels_text(get(o, "spec", "selector"))),
)
STATEFULSET = (NAME, Column("Ready", _fraction), AGE, *_TEMPLATE)
DAEMONSET = (
    NAME,
    _count("Desired", "status", "desiredNumberScheduled"),
    _count("Current", "status", "currentNumberScheduled"),
    _count("Ready", "status", "numberReady"),
    _count("Up-to-date", "status", "updatedNumberScheduled"),
    _count("Available", "status", "numberAvailable"),
    Column("Node Selector", lambda o, _: labels_text(get(o, "spec", "template", "spec", "nodeSelector"))),
    AGE,
    *_TEMPLATE,
    _SELECTOR,
)


def _controller(obj: Json, _now: float) -> str:
    for ref in obj["metadata"].get("ownerReferences") or []:
        if ref.get("controller"):
            group = ref.get("apiVersion", "").rpartition("/")[0]
            kind = ref.get("kind", "").lower() + (f".{group}" if group else "")
            return f"{kind}/{ref.get('name', '')}"
    return _NONE


_revision = _count("Revision", "revision")._replace(type="string")
CONTROLLERREVISION = (NAME, Column("Controller", _controller), _revision, AGE)


# ---- the rest ---------------------------------------------------------------------------------------------------
def _node_status(obj: Json, _now: float) -> str:
    ready = next((c for c in get(obj, "status", "conditions") or [] if c.get("type") == "Ready"), None)
    out = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if get(obj, "spec", "unschedulable"):
        out.append("SchedulingDisabled")
    return ",".join(out)


def _roles(obj: Json, _now: float) -> str:
    head = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    roles = {k.removeprefix(head) for k in labels if k.startswith(head) and k != head}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    return ",".join(sorted(roles)) or _NONE


def _address(kind: str) -> Callable[[Json, float], str]:
    def cell(obj: Json, _now: float) -> str:
        found = (a.get("address", "") for a in get(obj, "status", "addresses") or [] if a.get("type") == kind)
        return next(found, _NONE)

    return cell


def _info(name: str) -> Callable[[Json, float], str]:
    return lambda o, _: get(o, "status", "nodeInfo", name) or _UNKNOWN


def _kernel(obj: Json, _now: float) -> str:
    info = get(obj, "status", "nodeInfo") or {}
    version = info.get("kernelVersion") or _UNKNOWN
    return f"{version} ({info['architecture']})" if info.get("architecture") else version


NODE = (
    NAME,
    Column("Status", _node_status),
    Column("Roles", _roles),
    AGE,
    Column("Version", _path("status", "nodeInfo", "kubeletVersion")),
    _wide("Internal-IP", _address("InternalIP")),
    _wide("External-IP", _address("ExternalIP")),
    _wide("OS-Image", _info("osImage")),
    _wide("Kernel-Version", _kernel),
    _wide("Container-Runtime", _info("containerRuntimeVersion")),
)
NAMESPACE = (NAME, Column("Status", _path("status", "phase")), AGE)
CONFIGMAP = (
    NAME,
    Column("Data", lambda o, _: len(o.get("data") or {}) + len(o.get("binaryData") or {}), "string"),
    AGE,
)
SECRET = (NAME, Column("Type", _path("type")), Column("Data", lambda o, _: len(o.get("data") or {}), "string"), AGE)
SERVICEACCOUNT = (NAME, AGE)
PERSISTENTVOLUMECLAIM = (
    NAME,
    Column("Status", _path("status", "phase")),
    Column("Volume", _path("spec", "volumeName")),
    Column("Capacity", _path("status", "capacity", "storage")),
    Column("Access Modes", lambda o, _: ",".join((o.get("spec") or {}).get("accessModes") or ())),
    Column("StorageClass", _path("spec", "storageClassName")),
    AGE,
)
LEASE = (NAME, Column("Holder", _path("spec", "holderIdentity")), AGE)


def _seen(obj: Json, now: float, *, first: bool) -> str:
    event = _core(obj)
    begin = gotime.age(event.get("firstTimestamp") or event.get("eventTime"), now)
    if first:
        return begin
    if event.get("series"):
        return gotime.age(event["series"].get("lastObservedTime"), now)
    return gotime.age(event["lastTimestamp"], now) if event.get("lastTimestamp") else begin


def _core(obj: Json) -> Json:
    if "involvedObject" in obj:
        return obj
    from fairway.apiserver.kinds.simple import event_to_core

    return event_to_core(obj)


def _event(name: str) -> Callable[[Json, float], Any]:
    return lambda o, _: _core(o).get(name) or ""


def _target(obj: Json, _now: float) -> str:
    about = _core(obj).get("involvedObject") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name') or '*'}"


def _source(obj: Json, _now: float) -> str:
    event = _core(obj)
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent", "")
    host = source.get("host") or event.get("reportingInstance", "")
    return f"{component}, {host}" if host else component


def _event_count(obj: Json, _now: float) -> int:
    event = _core(obj)
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)


EVENT = (
    Column("Last Seen", lambda o, now: _seen(o, now, first=False)),
    Column("Type", _event("type")),
    Column("Reason", _event("reason")),
    Column("Object", _target),
    _wide("Subobject", lambda o, _: (_core(o).get("involvedObject") or {}).get("fieldPath", "")),
    _wide("Source", _source),
    Column("Message", lambda o, _: str(_core(o).get("message") or "").strip()),
    _wide("First Seen", lambda o, now: _seen(o, now, first=True)),
    _wide("Count", _event_count),
    _wide("Name", lambda o, _: o["metadata"]["name"])._replace(format="name"),
)
CRD = (NAME, Column("Created At", lambda o, _: o["metadata"].get("creationTimestamp", ""), "date"))
