"""Linux inotify for asyncio: which names in which directories were created, written, moved or deleted.

Knows the kernel's interface (inotify(7)) only; what a change means is the caller's business.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from enum import IntFlag
from pathlib import Path
from typing import Final, NamedTuple

from fairway.values.errors import UnavailableError


class Mask(IntFlag):
    """What happened; names and values are the kernel's."""

    MODIFY = 0x2
    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    Q_OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x1000000
    ISDIR = 0x40000000


WATCHED: Final = (
    Mask.MODIFY
    | Mask.ATTRIB
    | Mask.CLOSE_WRITE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.CREATE
    | Mask.DELETE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)
QUIET: Final = 0.005
"""Changes that follow one another faster than this are reported together: `mv`, an editor's save, a checkout."""
LONGEST: Final = 0.2
"""So long changes may go on before they are reported all the same."""

_HEAD: Final = struct.Struct("iIII")


class Event(NamedTuple):
    """Something happened to `name` in `directory`; without a name, to the directory itself."""

    directory: Path | None
    """None for events of no directory (queue overflow)."""
    mask: Mask
    name: str


class Inotify:
    """One inotify instance. Directories are named by path; a symbolic link means what it points to now."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            hint = "; fs.inotify.max_user_instances is reached" if number == errno.EMFILE else ""
            raise UnavailableError(f"inotify: {os.strerror(number)}{hint}")
        self._directories: dict[int, Path] = {}
        self._waiting: asyncio.AbstractEventLoop | None = None

    def close(self) -> None:
        """Give the instance back to the kernel."""
        if self._fd < 0:
            return
        if self._waiting is not None:
            self._waiting.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1

    def watch(self, directories: set[Path]) -> None:
        """Watch exactly these directories. Those that are gone are passed over: their parent tells of it."""
        present: dict[int, Path] = {}
        for directory in sorted(directories):
            descriptor = self._libc.inotify_add_watch(self._fd, os.fsencode(directory), int(WATCHED))
            if descriptor >= 0:
                present.setdefault(descriptor, directory)
            elif ctypes.get_errno() == errno.ENOSPC:
                raise UnavailableError(f"inotify: {directory}: fs.inotify.max_user_watches is reached")
        for descriptor in self._directories.keys() - present.keys():
            self._libc.inotify_rm_watch(self._fd, descriptor)
        self._directories = present

    async def wait(self, timeout: float | None = None) -> list[Event]:  # noqa: ASYNC109 - waiting is all this does
        """Wait for changes and return them once they pause; an empty list when none came in time."""
        if not await self._readable(timeout):
            return []
        events = list(self._read())
        loop = asyncio.get_running_loop()
        end = loop.time() + LONGEST
        while loop.time() < end and await self._readable(QUIET):
            events += self._read()
        return events

    async def _readable(self, timeout: float | None) -> bool:  # noqa: ASYNC109
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._fd, _resolve, ready)
        self._waiting = loop
        try:
            # Not wait_for: in Python 3.11 it loses a cancellation that comes with the result.
            async with asyncio.timeout(timeout):
                await ready
        except TimeoutError:
            return False
        finally:
            # Closed while somebody waits, there is nothing left to remove.
            if self._fd >= 0:
                loop.remove_reader(self._fd)
            self._waiting = None
        return True

    def pending(self) -> list[Event]:
        """What has happened by now, without waiting."""
        return list(self._read())

    def _read(self) -> Iterator[Event]:
        try:
            data = os.read(self._fd, 256 * 1024)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            descriptor, mask, _cookie, length = _HEAD.unpack_from(data, offset)
            offset += _HEAD.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            directory = self._directories.get(descriptor)
            # What was still queued for a directory that is not watched any more concerns nobody.
            if directory is not None or mask & Mask.Q_OVERFLOW:
                yield Event(directory, Mask(mask), name)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
