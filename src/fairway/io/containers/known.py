"""What a node keeps in mind of one pod while it is there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fairway.io.containers.logs import Log
from fairway.io.containers.runc import Container
from fairway.kube.podspec import NodePod


@dataclass(slots=True)
class KnownPod:
    """One pod whose network and volumes are there."""

    namespace: str
    addresses: tuple[str, ...]
    pod: NodePod
    waiting: dict[str, str] = field(default_factory=dict)
    """Why a container has not run, by its name."""
    containers: dict[str, Container] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    previous: dict[str, Log] = field(default_factory=dict)
    pause: Container | None = None
    """Holds the process namespace of a pod whose containers share one."""
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while its files are refreshed or taken away: the one must not undo the other."""
    pausing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Containers start at once, and the one of them that comes first makes it."""

    def processes_of(self, name: str) -> str:
        """The process namespace of a container that runs; empty when there is none."""
        running = self.containers.get(name)
        return f"/proc/{running.pid}/ns/pid" if running is not None and running.is_running else ""
