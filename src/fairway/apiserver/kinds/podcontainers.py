"""Validity of a pod's containers: regular, init and ephemeral ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fairway.apiserver import names
from fairway.apiserver.fielderrors import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_found,
    required,
    too_many,
    unsupported,
)
from fairway.apiserver.kinds.podfields import container_field_errors, object_field_errors
from fairway.apiserver.kinds.podhandlers import lifecycle_errors, probe_errors
from fairway.apiserver.kinds.podresources import container_name_errors, resource_errors
from fairway.apiserver.kinds.podsecurity import context_errors
from fairway.apiserver.kinds.podvolumes import backstep_errors, device_errors, mount_errors
from fairway.apiserver.kinds.service import PROTOCOLS
from fairway.apiserver.request import Json

_PULLS = ("Always", "IfNotPresent", "Never")
_RESTARTS = ("Always", "Never", "OnFailure")
_HOOKS = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container's rules need to know of its pod."""

    volumes: dict[str, Json]
    claims: set[str]
    grace: int | None
    restart: str
    os: str | None
    host_users: bool


def surroundings(spec: Json, volumes: dict[str, Json]) -> Surroundings:
    """Of a pod's spec, with the volumes that are well."""
    return Surroundings(
        volumes,
        {c.get("name", "") for c in spec.get("resourceClaims") or []} - {""},
        spec.get("terminationGracePeriodSeconds"),
        spec.get("restartPolicy", ""),
        (spec.get("os") or {}).get("name"),
        spec.get("hostUsers") is not False,
    )


# ---- ports and environment --------------------------------------------------------------------------------------
def _port_errors(ports: list[Json], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        at, name = f"{path}[{i}]", port.get("name", "")
        if name:
            wrong = names.port_name_messages(name)
            out += [invalid(f"{at}.name", name, m) for m in wrong]
            if not wrong and name in seen:
                out.append(duplicate(f"{at}.name", name))
            seen.add(name)
        if not port.get("containerPort"):
            out.append(required(f"{at}.containerPort"))
        else:
            out += names.port_errors(f"{at}.containerPort", port["containerPort"])
        if port.get("hostPort"):
            out += names.port_errors(f"{at}.hostPort", port["hostPort"])
        out += _enum_errors(port.get("protocol", ""), PROTOCOLS, f"{at}.protocol")
    return out


def host_port_errors(containers: list[tuple[str, Json]]) -> list[FieldError]:
    """AccumulateUniqueHostPorts, for containers with their places."""
    out: list[FieldError] = []
    taken: set[str] = set()
    for path, container in containers:
        for i, port in enumerate(container.get("ports") or []):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if key in taken:
                out.append(duplicate(f"{path}.ports[{i}].hostPort", key))
            taken.add(key)
    return out


_ENV_WORDS = "a valid environment variable name must consist only of printable ASCII characters other than '='"
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def _env_name_errors(name: str, path: str) -> list[FieldError]:
    return [] if re.fullmatch(r"[ -<>-~]*", name) else [invalid(path, name, _ENV_WORDS)]


def _env_errors(env: list[Json], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for i, item in enumerate(env):
        at, name = f"{path}[{i}]", item.get("name", "")
        out += _env_name_errors(name, f"{at}.name") if name else [required(f"{at}.name")]
        if item.get("valueFrom") is not None:
            out += _source_errors(item, f"{at}.valueFrom")
    return out


def _source_errors(item: Json, path: str) -> list[FieldError]:
    source = item["valueFrom"]
    given = [n for n in _ENV_SOURCES if source.get(n) is not None]
    out: list[FieldError] = []
    for name in given:
        at, ref = f"{path}.{name}", source[name]
        if name == "fieldRef":
            out += object_field_errors(ref, at, _FIELDS)
        elif name == "resourceFieldRef":
            out += container_field_errors(ref, at, named=False)
        elif name == "fileKeyRef":
            out += _file_key_errors(ref, at)
        else:
            out += _key_errors(ref, at)
    if not given:
        *most, last = _ENV_SOURCES
        words = f"must specify one of: {', '.join(f'`{m}`' for m in most)} or `{last}`"
        out.append(invalid(path, "", words))
    elif item.get("value"):
        out.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        out.append(invalid(path, "", "may not have more than one field specified at a time"))
    return out


def _key_errors(ref: Json, path: str) -> list[FieldError]:
    name, key = ref.get("name", ""), ref.get("key", "")
    out = [invalid(f"{path}.name", name, m) for m in names.subdomain_errors(name)]
    if not key:
        return [*out, required(f"{path}.key")]
    return out + [invalid(f"{path}.key", key, m) for m in names.config_key_errors(key)]


def _file_key_errors(ref: Json, path: str) -> list[FieldError]:
    key, volume, file = ref.get("key", ""), ref.get("volumeName", ""), ref.get("path", "")
    out = _env_name_errors(key, f"{path}.key") if key else [required(f"{path}.key")]
    if volume:
        out += [invalid(f"{path}.volumeName", volume, m) for m in names.dns_label_errors(volume)]
    else:
        out.append(required(f"{path}.volumeName"))
    return out + (backstep_errors(file, f"{path}.path") if file else [required(f"{path}.path")])


def file_key_volume_errors(spec: Json, path: str) -> list[FieldError]:
    """validateFileKeyRefVolumes: such a variable comes from an emptyDir of the pod."""
    volumes = {v.get("name", ""): v for v in spec.get("volumes") or []}
    out: list[FieldError] = []
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(kind) or []):
            for j, item in enumerate(container.get("env") or []):
                ref = (item.get("valueFrom") or {}).get("fileKeyRef")
                if ref is None:
                    continue
                at, name = f"{path}.{kind}[{i}].env[{j}].valueFrom.fileKeyRef.volumeName", ref.get("volumeName", "")
                if name not in volumes:
                    out.append(not_found(at, name))
                elif volumes[name].get("emptyDir") is None:
                    out.append(invalid(at, name, "referenced volume must be of type emptyDir"))
    return out


def _env_from_errors(sources: list[Json], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for i, item in enumerate(sources):
        at = f"{path}[{i}]"
        out += _env_name_errors(item.get("prefix", ""), f"{at}.prefix")
        given = [n for n in ("configMapRef", "secretRef") if item.get(n) is not None]
        for kind in given:
            name = item[kind].get("name", "")
            if not name:
                out.append(required(f"{at}.{kind}.name"))
            else:
                out += [invalid(f"{at}.{kind}.name", name, m) for m in names.subdomain_name(name, True)]
        if not given:
            out.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            out.append(invalid(path, "", "may not have more than one field specified at a time"))
    return out


# ---- all containers ---------------------------------------------------------------------------------------------
def _enum_errors(value: str, allowed: tuple[str, ...], path: str) -> list[FieldError]:
    if not value:
        return [required(path)]
    return [] if value in allowed else [unsupported(path, value, allowed)]


def _resize_errors(policies: list[Json], path: str, restart: str) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, policy in enumerate(policies):
        name, then = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if name in seen:
            out.append(duplicate(f"{path}[{i}]", name))
        seen.add(name)
        out += _enum_errors(name, ("cpu", "memory"), path)
        out += _enum_errors(then, ("NotRequired", "RestartContainer"), path)
        if restart == "Never" and then != "NotRequired":
            out.append(invalid(path, then, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
    return out


def _common_errors(container: Json, path: str, around: Surroundings) -> list[FieldError]:
    """validateContainerCommon."""
    name = container.get("name", "")
    out = [invalid(f"{path}.name", name, m) for m in names.dns_label_errors(name)] if name else []
    if not name:
        out.append(required(f"{path}.name"))
    if not container.get("image"):
        out.append(required(f"{path}.image"))
    messages = ("File", "FallbackToLogsOnError")
    out += _enum_errors(container.get("terminationMessagePolicy", ""), messages, f"{path}.terminationMessagePolicy")
    out += _port_errors(container.get("ports") or [], f"{path}.ports")
    out += _env_errors(container.get("env") or [], f"{path}.env")
    out += _env_from_errors(container.get("envFrom") or [], f"{path}.envFrom")
    out += mount_errors(container, f"{path}.volumeMounts", around.volumes)
    out += device_errors(container, f"{path}.volumeDevices", around.volumes)
    out += _enum_errors(container.get("imagePullPolicy", ""), _PULLS, f"{path}.imagePullPolicy")
    resources = container.get("resources") or {}
    out += resource_errors(resources, f"{path}.resources", container_name_errors, around.claims)
    out += _resize_errors(container.get("resizePolicy") or [], f"{path}.resizePolicy", around.restart)
    return out + context_errors(container.get("securityContext"), f"{path}.securityContext", around.host_users)


def _restart_errors(container: Json, path: str) -> list[FieldError]:
    """validateContainerRestartPolicy."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or []
    if policy is None and not rules:
        return []
    out: list[FieldError] = []
    if policy is None:
        out.append(required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used"))
    elif policy not in _RESTARTS:
        out.append(unsupported(f"{path}.restartPolicy", policy, _RESTARTS))
    if len(rules) > 20:
        out.append(too_many(f"{path}.restartPolicyRules", len(rules), 20))
    for i, rule in enumerate(rules):
        at, codes = f"{path}.restartPolicyRules[{i}]", rule.get("exitCodes")
        if rule.get("action", "") not in ("Restart", "RestartAllContainers"):
            known = ("Restart", "RestartAllContainers")
            out.append(unsupported(f"{at}.action", rule.get("action", ""), known))
        if codes is None:
            out.append(required(f"{at}.exitCodes", "must be specified"))
            continue
        if codes.get("operator", "") not in ("In", "NotIn"):
            out.append(unsupported(f"{at}.exitCodes.operator", codes.get("operator", ""), ("In", "NotIn")))
        if len(codes.get("values") or []) > 255:
            out.append(too_many(f"{at}.exitCodes.values", len(codes["values"]), 255))
    return out


def _hook_errors(container: Json, path: str, around: Surroundings) -> list[FieldError]:
    out: list[FieldError] = []
    if container.get("lifecycle") is not None:
        out += lifecycle_errors(container["lifecycle"], f"{path}.lifecycle", around.grace, around.os)
    for name in _HOOKS[1:]:
        if container.get(name) is not None:
            out += probe_errors(container[name], f"{path}.{name}", name)
    return out


def container_errors(containers: list[Json], path: str, around: Surroundings) -> list[FieldError]:
    """validateContainers: the regular ones."""
    if not containers:
        return [required(path)]
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, container in enumerate(containers):
        at, name = f"{path}[{i}]", container.get("name", "")
        out += _common_errors(container, at, around)
        if name in seen:
            out.append(duplicate(f"{at}.name", name))
        seen.add(name)
        out += _hook_errors(container, at, around) + _restart_errors(container, at)
    return out + host_port_errors([(f"{path}[{i}]", c) for i, c in enumerate(containers)])


def init_container_errors(spec: Json, path: str, around: Surroundings) -> list[FieldError]:
    """validateInitContainers."""
    out: list[FieldError] = []
    seen = {c.get("name", "") for c in spec.get("containers") or []}
    for i, container in enumerate(spec.get("initContainers") or []):
        at, name = f"{path}[{i}]", container.get("name", "")
        out += _common_errors(container, at, around)
        wrong = _restart_errors(container, at)
        out += wrong[:1] if container.get("restartPolicy") is None else wrong
        if name in seen:
            out.append(duplicate(f"{at}.name", name))
        seen |= {name} - {""}
        out += host_port_errors([(f"{path}[0]", container)])
        if container.get("restartPolicy") == "Always":
            out += _hook_errors(container, at, around)
            continue
        words = "may not be set for init containers without restartPolicy=Always"
        out += [forbidden(f"{at}.{n}", words) for n in _HOOKS if container.get(n) is not None]
        for j, policy in enumerate(container.get("resizePolicy") or []):
            if policy.get("restartPolicy") == "RestartContainer":
                words = "must not be set to 'RestartContainer' for non-sidecar initContainers"
                out.append(invalid(f"{at}.resizePolicy[{j}].restartPolicy", "RestartContainer", words))
    return out


_NOT_EPHEMERAL = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
)


def ephemeral_container_errors(spec: Json, path: str, around: Surroundings) -> list[FieldError]:
    """validateEphemeralContainers."""
    others = {c.get("name", "") for kind in ("containers", "initContainers") for c in spec.get(kind) or []}
    out: list[FieldError] = []
    seen = set(others)
    for i, container in enumerate(spec.get("ephemeralContainers") or []):
        at, name = f"{path}[{i}]", container.get("name", "")
        out += _common_errors(container, at, around) + image_space_errors(container, at)
        if name in seen:
            out.append(duplicate(f"{at}.name", name))
        seen.add(name)
        target = container.get("targetContainerName", "")
        if target and target not in others:
            out.append(not_found(f"{at}.targetContainerName", target))
        words = "cannot be set for an Ephemeral Container"
        out += [forbidden(f"{at}.{n}", words) for n in _NOT_EPHEMERAL if _is_set(container.get(n))]
        for j, mount in enumerate(container.get("volumeMounts") or []):
            out += [forbidden(f"{at}.volumeMounts[{j}].{n}", words) for n in ("subPath", "subPathExpr") if mount.get(n)]
    return out


def _is_set(value: Any) -> bool:
    return value is not None and value not in ({}, [])


def image_space_errors(container: Json, path: str) -> list[FieldError]:
    """Of pods only: a template may hold a place for an image with spaces."""
    image = container.get("image", "")
    if image == image.strip():
        return []
    return [invalid(f"{path}.image", image, "must not have leading or trailing whitespace")]
