"""The cells of `kubectl get`, kind by kind, as the real server prints them (priority 1 is `-o wide`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairway.apiserver import gotime
from fairway.apiserver.kinds.base import get
from fairway.apiserver.kinds.cells import (
    NONE,
    UNKNOWN,
    UNSET,
    labels_text,
    listed,
    path_cell,
    selector_text,
    wide,
)
from fairway.apiserver.request import Json
from fairway.apiserver.tables import AGE, NAME, Column


# ---- services and endpoints -------------------------------------------------------------------------------------
def _balancer(obj: Json) -> list[str]:
    items = get(obj, "status", "loadBalancer", "ingress") or []
    return sorted({i.get("ip") or i.get("hostname") for i in items if i.get("ip") or i.get("hostname")})


def _external_ip(obj: Json, _now: float) -> str:
    spec = obj["spec"]
    external = spec.get("externalIPs") or []
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(external) or NONE
        case "LoadBalancer":
            return ",".join([*_balancer(obj), *external]) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName", ""))
    return UNKNOWN


def _ports(obj: Json, _now: float) -> str:
    out = []
    for port in obj["spec"].get("ports") or []:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        out.append(f"{port.get('port', 0)}{node}/{port['protocol']}")
    return ",".join(out) or NONE


SERVICE = (
    NAME,
    Column("Type", path_cell("spec", "type")),
    Column("Cluster-IP", lambda o, _: (o["spec"].get("clusterIPs") or [NONE])[0]),
    Column("External-IP", _external_ip),
    Column("Port(s)", _ports),
    AGE,
    wide("Selector", lambda o, _: labels_text(o["spec"].get("selector"))),
)


def _endpoints(obj: Json, _now: float) -> str:
    if not obj.get("subsets"):
        return NONE
    shown: list[str] = []
    for subset in obj["subsets"]:
        addresses = [a.get("ip", "") for a in subset.get("addresses") or []]
        if not subset.get("ports"):
            shown += addresses
        for port in subset.get("ports") or []:
            shown += [f"[{a}]:{port.get('port', 0)}" if ":" in a else f"{a}:{port.get('port', 0)}" for a in addresses]
    return listed(shown, len(shown), "")


ENDPOINTS = (NAME, Column("Endpoints", _endpoints), AGE)


def _slice_ports(obj: Json, _now: float) -> str:
    ports = obj.get("ports") or []
    shown = [
        str(p["port"]) if p.get("port") is not None else p.get("name") or ("" if "name" in p else "*") for p in ports
    ]
    return listed(shown, len(ports), UNSET)


def _slice_endpoints(obj: Json, _now: float) -> str:
    shown = [a for e in obj.get("endpoints") or [] for a in e.get("addresses") or []]
    return listed(shown, len(shown), UNSET)


ENDPOINTSLICE = (
    NAME,
    Column("AddressType", path_cell("addressType")),
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
    Column("Class", path_cell("spec", "ingressClassName", default=NONE)),
    Column("Hosts", _hosts),
    Column("Address", lambda o, _: ",".join(_balancer(o))),
    Column("Ports", lambda o, _: "80, 443" if get(o, "spec", "tls") else "80"),
    AGE,
)


def _parameters(obj: Json, _now: float) -> str:
    ref = get(obj, "spec", "parameters")
    if ref is None:
        return NONE
    group = f".{ref['apiGroup']}" if ref.get("apiGroup") is not None else ""
    return f"{ref.get('kind', '')}{group}/{ref.get('name', '')}"


def _class_name(obj: Json, _now: float) -> str:
    marked = (obj["metadata"].get("annotations") or {}).get("ingressclass.kubernetes.io/is-default-class") == "true"
    return str(obj["metadata"]["name"]) + (" (default)" if marked else "")


INGRESSCLASS = (
    NAME._replace(cell=_class_name),
    Column("Controller", path_cell("spec", "controller")),
    Column("Parameters", _parameters),
    AGE,
)
NETWORKPOLICY = (NAME, Column("Pod-Selector", lambda o, _: selector_text(get(o, "spec", "podSelector") or {})), AGE)
SERVICECIDR = (NAME, Column("CIDRs", lambda o, _: ",".join(get(o, "spec", "cidrs") or [])), AGE)


def _parent(obj: Json, _now: float) -> str:
    ref = get(obj, "spec", "parentRef")
    if ref is None:
        return NONE
    resource = (ref.get("resource", "") + (f".{ref['group']}" if ref.get("group") else "")).lower()
    return "/".join(p for p in (resource, ref.get("namespace", ""), ref.get("name", "")) if p)


IPADDRESS = (NAME, Column("ParentRef", _parent), AGE._replace(hidden=True))


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
    return ",".join(sorted(roles)) or NONE


def _address(kind: str) -> Callable[[Json, float], str]:
    def cell(obj: Json, _now: float) -> str:
        found = (a.get("address", "") for a in get(obj, "status", "addresses") or [] if a.get("type") == kind)
        return next(found, NONE)

    return cell


def _info(name: str) -> Callable[[Json, float], str]:
    return lambda o, _: get(o, "status", "nodeInfo", name) or UNKNOWN


def _kernel(obj: Json, _now: float) -> str:
    info = get(obj, "status", "nodeInfo") or {}
    version = info.get("kernelVersion") or UNKNOWN
    return f"{version} ({info['architecture']})" if info.get("architecture") else version


NODE = (
    NAME,
    Column("Status", _node_status),
    Column("Roles", _roles),
    AGE,
    Column("Version", path_cell("status", "nodeInfo", "kubeletVersion")),
    wide("Internal-IP", _address("InternalIP")),
    wide("External-IP", _address("ExternalIP")),
    wide("OS-Image", _info("osImage")),
    wide("Kernel-Version", _kernel),
    wide("Container-Runtime", _info("containerRuntimeVersion")),
)
NAMESPACE = (NAME, Column("Status", path_cell("status", "phase")), AGE)
CONFIGMAP = (
    NAME,
    Column("Data", lambda o, _: len(o.get("data") or {}) + len(o.get("binaryData") or {}), "string"),
    AGE,
)
SECRET = (NAME, Column("Type", path_cell("type")), Column("Data", lambda o, _: len(o.get("data") or {}), "string"), AGE)
SERVICEACCOUNT = (NAME, AGE)
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(modes: list[str] | None) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in (modes or ()))


def _phase(obj: Json, _now: float) -> str:
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else get(obj, "status", "phase") or ""


def _claim(obj: Json, _now: float) -> str:
    ref = get(obj, "spec", "claimRef")
    return f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else ""


_ATTRIBUTES = Column("VolumeAttributesClass", path_cell("spec", "volumeAttributesClassName", default="<unset>"))
_VOLUMEMODE = wide("VolumeMode", path_cell("spec", "volumeMode", default="<unset>"))
PERSISTENTVOLUME = (
    NAME,
    Column("Capacity", path_cell("spec", "capacity", "storage")),
    Column("Access Modes", lambda o, _: _modes(get(o, "spec", "accessModes"))),
    Column("Reclaim Policy", path_cell("spec", "persistentVolumeReclaimPolicy")),
    Column("Status", _phase),
    Column("Claim", _claim),
    Column("StorageClass", path_cell("spec", "storageClassName")),
    _ATTRIBUTES,
    Column("Reason", path_cell("status", "reason")),
    AGE,
    _VOLUMEMODE,
)
PERSISTENTVOLUMECLAIM = (
    NAME,
    Column("Status", _phase),
    Column("Volume", path_cell("spec", "volumeName")),
    Column("Capacity", lambda o, _: get(o, "status", "capacity", "storage") or "" if _bound(o) else ""),
    Column("Access Modes", lambda o, _: _modes(get(o, "status", "accessModes")) if _bound(o) else ""),
    Column("StorageClass", path_cell("spec", "storageClassName")),
    _ATTRIBUTES,
    AGE,
    _VOLUMEMODE,
)


def _bound(obj: Json) -> bool:
    return bool(get(obj, "spec", "volumeName"))


LEASE = (NAME, Column("Holder", path_cell("spec", "holderIdentity")), AGE)


def _seen(obj: Json, now: float, *, first: bool) -> str:
    event = _core(obj)
    begin = gotime.age(event.get("firstTimestamp") or event.get("eventTime"), now)
    if first:
        return begin
    if event.get("series") is not None:
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
    kind = str(about.get("kind", "")).lower()
    return f"{kind}/{about['name']}" if about.get("name") else kind


def _source(obj: Json, _now: float) -> str:
    event = _core(obj)
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent", "")
    host = source.get("host") or event.get("reportingInstance", "")
    return f"{component}, {host}" if host else component


def _event_count(obj: Json, _now: float) -> int:
    event = _core(obj)
    if event.get("series") is not None:
        return int(event["series"].get("count", 0))
    return int(event.get("count") or 1)


EVENT = (
    Column("Last Seen", lambda o, now: _seen(o, now, first=False)),
    Column("Type", _event("type")),
    Column("Reason", _event("reason")),
    Column("Object", _target),
    wide("Subobject", lambda o, _: (_core(o).get("involvedObject") or {}).get("fieldPath", "")),
    wide("Source", _source),
    Column("Message", lambda o, _: str(_core(o).get("message") or "").strip()),
    wide("First Seen", lambda o, now: _seen(o, now, first=True)),
    wide("Count", _event_count),
    wide("Name", lambda o, _: o["metadata"]["name"])._replace(format="name"),
)
CRD = (NAME, Column("Created At", lambda o, _: o["metadata"].get("creationTimestamp", ""), "date"))
