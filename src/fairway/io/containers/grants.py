"""What this machine grants to containers: capabilities and cgroup controls, looked up, not assumed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final, NamedTuple

from fairway.pods.grants import CAPABILITIES, WITHHELD, Grants

_PROC: Final = Path("/proc")
_LIMIT_FILES: Final = {"cpu": "cpu.cfs_quota_us", "memory": "memory.limit_in_bytes"}


def machine_grants(proc: Path = _PROC) -> Grants:
    """Capabilities of this process that pods may have, and the resources that can be limited here."""
    status = (proc / "self/status").read_text(encoding="ascii")
    bits = int(next(line for line in status.splitlines() if line.startswith("CapBnd:")).split()[1], 16)
    held = frozenset(name for number, name in enumerate(CAPABILITIES) if bits >> number & 1)
    score = int((proc / "self/oom_score_adj").read_text(encoding="ascii"))
    return Grants(held - WITHHELD, _controls(proc), score)


class Hierarchy(NamedTuple):
    """A mounted cgroup tree; `controls` is empty for version 2."""

    folder: Path
    controls: frozenset[str]


def hierarchies(proc: Path = _PROC) -> list[Hierarchy]:
    """All that are mounted."""
    found = []
    for line in (proc / "self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            names = frozenset(options.split(",")) if kind == "cgroup" else frozenset()
            found.append(Hierarchy(Path(before.split(" ")[4]), names))
    return found


def groups(pattern: str, proc: Path = _PROC) -> list[Path]:
    """Groups of containers, in all trees; `pattern` is of their names."""
    return [path for tree in hierarchies(proc) for path in (tree.folder / "fairway").glob(pattern)]


def _controls(proc: Path) -> frozenset[str]:
    granted: set[str] = set()
    for tree in hierarchies(proc):
        if not tree.controls:
            with contextlib.suppress(OSError):
                granted |= set((tree.folder / "cgroup.controllers").read_text(encoding="ascii").split())
        granted |= {name for name, file in _LIMIT_FILES.items() if name in tree.controls and _has(tree.folder, file)}
    return frozenset(granted) & set(_LIMIT_FILES)


def _has(folder: Path, file: str) -> bool:
    """In a group of its own: the top one may lack it."""
    return any(folder.glob(f"*/{file}")) or (folder / file).exists()


def memory_group(pid: int, proc: Path = _PROC) -> Path | None:
    """The folder of the process's memory group."""
    paths: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in (proc / str(pid) / "cgroup").read_text(encoding="utf-8").splitlines():
            _, names, path = line.split(":", 2)
            paths |= dict.fromkeys(names.split(","), path)
    for tree in hierarchies(proc):
        name = "memory" if "memory" in tree.controls else "" if not tree.controls else None
        if name is not None and name in paths:
            folder = tree.folder / paths[name].lstrip("/")
            if (folder / "memory.oom_control").exists() or (folder / "memory.events").exists():
                return folder
    return None


def was_out_of_memory(group: Path) -> bool:
    """Whether the kernel has killed a process of this group for want of memory."""
    for name in ("memory.oom_control", "memory.events"):
        with contextlib.suppress(OSError):
            for line in (group / name).read_text(encoding="ascii").splitlines():
                if line.startswith("oom_kill ") and int(line.split()[1]):
                    return True
    return False
