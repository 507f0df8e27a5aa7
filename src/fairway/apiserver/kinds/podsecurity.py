"""Validity of security contexts, of pods and of containers."""

from __future__ import annotations

import re
from typing import Any

from fairway.apiserver.fielderrors import FieldError, duplicate, forbidden, invalid, required, too_long, unsupported
from fairway.apiserver.kinds.base import get
from fairway.apiserver.kinds.podvolumes import descending_errors
from fairway.apiserver.request import Json

_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
_LONGEST_SYSCTL = 253
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_IDS = "must be between 0 and 2147483647, inclusive"
_OF_IPC = ("kernel.shm", "kernel.msg", "fs.mqueue.")


def _id_errors(value: int | None, path: str) -> list[FieldError]:
    return [] if value is None or 0 <= value <= 2147483647 else [invalid(path, value, _IDS)]


def _seccomp_errors(profile: Json | None, path: str) -> list[FieldError]:
    if profile is None:
        return []
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    out: list[FieldError] = []
    if not kind:
        out.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in _PROFILES:
        out.append(unsupported(f"{path}.type", kind, _PROFILES))
    at = f"{path}.localhostProfile"
    if kind != "Localhost":
        if local is not None:
            shown = {"Type": kind, "LocalhostProfile": local}
            out.append(invalid(at, shown, "can only be set when seccomp type is Localhost"))
    elif local is None:
        out.append(required(at, "must be set when seccomp type is Localhost"))
    else:
        out += descending_errors(local, at)
    return out


def _apparmor_errors(profile: Json | None, path: str) -> list[FieldError]:
    if profile is None:
        return []
    kind, local, at = profile.get("type", ""), profile.get("localhostProfile"), f"{path}.localhostProfile"
    if not kind:
        return [required(f"{path}.type", "type is required when appArmorProfile is set")]
    if kind not in _PROFILES:
        return [unsupported(f"{path}.type", kind, _PROFILES)]
    if kind != "Localhost":
        return [] if local is None else [invalid(at, local, "can only be set when AppArmor type is Localhost")]
    if local is None:
        return [required(at, "must be set when AppArmor type is Localhost")]
    out: list[FieldError] = []
    if local.strip() != local:
        out.append(invalid(at, local, "must not be padded with whitespace"))
    elif not local:
        out.append(required(at, "must be set when AppArmor type is Localhost"))
    if len(local) > 4095:
        out.append(too_long(at, 4095))
    return out


def _sysctl_errors(spec: Json, path: str) -> list[FieldError]:
    """Which of them a pod may have is its node's business, those of a namespace that it shares excepted."""
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, one in enumerate(get(spec, "securityContext", "sysctls") or []):
        name, at = one.get("name") or "", f"{path}[{i}].name"
        if not name:
            out.append(required(at))
        elif len(name) > _LONGEST_SYSCTL or not _SYSCTL.fullmatch(name):
            words = f"must have at most {_LONGEST_SYSCTL} characters and match regex ^{_SYSCTL.pattern}$"
            out.append(invalid(at, name, words))
        elif name in seen:
            out.append(duplicate(at, name))
        seen.add(name)
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            out.append(invalid(at, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.get("hostIPC") and (dotted.startswith(_OF_IPC) or dotted == "kernel.sem"):
            out.append(invalid(at, name, "may not be specified when 'hostIPC' is true"))
    return out


def _one_of(value: Any, allowed: tuple[str, ...], path: str) -> list[FieldError]:
    return [] if value is None or value in allowed else [unsupported(path, value, allowed)]


def pod_context_errors(spec: Json, path: str) -> list[FieldError]:
    """validatePodSpecSecurityContext."""
    context = spec.get("securityContext") or {}
    out: list[FieldError] = []
    for name in ("fsGroup", "runAsUser", "runAsGroup"):
        out += _id_errors(context.get(name), f"{path}.{name}")
    for i, group in enumerate(context.get("supplementalGroups") or []):
        out += _id_errors(group, f"{path}.supplementalGroups[{i}]")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        words = "ShareProcessNamespace and HostPID cannot both be enabled"
        out.append(invalid(f"{path}.shareProcessNamespace", True, words))
    out += _sysctl_errors(spec, f"{path}.sysctls")
    out += _one_of(context.get("fsGroupChangePolicy"), ("Always", "OnRootMismatch"), f"{path}.fsGroupChangePolicy")
    out += _seccomp_errors(context.get("seccompProfile"), f"{path}.seccompProfile")
    out += _apparmor_errors(context.get("appArmorProfile"), f"{path}.appArmorProfile")
    groups, change = f"{path}.supplementalGroupsPolicy", f"{path}.seLinuxChangePolicy"
    out += _one_of(context.get("supplementalGroupsPolicy"), ("Merge", "Strict"), groups)
    return out + _one_of(context.get("seLinuxChangePolicy"), ("Recursive",), change)  # SELinuxMount is off


def context_errors(context: Json | None, path: str, host_users: bool) -> list[FieldError]:
    """ValidateSecurityContext, of one container. (The real server needs a flag before pods may be privileged.)"""
    if context is None:
        return []
    out: list[FieldError] = []
    for name in ("runAsUser", "runAsGroup"):
        out += _id_errors(context.get(name), f"{path}.{name}")
    mount = context.get("procMount")
    out += _one_of(mount, ("Default", "Unmasked"), f"{path}.procMount")
    if mount == "Unmasked" and host_users:
        out.append(invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    out += _seccomp_errors(context.get("seccompProfile"), f"{path}.seccompProfile")
    if context.get("allowPrivilegeEscalation") is False:
        refused = "cannot set `allowPrivilegeEscalation` to false and "
        if context.get("privileged"):
            out.append(invalid(path, _shown(context), f"{refused}`privileged` to true"))
        if "CAP_SYS_ADMIN" in (get(context, "capabilities", "add") or []):
            out.append(invalid(path, _shown(context), f"{refused}`capabilities.Add` CAP_SYS_ADMIN"))
    return out + _apparmor_errors(context.get("appArmorProfile"), f"{path}.appArmorProfile")


_GO_NAMES = (
    "Capabilities",
    "Privileged",
    "SELinuxOptions",
    "WindowsOptions",
    "RunAsUser",
    "RunAsGroup",
    "RunAsNonRoot",
    "ReadOnlyRootFilesystem",
    "AllowPrivilegeEscalation",
    "ProcMount",
    "SeccompProfile",
    "AppArmorProfile",
)


def _shown(context: Json) -> Json:
    """As the server's internal type prints it."""

    def json_name(name: str) -> str:
        return "seLinuxOptions" if name == "SELinuxOptions" else name[0].lower() + name[1:]

    out = {name: context.get(json_name(name)) for name in _GO_NAMES}
    if out["Capabilities"] is not None:
        out["Capabilities"] = {"Add": out["Capabilities"].get("add"), "Drop": out["Capabilities"].get("drop")}
    return out


def host_users_errors(spec: Json, path: str) -> list[FieldError]:
    """validateHostUsers: a pod with users of its own shares no namespace of processes with its host."""
    if spec.get("hostUsers") is not False:
        return []
    words = "when `hostUsers` is false"
    out = [forbidden(f"{path}.{name[0].upper()}{name[1:]}", words) for name in ("hostPID", "hostIPC") if spec.get(name)]
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(kind) or []):
            if container.get("volumeDevices"):
                out.append(forbidden(f"{path}.{kind}[{i}].volumeDevices", words))
    return out
