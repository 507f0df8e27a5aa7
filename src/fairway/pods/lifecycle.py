"""One pod's life on its node: what to start, probe, stop and remove next, decided from its spec and what happened.

Events go in by methods, actions come out of `poll`; `next_wake` says when to poll again without an event. Refuses to
know how a container is run, how a probe is sent and how status is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from fairway.kube.podspec import Container, NodePod, Probe, RestartPolicy
from fairway.pods.records import Phase, ProbeKind, ProbeState, Record, Role, Running, Terminated, Waiting

SMALLEST_GRACE: Final = 2.0
"""A stop hook that used up the grace period leaves a container these seconds (kubelet's minimum)."""
BACK_OFF: Final = "CrashLoopBackOff"
CONFIG_RETRY: Final = 5.0
"""Somebody may make the missing ConfigMap at any moment."""


class Start(NamedTuple):
    """Start a container; answer with `started` or `start_failed`."""

    container: Container
    run: int


class Stop(NamedTuple):
    """End a running container: its preStop hook, SIGTERM, and after `grace` seconds SIGKILL; answer with `exited`."""

    container: Container
    run: int
    grace: float
    reason: str


class RunHook(NamedTuple):
    """Run the postStart hook of a container that has started; answer with `hooked`."""

    container: Container
    run: int


class RunProbe(NamedTuple):
    """Ask a container how it is; answer with `probed`."""

    container: Container
    kind: ProbeKind
    probe: Probe
    run: int


class Remove(NamedTuple):
    """Nothing runs any more and the pod is being deleted: tear it down and tell the API that it is gone."""


class Happening(NamedTuple):
    """Something for the pod's events."""

    type: str
    reason: str
    message: str
    container: str = ""
    """Field of the pod that it is about, as `spec.containers{main}`."""


class _Doom(NamedTuple):
    reason: str
    grace: int | None
    """Seconds; None for the pod's own."""


Action = Start | Stop | RunHook | RunProbe | Remove | Happening


class PodLife:
    """The life of one pod, from its admission on the node to its removal."""

    def __init__(self, pod: NodePod, now: float) -> None:
        self.pod = pod
        start = pod.status.start_time
        self.began = now if start is None else start.timestamp()
        self.deadline: float | None = None
        """When a pod that is being deleted is killed."""
        self.failure: tuple[str, str] | None = None
        """Reason and message of a pod that the node has failed as a whole."""
        self.is_admitted = False
        """Its network and volumes are there; nothing starts before that."""
        self.is_removed = False
        self._happenings: list[Happening] = []
        self._is_hurried = False
        self._doomed: dict[str, _Doom] = {}
        """Containers that must end, and start again if their policy ever lets them."""
        self._hooks: list[RunHook] = []
        has_init = bool(pod.spec.init_containers)
        first = Waiting("PodInitializing") if has_init else Waiting("ContainerCreating")
        self.records: dict[str, Record] = {}
        for spec in pod.spec.init_containers or ():
            self.records[spec.name] = Record(spec, Role.SIDECAR if spec.is_sidecar else Role.INIT, first)
        for spec in pod.spec.containers:
            self.records[spec.name] = Record(spec, Role.MAIN, first)
        self._add_ephemeral()

    # -- views

    def of_role(self, *roles: Role) -> list[Record]:
        return [record for record in self.records.values() if record.role in roles]

    @property
    def is_leaving(self) -> bool:
        return self.deadline is not None

    @property
    def is_initialized(self) -> bool:
        """Init containers have succeeded, sidecars have started."""
        return all(_is_past(record) for record in self.of_role(Role.INIT, Role.SIDECAR)) or self._has_begun

    @property
    def _has_begun(self) -> bool:
        return any(record.run > record.resumed for record in self.of_role(Role.MAIN))

    @property
    def has_ended(self) -> bool:
        """No container will ever start again."""
        if self.failure is not None:
            return True
        if any(not self._may_restart(one) and _has_failed(one) for one in self.of_role(Role.INIT)):
            return True
        return all(isinstance(one.state, Terminated) and not self._may_restart(one) for one in self.of_role(Role.MAIN))

    @property
    def is_over(self) -> bool:
        """It has ended, and nothing of it runs any more."""
        return self.has_ended and not any(record.is_alive for record in self.records.values())

    # -- events

    def admitted(self) -> None:
        """Network and volumes are ready."""
        self.is_admitted = True

    def held_back(self, reason: str, message: str) -> None:
        """Network or volumes are not there yet; the containers that never ran say why."""
        for record in self.records.values():
            if not record.run:
                record.state = Waiting(record.state.reason if isinstance(record.state, Waiting) else reason, message)

    def started(self, name: str, run: int, container_id: str, now: float) -> None:
        record = self.records[name]
        if record.run != run:
            return
        record.state = Running(now, container_id)
        record.phase = Phase.STOPPING if record.phase is Phase.STOPPING else Phase.RUNNING
        self._tell_of(record, "Normal", "Created", "Container created")
        self._tell_of(record, "Normal", "Started", "Container started")
        if record.spec.lifecycle.post_start is None:
            record.begin_probes(now)
        else:
            self._hooks.append(RunHook(record.spec, run))

    def hooked(self, name: str, run: int, problem: str, now: float) -> None:
        """The postStart hook has run; until then the container counts as not started."""
        record = self.records[name]
        if record.run != run or record.phase is not Phase.RUNNING:
            return
        if problem:
            self._tell_of(record, "Warning", "FailedPostStartHook", "PostStartHook failed")
            self._doom(record, "FailedPostStartHook")
        else:
            record.begin_probes(now)

    def resume(self, now: float) -> None:
        """What the API says of containers that ran under a node process before this one; all of them have ended."""
        for status in self.pod.status.all_containers:
            if (record := self.records.get(status.name)) is not None:
                record.resume(status, now)

    def start_failed(self, name: str, run: int, waiting: Waiting, now: float) -> None:
        """It could not be created. It is tried again with the same back-off as a crash."""
        record = self.records[name]
        if record.run != run:
            return
        if waiting.reason == "CreateContainerConfigError":
            record.not_before = now + CONFIG_RETRY
        else:
            record.note_end(now)
            record.not_before = max(record.not_before, now + 1.0)
        record.phase, record.state = Phase.IDLE, waiting
        record.is_started = record.is_ready = False
        record.run -= 1
        record.restarts -= 1 if record.last is not None else 0
        record.wants_restart = True
        self._tell_of(record, "Warning", "Failed", f"Error: {waiting.message or waiting.reason}")

    def exited(self, name: str, run: int, end: Terminated) -> None:
        record = self.records[name]
        if record.run != run or not record.is_alive:
            return
        record.state, record.phase = end, Phase.IDLE
        record.probes = {}
        record.is_started = record.is_ready = False
        record.note_end(end.finished)
        if record.role is Role.INIT and end.exit_code == 0:
            record.is_ready = True

    def probed(self, name: str, kind: ProbeKind, run: int, problem: str, now: float) -> None:
        """The answer of a probe; `problem` is empty when it succeeded."""
        record = self.records[name]
        state = record.probes.get(kind)
        if record.run != run or state is None:
            return
        state.in_flight = False
        state.next_at = now + max(state.probe.period_seconds, 1)
        if problem:
            self._tell_of(record, "Warning", "Unhealthy", f"{kind.value} probe failed: {problem}")
            state.successes, state.failures = 0, state.failures + 1
            if state.failures >= max(state.probe.failure_threshold, 1):
                self._judge_failed(record, kind)
            return
        state.failures, state.successes = 0, state.successes + 1
        if state.successes >= max(state.probe.success_threshold, 1):
            self._judge_good(record, kind, now)

    def update(self, pod: NodePod, now: float) -> None:
        """The API's newest version of the pod: labels, conditions of others, or that it shall go."""
        self.pod = pod
        self._add_ephemeral()
        self._take_images()
        if pod.metadata.deletion_timestamp is not None:
            grace = pod.metadata.deletion_grace_period_seconds
            wanted = now + (pod.spec.termination_grace_period_seconds if grace is None else grace)
            # A second delete may shorten the time that is left, never lengthen it.
            self._leave_by(wanted)

    def _take_images(self) -> None:
        """Of a container that is there, the image alone may change."""
        for spec in self.pod.all_containers:
            record = self.records.get(spec.name)
            if record is not None and record.spec.image != spec.image:
                record.spec = spec
                if record.phase is Phase.RUNNING:
                    self._doom(record, f"Container {record.name} definition changed, will be restarted")

    def vanished(self, now: float) -> None:
        """The API has the pod no more: whatever still runs ends at once."""
        self._leave_by(now)

    def _add_ephemeral(self) -> None:
        for spec in self.pod.spec.ephemeral_containers or ():
            if spec.name not in self.records:
                self.records[spec.name] = Record(spec, Role.EPHEMERAL, Waiting("ContainerCreating"))

    def _leave_by(self, deadline: float) -> None:
        self._is_hurried = self.deadline is not None and deadline < self.deadline - 1.0
        self.deadline = deadline if self.deadline is None else min(self.deadline, deadline)

    def fail(self, reason: str, message: str) -> None:
        """The pod as a whole has failed (DeadlineExceeded, Evicted …)."""
        self.failure = self.failure or (reason, message)

    # -- decisions

    def poll(self, now: float) -> list[Action]:
        """What to do now. Every action is handed out once."""
        actions: list[Action] = []
        limit = self.pod.spec.active_deadline_seconds
        if limit is not None and now >= self.began + limit and not self.has_ended:
            self.fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
        if self.is_leaving or self.has_ended:
            actions += self._wind_down(now)
            actions += self._probes(now)
        elif self.is_admitted:
            hooks, self._hooks = self._hooks, []
            actions += hooks
            actions += self._kills()
            actions += self._starts(now)
            actions += self._probes(now)
        told, self._happenings = self._happenings, []
        return [*told, *actions]

    def next_wake(self, now: float) -> float | None:
        """When something becomes due without an event; None when nothing will."""
        times = [probe.next_at for one in self.records.values() for probe in self._open_probes(one)]
        times += [one.not_before for one in self.records.values() if not one.is_alive and one.not_before > now]
        if self.pod.spec.active_deadline_seconds is not None and self.failure is None:
            times.append(self.began + self.pod.spec.active_deadline_seconds)
        return min(times, default=None)

    def _starts(self, now: float) -> Iterator[Action]:
        for record in self.of_role(Role.EPHEMERAL):
            yield from self._start(record, now)
        for record in self.of_role(Role.INIT, Role.SIDECAR):
            if record.role is Role.SIDECAR or not self._has_begun:
                yield from self._start(record, now)
            if not self._has_begun and not _is_past(record):
                return
        for record in self.of_role(Role.MAIN):
            yield from self._start(record, now)

    def _start(self, record: Record, now: float) -> Iterator[Action]:
        if record.is_alive or (record.role is Role.INIT and _is_past(record)):
            return
        ended = record.state if isinstance(record.state, Terminated) else None
        if ended is not None and not self._may_restart(record):
            return
        if now < record.not_before:
            if ended is not None:
                record.last, record.failed_at = ended, ended.finished
                record.state = self._backing_off(record)
            return
        if ended is not None:
            record.last = ended
        if record.last is not None:
            record.restarts += 1
        record.run += 1
        record.wants_restart = False
        record.phase = Phase.STARTING
        yield Start(record.spec, record.run)

    def _backing_off(self, record: Record) -> Waiting:
        wait = record.not_before - record.failed_at
        meta = self.pod.metadata
        words = f"container={record.name} pod={meta.name}_{meta.namespace}({meta.uid})"
        back_off = f"Back-off restarting failed container {record.name} in pod {words.partition(' pod=')[2]}"
        self._tell_of(record, "Warning", "BackOff", back_off)
        return Waiting(BACK_OFF, f"back-off {_duration(wait)} restarting failed {words}")

    def _may_restart(self, record: Record) -> bool:
        if record.role in (Role.SIDECAR, Role.EPHEMERAL):
            return record.role is Role.SIDECAR
        policy = self.pod.spec.restart_policy
        if record.role is Role.INIT:
            return policy is not RestartPolicy.NEVER and not _is_past(record)
        if policy is RestartPolicy.ON_FAILURE:
            return _has_failed(record) or record.wants_restart
        return policy is RestartPolicy.ALWAYS

    def _kills(self) -> Iterator[Action]:
        """Containers whose probe or hook has failed for good, or whose image is another now."""
        doomed, self._doomed = self._doomed, {}
        for name, (reason, own) in doomed.items():
            record = self.records[name]
            if record.phase is Phase.RUNNING:
                grace = self.pod.spec.termination_grace_period_seconds if own is None else own
                yield self._stop(record, float(grace), reason)

    def _probes(self, now: float) -> Iterator[Action]:
        for record in self.records.values():
            for state in self._open_probes(record):
                if now >= state.next_at:
                    state.in_flight = True
                    yield RunProbe(record.spec, state.kind, state.probe, record.run)

    def _open_probes(self, record: Record) -> Iterator[ProbeState]:
        """Those that may run: the startup probe alone until it has succeeded, then the others.

        While the pod ends only readiness counts: what still serves is still asked (KEP-1669).
        """
        is_ending = self.is_leaving or self.has_ended
        if not (record.phase is Phase.RUNNING or (is_ending and record.phase is Phase.STOPPING)):
            return
        for kind, state in record.probes.items():
            if is_ending and kind is not ProbeKind.READINESS:
                continue
            if (kind is ProbeKind.STARTUP) is (not record.is_started) and not state.in_flight:
                yield state

    def _wind_down(self, now: float) -> Iterator[Action]:
        """Stop what runs, sidecars last and in reverse (KEP-753); then, if deleted, remove the pod."""
        alive = [one for one in self.of_role(Role.INIT, Role.MAIN, Role.EPHEMERAL) if one.is_alive]
        sidecars = [one for one in reversed(self.of_role(Role.SIDECAR)) if one.is_alive]
        for record in alive or sidecars[:1]:
            if record.phase is Phase.RUNNING or (record.phase is Phase.STOPPING and self._is_hurried):
                yield self._stop(record, self._grace_left(now), f"Stopping container {record.name}")
        self._is_hurried = False
        if not alive and not sidecars and self.is_leaving and not self.is_removed:
            self.is_removed = True
            yield Remove()

    def _grace_left(self, now: float) -> float:
        if self.deadline is None:
            return float(self.pod.spec.termination_grace_period_seconds)
        # Grace 0 means at once; otherwise a late sidecar still gets its minimum.
        asked = self.pod.metadata.deletion_grace_period_seconds
        return max(self.deadline - now, SMALLEST_GRACE if asked else 0.0)

    def _stop(self, record: Record, grace: float, reason: str) -> Stop:
        record.phase = Phase.STOPPING
        self._tell_of(record, "Normal", "Killing", reason)
        return Stop(record.spec, record.run, grace, reason)

    def _judge_failed(self, record: Record, kind: ProbeKind) -> None:
        if kind is ProbeKind.READINESS:
            record.is_ready = False
            return
        record.is_ready = False
        words = f"Container {record.name} failed {kind.value.lower()} probe, will be restarted"
        self._doom(record, words, record.probes[kind].probe.termination_grace_period_seconds)

    def _doom(self, record: Record, reason: str, grace: int | None = None) -> None:
        record.wants_restart = True
        self._doomed[record.name] = _Doom(reason, grace)

    def _judge_good(self, record: Record, kind: ProbeKind, now: float) -> None:
        if kind is ProbeKind.READINESS:
            record.is_ready = True
        elif kind is ProbeKind.STARTUP:
            record.is_started = True
            record.is_ready = ProbeKind.READINESS not in record.probes
            for state in record.probes.values():
                state.next_at = max(state.next_at, now) if state.kind is not kind else state.next_at

    def _tell_of(self, record: Record, kind: str, reason: str, message: str) -> None:
        self._happenings.append(Happening(kind, reason, message, record.field))


def _is_past(record: Record) -> bool:
    """An init container that need not run again, or a sidecar that has started."""
    if record.role is Role.SIDECAR:
        return record.is_started and isinstance(record.state, Running)
    return isinstance(record.state, Terminated) and record.state.exit_code == 0


def _has_failed(record: Record) -> bool:
    return isinstance(record.state, Terminated) and record.state.exit_code != 0


def _duration(seconds: float) -> str:
    """As Go prints one: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
