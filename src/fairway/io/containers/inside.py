"""Paths below a folder in which pods may write, opened so that no link leads out of it.

A path that was looked at and is then used by its name can be another one by then: whoever may write to the folder puts
a link into its way in between (CVE-2021-25741). So what a container gets of such a folder is opened once, by the
kernel's own rule (openat2), and mounted from what was opened.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Final

from fairway.io.containers.syscalls import bind, is_mount, unmount

_OPENAT2: Final = 437
_NO_MAGICLINKS: Final = 0x02
_libc = ctypes.CDLL(None, use_errno=True)


class Links(Enum):
    """Where links may lead (RESOLVE_* of openat2)."""

    BENEATH = 0x08
    """To what lies below the folder, else the path is refused."""
    AS_ROOT = 0x10
    """As if the folder were the root."""


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@contextlib.contextmanager
def opened(folder: Path, path: str, links: Links) -> Iterator[int]:
    """A descriptor for nothing but naming what lies there. Raises OSError."""
    base = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = _open(base, path, links)
    finally:
        os.close(base)
    try:
        yield found
    finally:
        os.close(found)


def make_folder(folder: Path, path: str, links: Links, mode: int) -> None:
    """A folder there, with those above it that are missing; nothing happens when there is one. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), opened(folder, path, links):
        return
    above, name = posixpath.split(posixpath.normpath(path))
    make_folder(folder, above or ".", links, mode)
    with opened(folder, above or ".", links) as parent, contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
        made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        os.fchmod(made, mode)
        os.close(made)


def make_file(folder: Path, path: str, links: Links, mode: int) -> None:
    """An empty file there, in a folder that is there; nothing happens when there is something. Raises OSError."""
    above, name = posixpath.split(posixpath.normpath(path))
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with opened(folder, above or ".", links) as parent, contextlib.suppress(FileExistsError):
        os.close(os.open(name, flags, mode, dir_fd=parent))


def mode_of(folder: Path, path: str, links: Links) -> int:
    """As lstat has it; 0 when there is nothing. Raises OSError for a path that leaves the folder."""
    try:
        with opened(folder, path, links) as found:
            return os.fstat(found).st_mode
    except FileNotFoundError:
        return 0


def mount_at(place: Path, found: int) -> None:
    """Mount what is open at `place`, whatever is mounted there now. Raises OSError, UnavailableError."""
    if place.exists() and is_mount(place):
        unmount(place)
    if stat.S_ISDIR(os.fstat(found).st_mode):
        if not place.is_dir():
            place.unlink(missing_ok=True)
        place.mkdir(parents=True, exist_ok=True)
    else:
        if place.is_dir():
            place.rmdir()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    bind(found, place)


def _open(base: int, path: str, links: Links) -> int:
    how = _How(os.O_PATH | os.O_CLOEXEC, 0, links.value | _NO_MAGICLINKS)
    while True:
        found = _libc.syscall(_OPENAT2, base, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        if found >= 0:
            return int(found)
        number = ctypes.get_errno()
        # The kernel asks for another try when something was renamed meanwhile.
        if number != errno.EAGAIN:
            raise OSError(number, os.strerror(number), path)
