"""Root file systems of containers: the machine's own root, below a mask that hides what is not for pods.

Decides what of the machine a container may see. An allowlist at the top, and in what remains one rule: what the
machine does not show to every user of its own, it does not show to a pod either. /etc is a copy of what passed that
test when the cluster began, so a secret that is put there later does not show. The mask is a layer of whiteouts and
opaque folders, made once and shared: hiding costs a container no mount. Other mounts of the machine do not show, since
an overlay's lower layer does not cross them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from fairway.io.containers.syscalls import mount, unmount

SHOWN: Final = frozenset({"bin", "etc", "lib", "lib32", "lib64", "libx32", "opt", "sbin", "usr"})
"""Top folders of the machine that show; all others are empty in a pod."""
EXPECTED: Final = {
    "dev": 0o755,
    "home": 0o755,
    "proc": 0o755,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o755,
    "tmp": 0o1777,
    "var": 0o755,
    "var/cache": 0o755,
    "var/lib": 0o755,
    "var/log": 0o755,
    "var/tmp": 0o1777,
}
SEARCHED: Final = ("opt", "usr/local/etc")
"""Where configuration lies that may hold secrets."""
HIDDEN_FOLDERS: Final = ("etc/ssh", "etc/ssl/private", "etc/kubernetes", "etc/rancher", "etc/fairway")
KEYLIKE: Final = ("*.key", "*_key", "*.p12", "*.pfx", "*.kubeconfig", "*shadow*", "opasswd*", "id_*")
OPAQUE: Final = "trusted.overlay.opaque"


def make_mask(mask: Path, root: Path) -> None:
    """Write the mask of `root` into the empty folder `mask` (on a file system with trusted attributes)."""
    for entry in sorted(os.scandir(root), key=lambda one: one.name):
        if entry.name in SHOWN or entry.is_symlink():
            continue
        if entry.is_dir(follow_symlinks=False):
            _hide_folder(mask / entry.name)
        else:
            _hide_file(mask, Path(entry.name))
    for name, mode in EXPECTED.items():
        (mask / name).mkdir(exist_ok=True)
        (mask / name).chmod(mode)
    (mask / "var/run").symlink_to("/run")
    _copy_public(root, mask, Path("etc"))
    for found in _secrets(root, SEARCHED):
        _mirror(mask, root, found.parent)
        if (root / found).is_dir():
            _hide_folder(mask / found)
        else:
            _hide_file(mask, found)


def _copy_public(root: Path, mask: Path, top: Path) -> None:
    hidden = set(_secrets(root, (str(top),)))

    def leave_out(folder: str, names: list[str]) -> set[str]:
        here = Path(folder).relative_to(root)
        # Sockets, pipes and devices are no configuration, and opening one may block.
        return {n for n in names if here / n in hidden or not _is_plain(Path(folder, n))}

    shutil.copytree(root / top, mask / top, symlinks=True, ignore=leave_out, dirs_exist_ok=True)
    _hide_folder(mask / top)


def _is_plain(path: Path) -> bool:
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _secrets(root: Path, folders: Iterable[str]) -> Iterator[Path]:
    """Paths below `root` that not every user may read, or that are called like a key."""
    for top in folders:
        for folder, names, files in os.walk(root / top):
            here = Path(folder).relative_to(root)
            for name in sorted(names):
                if str(here / name) in HIDDEN_FOLDERS or not _is_public(Path(folder, name), stat.S_IXOTH):
                    names.remove(name)
                    yield here / name
            for name in sorted(files):
                path = Path(folder, name)
                if any(fnmatch(name, like) for like in KEYLIKE) or not _is_public(path, stat.S_IROTH):
                    yield here / name


def _is_public(path: Path, right: int) -> bool:
    # A link's own rights say nothing; what it points to is judged where that lies.
    mode = path.lstat().st_mode
    return stat.S_ISLNK(mode) or bool(mode & right)


def _mirror(mask: Path, root: Path, folder: Path) -> None:
    """Make `folder` in the mask as it is in the root, since the upper one's rights count."""
    for part in [*reversed(folder.parents), folder]:
        made = mask / part
        if not made.exists():
            made.mkdir()
            made.chmod(stat.S_IMODE((root / part).stat().st_mode))


def _hide_folder(path: Path) -> None:
    path.mkdir(exist_ok=True)
    os.setxattr(path, OPAQUE, b"y")


def _hide_file(mask: Path, name: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.mknod(mask / name, stat.S_IFCHR, os.makedev(0, 0))


class RootFiles:
    """Makes and removes overlays below one folder, on a tmpfs of its own.

    A tmpfs, since an overlay's upper layer must not lie below its lower one, and nothing of a pod outlives it.
    """

    def __init__(self, folder: Path, root: Path = Path("/")) -> None:
        self.folder = folder
        self._root = root

    def open(self, size: str = "50%") -> None:
        """Mount the tmpfs and write the mask."""
        self.folder.mkdir(parents=True, exist_ok=True)
        mount("fairway", self.folder, "tmpfs", f"mode=0700,size={size}")
        mask = self.folder / "mask"
        mask.mkdir()
        mask.chmod(0o755)
        make_mask(mask, self._root)

    def close(self) -> None:
        """Unmount everything; what was written is gone."""
        for path in sorted(self.folder.glob("layers/*/root")):
            unmount(path)
        unmount(self.folder)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def make(self, name: str, layer: Path | None = None) -> Path:
        """A root file system for a container; `layer` lies over the machine's."""
        base = self.folder / "layers" / name
        for part in ("upper", "work", "root"):
            (base / part).mkdir(parents=True)
        (base / "upper").chmod(0o755)
        lower = [self.folder / "mask", self._root]
        if layer is not None:
            lower.insert(0, self._copied(layer))
        mount(
            "overlay",
            base / "root",
            "overlay",
            f"lowerdir={':'.join(map(str, lower))},upperdir={base / 'upper'},workdir={base / 'work'}",
        )
        return base / "root"

    def _copied(self, layer: Path) -> Path:
        """The layer on our own file system: one layer of an overlay must not lie below another."""
        copy = self.folder / "images" / layer.name
        if not copy.exists():
            part = copy.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(layer, part, symlinks=True)
            part.rename(copy)
        return copy

    def put(self, name: str, target: str) -> Path:
        """The place of a path of the container in its own upper layer, parents made; before it runs."""
        path = self.folder / "layers" / name / "upper" / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def used(self, name: str) -> int:
        """Bytes that the container has written to it."""
        return used(self.folder / "layers" / name / "upper")

    def remove(self, name: str) -> None:
        """Take it away with all that was written to it."""
        base = self.folder / "layers" / name
        unmount(base / "root")
        shutil.rmtree(base, ignore_errors=True)


def used(base: Path) -> int:
    """Bytes on disk below a folder."""
    total = 0
    for folder, _, names in os.walk(base):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(folder, name).lstat().st_blocks * 512
    return total
