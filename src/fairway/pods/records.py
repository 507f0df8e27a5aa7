"""What a node remembers of one container of a pod: its state, its last end, its restarts, what probes said."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from fairway.kube.podspec import Container, ContainerStatus, Probe, TerminatedStatus

BACKOFF_FIRST: Final = 10.0
BACKOFF_MOST: Final = 300.0
BACKOFF_FORGOTTEN: Final = 600.0
"""A container that ran so long begins its back-off anew (kubelet: twice the longest)."""


class Role(Enum):
    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"
    EPHEMERAL = "ephemeral"
    """Added to a pod that runs (kubectl debug): starts at once and once, and counts for nothing."""


class ProbeKind(Enum):
    STARTUP = "Startup"
    READINESS = "Readiness"
    LIVENESS = "Liveness"


class Waiting(NamedTuple):
    reason: str
    message: str = ""


class Running(NamedTuple):
    started: float
    container_id: str


class Terminated(NamedTuple):
    exit_code: int
    reason: str
    started: float
    finished: float
    container_id: str = ""
    message: str = ""


State = Waiting | Running | Terminated


class Phase(Enum):
    """What the node is doing with a container, finer than what the API shows of it."""

    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(slots=True)
class ProbeState:
    """One probe of one run of a container."""

    kind: ProbeKind
    probe: Probe
    next_at: float
    successes: int = 0
    failures: int = 0
    in_flight: bool = False


@dataclass(slots=True)
class Record:
    """One container. Changed by the life cycle alone."""

    spec: Container
    role: Role
    state: State
    phase: Phase = Phase.IDLE
    last: Terminated | None = None
    restarts: int = 0
    run: int = 0
    """Counts starts; a probe's or hook's answer for another run is stale."""
    resumed: int = 0
    """Of these starts, those under a node process before this one."""
    delay: float = 0.0
    not_before: float = 0.0
    failed_at: float = 0.0
    is_started: bool = False
    is_ready: bool = False
    wants_restart: bool = False
    """Its liveness or startup probe failed: it starts again whatever the exit code, if its policy ever restarts."""
    probes: dict[ProbeKind, ProbeState] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def is_alive(self) -> bool:
        """A process may exist."""
        return self.phase is not Phase.IDLE

    @property
    def field(self) -> str:
        """Of the pod, as events name it."""
        group = {Role.MAIN: "containers", Role.EPHEMERAL: "ephemeralContainers"}.get(self.role, "initContainers")
        return f"spec.{group}{{{self.name}}}"

    def resume(self, status: ContainerStatus, now: float) -> None:
        """Take over what the API has of a container that ran before; what ran then has ended unseen."""
        state = status.state
        self.restarts = status.restart_count
        if state.running is not None:
            began = state.running.started_at
            start = began.timestamp() if began is not None else now
            words = "The container could not be located when the pod was terminated"
            self.state = Terminated(137, "ContainerStatusUnknown", start, now, _bare(status.container_id), words)
        elif (end := state.terminated or status.last_state.terminated) is not None:
            self.state = _ended(end, now)
            self.is_ready = self.role is Role.INIT and end.exit_code == 0
            self.delay, self.not_before = BACKOFF_FIRST, now + (BACKOFF_FIRST if state.terminated is None else 0.0)
        else:
            return
        self.run = self.resumed = status.restart_count + 1
        if status.last_state.terminated is not None:
            self.last = _ended(status.last_state.terminated, now)

    def begin_probes(self, now: float) -> None:
        """At the start of a run. A startup probe holds the others back."""
        spec = self.spec
        wanted = {
            ProbeKind.STARTUP: spec.startup_probe,
            ProbeKind.READINESS: spec.readiness_probe,
            ProbeKind.LIVENESS: spec.liveness_probe,
        }
        self.probes = {
            kind: ProbeState(kind, probe, now + probe.initial_delay_seconds) for kind, probe in wanted.items() if probe
        }
        self.is_started = spec.startup_probe is None
        self.is_ready = self.is_started and spec.readiness_probe is None

    def note_end(self, now: float) -> None:
        """The delay before the next start: none at first, then 10 s, doubled up to 300 s (kubelet's flowcontrol)."""
        started = self.state.started if isinstance(self.state, (Running, Terminated)) else now
        if now - started >= BACKOFF_FORGOTTEN:
            self.delay = 0.0
        self.not_before = now + self.delay
        self.delay = min(max(self.delay * 2, BACKOFF_FIRST), BACKOFF_MOST)


def _ended(status: TerminatedStatus, now: float) -> Terminated:
    started, finished = (now if one is None else one.timestamp() for one in (status.started_at, status.finished_at))
    ident, words = _bare(status.container_id), status.message or ""
    return Terminated(status.exit_code, status.reason or "", started, finished, ident, words)


def _bare(container_id: str) -> str:
    return container_id.partition("://")[2]
