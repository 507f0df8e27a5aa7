"""Kernel parameters of the host: read, and written where they differ. What they should be is decided in `config/`.

A parameter that the kernel refuses is a warning, never an end: in a network namespace, or under a read-only /proc,
some cannot be set, and the proxy works all the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fairway.config.proxy.sysctls import SYS, Sysctl
from fairway.values.address import Family

OOM_SCORE_ADJ = "/proc/self/oom_score_adj"
ONLINE_CPUS = "/sys/devices/system/cpu/online"


class SysctlChange(NamedTuple):
    """A parameter that was written."""

    name: str
    before: int
    after: int


class SysctlOutcome(NamedTuple):
    changed: tuple[SysctlChange, ...]
    warnings: tuple[str, ...]
    """One for each parameter that is not as it should be."""


def apply_sysctls(wanted: Mapping[str, Sysctl], root: Path = Path("/")) -> SysctlOutcome:
    """Write, in order, what differs. Parameters of the network are those of this thread's network namespace."""
    changed: list[SysctlChange] = []
    warnings: list[str] = []
    refused: set[str] = set()
    for path, sysctl in wanted.items():
        if sysctl.after in refused:
            continue
        try:
            change = _apply(root / path.lstrip("/"), sysctl)
        except (OSError, ValueError) as error:
            refused.add(path)
            warnings.append(f"{display_name(path)} cannot be set to {sysctl.value} ({sysctl.field}): {_why(error)}")
            continue
        if change is not None:
            changed.append(SysctlChange(display_name(path), *change))
    return SysctlOutcome(tuple(changed), tuple(warnings))


def set_oom_score_adj(value: int, path: str = OOM_SCORE_ADJ) -> str | None:
    """Make this process less (or more) likely to be killed when memory runs out. Returns a warning, if refused."""
    try:
        _apply(Path(path), Sysctl(value, "oomScoreAdj"))
    except (OSError, ValueError) as error:
        return f"oom_score_adj cannot be set to {value} (oomScoreAdj): {_why(error)}"
    return None


def set_niceness(value: int) -> None:
    """Let this process run before (or after) others that want the same CPU; without the right it stays as it is."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, value)


def online_cpus(path: str = ONLINE_CPUS) -> int:
    """CPUs of the machine; a container's CPU affinity does not make its node smaller (as kube-proxy counts)."""
    try:
        ranges = [part.partition("-") for part in Path(path).read_text().strip().split(",")]
        return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
    except (OSError, ValueError):
        return os.cpu_count() or 1


def available_families(root: Path = Path("/")) -> tuple[Family, ...]:
    """IPv4, and IPv6 unless the kernel lacks it or this thread's network namespace has it switched off."""
    try:
        is_off = int((root / "proc/sys/net/ipv6/conf/all/disable_ipv6").read_text()) != 0
    except (OSError, ValueError):
        is_off = True
    return (Family.IPV4,) if is_off else (Family.IPV4, Family.IPV6)


def display_name(path: str) -> str:
    """`/proc/sys/net/ipv4/ip_forward` → `net.ipv4.ip_forward`; other paths as they are."""
    return path.removeprefix(SYS).replace("/", ".") if path.startswith(SYS) else path


def _apply(path: Path, sysctl: Sysctl) -> tuple[int, int] | None:
    """Before and after, or None when it was right already."""
    before = int(path.read_text().split()[0])
    if sysctl.is_met_by(before):
        return None
    path.write_text(str(sysctl.value))
    return before, sysctl.value


def _why(error: Exception) -> str:
    if not isinstance(error, OSError):
        return f"the kernel's value is not a number ({error})"
    return error.strerror or str(error)
