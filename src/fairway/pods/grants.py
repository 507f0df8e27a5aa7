"""What a node grants its pods of what they ask for; the rest is cut, and the pod's events say so.

A pod is not the machine's owner, whatever it asks for: it runs on somebody's own machine, and must not see its secrets.
So `privileged` gives all rights over the pod's own network, processes and files, and none over the machine's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from fairway.kube.podspec import Container, NodePod
from fairway.kube.quantity import parse_quantity
from fairway.podnet.hostports import have_conflict

CAPABILITIES: Final = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
"""By their number (linux/capability.h)."""
WITHHELD: Final = frozenset(
    (
        # Each of these leads out of the pod: open_by_handle_at, mounts of devices, the kernel, its memory.
        *("DAC_READ_SEARCH", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "SYS_BOOT", "SYS_TIME", "SYSLOG", "SYS_PACCT"),
        *("AUDIT_CONTROL", "AUDIT_READ", "MAC_ADMIN", "MAC_OVERRIDE", "PERFMON", "BPF", "CHECKPOINT_RESTORE"),
        *("WAKE_ALARM", "BLOCK_SUSPEND", "SYS_TTY_CONFIG"),
    )
)
SAFE_SYSCTLS: Final = frozenset(
    (
        *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies"),
        *("net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports"),
        *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
        *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
    )
)
"""kubelet's list (pkg/kubelet/sysctl/safe_sysctls.go)."""


class Grants(NamedTuple):
    """Of one machine."""

    capabilities: frozenset[str]
    """Without CAP_."""
    controls: frozenset[str] = frozenset(("cpu", "memory"))
    """Resources whose limits can be enforced."""
    oom_score: int = -1000
    """Least oom_score_adj that a process may be given."""


class Rejection(NamedTuple):
    """Why a node refuses a pod for good."""

    reason: str
    message: str


def rejection(pod: NodePod, others: Iterable[NodePod] = ()) -> Rejection | None:
    """The node's admission, as kubelet's; `others` are the pods that it has admitted before."""
    if any(have_conflict(pod, other) for other in others):
        words = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        return Rejection("NodePorts", f"Pod was rejected: {words}")
    for one in pod.spec.security_context.sysctls or ():
        is_theirs = pod.spec.host_network and one.name.startswith("net.")
        if one.name not in SAFE_SYSCTLS or is_theirs:
            return Rejection("SysctlForbidden", f'Pod was rejected: forbidden sysctl: "{one.name}" not allowlisted')
    system = pod.spec.os.name if pod.spec.os is not None else "linux"
    if system not in ("linux", ""):
        words = f"Pod was rejected: Failed to admit pod as the OS field doesn't match node OS: {system}"
        return Rejection("PodOSNotSupported", words)
    return None


def cuts_of_pod(pod: NodePod) -> tuple[str, ...]:
    """What a pod as a whole asks for and does not get."""
    asked = {"hostPID": pod.spec.host_pid, "hostIPC": pod.spec.host_ipc}
    return tuple(f"{name} is not granted: the pod has its own" for name, value in asked.items() if value)


def identity(pod: NodePod, container: Container) -> tuple[int, int, tuple[int, ...]]:
    """User, group and further groups of a container; its own context goes before the pod's."""
    own, shared = container.security_context, pod.spec.security_context
    user = own.run_as_user if own.run_as_user is not None else shared.run_as_user
    group = own.run_as_group if own.run_as_group is not None else shared.run_as_group
    groups = {*(shared.supplemental_groups or ()), *([shared.fs_group] if shared.fs_group is not None else [])}
    return user or 0, group or 0, tuple(sorted(groups))


def root_problem(pod: NodePod, container: Container) -> str:
    """Why a container that must not run as root may not start; all images here run as root unless told otherwise."""
    own, shared = container.security_context, pod.spec.security_context
    must = own.run_as_non_root if own.run_as_non_root is not None else shared.run_as_non_root
    user = own.run_as_user if own.run_as_user is not None else shared.run_as_user
    if not must or user:
        return ""
    meta = pod.metadata
    who = f'(pod: "{meta.name}_{meta.namespace}({meta.uid})", container: {container.name})'
    if user == 0:
        return f"container's runAsUser breaks non-root policy {who}"
    return f"container has runAsNonRoot and image will run as root {who}"


def oom_score(pod: NodePod, container: Container, memory: int) -> int:
    """kubelet's oom_score_adj: best effort goes first, guaranteed last."""
    tables = [(one.resources.requests or {}, one.resources.limits or {}) for one in pod.all_containers]
    if not any(part for table in tables for part in table):
        return 1000
    if all(
        limits and {"cpu", "memory"} <= set(limits) and (requests or limits) == limits for requests, limits in tables
    ):
        return -997
    asked = int(parse_quantity((container.resources.requests or {}).get("memory", 0)))
    return min(max(1000 - (1000 * asked) // max(memory, 1), 3), 999)
