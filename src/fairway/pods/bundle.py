"""config.json of a container (OCI runtime specification 1.0.2), from its spec and what the node has prepared.

Decides isolation: which namespaces, mounts, rights and devices a container has. Refuses to know where its files come
from. What the machine cannot grant is left out and named (`Cut`), so that the pod's events can say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fairway.kube.podspec import Container, NodePod
from fairway.kube.quantity import parse_quantity
from fairway.pods.grants import WITHHELD, Grants, identity, oom_score

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
PRIVILEGED_READONLY_PATHS: Final = (
    *("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"),
    *(f"/proc/sys/{name}" for name in ("abi", "debug", "dev", "fs", "kernel", "vm")),
)
"""The machine's own knobs: a program named there (core_pattern) would run outside of every container."""
PRIVILEGED_DEVICES: Final = (("/dev/fuse", 10, 229), ("/dev/net/tun", 10, 200))


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
    grants: Grants
    hostname: str
    memory: int = 0
    """Of the machine, in bytes."""
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
    capabilities, cuts = _capabilities(container, prepared.grants.capabilities)
    resources, uncontrolled = _resources(container, prepared.grants.controls)
    cuts += uncontrolled
    is_privileged = bool(security.privileged)
    tree: Tree = {
        "ociVersion": "1.0.2",
        "process": _process(pod, container, prepared, capabilities),
        "root": {"path": prepared.rootfs, "readonly": bool(security.read_only_root_filesystem)},
        "hostname": prepared.hostname,
        "mounts": _mounts(prepared),
        "linux": {
            "cgroupsPath": prepared.cgroup,
            "namespaces": [
                {"type": "pid", "path": prepared.pid} if prepared.pid else {"type": "pid"},
                {"type": "mount"},
                {"type": "uts"},
                {"type": "ipc", "path": prepared.ipc} if prepared.ipc else {"type": "ipc"},
                {"type": "network", "path": prepared.network},
            ],
            "resources": resources,
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(PRIVILEGED_READONLY_PATHS if is_privileged else READONLY_PATHS),
        },
    }
    if is_privileged:
        tree["linux"]["devices"] = [
            {"path": path, "type": "c", "major": major, "minor": minor, "fileMode": 0o666}
            for path, major, minor in PRIVILEGED_DEVICES
        ]
    if sysctls := pod.spec.security_context.sysctls:
        tree["linux"]["sysctl"] = {one.name: one.value for one in sysctls}
    return tree, tuple(cuts)


def _process(pod: NodePod, container: Container, prepared: Prepared, capabilities: list[str]) -> Tree:
    user, group, groups = identity(pod, container)
    env = {"PATH": PATH, "HOSTNAME": prepared.hostname, "HOME": "/root" if not user else "/", **prepared.env}
    if prepared.is_terminal:
        env.setdefault("TERM", "xterm")
    held = capabilities if not user else []
    sets = {"bounding": capabilities, "effective": held, "permitted": held}
    return {
        "terminal": prepared.is_terminal,
        "user": {"uid": user, "gid": group, "additionalGids": [*groups]},
        "args": list(prepared.argv),
        "env": [f"{name}={value}" for name, value in env.items()],
        "cwd": container.working_dir or prepared.working_dir,
        "capabilities": sets,
        "noNewPrivileges": container.security_context.allow_privilege_escalation is False,
        # Without CAP_SYS_RESOURCE a score can only grow.
        "oomScoreAdj": max(oom_score(pod, container, prepared.memory), prepared.grants.oom_score),
    }


def _capabilities(container: Container, granted: frozenset[str]) -> tuple[list[str], list[Cut]]:
    security = container.security_context
    if security.privileged:
        cuts = [Cut(f"privileged is granted over the pod alone, without {', '.join(sorted(WITHHELD))}")]
        return [f"CAP_{name}" for name in sorted(granted)], cuts
    asked = security.capabilities
    dropped = {_bare(name) for name in (asked.drop if asked else None) or ()}
    added = {_bare(name) for name in (asked.add if asked else None) or ()}
    wanted = set() if "ALL" in dropped else set(DEFAULT_CAPABILITIES - dropped)
    wanted |= granted if "ALL" in added else added
    cuts = [Cut(f"capability {name} is not granted by this machine") for name in sorted(wanted - granted)]
    return [f"CAP_{name}" for name in sorted(wanted & granted)], cuts


def _bare(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _mounts(prepared: Prepared) -> list[Tree]:
    strict = ["nosuid", "noexec", "nodev"]
    found = [
        _mount("/proc", "proc", "proc", strict),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", strict),
        # Never writable: a program named in it (uevent_helper) would run outside of every container.
        _mount("/sys", "sysfs", "sysfs", [*strict, "ro"]),
    ]
    for one in sorted(prepared.mounts, key=lambda mount: mount.target.count("/")):
        mode = "ro" if one.is_read_only else "rw"
        found.append(_mount(one.target, "bind", one.source, ["rbind", "rprivate", mode]))
    return found


def _mount(target: str, kind: str, source: str, options: list[str]) -> Tree:
    return {"destination": target, "type": kind, "source": source, "options": options}


def _resources(container: Container, controls: frozenset[str]) -> tuple[Tree, list[Cut]]:
    """Limits that every version of cgroups knows; devices are those that a container always has."""
    limits = container.resources.limits or {}
    requests = container.resources.requests or {}
    devices: list[Tree] = [{"allow": False, "access": "rwm"}]
    if container.security_context.privileged:
        devices += [
            {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
            for _, major, minor in PRIVILEGED_DEVICES
        ]
    tree: Tree = {"devices": devices}
    missing = sorted({"cpu", "memory"} & set(limits) - controls)
    cuts = [Cut(f"the limit of {name} is not enforced: no cgroup of this machine controls it") for name in missing]
    cpu: Tree = {}
    if "cpu" in limits and "cpu" in controls:
        cpu |= {"period": 100_000, "quota": max(int(parse_quantity(limits["cpu"]) * 100_000), 1000)}
    if "cpu" in requests and "cpu" in controls:
        cpu["shares"] = max(int(parse_quantity(requests["cpu"]) * 1024), 2)
    if cpu:
        tree["cpu"] = cpu
    if "memory" in limits and "memory" in controls:
        tree["memory"] = {"limit": int(parse_quantity(limits["memory"]))}
    return tree, cuts
