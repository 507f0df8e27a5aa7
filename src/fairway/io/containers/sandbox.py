"""What all containers of a pod share beside their network: IPC objects, /dev/shm, and files that say who the pod is."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

from fairway.io.containers.syscalls import is_mount, mount, unmount
from fairway.kube.podspec import NodePod
from fairway.pods.bundle import Mount
from fairway.pods.files import Resolver, hosts_file, resolv_conf, uts_name
from fairway.values.errors import UnavailableError

_CLONE_NEWIPC: Final = 0x08000000
_MS_BIND: Final = 4096
_SHARED: Final = "64m"
_libc = ctypes.CDLL(None, use_errno=True)


class Sandboxes:
    """Sandboxes of the pods of one node, below `folder`. What a killed process left is taken over as it is."""

    def __init__(self, folder: Path, node: str, resolver: Resolver) -> None:
        self._folder, self._node, self._resolver = folder, node, resolver

    def make(self, pod: NodePod, addresses: tuple[str, ...]) -> None:
        """Again for a pod that has one: its files are written anew. Raises UnavailableError, OSError."""
        base = self._base(pod)
        base.mkdir(parents=True, exist_ok=True)
        if not is_mount(base / "ipc"):
            _new_ipc(base / "ipc")
        if not is_mount(base / "shm"):
            (base / "shm").mkdir(exist_ok=True)
            mount("shm", base / "shm", "tmpfs", f"mode=1777,size={_SHARED}")
        host_text = ""
        if pod.spec.host_network:
            with contextlib.suppress(OSError):
                host_text = Path("/etc/hosts").read_text(encoding="utf-8")
        text = hosts_file(pod, addresses, self._resolver.domain, host_text)
        (base / "hosts").write_text(text, encoding="utf-8")
        (base / "resolv.conf").write_text(resolv_conf(pod, self._resolver), encoding="utf-8")
        (base / "hostname").write_text(f"{self.hostname(pod)}\n", encoding="utf-8")

    def hostname(self, pod: NodePod) -> str:
        return uts_name(pod, self._node, self._resolver.domain)

    def ipc(self, pod: NodePod) -> str:
        """Path of the IPC namespace."""
        return str(self._base(pod) / "ipc")

    def mounts(self, pod: NodePod) -> list[Mount]:
        base = self._base(pod)
        files = [Mount(str(base / one), f"/etc/{one}") for one in ("hostname", "hosts", "resolv.conf")]
        return [*files, Mount(str(base / "shm"), "/dev/shm")]  # noqa: S108 - the container's own

    def message_file(self, pod: NodePod, name: str) -> Path:
        """Where a run of a container leaves its last words; empty, and for every user to write."""
        path = self.message_path(pod, name)
        path.write_bytes(b"")
        path.chmod(0o666)
        return path

    def message_path(self, pod: NodePod, name: str) -> Path:
        return self._base(pod) / f"end-{name}"

    def remove(self, uid: str) -> None:
        base = self._folder / uid
        for name in ("ipc", "shm"):
            if is_mount(base / name):
                unmount(base / name)
        for path in base.glob("*"):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        with contextlib.suppress(OSError):
            base.rmdir()

    def known(self) -> list[str]:
        """The pods that have a sandbox here."""
        return sorted(path.name for path in self._folder.iterdir()) if self._folder.is_dir() else []

    def _base(self, pod: NodePod) -> Path:
        return self._folder / pod.metadata.uid


def _new_ipc(path: Path) -> None:
    """A namespace of its own for the time of the call; the mount keeps it."""
    path.touch()
    home = os.open("/proc/thread-self/ns/ipc", os.O_RDONLY)
    try:
        _call(_libc.unshare(_CLONE_NEWIPC), "make an IPC namespace")
        try:
            source = b"/proc/thread-self/ns/ipc"
            _call(_libc.mount(source, os.fsencode(path), b"none", _MS_BIND, None), f"mount {path}")
        finally:
            _call(_libc.setns(home, _CLONE_NEWIPC), "come back from an IPC namespace")
    finally:
        os.close(home)


def _call(result: int, what: str) -> None:
    if result:
        raise UnavailableError(f"cannot {what}: {os.strerror(ctypes.get_errno())}; run as root")
