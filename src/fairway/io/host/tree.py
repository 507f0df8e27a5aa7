"""A folder of manifests, or a single file, as it lies on the disk: what is there, its version, and when it changes.

Decides which files count (by extension, hidden and editors' files not), which are still being written, and which
directories must be watched. Does not know what stands in the files.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from fairway.io.host.inotify import Event, Inotify, Mask
from fairway.values.errors import ConfigError, UnavailableError

EXTENSIONS: Final = (".json", ".yaml", ".yml")
RESCAN: Final = 30.0
"""Look again after so long without a notice: a link's target elsewhere, a network file system, tell nothing."""
BUSY: Final = 5.0
"""A file that was written to and not closed is read all the same when nothing was written for so long."""

FileVersion = tuple[int, int, int, int]


class ManifestFolder:
    """Files with a manifest's extension below a folder (or one file), by their path relative to it.

    Symbolic links are followed, also to directories (a ConfigMap volume is made of them); names that begin with a dot
    are not looked at. Fulfils `fairway.agents.manifests.Folder`.
    """

    def __init__(self, root: Path, now: Callable[[], float] = time.monotonic) -> None:
        if not root.exists():
            raise ConfigError(f"--manifests {root}: no such file or directory")
        self._is_file = not root.is_dir()
        self._root = root.parent if self._is_file else root
        self._only = root.name if self._is_file else ""
        self._now = now
        self._inotify = Inotify()
        self._is_watching = False
        self._busy: dict[Path, float] = {}
        self._directories: dict[Path, tuple[int, int]] = {}
        self._found: dict[str, FileVersion] = {}
        self._touched: set[Path] | None = None
        """Files to look at in the next scan; None: walk through everything."""

    def __str__(self) -> str:
        return str(self._root / self._only)

    def close(self) -> None:
        """Stop watching."""
        self._inotify.close()

    def scan(self) -> Mapping[str, FileVersion | None]:
        """The files that are there now, and a version of each; None: is being written, leave it as it was.

        Raises OSError when the folder itself cannot be read.
        """
        for event in self._inotify.pending():  # whether somebody is just writing
            self._matters(event)
        now = self._now()
        given_up = {path for path, until in self._busy.items() if until <= now}
        for path in given_up:
            del self._busy[path]
        if self._touched is None:
            self._walk_and_watch()
        else:
            self._look_at(self._touched | given_up)
        self._touched = set()
        busy = {self._name(path): None for path in self._busy if self._name(path) in self._found}
        return {**self._found, **busy} if busy else self._found

    def _walk_and_watch(self) -> None:
        # Watch first, look then: a change in between is told.
        for _ in range(10):
            self._found, directories = self._walk()
            if directories == self._directories:
                return
            try:
                self._inotify.watch(set(directories))
            except UnavailableError:
                if self._is_watching:
                    return  # no watch to be had for a new directory: `RESCAN` has to do
                raise
            self._directories, self._is_watching = directories, True

    def _look_at(self, paths: set[Path]) -> None:
        """A folder of ten thousand files is not walked for one of them."""
        self._found = dict(self._found)
        for path in paths:
            name = self._name(path)
            self._found.pop(name, None)
            try:
                status = path.stat()
            except OSError:
                continue  # deleted, or a link to nothing
            if stat.S_ISDIR(status.st_mode):
                return self._walk_and_watch()
            if stat.S_ISREG(status.st_mode):
                self._found[name] = _version(status)
        return None

    def _name(self, path: Path) -> str:
        return str(path)[len(str(self._root)) :].lstrip("/")

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises OSError."""
        return (self._root / name).read_bytes()

    async def changed(self) -> None:
        """Return when the folder may have changed since the last scan (or after a while without a notice)."""
        while True:
            now = self._now()
            ends = [until - now for until in self._busy.values()]
            events = await self._inotify.wait(max(0.0, min([RESCAN, *ends])))
            matters = [self._matters(event) for event in events]  # each is noted, also behind the first that matters
            if True in matters:
                return
            if not events:
                self._touched = None
                return

    def _matters(self, event: Event) -> bool:
        """Note what an event says: who is writing, and where to look at the next scan."""
        if event.directory is None or not event.name:
            # An overflow, or a directory itself is gone: watch anew.
            self._directories, self._touched = {}, None
            return True
        path = event.directory / event.name
        if event.mask & Mask.MODIFY:
            self._busy[path] = self._now() + BUSY
            return False
        if event.mask & (Mask.CLOSE_WRITE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.DELETE):
            self._busy.pop(path, None)
        is_file = event.name == self._only or (_counts(event.name) and event.name.endswith(EXTENSIONS))
        if is_file and not event.mask & Mask.ISDIR and not self._only:
            if self._touched is not None:
                self._touched.add(path)
            return True
        if is_file or _counts(event.name) or event.name.startswith(".."):
            self._touched = None
            return True
        return False

    def _walk(self) -> tuple[dict[str, FileVersion], dict[Path, tuple[int, int]]]:
        found: dict[str, FileVersion] = {}
        directories: dict[Path, tuple[int, int]] = {}
        pending = [str(self._root)]
        while pending:
            directory = pending.pop()
            try:
                here = os.stat(directory)  # noqa: PTH116 - thousands of files: strings, not paths
                entries = list(os.scandir(directory))
            except OSError:
                if directory == str(self._root):
                    raise
                continue  # is gone again
            if (here.st_dev, here.st_ino) in directories.values():
                continue  # a link that leads back
            directories[Path(directory)] = (here.st_dev, here.st_ino)
            for entry in entries:
                status = _status(entry) if self._may_count(entry) else None
                if status is not None and stat.S_ISDIR(status.st_mode):
                    pending.append(entry.path)
                elif status is not None and stat.S_ISREG(status.st_mode):
                    found[entry.path[len(str(self._root)) :].lstrip("/")] = _version(status)
        return found, directories

    def _may_count(self, entry: os.DirEntry[str]) -> bool:
        if self._only:
            return entry.name == self._only
        return _counts(entry.name) and (entry.name.endswith(EXTENSIONS) or entry.is_dir())


def _version(status: os.stat_result) -> FileVersion:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:
        return None  # a link to nothing, or gone again


def _counts(name: str) -> bool:
    """Whether a name may be a manifest or a folder of them: hidden files and editors' copies are not."""
    return not name.startswith((".", "#")) and not name.endswith(("~", ".swp", ".swx", ".tmp", ".bak"))


class FileWatcher:
    """Tells when one file (a configuration) was replaced or written, also through symbolic links.

    Make it before the file is read for the first time: what changes after that is told.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inotify = Inotify()
        self._is_open = False
        self._version = self._look()

    def close(self) -> None:
        """Stop watching."""
        self._inotify.close()

    async def changed(self) -> None:
        """Return when the file is another one, or has other content, than at the last call. A missing file is none."""
        while True:
            events = await self._inotify.wait(BUSY if self._is_open else RESCAN)
            for event in events:
                if event.name == self._path.name:
                    self._is_open = bool(event.mask & Mask.MODIFY)
            version = self._look()
            if version is not None and version != self._version and not (events and self._is_open):
                self._version = version
                self._is_open = False
                return

    def _look(self) -> FileVersion | None:
        # The directory of the name, and that of every link on the way to the content.
        directories, path = set(), self._path.absolute()
        for _ in range(40):
            directories.add(path.parent)
            directories.update(parent for parent in path.parents if parent.is_symlink())
            if not path.is_symlink():
                break
            path = path.parent / path.readlink()
        directories.add(Path(os.path.realpath(self._path)).parent)
        self._inotify.watch({d for d in directories if d.is_dir()})
        try:
            status = self._path.stat()
        except OSError:
            return None
        return _version(status)
