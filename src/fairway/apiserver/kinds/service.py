"""Service: defaults, fields that go when its type changes, validity, warnings. Allocation is in `allocation`."""

from __future__ import annotations

from typing import Any

from fairway.apiserver import names
from fairway.apiserver.allocation import allocate_create, allocate_update, release
from fairway.apiserver.context import Call
from fairway.apiserver.fielderrors import FieldError, duplicate, forbidden, invalid, quote, required, unsupported
from fairway.apiserver.kinds.base import RESET_STATUS, Strategy, get
from fairway.apiserver.kinds.service_addresses import cluster_ip_errors, family_change_errors, is_headless
from fairway.apiserver.request import Json

_EXTERNAL = ("NodePort", "LoadBalancer")
PROTOCOLS = ("SCTP", "TCP", "UDP")
_HINTS, _MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"


def externally_accessible(spec: Json) -> bool:
    kind = spec.get("type")
    return kind in _EXTERNAL or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check(spec: Json) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def default_service(obj: Json) -> None:
    """SetDefaults_Service."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif (
        spec["sessionAffinity"] == "ClientIP"
        and get(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds") is None
    ):
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
    spec.setdefault("type", "ClusterIP")
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    if externally_accessible(spec):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] in ("ClusterIP", *_EXTERNAL):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in get(obj, "status", "loadBalancer", "ingress") or []:
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def _same(old: Json, new: Json, *keys: str) -> bool:
    return all(old.get(k) == new.get(k) for k in keys)


def _drop_node_ports(new: Json, old: Json) -> None:
    had, has = ({p["nodePort"] for p in s.get("ports") or [] if p.get("nodePort")} for s in (old, new))
    if had >= has:
        for port in new.get("ports") or []:
            port.pop("nodePort", None)


def drop_type_dependent(new: Json, old: Json) -> None:
    """Fields that the old type needed and the new one may not have, when the client only repeated them."""
    if old.get("type") != "ExternalName" and new.get("type") == "ExternalName":
        if _same(old, new, "clusterIP", "clusterIPs"):
            new.pop("clusterIP", None), new.pop("clusterIPs", None)
        for name in ("ipFamilies", "ipFamilyPolicy"):
            if _same(old, new, name):
                new.pop(name, None)
    if old.get("type") in _EXTERNAL and new.get("type") not in _EXTERNAL:
        _drop_node_ports(new, old)
    if needs_health_check(old) and not needs_health_check(new) and _same(old, new, "healthCheckNodePort"):
        new.pop("healthCheckNodePort", None)
    if old.get("type") == "LoadBalancer" != new.get("type"):
        for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if _same(old, new, name):
                new.pop(name, None)
    if externally_accessible(old) and not externally_accessible(new) and _same(old, new, "externalTrafficPolicy"):
        new.pop("externalTrafficPolicy", None)


# ---- validity ---------------------------------------------------------------------------------------------------
def validate_service(obj: Json, old: Json | None) -> list[FieldError]:
    """validateService of k8s.io/kubernetes."""
    spec, annotations = obj["spec"], obj["metadata"].get("annotations") or {}
    old_spec = old["spec"] if old else {}
    out: list[FieldError] = []
    if _MODE in annotations and annotations.get(_HINTS, annotations[_MODE]) != annotations[_MODE]:
        words = f"must match annotations[{_HINTS}] when both are specified"
        out.append(invalid(f"metadata.annotations[{_MODE}]", annotations[_MODE], words))
    out += _type_errors(spec)
    port_names: set[str] = set()
    ports = spec.get("ports") or []
    for i, port in enumerate(ports):
        out += _port_errors(port, len(ports) > 1, port_names, f"spec.ports[{i}]")
    out += names.labels_errors(spec.get("selector"), "spec.selector")
    out += _affinity_errors(spec)
    out += cluster_ip_errors(spec, old_spec)
    for i, address in enumerate(spec.get("externalIPs") or []):
        path = f"spec.externalIPs[{i}]"
        out += names.ip_errors(path, address, old_spec.get("externalIPs")) or names.endpoint_ip_errors(address, path)
    if not spec.get("type"):
        out.append(required("spec.type"))
    elif spec["type"] not in ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"):
        out.append(unsupported("spec.type", spec["type"], ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")))
    out += _port_set_errors(spec)
    out += _load_balancer_errors(spec, annotations, old)
    return out + _policy_errors(spec)


def _type_errors(spec: Json) -> list[FieldError]:
    out: list[FieldError] = []
    kind = spec.get("type")
    if not spec.get("ports") and not is_headless(spec) and kind != "ExternalName":
        out.append(required("spec.ports"))
    if kind in _EXTERNAL and is_headless(spec):
        out.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if kind == "ExternalName":
        words = "may not be set for ExternalName services"
        out += [forbidden(f"spec.{n}", words) for n in ("clusterIPs", "ipFamilies") if spec.get(n)]
        out += [] if spec.get("ipFamilyPolicy") is None else [forbidden("spec.ipFamilyPolicy", words)]
        target = spec.get("externalName", "").removesuffix(".")
        if target:
            out += [invalid("spec.externalName", target, m) for m in names.subdomain_errors(target)]
        else:
            out.append(required("spec.externalName"))
    return out


def _port_errors(port: Json, require_name: bool, seen: set[str], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    name = port.get("name", "")
    if name:
        out += [invalid(f"{path}.name", name, m) for m in names.dns_label_errors(name)]
        if name in seen:
            out.append(duplicate(f"{path}.name", name))
        seen.add(name)
    elif require_name:
        out.append(required(f"{path}.name"))
    out += names.port_errors(f"{path}.port", port.get("port", 0))
    if port["protocol"] not in PROTOCOLS:
        out.append(unsupported(f"{path}.protocol", port["protocol"], PROTOCOLS))
    out += names.port_or_name_errors(port["targetPort"], f"{path}.targetPort")
    if port.get("appProtocol") is not None:
        out += names.qualified_name_errors(f"{path}.appProtocol", port["appProtocol"])
    return out


def _affinity_errors(spec: Json) -> list[FieldError]:
    affinity = spec.get("sessionAffinity")
    if affinity not in ("ClientIP", "None"):
        return [unsupported("spec.sessionAffinity", affinity, ("ClientIP", "None"))]
    config, path = spec.get("sessionAffinityConfig"), "spec.sessionAffinityConfig"
    if affinity == "ClientIP":
        timeout = get(config, "clientIP", "timeoutSeconds")
        if timeout is None:
            return [required(path, "when session affinity type is ClientIP")]
        if not 0 < timeout <= 86400:
            return [invalid(f"{path}.clientIP.timeoutSeconds", timeout, "must be greater than 0 and less than 86400")]
    elif config is not None:
        return [forbidden(path, "must not be set when session affinity is None")]
    return []


def _port_set_errors(spec: Json) -> list[FieldError]:
    out: list[FieldError] = []
    ports = spec.get("ports") or []
    if spec.get("type") == "ClusterIP":
        out += [
            forbidden(f"spec.ports[{i}].nodePort", "may not be used when `type` is 'ClusterIP'")
            for i, p in enumerate(ports)
            if p.get("nodePort")
        ]
    seen: set[tuple[str, int]] = set()
    for i, port in enumerate(ports):
        key = (port["protocol"], port.get("nodePort", 0))
        if key[1] and key in seen:
            out.append(duplicate(f"spec.ports[{i}].nodePort", key[1]))
        seen.add(key)
    seen = set()
    for i, port in enumerate(ports):
        key = (port["protocol"], port.get("port", 0))
        if key in seen:
            shown = {
                "Name": "",
                "Protocol": key[0],
                "AppProtocol": None,
                "Port": key[1],
                "TargetPort": 0,
                "NodePort": 0,
            }
            out.append(duplicate(f"spec.ports[{i}]", shown))
        seen.add(key)
    return out


_ONLY_BALANCER = "may only be used when `type` is 'LoadBalancer'"


def _load_balancer_errors(spec: Json, annotations: Json, old: Json | None) -> list[FieldError]:
    out: list[FieldError] = []
    balancer = spec.get("type") == "LoadBalancer"
    old_spec = old["spec"] if old else {}
    if spec.get("loadBalancerSourceRanges"):
        path = "spec.LoadBalancerSourceRanges"
        if not balancer:
            out.append(forbidden(path, _ONLY_BALANCER))
        known = [r.strip() for r in old_spec.get("loadBalancerSourceRanges") or []]
        for i, value in enumerate(spec["loadBalancerSourceRanges"]):
            out += names.cidr_errors(f"{path}[{i}]", value.strip(), known)
    elif _RANGES in annotations:
        path = f"metadata.annotations[{_RANGES}]"
        if not balancer:
            out.append(forbidden(path, _ONLY_BALANCER))
        text = annotations[_RANGES]
        if text.strip() and (old is None or (old["metadata"].get("annotations") or {}).get(_RANGES) != text):
            for value in text.split(","):
                out += names.cidr_errors(path, value.strip())
    if spec.get("allocateLoadBalancerNodePorts") is not None and not balancer:
        out.append(forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_BALANCER))
    return out + _class_errors(spec)


def _class_errors(spec: Json) -> list[FieldError]:
    """loadBalancerClass; an update checks it twice, as the real server does."""
    name = spec.get("loadBalancerClass")
    if name is None:
        return []
    if spec.get("type") != "LoadBalancer":
        return [forbidden("spec.loadBalancerClass", _ONLY_BALANCER)]
    return names.qualified_name_errors("spec.loadBalancerClass", name)


def _policy_errors(spec: Json) -> list[FieldError]:
    out: list[FieldError] = []
    external, port = spec.get("externalTrafficPolicy", ""), spec.get("healthCheckNodePort", 0)
    if not externally_accessible(spec):
        if external:
            words = "may only be set for externally-accessible services"
            out.append(invalid("spec.externalTrafficPolicy", external, words))
    elif external not in ("Cluster", "Local"):
        out.append(unsupported("spec.externalTrafficPolicy", external, ("Cluster", "Local")))
    if not needs_health_check(spec):
        if port:
            words = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            out.append(invalid("spec.healthCheckNodePort", port, words))
    elif not port:
        out.append(required("spec.healthCheckNodePort"))
    else:
        out += names.port_errors("spec.healthCheckNodePort", port)
    internal = spec.get("internalTrafficPolicy")
    if internal is not None and internal not in ("Cluster", "Local"):
        out.append(unsupported("spec.internalTrafficPolicy", internal, ("Cluster", "Local")))
    distribution = spec.get("trafficDistribution")
    known = ("PreferClose", "PreferSameZone", "PreferSameNode")
    if distribution is not None and distribution not in known:
        out.append(unsupported("spec.trafficDistribution", distribution, known))
    return out


def validate_balancer_status(obj: Json, old: Json, allowed: bool, *, modes: bool) -> list[FieldError]:
    """status.loadBalancer of Services and Ingresses (which have no ipMode)."""
    items = get(obj, "status", "loadBalancer", "ingress") or []
    path = "status.loadBalancer.ingress"
    if items and not allowed:
        return [forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")]
    known = [i.get("ip") for i in get(old, "status", "loadBalancer", "ingress") or []]
    out: list[FieldError] = []
    for i, item in enumerate(items):
        at, address, host, mode = f"{path}[{i}]", item.get("ip", ""), item.get("hostname", ""), item.get("ipMode")
        if address:
            out += names.ip_errors(f"{at}.ip", address, known)
        if modes and mode is None and address:
            out.append(required(f"{at}.ipMode", "must be specified when `ip` is set"))
        elif mode is not None and not address:
            out.append(forbidden(f"{at}.ipMode", "may not be specified when `ip` is not set"))
        elif mode is not None and mode not in ("Proxy", "VIP"):
            out.append(unsupported(f"{at}.ipMode", mode, ("Proxy", "VIP")))
        if host:
            out += [invalid(f"{at}.hostname", host, m) for m in names.subdomain_errors(host)]
            if names.parse_ip(host) is not None:
                out.append(invalid(f"{at}.hostname", host, "must be a DNS name, not an IP address"))
    return out


# ---- warnings ---------------------------------------------------------------------------------------------------
def ip_warnings(path: str, text: str) -> list[str]:
    """GetWarningsForIP: addresses that old rules let in, or that are not written canonically."""
    address = names.parse_ip(text)
    if address is None:
        return []
    if names.ip_messages(text):
        words = f"non-standard IP address {quote(text)} will be considered invalid in a future Kubernetes release"
        return [f"{path}: {words}: use {quote(str(address))}"]
    if address.version == 6 and str(address) != text:
        words = f"IPv6 address {quote(text)} should be in RFC 5952 canonical format"
        return [f"{path}: {words} ({quote(str(address))})"]
    return []


def service_warnings(obj: Json) -> list[str]:
    spec, annotations = obj["spec"], obj["metadata"].get("annotations") or {}
    kind = spec.get("type")
    out: list[str] = []
    if _HINTS in annotations:
        out.append(f"annotation {_HINTS} is deprecated, please use {_MODE} instead")
    if spec.get("clusterIP") not in (None, "", "None"):
        for i, address in enumerate(spec.get("clusterIPs") or []):
            out += ip_warnings(f"spec.clusterIPs[{i}]", address)
    headless = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    if headless:
        out += [f"spec.{n} is ignored for headless services" for n in ("loadBalancerIP", "externalIPs") if spec.get(n)]
        if spec.get("sessionAffinity") != "None":
            out.append("spec.SessionAffinity is ignored for headless services")
    for i, address in enumerate(spec.get("externalIPs") or []):
        out += ip_warnings(f"spec.externalIPs[{i}]", address)
    if spec.get("externalIPs") and not headless and kind != "ExternalName":
        out.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.get("loadBalancerIP"):
        words = "will be considered invalid in a future Kubernetes release"
        address = ip_warnings("spec.loadBalancerIP", spec["loadBalancerIP"])
        out += [w.replace(words, "is invalid") for w in address]
    if kind == "ExternalName" and spec.get("externalIPs"):
        out.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if kind != "ExternalName" and spec.get("externalName"):
        out.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        out.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return out


def _drop_internal_policy(spec: Json) -> None:
    """ExternalName Services do not show it; a wrong value is still an error."""
    if spec.get("type") == "ExternalName" and spec.get("internalTrafficPolicy") in ("Cluster", "Local"):
        del spec["internalTrafficPolicy"]


class ServiceStrategy(Strategy):
    """Services."""

    name_rule = staticmethod(names.label_name)
    creates_on_update = True
    returns_deleted = True
    has_status = True
    selectable = ("spec.clusterIP", "spec.type")
    reset = RESET_STATUS

    def default(self, obj: Json) -> None:
        default_service(obj)

    def prepare_create(self, call: Call, obj: Json) -> None:
        super().prepare_create(call, obj)
        _drop_internal_policy(obj["spec"])

    def begin_create(self, call: Call, obj: Json) -> None:
        allocate_create(call, obj)

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        return validate_service(obj, None)

    def begin_update(self, call: Call, obj: Json, old: Json) -> None:
        allocate_update(call, obj, old)

    def prepare_update(self, call: Call, obj: Json, old: Json) -> None:
        super().prepare_update(call, obj, old)
        drop_type_dependent(obj["spec"], old["spec"])
        _drop_internal_policy(obj["spec"])
        if obj["spec"].get("type") != "LoadBalancer":
            obj["status"] = {**obj.get("status", {}), "loadBalancer": {}}

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        spec, was = obj["spec"], old["spec"]
        out = family_change_errors(spec, was)
        name = "loadBalancerClass"
        if spec.get("type") == was.get("type") == "LoadBalancer" and spec.get(name) != was.get(name):
            out.append(invalid(f"spec.{name}", spec.get(name), "may not change once set"))
        out += _class_errors(spec)
        ports: Any = "healthCheckNodePort"
        if needs_health_check(was) and needs_health_check(spec) and spec.get(ports) != was.get(ports):
            out.append(forbidden(f"spec.{ports}", "field is immutable"))
        return out + validate_service(obj, old)

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        return service_warnings(obj)

    def validate_status(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return validate_balancer_status(obj, old, obj["spec"].get("type") == "LoadBalancer", modes=True)

    def after_delete(self, call: Call, obj: Json) -> None:
        release(call, obj)

    def fields(self, obj: Json) -> dict[str, str]:
        spec = obj.get("spec") or {}
        return {"spec.clusterIP": spec.get("clusterIP", ""), "spec.type": spec.get("type", "")}
