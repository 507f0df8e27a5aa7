"""config.json of a container (OCI runtime specification 1.0.2), from its spec and what the node has prepared.

Decides isolation: which namespaces, mounts, rights and devices a container has. Refuses to know where its files come
from. What the machine cannot grant is left out and named (`Cut`), so that the pod's events can say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fairway.kube.podspec import Container, NodePod
from fairway.kube.quantity import parse_quantity

Tree = dict[str, Any]

DEFAULT_CAPABILITIES: Final = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)
"""As containerd gives them."""
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
)
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class Mount(NamedTuple):
    """A file or folder of the node in the container."""

    source: str
    target: str
    is_read_only: bool = False


class Prepared(NamedTuple):
    """What the node made for one container."""

    rootfs: str
    network: str
    """Path of a network namespace."""
    ipc: str
    """Path of an IPC namespace; empty for one of its own. Never the machine's."""
    cgroup: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[Mount, ...]
    granted: frozenset[str]
    """Capabilities of the machine, without CAP_."""
    is_terminal: bool = False
    pid: str = ""
    """Path of another container's process namespace; empty for one of its own."""
    working_dir: str = "/"
    """The image's; the container's own goes before it."""


class Cut(NamedTuple):
    """Something asked for that this machine does not grant."""

    message: str


def config(pod: NodePod, container: Container, prepared: Prepared) -> tuple[Tree, tuple[Cut, ...]]:
    """The whole config.json, and what was left out."""
    security = container.security_context
    capabilities, cuts = _capabilities(container, prepared.granted)
    is_privileged = bool(security.privileged)
    tree: Tree = {
        "ociVersion": "1.0.2",
        "process": _process(pod, container, prepared, capabilities),
        "root": {"path": prepared.rootfs, "readonly": bool(security.read_only_root_filesystem)},
        "hostname": pod.host_name,
        "mounts": _mounts(prepared, is_privileged=is_privileged),
        "linux": {
            "cgroupsPath": prepared.cgroup,
            "namespaces": [
                {"type": "pid", "path": prepared.pid} if prepared.pid else {"type": "pid"},
                {"type": "mount"},
                {"type": "uts"},
                {"type": "ipc", "path": prepared.ipc} if prepared.ipc else {"type": "ipc"},
                {"type": "network", "path": prepared.network},
            ],
            "resources": _resources(container),
            "maskedPaths": [] if is_privileged else list(MASKED_PATHS),
            "readonlyPaths": [] if is_privileged else list(READONLY_PATHS),
        },
    }
    if sysctls := pod.spec.security_context.sysctls:
        tree["linux"]["sysctl"] = {one.name: one.value for one in sysctls}
    return tree, tuple(cuts)


def _process(pod: NodePod, container: Container, prepared: Prepared, capabilities: list[str]) -> Tree:
    own, shared = container.security_context, pod.spec.security_context
    user = own.run_as_user if own.run_as_user is not None else shared.run_as_user
    group = own.run_as_group if own.run_as_group is not None else shared.run_as_group
    groups = [*(shared.supplemental_groups or ()), *([shared.fs_group] if shared.fs_group is not None else [])]
    env = {"PATH": PATH, "HOSTNAME": pod.host_name, "HOME": "/root" if not user else "/", **prepared.env}
    if prepared.is_terminal:
        env.setdefault("TERM", "xterm")
    held = capabilities if not user else []
    sets = {"bounding": capabilities, "effective": held, "permitted": held}
    return {
        "terminal": prepared.is_terminal,
        "user": {"uid": user or 0, "gid": group or 0, "additionalGids": sorted(set(groups))},
        "args": list(prepared.argv),
        "env": [f"{name}={value}" for name, value in env.items()],
        "cwd": container.working_dir or prepared.working_dir,
        "capabilities": sets,
        "noNewPrivileges": own.allow_privilege_escalation is False,
    }


def _capabilities(container: Container, granted: frozenset[str]) -> tuple[list[str], list[Cut]]:
    security = container.security_context
    if security.privileged:
        return [f"CAP_{name}" for name in sorted(granted)], []
    asked = security.capabilities
    dropped = {_bare(name) for name in (asked.drop if asked else None) or ()}
    added = {_bare(name) for name in (asked.add if asked else None) or ()}
    wanted = set() if "ALL" in dropped else set(DEFAULT_CAPABILITIES - dropped)
    wanted |= granted if "ALL" in added else added
    cuts = [Cut(f"capability {name} is not granted by this machine") for name in sorted(wanted - granted)]
    return [f"CAP_{name}" for name in sorted(wanted & granted)], cuts


def _bare(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _mounts(prepared: Prepared, *, is_privileged: bool) -> list[Tree]:
    strict = ["nosuid", "noexec", "nodev"]
    sys_mode = "rw" if is_privileged else "ro"
    found = [
        _mount("/proc", "proc", "proc", strict),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        _mount("/dev/shm", "tmpfs", "shm", [*strict, "mode=1777", "size=65536k"]),  # noqa: S108 - the container's own
        _mount("/dev/mqueue", "mqueue", "mqueue", strict),
        _mount("/sys", "sysfs", "sysfs", [*strict, sys_mode]),
    ]
    for one in sorted(prepared.mounts, key=lambda mount: mount.target.count("/")):
        mode = "ro" if one.is_read_only else "rw"
        found.append(_mount(one.target, "bind", one.source, ["rbind", "rprivate", mode]))
    return found


def _mount(target: str, kind: str, source: str, options: list[str]) -> Tree:
    return {"destination": target, "type": kind, "source": source, "options": options}


def _resources(container: Container) -> Tree:
    """Limits that every version of cgroups knows; devices are those that a container always has."""
    limits = container.resources.limits or {}
    requests = container.resources.requests or {}
    if container.security_context.privileged:
        tree: Tree = {"devices": [{"allow": True, "access": "rwm"}]}
    else:
        tree = {"devices": [{"allow": False, "access": "rwm"}]}
    cpu: Tree = {}
    if "cpu" in limits:
        cpu |= {"period": 100_000, "quota": max(int(parse_quantity(limits["cpu"]) * 100_000), 1000)}
    if "cpu" in requests:
        cpu["shares"] = max(int(parse_quantity(requests["cpu"]) * 1024), 2)
    if cpu:
        tree["cpu"] = cpu
    if "memory" in limits:
        tree["memory"] = {"limit": int(parse_quantity(limits["memory"]))}
    return tree
