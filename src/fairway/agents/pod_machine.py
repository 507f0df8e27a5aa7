"""What the pod agent needs of whoever runs containers: `Machine`, its answers and its errors."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fairway.kube.podspec import Container, Handler, NodePod, Probe
from fairway.values.errors import FairwayError


class StartError(FairwayError):
    """A container could not be started; `reason` is what its status says."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PrepareError(FairwayError):
    """The pod's network or volumes could not be made; `reason` is that of the event."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Started(NamedTuple):
    """A container that runs."""

    ident: str
    cuts: tuple[str, ...] = ()
    """What it asked for and this machine did not grant."""


class Ended(NamedTuple):
    """How a container has ended."""

    code: int
    reason: str
    message: str = ""


class Findings(NamedTuple):
    """What was seen while a pod's volumes were refreshed."""

    eviction: str = ""
    """Why the pod must go."""
    warnings: tuple[str, ...] = ()


class Machine(Protocol):
    """Runs containers. Every method may be called for several pods at once."""

    async def prepare(self, pod: NodePod) -> tuple[str, ...]:
        """Make the pod's volumes and network; returns its addresses. Raises PrepareError; may be asked again."""

    def recall(self, pod: NodePod) -> None:
        """Take note of a pod that ended under a process before this one."""

    async def refresh(self, pod: NodePod) -> Findings:
        """Bring the files of its volumes up to date."""

    async def start(self, pod: NodePod, container: Container, run: int) -> Started:
        """Start one container. Raises StartError."""

    async def wait(self, uid: str, name: str) -> Ended:
        """Return when the container has ended."""

    async def stop(self, pod: NodePod, container: Container, grace: float) -> str:
        """End it: hook, SIGTERM, SIGKILL; returns what was wrong with the hook."""

    async def hook(self, pod: NodePod, container: Container, hook: Handler, seconds: float) -> str:
        """Run a hook; returns what was wrong."""

    async def probe(self, pod: NodePod, container: Container, probe: Probe) -> str:
        """Ask once; returns what is wrong, empty when nothing is."""

    async def release(self, pod: NodePod) -> None:
        """Let go of everything of a pod that has ended, but its logs."""

    async def remove(self, pod: NodePod) -> None:
        """Take everything of the pod away."""
