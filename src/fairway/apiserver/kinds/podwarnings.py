"""What is allowed in a pod spec and rarely meant."""

from __future__ import annotations

from collections.abc import Iterator

from fairway.apiserver import names
from fairway.apiserver.kinds.base import get
from fairway.apiserver.kinds.podresources import is_whole
from fairway.apiserver.kinds.service import ip_warnings
from fairway.apiserver.request import Json

_OLD_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
_OLD_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'v1.11+; use the "sysctls" field instead',
}
_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
_NO_SELECTOR = "a null labelSelector results in matching no pod"


def pod_warnings(pod: Json) -> list[str]:
    """Of a Pod, when it is made."""
    return list(_warnings(pod.get("metadata") or {}, pod.get("spec") or {}, ""))


def template_warnings(template: Json, path: str) -> list[str]:
    """Of a workload's template."""
    return list(_warnings(template.get("metadata") or {}, template.get("spec") or {}, f"{path}."))


def _warnings(meta: Json, spec: Json, head: str) -> Iterator[str]:
    at = f"{head}spec"
    yield from _old_keys(meta, spec, head)
    yield from _repeated(spec.get("hostAliases") or [], "ip", f"{at}.hostAliases")
    secrets = spec.get("imagePullSecrets") or []
    yield from _repeated(secrets, "name", f"{at}.imagePullSecrets")
    for i, secret in enumerate(secrets):
        if not secret.get("name"):
            yield f'{at}.imagePullSecrets[{i}].name: invalid empty name ""'
    yield from _fractions(spec.get("overhead") or {}, f"{at}.overhead")
    yield from _container_warnings(spec, at)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        yield f"{at}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
    yield from _pod_affinity(spec, at)
    for i, server in enumerate(get(spec, "dnsConfig", "nameservers") or []):
        yield from ip_warnings(f"{at}.dnsConfig.nameservers[{i}]", server)
    for i, alias in enumerate(spec.get("hostAliases") or []):
        yield from ip_warnings(f"{at}.hostAliases[{i}].ip", alias.get("ip", ""))


def _old_keys(meta: Json, spec: Json, head: str) -> Iterator[str]:
    """Labels of nodes, annotations and volumes of former times; and spread that counts nothing."""
    at = f"{head}spec"
    for key in spec.get("nodeSelector") or {}:
        if key in _OLD_LABELS:
            yield f"{at}.nodeSelector[{key}]: {_OLD_LABELS[key]}"
    yield from _node_affinity(get(spec, "affinity", "nodeAffinity") or {}, f"{at}.affinity.nodeAffinity")
    for i, item in enumerate(spec.get("topologySpreadConstraints") or []):
        where, key = f"{at}.topologySpreadConstraints[{i}]", item.get("topologyKey", "")
        if key in _OLD_LABELS:
            yield f"{where}.topologyKey: {key} is {_OLD_LABELS[key]}"
        if item.get("labelSelector") is None:
            yield f"{where}.labelSelector: {_NO_SELECTOR}"
    for key, words in _OLD_ANNOTATIONS.items():
        if key in (meta.get("annotations") or {}):
            yield f"{head}metadata.annotations[{key}]: non-functional in {words}"
    for i, volume in enumerate(spec.get("volumes") or []):
        if volume.get("gitRepo") is not None:
            yield f"{at}.volumes[{i}].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"


def _node_affinity(affinity: Json, path: str) -> Iterator[str]:
    for i, term in enumerate(get(affinity, _REQUIRED, "nodeSelectorTerms") or []):
        yield from _old_terms(term, f"{path}.{_REQUIRED}.nodeSelectorTerms[{i}]", strict=False)
    for i, item in enumerate(affinity.get(_PREFERRED) or []):
        yield from _old_terms(item.get("preference") or {}, f"{path}.{_PREFERRED}[{i}].preference", strict=True)


def _old_terms(term: Json, path: str, *, strict: bool) -> Iterator[str]:
    for i, item in enumerate(term.get("matchExpressions") or []):
        at, key = f"{path}.matchExpressions[{i}]", item.get("key", "")
        if key in _OLD_LABELS:
            yield f"{at}.key: {key} is {_OLD_LABELS[key]}"
        for j, value in enumerate((item.get("values") or []) if strict else []):
            for message in names.label_value_errors(value):
                yield f"{at}.values[{j}]: {value} is invalid, {message}"


def _pod_affinity(spec: Json, path: str) -> Iterator[str]:
    for name in ("podAffinity", "podAntiAffinity"):
        affinity, at = get(spec, "affinity", name) or {}, f"{path}.affinity.{name}"
        for i, term in enumerate(affinity.get(_REQUIRED) or []):
            if term.get("labelSelector") is None:
                yield f"{at}.{_REQUIRED}[{i}].labelSelector: {_NO_SELECTOR}"
        for i, item in enumerate(affinity.get(_PREFERRED) or []):
            if get(item, "podAffinityTerm", "labelSelector") is None:
                yield f"{at}.{_PREFERRED}[{i}].podAffinityTerm.labelSelector: {_NO_SELECTOR}"


def _repeated(items: list[Json], key: str, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for i, item in enumerate(items):
        value = item.get(key, "")
        if value in seen:
            yield f'{path}[{i}].{key}: duplicate {key} "{value}"'
        seen.add(value)


def _fractions(resources: Json, path: str) -> Iterator[str]:
    for name in ("memory", "ephemeral-storage"):
        if name in resources and not is_whole(resources[name]):
            yield f'{path}[{name}]: fractional byte value "{resources[name]}" is invalid, must be an integer'


def _containers(spec: Json, path: str) -> Iterator[tuple[str, Json]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(kind) or []):
            yield f"{path}.{kind}[{i}]", container


def _container_warnings(spec: Json, path: str) -> Iterator[str]:
    for at, container in _containers(spec, path):
        resources = container.get("resources") or {}
        for name in ("memory", "ephemeral-storage"):
            for kind in ("limits", "requests"):
                values = resources.get(kind) or {}
                yield from _fractions({k: v for k, v in values.items() if k == name}, f"{at}.resources.{kind}")
        yield from _hidden_variables(container.get("env") or [], f"{at}.env")
    yield from _port_warnings(spec, path)
    yield from _port_name_warnings(spec, path)


def _hidden_variables(env: list[Json], path: str) -> Iterator[str]:
    seen: set[str] = set()
    for i, item in enumerate(env):
        name, value = item.get("name", ""), item.get("value", "")
        mention = f"$({name})"
        if name in seen and (item.get("valueFrom") is not None or value == mention or mention not in value):
            yield f'{path}[{i}]: hides previous definition of "{name}", which may be dropped when using apply'
        seen.add(name)


def _port_warnings(spec: Json, path: str) -> Iterator[str]:
    known: dict[tuple[int, str], list[tuple[str, Json]]] = {}
    for at, container in _containers(spec, path):
        for i, port in enumerate(container.get("ports") or []):
            where = f"{at}.ports[{i}]"
            if port.get("hostIP") and not port.get("hostPort"):
                shown = f"Name:{port.get('name', '')} HostPort:0 ContainerPort:{port.get('containerPort', 0)}"
                shown += f" Protocol:{port.get('protocol', '')} HostIP:{port['hostIP']}"
                yield f"{where}: hostIP set without hostPort: {{{shown}}}"
            others = known.setdefault((port.get("containerPort", 0), port.get("protocol", "")), [])
            for place, other in others:
                word = _overlap(port, other)
                if word:
                    yield f"{where}: {word} port definition with {place}"
            others.append((where, port))


def _overlap(port: Json, other: Json) -> str:
    mine, theirs = port.get("hostPort", 0), other.get("hostPort", 0)
    here, there = port.get("hostIP", ""), other.get("hostIP", "")
    if (here, mine) == (there, theirs):
        return "duplicate"
    if not mine or not theirs:
        return "overlapping"
    return "dangerously ambiguous" if mine == theirs and bool(here) != bool(there) else ""


def _port_name_warnings(spec: Json, path: str) -> Iterator[str]:
    known: dict[str, str] = {}
    for at, container in _containers(spec, path):
        for i, port in enumerate(container.get("ports") or []):
            name, where = port.get("name", ""), f"{at}.ports[{i}]"
            if name in known:
                place = known[name]
                use = f"services and probes that select ports by name will use {place}"
                yield f'{where}: duplicate port name "{name}" with {place}, {use}'
            elif name:
                known[name] = where
