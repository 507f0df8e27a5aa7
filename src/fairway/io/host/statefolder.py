"""The folder that a cluster on this machine keeps its things in: what it was started with, who runs, logs.

A process that runs holds a lock on its file below `run/`, and the kernel tells who holds it. It lets go of the lock
when the process dies, however it dies: so nobody is taken for alive who is not, and no number is believed that another
process has by now. No process opens its own file a second time, for closing it would end the lock (POSIX).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from fairway.cluster.host import HostSysctl
from fairway.cluster.settings import ClusterSettings
from fairway.values.errors import FairwayError

ROOT = Path("/run/fairway")
_FLOCK = struct.Struct("@hhqqi4x")
"""fcntl(2): type, whence, start, length, process."""
SUPERVISOR, CONTROL_PLANE = "supervisor", "control-plane"


class RunningAlreadyError(FairwayError):
    """Another process does what this one was started for."""


class Part(NamedTuple):
    """One process of a cluster, as its files say."""

    name: str
    pid: int
    """0: it does not run."""
    is_ready: bool


class StateFolder:
    """One cluster's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        return (self.path / "cluster.json").exists()

    # -- what the cluster was started with

    def create(self, settings: ClusterSettings) -> None:
        """Make the folder. What it holds is for root alone."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o755)
        self.path.chmod(0o700)
        for part in ("run", "logs", "nodes"):
            (self.path / part).mkdir(exist_ok=True)
        self._write("cluster.json", msgspec.json.encode(settings))

    def settings(self) -> ClusterSettings:
        """Raises FairwayError when there is no cluster here."""
        try:
            return msgspec.json.decode((self.path / "cluster.json").read_bytes(), type=ClusterSettings)
        except (OSError, msgspec.MsgspecError) as error:
            raise FairwayError(f"no cluster's state in {self.path}: {error}") from None

    def keep_sysctls(self, found: tuple[HostSysctl, ...]) -> None:
        """Remember what the host had before; the first word counts."""
        if not (self.path / "host.json").exists():
            self._write("host.json", msgspec.json.encode(found))

    def inherit_sysctls(self, found: tuple[HostSysctl, ...]) -> None:
        """A cluster that began earlier ends earlier: what it found is now this one's to put back."""
        mine = {one.key: one for one in self.sysctls()}
        self._write("host.json", msgspec.json.encode(tuple({**mine, **{one.key: one for one in found}}.values())))

    def sysctls(self) -> tuple[HostSysctl, ...]:
        """What the host had before."""
        with contextlib.suppress(FileNotFoundError):
            return msgspec.json.decode((self.path / "host.json").read_bytes(), type=tuple[HostSysctl, ...])
        return ()

    def _write(self, name: str, data: bytes) -> None:
        part = self.path / f"{name}.part"
        part.write_bytes(data)
        part.replace(self.path / name)

    def keep_kubeconfig_place(self, path: Path) -> None:
        """Remember which kubeconfig got an entry."""
        self._write("user-kubeconfig", str(path).encode())

    def kubeconfig_place(self) -> Path | None:
        """Which kubeconfig has an entry of this cluster."""
        with contextlib.suppress(FileNotFoundError):
            return Path((self.path / "user-kubeconfig").read_text())
        return None

    # -- places

    @property
    def control_plane(self) -> Path:
        """The API server's data."""
        return self.path / CONTROL_PLANE

    @property
    def kubeconfig(self) -> Path:
        """For people on this machine."""
        return self.path / "kubeconfig"

    @property
    def node_kubeconfig(self) -> Path:
        """For the nodes, which reach the API server by the underlay."""
        return self.path / "nodes" / "kubeconfig"

    def node(self, name: str) -> Path:
        """A node's own folder."""
        return self.path / "nodes" / name

    def proxy_config(self, name: str) -> Path:
        """A node's KubeProxyConfiguration."""
        return self.node(name) / "proxy.yaml"

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    # -- processes

    def keep_history(self, found: dict[str, tuple[int, str]]) -> None:
        """How often each part was started and how it ended last; the supervisor's to tell. A full disk stops nobody."""
        with contextlib.suppress(OSError):
            self._write("run/history.json", msgspec.json.encode(found))

    def history(self) -> dict[str, tuple[int, str]]:
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            return msgspec.json.decode((self.path / "run/history.json").read_bytes(), type=dict[str, tuple[int, str]])
        return {}

    def names(self) -> tuple[str, ...]:
        """Of all processes that the cluster consists of, in the order in which they are started."""
        return (SUPERVISOR, CONTROL_PLANE, *(node.name for node in self.settings().topology.nodes))

    def take(self, name: str) -> None:
        """Be this part from now on to the end of this process. Raises RunningAlreadyError."""
        descriptor = os.open(self.path / "run" / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise RunningAlreadyError(f"{name} runs already, as process {self.part(name).pid}") from None
        (self.path / "run" / f"{name}.ready").unlink(missing_ok=True)

    def ready(self, name: str) -> None:
        """This part does all that it is there for."""
        (self.path / "run" / f"{name}.ready").write_text(str(os.getpid()))

    def part(self, name: str) -> Part:
        """How one part is."""
        pid = self._holder(self.path / "run" / name)
        ready = self.path / "run" / f"{name}.ready"
        is_ready = False
        with contextlib.suppress(FileNotFoundError, ValueError):
            is_ready = bool(pid) and int(ready.read_text() or 0) == pid
        return Part(name, pid, is_ready)

    def parts(self) -> tuple[Part, ...]:
        """All of them."""
        return tuple(self.part(name) for name in self.names())

    @staticmethod
    def _holder(path: Path) -> int:
        """Who holds the lock, by the kernel's word; 0 for nobody."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
            return 0 if kind == fcntl.F_UNLCK else int(pid)
        finally:
            os.close(descriptor)


def folders(root: Path = ROOT) -> Iterator[StateFolder]:
    """Of all clusters that have left anything here."""
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.is_dir():
            yield StateFolder(path)
