"""Endpoints and EndpointSlice: defaults, validity, warnings."""

from __future__ import annotations

from fairway.apiserver import names
from fairway.apiserver.context import Call
from fairway.apiserver.fielderrors import FieldError, duplicate, invalid, required, too_many, unsupported
from fairway.apiserver.kinds.base import Strategy, immutable
from fairway.apiserver.kinds.service import PROTOCOLS, ip_warnings
from fairway.apiserver.request import Json

_TYPES = ("FQDN", "IPv4", "IPv6")


def _port_errors(port: Json, path: str, require_name: bool) -> list[FieldError]:
    out: list[FieldError] = []
    name = port.get("name", "")
    if name:
        out += [invalid(f"{path}.name", name, m) for m in names.dns_label_errors(name)]
    elif require_name:
        out.append(required(f"{path}.name"))
    out += names.port_errors(f"{path}.port", port.get("port", 0))
    if port["protocol"] not in PROTOCOLS:
        out.append(unsupported(f"{path}.protocol", port["protocol"], PROTOCOLS))
    if port.get("appProtocol") is not None:
        out += names.qualified_name_errors(f"{path}.appProtocol", port["appProtocol"])
    return out


class EndpointsStrategy(Strategy):
    """v1 Endpoints, deprecated: every request on them warns (the handler does that)."""

    creates_on_update = True
    meta_checks = (1, 1)

    def default(self, obj: Json) -> None:
        for subset in obj.get("subsets") or []:
            for port in subset.get("ports") or []:
                port.setdefault("protocol", "TCP")

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        return self._errors(obj, None)

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return self._errors(obj, old)

    def _errors(self, obj: Json, old: Json | None) -> list[FieldError]:
        out: list[FieldError] = []
        if old is not None and obj.get("subsets") == old.get("subsets"):
            return out
        for i, subset in enumerate(obj.get("subsets") or []):
            path = f"subsets[{i}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                out.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
            for name in ("addresses", "notReadyAddresses"):
                for j, address in enumerate(subset.get(name) or []):
                    out += self._address_errors(address, f"{path}.{name}[{j}]")
            ports = subset.get("ports") or []
            for j, port in enumerate(ports):
                out += _port_errors(port, f"{path}.ports[{j}]", len(ports) > 1)
        return out

    def _address_errors(self, address: Json, path: str) -> list[FieldError]:
        text = address.get("ip", "")
        out = names.ip_errors(f"{path}.ip", text)
        if address.get("hostname"):
            out += [
                invalid(f"{path}.hostname", address["hostname"], m) for m in names.dns_label_errors(address["hostname"])
            ]
        if address.get("nodeName") is not None:
            out += [
                invalid(f"{path}.nodeName", address["nodeName"], m) for m in names.subdomain_errors(address["nodeName"])
            ]
        return out + names.endpoint_ip_errors(text, f"{path}.ip")

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        return [
            w
            for i, subset in enumerate(obj.get("subsets") or [])
            for name in ("addresses", "notReadyAddresses")
            for j, address in enumerate(subset.get(name) or [])
            for w in ip_warnings(f"subsets[{i}].{name}[{j}].ip", address.get("ip", ""))
        ]


def _drop_topology(obj: Json) -> None:
    """v1 has this field for reading only what v1beta1 wrote."""
    for endpoint in obj.get("endpoints") or []:
        endpoint.pop("deprecatedTopology", None)


class EndpointSliceStrategy(Strategy):
    """discovery.k8s.io/v1."""

    meta_checks = (0, 1)
    has_generation = True
    generation_fields = ("endpoints", "ports", "addressType")

    def default(self, obj: Json) -> None:
        for port in obj.get("ports") or []:
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")
        for endpoint in obj.get("endpoints") or []:
            endpoint.pop("deprecatedTopology", None)  # of v1beta1; v1 has it for what was stored then

    def prepare_create(self, call: Call, obj: Json) -> None:
        _drop_topology(obj)
        super().prepare_create(call, obj)

    def prepare_update(self, call: Call, obj: Json, old: Json) -> None:
        if obj.get("endpoints") != old.get("endpoints"):
            _drop_topology(obj)
        super().prepare_update(call, obj, old)

    def bump_generation(self, obj: Json, old: Json) -> None:
        changed = any(obj.get(f) != old.get(f) for f in self.generation_fields)
        metadata, was = obj["metadata"], old["metadata"]
        # Of the metadata only labels count: controllers take a new generation for an edit that they have to put right.
        changed = changed or (metadata.get("labels") or {}) != (was.get("labels") or {})
        metadata["generation"] = was.get("generation", 0) + (1 if changed else 0)

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        return self._errors(obj, None)

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return self._errors(obj, old) + immutable(obj.get("addressType"), old.get("addressType"), "addressType")

    def _errors(self, obj: Json, old: Json | None) -> list[FieldError]:
        out: list[FieldError] = []
        kind = obj.get("addressType", "")
        if not kind:
            out.append(required("addressType"))
        elif kind not in _TYPES:
            out.append(unsupported("addressType", kind, _TYPES))
        out += self._ports(obj.get("ports") or [])
        if old is None or obj.get("endpoints") != old.get("endpoints"):
            out += self._endpoints(obj.get("endpoints") or [], kind)
        return out

    def _ports(self, ports: list[Json]) -> list[FieldError]:
        if len(ports) > 20000:
            return [too_many("ports", len(ports), 20000)]
        out: list[FieldError] = []
        seen: set[str] = set()
        for i, port in enumerate(ports):
            path, name = f"ports[{i}]", port["name"]
            if name:
                out += [invalid(f"{path}.name", name, m) for m in names.dns_label_errors(name)]
            if name in seen:
                out.append(duplicate(f"{path}.name", name))
            seen.add(name)
            if port["protocol"] not in PROTOCOLS:
                out.append(unsupported(f"{path}.protocol", port["protocol"], PROTOCOLS))
            if port.get("appProtocol") is not None:
                out += names.qualified_name_errors(f"{path}.appProtocol", port["appProtocol"])
        return out

    def _endpoints(self, endpoints: list[Json], kind: str) -> list[FieldError]:
        if len(endpoints) > 1000:
            return [too_many("endpoints", len(endpoints), 1000)]
        out: list[FieldError] = []
        for i, endpoint in enumerate(endpoints):
            path = f"endpoints[{i}]"
            addresses = endpoint.get("addresses") or []
            if not addresses:
                out.append(required(f"{path}.addresses", "must contain at least 1 address"))
            elif len(addresses) > 100:
                out.append(too_many(f"{path}.addresses", len(addresses), 100))
            for j, address in enumerate(addresses):
                out += self._address_errors(address, kind, f"{path}.addresses", j)
            out += self._endpoint_errors(endpoint, path)
        return out

    def _address_errors(self, text: str, kind: str, path: str, index: int) -> list[FieldError]:
        at = f"{path}[{index}]"
        if kind == "FQDN":
            return _fqdn_errors(text, at)
        if kind not in ("IPv4", "IPv6"):
            return []
        messages = names.ip_messages(text, strict=kind == "IPv6")
        if messages:
            return [invalid(at, text, m) for m in messages]
        wrong = names.is_ipv6(text) != (kind == "IPv6")
        out = [invalid(path, text, f"must be an {kind} address")] if wrong else []
        return out + names.endpoint_ip_errors(text, at)

    def _endpoint_errors(self, endpoint: Json, path: str) -> list[FieldError]:
        out: list[FieldError] = []
        if endpoint.get("nodeName") is not None:
            out += [
                invalid(f"{path}.nodeName", endpoint["nodeName"], m)
                for m in names.subdomain_errors(endpoint["nodeName"])
            ]
        if endpoint.get("hostname") is not None:
            out += [
                invalid(f"{path}.hostname", endpoint["hostname"], m)
                for m in names.dns_label_errors(endpoint["hostname"])
            ]
        return out + _hint_errors(endpoint.get("hints") or {}, f"{path}.hints")

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        if obj.get("addressType") == "FQDN":
            return ["spec.addressType: FQDN endpoints are deprecated"]
        return [
            w
            for i, endpoint in enumerate(obj.get("endpoints") or [])
            for j, address in enumerate(endpoint.get("addresses") or [])
            for w in ip_warnings(f"endpoints[{i}].addresses[{j}]", address)
        ]


def _fqdn_errors(text: str, path: str) -> list[FieldError]:
    if not text:
        return [required(path)]
    name = text.removesuffix(".")
    wrong = names.subdomain_errors(name)
    if wrong:
        return [invalid(path, name, "; ".join(wrong))]
    if name.count(".") < 1:
        return [invalid(path, name, "should be a domain with at least two segments separated by dots")]
    return [invalid(path, label, "; ".join(bad)) for label in name.split(".") if (bad := names.dns_label_errors(label))]


def _hint_errors(hints: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for name, rule in (("forZones", names.label_value_errors), ("forNodes", names.subdomain_errors)):
        items = hints.get(name) or []
        if len(items) > 8:
            return [*out, too_many(f"{path}.{name}", len(items), 8)]
        seen: set[str] = set()
        for i, item in enumerate(items):
            at, value = f"{path}.{name}[{i}].name", item.get("name", "")
            if value in seen:
                out.append(duplicate(at, value))
            seen.add(value)
            out += [invalid(at, value, m) for m in rule(value)]
    return out
