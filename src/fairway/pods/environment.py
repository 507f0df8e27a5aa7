"""The environment of a container: Service variables, envFrom, env with $(NAME), downward API; kubelet's order."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from fairway.kube.podspec import Container, EnvVar, FieldRef, NodePod, ResourceFieldRef
from fairway.kube.quantity import parse_quantity
from fairway.values.errors import FairwayError

_REFERENCE: Final = re.compile(r"\$(\$|\(([^()]*)\))")
_SUBSCRIPT: Final = re.compile(r"^metadata\.(labels|annotations)\['(.*)'\]$", re.DOTALL)


class MissingReferenceError(FairwayError):
    """A ConfigMap, Secret, key or field that a container needs is not there (CreateContainerConfigError)."""


class ServicePort(NamedTuple):
    name: str
    number: int
    protocol: str


class ServiceAddress(NamedTuple):
    """A Service with a cluster IP."""

    name: str
    address: str
    ports: tuple[ServicePort, ...]


class NodeFacts(NamedTuple):
    """What the downward API says of the node."""

    name: str
    host_ips: tuple[str, ...] = ()
    pod_ips: tuple[str, ...] = ()
    cpus: int = 1
    memory: int = 0


class Sources(NamedTuple):
    """Data of the ConfigMaps and Secrets of the pod's namespace that were found, by name."""

    config_maps: Mapping[str, Mapping[str, str]]
    secrets: Mapping[str, Mapping[str, str]]


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value, `$$` one dollar; an unknown name stays as it is."""

    def replace(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return known.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


def service_variables(services: Iterable[ServiceAddress]) -> dict[str, str]:
    """SHOP_SERVICE_HOST and the variables of Docker links, for each Service with an address."""
    found: dict[str, str] = {}
    for service in sorted(services):
        if not service.ports:
            continue
        prefix = service.name.upper().replace("-", "_")
        host = f"[{service.address}]" if ":" in service.address else service.address
        found[f"{prefix}_SERVICE_HOST"] = service.address
        found[f"{prefix}_SERVICE_PORT"] = str(service.ports[0].number)
        for port in service.ports:
            if port.name:
                found[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.number)
        first = service.ports[0]
        found[f"{prefix}_PORT"] = f"{first.protocol.lower()}://{host}:{first.number}"
        for port in service.ports:
            stem = f"{prefix}_PORT_{port.number}_{port.protocol.upper()}"
            found[stem] = f"{port.protocol.lower()}://{host}:{port.number}"
            found[f"{stem}_PROTO"] = port.protocol.lower()
            found[f"{stem}_PORT"] = str(port.number)
            found[f"{stem}_ADDR"] = service.address
    return found


def environment(
    pod: NodePod, container: Container, services: Mapping[str, str], sources: Sources, node: NodeFacts
) -> dict[str, str]:
    """All variables. Raises MissingReferenceError."""
    found = dict(services)
    for origin in container.env_from or ():
        ref = origin.config_map_ref or origin.secret_ref
        if ref is None:
            continue
        table, kind = (sources.config_maps, "configmap") if origin.config_map_ref else (sources.secrets, "secret")
        data = table.get(ref.name)
        if data is None and not ref.optional:
            raise MissingReferenceError(f'{kind} "{ref.name}" not found')
        found |= {f"{origin.prefix or ''}{key}": value for key, value in sorted((data or {}).items())}
    for one in container.env or ():
        value = _value(pod, container, one, sources, node)
        if value is not None:
            found[one.name] = expand(value, found) if one.value_from is None else value
    return found


def _value(pod: NodePod, container: Container, one: EnvVar, sources: Sources, node: NodeFacts) -> str | None:
    source = one.value_from
    if source is None:
        return one.value or ""
    if source.field_ref is not None:
        return field_value(pod, source.field_ref, node)
    if source.resource_field_ref is not None:
        return resource_value(pod, container, source.resource_field_ref, node)
    if source.config_map_key_ref is not None:
        ref, table, kind = source.config_map_key_ref, sources.config_maps, "configmap"
    elif source.secret_key_ref is not None:
        ref, table, kind = source.secret_key_ref, sources.secrets, "secret"
    else:
        return ""
    data = table.get(ref.name)
    if data is not None and ref.key in data:
        return data[ref.key]
    if ref.optional:
        return None
    if data is None:
        raise MissingReferenceError(f'{kind} "{ref.name}" not found')
    shown = "ConfigMap" if kind == "configmap" else "Secret"
    raise MissingReferenceError(f"couldn't find key {ref.key} in {shown} {pod.metadata.namespace}/{ref.name}")


def field_value(pod: NodePod, ref: FieldRef, node: NodeFacts) -> str:
    """A field of the pod, as the downward API gives it. Raises MissingReferenceError."""
    meta, path = pod.metadata, ref.field_path
    if match := _SUBSCRIPT.match(path):
        return ((meta.labels if match[1] == "labels" else meta.annotations) or {}).get(match[2], "")
    simple = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "metadata.labels": _listing(meta.labels),
        "metadata.annotations": _listing(meta.annotations),
        "spec.nodeName": pod.spec.node_name or node.name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": next(iter(node.host_ips), ""),
        "status.hostIPs": ",".join(node.host_ips),
        "status.podIP": next(iter(node.pod_ips), ""),
        "status.podIPs": ",".join(node.pod_ips),
    }
    if path not in simple:
        raise MissingReferenceError(f"unsupported fieldPath: {path}")
    return simple[path]


def _listing(labels: Mapping[str, str] | None) -> str:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    return "\n".join(f"{key}={quoted(value)}" for key, value in sorted((labels or {}).items()))


def resource_value(pod: NodePod, container: Container, ref: ResourceFieldRef, node: NodeFacts) -> str:
    """A request or limit divided by its divisor and rounded up; without a limit, the node's own size."""
    owner = next((one for one in pod.all_containers if one.name == ref.container_name), container)
    group, _, name = ref.resource.partition(".")
    table = owner.resources.limits if group == "limits" else owner.resources.requests
    whole = {"cpu": node.cpus, "memory": node.memory}
    stated = (table or {}).get(name)
    if stated is None:
        stated = whole.get(name, 0) if group == "limits" else 0
    divisor = parse_quantity(ref.divisor) or 1
    return str(math.ceil(parse_quantity(stated) / divisor))
