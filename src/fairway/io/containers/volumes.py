"""Volumes of pods on this machine: made before the first container, refreshed while it runs, taken away at the end.

Files that come from the API are swapped as one by a link (`..data`), as kubelet's atomic writer does: a reader sees the
old ones or the new ones, never some of each. What a hostPath names lies in the node's own root, not the machine's.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from fairway.io.containers.inside import Links, make_file, make_folder, mode_of, mount_at, opened
from fairway.io.containers.rootfs import used
from fairway.io.containers.syscalls import is_mount, mount, unmount
from fairway.kube.podspec import Container, EmptyDir, HostPath, NodePod, Volume
from fairway.kube.quantity import parse_quantity
from fairway.pods.bundle import Mount
from fairway.pods.environment import MissingReferenceError, NodeFacts, Sources
from fairway.pods.volumes import File, Placed, content, placements
from fairway.values.errors import FairwayError

DATA: Final = "..data"
HELD: Final = ".held"
"""Beside a pod's volumes: parts of them, mounted for one container each."""
_HOST_KINDS: Final = {
    "File": (stat.S_ISREG, "file"),
    "FileOrCreate": (stat.S_ISREG, "file"),
    "Directory": (stat.S_ISDIR, "directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "directory"),
    "Socket": (stat.S_ISSOCK, "socket"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}


class VolumeError(FairwayError):
    """A volume cannot be had; the message has kubelet's words, with volume and kind."""


class Supply(NamedTuple):
    """What volumes are filled from."""

    sources: Sources
    tokens: Mapping[tuple[str, str], str]
    """Service account tokens by volume and path."""
    facts: NodeFacts


class VolumeFiles:
    """Volumes of the pods of one node, below `folder`; `host` is the node's own root."""

    def __init__(self, folder: Path, host: Path) -> None:
        self._folder, self._host = folder, host

    def make(self, pod: NodePod, supply: Supply) -> None:
        """All volumes of a pod; those that are there already are brought up to date. Raises VolumeError."""
        for volume in pod.spec.volumes or ():
            base = self.place(pod, volume.name)
            try:
                self._make(pod, volume, base, supply)
            except (MissingReferenceError, OSError) as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from None

    def _make(self, pod: NodePod, volume: Volume, base: Path, supply: Supply) -> None:
        if kind := volume.foreign_kind:
            raise MissingReferenceError(f"this node has no volumes of kind {kind}")
        group = pod.spec.security_context.fs_group
        if volume.host_path is not None:
            _check_host_path(self._host, volume.host_path)
        elif volume.empty_dir is not None:
            if not base.exists() or (volume.empty_dir.medium == "Memory" and not is_mount(base)):
                _make_empty(base, volume.empty_dir, group)
        else:
            found = content(pod, volume, supply.sources, supply.facts)
            files = list(found.files)
            for wish in found.tokens:
                if (token := supply.tokens.get((volume.name, wish.path))) is None:
                    raise MissingReferenceError(f"no token for {wish.path} yet")
                files.append(File(wish.path, token.encode(), _token_mode(pod, wish.mode)))
            write_files(base, files, _owner(pod, has_tokens=bool(found.tokens)), group)

    def mounts(self, pod: NodePod, container: Container, env: Mapping[str, str]) -> list[Mount]:
        """Where the container's volumes lie. Raises MissingReferenceError for a subPath that leaves its volume."""
        volumes = {one.name: one for one in pod.spec.volumes or ()}
        found = []
        for number, place in enumerate(placements(pod, container, env)):
            volume = volumes[place.volume]
            source = self.place(pod, volume.name)
            if volume.host_path is not None or place.sub_path:
                base, path = (self._host, volume.host_path.path) if volume.host_path is not None else (source, ".")
                source = self.place(pod, HELD) / container.name / str(number)
                try:
                    with opened(base, path, Links.AS_ROOT) as top:
                        _hold(source, top, place.sub_path)
                except OSError as error:
                    raise MissingReferenceError(_sub_path_words(container, place, error)) from None
            found.append(Mount(str(source), place.target, place.is_read_only))
        return found

    def over_limit(self, pod: NodePod) -> str:
        """Why the pod must go: an emptyDir that has grown beyond its sizeLimit (kubelet's words); empty if none has."""
        for volume in pod.spec.volumes or ():
            one = volume.empty_dir
            if one is None or one.size_limit is None:
                continue
            limit = parse_quantity(one.size_limit)
            if limit and used(self.place(pod, volume.name)) > limit:
                return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{one.size_limit}". '
        return ""

    def remove(self, uid: str) -> None:
        """Take away all that a pod had."""
        for path in self._folder.glob(f"{uid}/{HELD}/*/*"):
            unmount(path)  # first of all: what lies there may be the node's
        for path in self._folder.glob(f"{uid}/*"):
            if is_mount(path):
                unmount(path)
        shutil.rmtree(self._folder / uid, ignore_errors=True)

    def known(self) -> list[str]:
        """The pods that have volumes here."""
        return sorted(path.name for path in self._folder.iterdir()) if self._folder.is_dir() else []

    def place(self, pod: NodePod, name: str) -> Path:
        """Where a volume of a pod lies, or something else of it."""
        return self._folder / pod.metadata.uid / name


def _hold(place: Path, top: int, sub_path: str) -> None:
    """Mount a part of a volume where no container can put a link into its way (CVE-2017-1002101, CVE-2021-25741)."""
    if not sub_path:
        mount_at(place, top)
        return
    volume = Path(f"/proc/self/fd/{top}")
    # A volume that all users may write has such parts, as kubelet makes them.
    make_folder(volume, sub_path, Links.BENEATH, stat.S_IMODE(os.fstat(top).st_mode))
    with opened(volume, sub_path, Links.BENEATH) as part:
        mount_at(place, part)


def _sub_path_words(container: Container, place: Placed, error: OSError) -> str:
    why = f"subPath {place.sub_path!r} leaves the volume" if error.errno == errno.EXDEV else error.strerror
    kind = "subPath" if place.sub_path else "hostPath"
    return f'failed to prepare {kind} for volumeMount "{place.volume}" of container "{container.name}": {why}'


def _check_host_path(host: Path, wanted: HostPath) -> None:
    kind, path = wanted.type or "", wanted.path
    if kind in ("DirectoryOrCreate", ""):  # without a type container runtimes make one
        make_folder(host, path, Links.AS_ROOT, 0o755)
    if kind == "FileOrCreate":
        make_file(host, path, Links.AS_ROOT, 0o644)
    if not kind:
        return
    test, words = _HOST_KINDS[kind]
    if not test(mode_of(host, path, Links.AS_ROOT)):
        raise MissingReferenceError(f"hostPath type check failed: {path} is not a {words}")


def _make_empty(base: Path, wanted: EmptyDir, group: int | None) -> None:
    base.mkdir(parents=True, exist_ok=True)
    if wanted.medium == "Memory":
        size = f",size={int(parse_quantity(wanted.size_limit))}" if wanted.size_limit else ""
        mount("tmpfs", base, "tmpfs", f"mode=0777{size}")
    base.chmod(0o777)
    if group is not None:
        os.chown(base, -1, group)
        base.chmod(0o2777)


def write_files(base: Path, files: list[File], owner: int = -1, group: int | None = None) -> None:
    """Make the files of a volume what they shall be, all in one step; nothing is done when they are."""
    base.mkdir(parents=True, exist_ok=True)
    base.chmod(0o777)
    current = base / DATA
    if current.is_symlink() and _as_they_are(current.resolve()) == _as_wanted(files, group):
        return
    stamp = datetime.now(UTC).strftime("..%Y_%m_%d_%H_%M_%S.%f")
    fresh, before = base / stamp, current.resolve() if current.is_symlink() else None
    fresh.mkdir(mode=0o755)
    for file in files:
        path = fresh / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        path.chmod(_file_mode(file.mode, group))
        os.chown(path, owner, -1 if group is None else group)
    link = base / f"{DATA}_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(stamp)
    link.rename(current)
    _link_names(base, {file.path.partition("/")[0] for file in files})
    if before is not None:
        shutil.rmtree(before, ignore_errors=True)


def _link_names(base: Path, names: set[str]) -> None:
    for name in names:
        if not (base / name).is_symlink():
            (base / name).symlink_to(f"{DATA}/{name}")
    for path in base.iterdir():
        if not path.name.startswith("..") and path.name not in names:
            path.unlink()


def _as_they_are(folder: Path) -> dict[str, tuple[bytes, int]]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in paths}


def _as_wanted(files: list[File], group: int | None) -> dict[str, tuple[bytes, int]]:
    return {file.path: (file.data, _file_mode(file.mode, group)) for file in files}


def _file_mode(mode: int, group: int | None) -> int:
    """With fsGroup, the group may read what its owner may (kubelet's SetVolumeOwnership of a read-only volume)."""
    return mode if group is None else mode | 0o440


def _token_mode(pod: NodePod, mode: int) -> int:
    """kubelet: a token is for its user alone where that is one and known, else for all users of the pod."""
    if pod.spec.security_context.fs_group is not None or _owner(pod, has_tokens=True) >= 0:
        return 0o600
    return mode


def _owner(pod: NodePod, *, has_tokens: bool) -> int:
    """The one user of all containers, for tokens; -1 leaves root."""
    shared = pod.spec.security_context.run_as_user
    own = [one.security_context.run_as_user for one in pod.all_containers]
    users = {shared if user is None else user for user in own}
    only = next(iter(users)) if len(users) == 1 else None
    return only if has_tokens and only is not None else -1
