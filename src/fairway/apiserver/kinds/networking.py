"""Ingress, IngressClass, NetworkPolicy, ServiceCIDR, IPAddress."""

from __future__ import annotations

import ipaddress
import re

from fairway.apiserver import names
from fairway.apiserver.context import Call
from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, required, too_long, unsupported
from fairway.apiserver.fieldsets import Path
from fairway.apiserver.kinds.base import RESET_SPEC, RESET_STATUS, Strategy, get, immutable
from fairway.apiserver.kinds.service import PROTOCOLS, validate_balancer_status
from fairway.apiserver.request import Json

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES = ("/..", "/.")
_WILDCARD = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


def _host_errors(host: str, path: str) -> list[FieldError]:
    if "*" not in host:
        return [invalid(path, host, m) for m in names.subdomain_errors(host)]
    if re.fullmatch(_WILDCARD, host) and len(host) <= 253:
        return []
    words = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
        f"regex used for validation is '{_WILDCARD}')"
    )
    return [invalid(path, host, words)]


def _reference_errors(ref: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    if ref.get("apiGroup") is not None:
        out += [invalid(f"{path}.apiGroup", ref["apiGroup"], m) for m in names.subdomain_errors(ref["apiGroup"])]
    for name in ("kind", "name"):
        value = ref.get(name, "")
        if not value:
            out.append(required(f"{path}.{name}"))
        else:
            out += [invalid(f"{path}.{name}", value, m) for m in names.path_segment_name(value, False)]
    return out


def _backend_errors(backend: Json, path: str) -> list[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _reference_errors(resource, f"{path}.resource")
    if service is None:
        return [invalid(path, "", "resource or service backend is required")]
    out: list[FieldError] = []
    name = service.get("name", "")
    if name:
        out += [invalid(f"{path}.service.name", name, m) for m in names.dns_label_errors(name)]
    else:
        out.append(required(f"{path}.service.name"))
    port = service.get("port") or {}
    if port.get("name") and port.get("number"):
        out.append(invalid(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        out += [invalid(f"{path}.service.port.name", port["name"], m) for m in names.port_name_messages(port["name"])]
    elif port.get("number"):
        out += names.port_errors(f"{path}.service.port.number", port["number"])
    else:
        out.append(required(path, "port name or number is required"))
    return out


def _path_errors(item: Json, path: str) -> list[FieldError]:
    kind, text = item.get("pathType"), item.get("path", "")
    if kind is None:
        return [required(f"{path}.pathType", "pathType must be specified")]
    out: list[FieldError] = []
    if kind in ("Exact", "Prefix"):
        if not text.startswith("/"):
            out.append(invalid(f"{path}.path", text, "must be an absolute path"))
        out += [invalid(f"{path}.path", text, f"must not contain '{b}'") for b in _BAD_SEQUENCES if b in text]
        out += [invalid(f"{path}.path", text, f"cannot end with '{b}'") for b in _BAD_SUFFIXES if text.endswith(b)]
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            out.append(invalid(f"{path}.path", text, "must be an absolute path"))
    else:
        out.append(unsupported(f"{path}.pathType", kind, ("Exact", "ImplementationSpecific", "Prefix")))
    return out + _backend_errors(item.get("backend") or {}, f"{path}.backend")


class IngressStrategy(Strategy):
    """networking.k8s.io/v1 Ingress."""

    meta_checks = (1, 2)
    has_status = True
    has_generation = True
    reset = RESET_STATUS

    def default(self, obj: Json) -> None:
        """Empty rules are none, where a backend makes up for them."""
        spec = obj.get("spec") or {}
        if spec.get("defaultBackend") is not None and not spec.get("rules"):
            spec.pop("rules", None)

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        out = self._errors(obj)
        annotation, name = (
            (obj["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION),
            obj["spec"].get("ingressClassName"),
        )
        if annotation is not None and name is not None and annotation != name:
            words = "must match `ingressClassName` when both are specified"
            out.append(invalid(f"annotations.{_CLASS_ANNOTATION}", annotation, words))
        return out

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return self._errors(obj)

    def _errors(self, obj: Json) -> list[FieldError]:
        spec = obj.get("spec") or {}
        out: list[FieldError] = []
        rules = spec.get("rules") or []
        if not rules and spec.get("defaultBackend") is None:
            out.append(invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified"))
        if spec.get("defaultBackend") is not None:
            out += _backend_errors(spec["defaultBackend"], "spec.defaultBackend")
        for i, rule in enumerate(rules):
            out += self._rule_errors(rule, f"spec.rules[{i}]")
        for i, tls in enumerate(spec.get("tls") or []):
            for j, host in enumerate(tls.get("hosts") or []):
                out += _host_errors(host, f"spec.tls[{i}].hosts[{j}]")
            secret = tls.get("secretName", "")
            if secret:
                out += [invalid(f"spec.tls[{i}].secretName", secret, m) for m in names.subdomain_errors(secret)]
        if spec.get("ingressClassName") is not None:
            name = spec["ingressClassName"]
            out += [invalid("spec.ingressClassName", name, m) for m in names.subdomain_errors(name)]
        return out

    def _rule_errors(self, rule: Json, path: str) -> list[FieldError]:
        out: list[FieldError] = []
        host = rule.get("host", "")
        if host:
            if names.parse_ip(host) is not None:
                out.append(invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
            out += _host_errors(host, f"{path}.host")
        http = rule.get("http")
        if http is not None:
            if not http.get("paths"):
                out.append(required(f"{path}.http.paths"))
            for i, item in enumerate(http.get("paths") or []):
                out += _path_errors(item, f"{path}.http.paths[{i}]")
        return out

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        named = get(obj, "spec", "ingressClassName") is not None
        if old is None and not named and _CLASS_ANNOTATION in (obj["metadata"].get("annotations") or {}):
            return [f"annotation \"{_CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"]
        return []

    def admit(self, call: Call, obj: Json, old: Json | None) -> None:
        """DefaultIngressClass: the newest class that is marked default."""
        spec = obj.get("spec") or {}
        if old is not None or spec.get("ingressClassName") is not None:
            return
        if _CLASS_ANNOTATION in (obj["metadata"].get("annotations") or {}):
            return
        from fairway.apiserver.context import decode

        marked = []
        for _, entry in call.store.entries("ingressclasses.networking.k8s.io"):
            found = decode(entry.data)
            if (found["metadata"].get("annotations") or {}).get(
                "ingressclass.kubernetes.io/is-default-class"
            ) == "true":
                marked.append(found)
        if marked:
            newest = max(marked, key=lambda c: (c["metadata"].get("creationTimestamp", ""), c["metadata"]["name"]))
            spec["ingressClassName"] = newest["metadata"]["name"]

    def validate_status(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return validate_balancer_status(obj, old, True, modes=False)


class IngressClassStrategy(Strategy):
    meta_checks = (1, 2)
    has_generation = True

    def default(self, obj: Json) -> None:
        parameters = get(obj, "spec", "parameters")
        if parameters is not None:
            parameters.setdefault("scope", "Cluster")

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        spec = obj.get("spec") or {}
        controller = spec.get("controller", "")
        out: list[FieldError] = []
        if len(controller) > 250:
            out.append(too_long("spec.controller", 250))
        out += domain_path_errors("spec.controller", controller)
        if spec.get("parameters") is not None:
            out += self._parameter_errors(spec["parameters"])
        return out

    def _parameter_errors(self, parameters: Json) -> list[FieldError]:
        path = "spec.parameters"
        out = _reference_errors(parameters, path)
        scope, namespace = parameters.get("scope"), parameters.get("namespace")
        if scope not in ("Cluster", "Namespace"):
            out.append(unsupported(f"{path}.scope", scope, ("Cluster", "Namespace")))
        elif scope == "Namespace":
            if namespace is None:
                out.append(required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
            else:
                out += [invalid(f"{path}.namespace", namespace, m) for m in names.dns_label_errors(namespace)]
        elif namespace is not None:
            out.append(forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
        return out

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return immutable(
            get(obj, "spec", "controller") or "", get(old, "spec", "controller") or "", "spec.controller"
        ) + self.validate(call, obj)


def domain_path_errors(path: str, text: str) -> list[FieldError]:
    """`acme.io/foo`."""
    if not text:
        return [required(path)]
    domain, slash, rest = text.partition("/")
    if not slash or not domain or not rest:
        return [invalid(path, text, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    out = [invalid(path, domain, m) for m in names.subdomain_errors(domain)]
    if not re.fullmatch(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", rest):
        words = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')"
        out.append(invalid(path, rest, words))
    return out


class NetworkPolicyStrategy(Strategy):
    """Stored, and enforced by nobody."""

    has_generation = True

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        for rule in (*(spec.get("ingress") or []), *(spec.get("egress") or [])):
            for port in rule.get("ports") or []:
                port.setdefault("protocol", "TCP")
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        spec = obj["spec"]
        out = names.label_selector_errors(spec.get("podSelector"), "spec.podSelector")
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for i, rule in enumerate(spec.get(direction) or []):
                path = f"spec.{direction}[{i}]"
                for j, port in enumerate(rule.get("ports") or []):
                    out += self._port_errors(port, f"{path}.ports[{j}]")
                for j, peer in enumerate(rule.get(peers) or []):
                    out += self._peer_errors(peer, f"{path}.{peers}[{j}]")
        types = spec.get("policyTypes") or []
        if len(types) > 2:
            return [*out, invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
        return out + [
            unsupported(f"spec.policyTypes[{i}]", t, ("Ingress", "Egress"))
            for i, t in enumerate(types)
            if t not in ("Egress", "Ingress")
        ]

    def _port_errors(self, port: Json, path: str) -> list[FieldError]:
        out: list[FieldError] = []
        if port.get("protocol") not in PROTOCOLS:
            out.append(unsupported(f"{path}.protocol", port.get("protocol"), ("TCP", "UDP", "SCTP")))
        number, end = port.get("port"), port.get("endPort")
        if isinstance(number, int):
            out += names.port_errors(f"{path}.port", number)
        if end is not None:
            if number is None:
                out.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
            elif isinstance(number, str):
                out.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
            elif end < number:
                out.append(invalid(f"{path}.endPort", number, "must be greater than or equal to `port`"))
            out += names.port_errors(f"{path}.endPort", end)
        return out + (names.port_or_name_errors(number, f"{path}.port") if isinstance(number, str) else [])

    def _peer_errors(self, peer: Json, path: str) -> list[FieldError]:
        out: list[FieldError] = []
        for name in ("podSelector", "namespaceSelector"):
            if peer.get(name) is not None:
                out += names.label_selector_errors(peer[name], f"{path}.{name}")
        block = peer.get("ipBlock")
        selects = peer.get("podSelector") is not None or peer.get("namespaceSelector") is not None
        if block is not None:
            out += self._block_errors(block, f"{path}.ipBlock")
            return [*out, forbidden(path, "may not specify both ipBlock and another peer")] if selects else out
        return out if selects else [*out, required(path, "must specify a peer")]

    def _block_errors(self, block: Json, path: str) -> list[FieldError]:
        cidr = block.get("cidr", "")
        if not cidr:
            return [required(f"{path}.cidr")]
        out = names.cidr_errors(f"{path}.cidr", cidr)
        if out:
            return out
        network = ipaddress.ip_network(cidr, strict=False)
        for i, text in enumerate(block.get("except") or []):
            at = f"{path}.except[{i}]"
            wrong = names.cidr_errors(at, text)
            out += wrong
            if wrong:
                continue
            inner = ipaddress.ip_network(text, strict=False)
            if inner.version != network.version or inner == network or not inner.subnet_of(network):  # type: ignore[arg-type]
                out.append(invalid(at, text, "must be a strict subset of `cidr`"))
        return out


class ServiceCIDRStrategy(Strategy):
    meta_checks = (1, 1)
    has_status = True
    reset = RESET_STATUS

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        return self._cidr_errors(get(obj, "spec", "cidrs") or [])

    def _cidr_errors(self, cidrs: list[str]) -> list[FieldError]:
        path = "spec.cidrs"
        if not cidrs:
            return [required(path, "at least one CIDR required")]
        if len(cidrs) > 2:
            return [invalid(path, {"CIDRs": cidrs}, "may only hold up to 2 values")]
        out: list[FieldError] = []
        for i, cidr in enumerate(cidrs):
            out += names.cidr_errors(f"{path}[{i}]", cidr, strict=True)
        if len(cidrs) == 2 and not out and len({":" in c for c in cidrs}) == 1:
            words = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
            out.append(invalid(path, cidrs, words))
        return out

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        new, was = get(obj, "spec", "cidrs") or [], get(old, "spec", "cidrs") or []
        if len(new) == len(was):
            return [
                e for i, (a, b) in enumerate(zip(new, was, strict=True)) for e in immutable(a, b, f"spec.cidrs[{i}]")
            ]
        if len(was) == 1 and len(new) == 2:
            return immutable(new[0], was[0], "spec.cidrs[0]") + self._cidr_errors(new)
        return [invalid("spec.cidrs", get(obj, "spec", "cidrs"), "field is immutable")]

    def prepare_status(self, call: Call, obj: Json, old: Json) -> None:
        super().prepare_status(call, obj, old)
        kept = {k: v for k, v in obj["metadata"].items() if k in ("managedFields", "resourceVersion")}
        obj["metadata"] = {**{k: v for k, v in old["metadata"].items() if k != "managedFields"}, **kept}

    def status_reset(self) -> tuple[Path, ...]:
        return (("f:metadata",), *RESET_SPEC)


class IPAddressStrategy(Strategy):
    meta_checks = (1, 1)
    name_rule = staticmethod(names.ip_name)

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        parent = get(obj, "spec", "parentRef")
        if parent is None:
            return [required("spec.parentRef")]
        out: list[FieldError] = []
        if parent.get("group"):
            out += [
                invalid("spec.parentRef.group", parent["group"], m) for m in names.subdomain_errors(parent["group"])
            ]
        for name in ("resource", "name"):
            value = parent.get(name, "")
            if not value:
                out.append(required(f"spec.parentRef.{name}"))
            else:
                out += [invalid(f"spec.parentRef.{name}", value, m) for m in names.path_segment_name(value, False)]
        space = parent.get("namespace", "")
        return out + [invalid("spec.parentRef.namespace", space, m) for m in names.path_segment_name(space, False)]

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        new, was = get(obj, "spec", "parentRef"), get(old, "spec", "parentRef")
        out = self.validate(call, obj)
        if new != was:
            names_ = ("group", "resource", "namespace", "name")
            shown = {k.capitalize(): new.get(k, "") for k in names_} if new is not None else None
            out.append(invalid("spec.parentRef", shown, "field is immutable"))
        return out
