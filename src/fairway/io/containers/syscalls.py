"""The system calls of containers that Python lacks: mounts and the adoption of orphans."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from fairway.values.errors import UnavailableError

MNT_DETACH: Final = 2
_MS_BIND: Final = 4096
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str, options: str = "") -> None:
    """mount(2). Raises UnavailableError with the kernel's word."""
    arguments = (source.encode(), os.fsencode(target), kind.encode(), 0, options.encode())
    if _libc.mount(*arguments):
        reason = os.strerror(ctypes.get_errno())
        raise UnavailableError(f"cannot mount {kind} at {target}: {reason}; run as root")


def bind(descriptor: int, target: Path) -> None:
    """Mount what is open at `target`, too. Raises UnavailableError with the kernel's word."""
    source = f"/proc/thread-self/fd/{descriptor}".encode()
    if _libc.mount(source, os.fsencode(target), b"none", _MS_BIND, None):
        raise UnavailableError(f"cannot mount {target}: {os.strerror(ctypes.get_errno())}; run as root")


def unmount(target: Path) -> None:
    """Take a mount away, at once for all who look; nothing happens where none is."""
    _libc.umount2(os.fsencode(target), MNT_DETACH)


def is_mount(target: Path) -> bool:
    """Whether something is mounted there; unlike os.path.ismount, also a file or a folder of the same file system."""
    found = os.fsencode(os.path.realpath(target))
    with Path("/proc/self/mountinfo").open("rb") as table:
        return any(line.split(b" ", 5)[4] == found for line in table)


def adopt_orphans() -> None:
    """Processes whose parent ends become children of this one, which alone may learn how they end."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise UnavailableError(f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(ctypes.get_errno())}")
