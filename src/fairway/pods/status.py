"""The status of a pod as kubelet writes it: phase, conditions and container statuses, as the tree of a patch.

Times of conditions change only with their status; a pod whose life did not change renders to the same bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from fairway.kube.podspec import NodePod, PodCondition, RestartPolicy, VolumeMount
from fairway.pods.grants import identity
from fairway.pods.lifecycle import PodLife
from fairway.pods.records import Record, Role, Running, State, Terminated, Waiting

Tree = dict[str, Any]


class Place(NamedTuple):
    """Where the pod lives."""

    host_ips: tuple[str, ...] = ()
    pod_ips: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """One condition's answer."""

    is_true: bool
    reason: str = ""
    message: str = ""


GOOD = Verdict(True)


def pod_phase(life: PodLife) -> str:
    """Pending, Running, Succeeded or Failed (kubelet's getPhase)."""
    if life.failure is not None:
        return "Failed"
    if not life.is_initialized:
        return "Failed" if life.has_ended else "Pending"
    mains = life.of_role(Role.MAIN)
    policy = life.pod.spec.restart_policy
    if any(isinstance(one.state, Waiting) and one.last is None for one in mains):
        return "Pending"
    if any(isinstance(one.state, (Running, Waiting)) for one in mains):
        return "Running"
    if policy is RestartPolicy.ALWAYS and not life.is_leaving:
        return "Running"
    codes = [one.state.exit_code for one in mains if isinstance(one.state, Terminated)]
    if not any(codes):
        return "Running" if policy is RestartPolicy.ALWAYS and not life.is_leaving else "Succeeded"
    return "Running" if policy is RestartPolicy.ON_FAILURE and not life.is_leaving else "Failed"


def pod_status(life: PodLife, place: Place, now: float) -> Tree:
    """The whole status, for a strategic merge patch: conditions of others stay."""
    phase = pod_phase(life)
    status: Tree = {"phase": phase, "startTime": rfc3339(life.began), "conditions": _conditions(life, phase, now)}
    if generation := life.pod.metadata.generation:
        # KEP-5067: what the conditions and the status were made from.
        for one in (status, *status["conditions"]):
            one["observedGeneration"] = generation
    if life.failure is not None:
        status["reason"], status["message"] = life.failure
    if place.host_ips:
        status["hostIP"] = place.host_ips[0]
        status["hostIPs"] = [{"ip": ip} for ip in place.host_ips]
    if place.pod_ips:
        status["podIP"] = place.pod_ips[0]
        status["podIPs"] = [{"ip": ip} for ip in place.pod_ips]
    status["containerStatuses"] = [container_status(life.pod, one) for one in _sorted(life.of_role(Role.MAIN))]
    if added := life.of_role(Role.EPHEMERAL):
        status["ephemeralContainerStatuses"] = [container_status(life.pod, one) for one in added]
    if inits := life.of_role(Role.INIT, Role.SIDECAR):
        status["initContainerStatuses"] = [container_status(life.pod, one) for one in inits]
    return status


def container_status(pod: NodePod, record: Record) -> Tree:
    status: Tree = {
        "name": record.name,
        "image": record.spec.image,
        "imageID": f"fairway://{record.spec.image}" if record.run else "",
        "ready": record.is_ready,
        "restartCount": record.restarts,
        "started": record.is_started,
        "state": _state(record.state),
        "lastState": _state(record.last) if record.last is not None else {},
    }
    ident = record.state.container_id if isinstance(record.state, (Running, Terminated)) else ""
    ident = ident or (record.last.container_id if record.last is not None else "")
    if ident:
        status["containerID"] = f"runc://{ident}"
    if mounts := record.spec.volume_mounts:
        status["volumeMounts"] = [_mount_status(one) for one in mounts]
    if record.run:
        status |= _granted(pod, record)
    return status


def _mount_status(mount: VolumeMount) -> Tree:
    tree: Tree = {"name": mount.name, "mountPath": mount.mount_path}
    if mount.read_only:
        tree |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
    return tree


def _granted(pod: NodePod, record: Record) -> Tree:
    """The user it runs as (KEP-3619) and the resources it has (KEP-1287)."""
    user, group, groups = identity(pod, record.spec)
    tree: Tree = {"user": {"linux": {"uid": user, "gid": group, "supplementalGroups": [*groups] or [group]}}}
    tables = {"limits": record.spec.resources.limits, "requests": record.spec.resources.requests}
    if resources := {name: dict(table) for name, table in tables.items() if table}:
        tree["resources"] = resources
    if requests := record.spec.resources.requests:
        tree["allocatedResources"] = dict(requests)
    return tree


def _state(state: State) -> Tree:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        case Running(started):
            return {"running": {"startedAt": rfc3339(started)}}
    ended: Tree = {
        "exitCode": state.exit_code,
        "reason": state.reason,
        "startedAt": rfc3339(state.started),
        "finishedAt": rfc3339(state.finished),
    }
    if state.container_id:
        ended["containerID"] = f"runc://{state.container_id}"
    if state.message:
        ended["message"] = state.message
    return {"terminated": ended}


def _sorted(records: list[Record]) -> list[Record]:
    return sorted(records, key=lambda one: one.name)


# -- conditions


def _conditions(life: PodLife, phase: str, now: float) -> list[Tree]:
    containers = _containers_ready(life, phase)
    verdicts = {
        "PodReadyToStartContainers": Verdict(life.is_admitted and not life.is_removed and not life.is_over),
        "Initialized": _initialized(life, phase),
        "Ready": _ready(life, containers),
        "ContainersReady": containers,
        "PodScheduled": GOOD,
    }
    known = {one.type: one for one in life.pod.status.conditions or ()}
    return [_condition(kind, verdict, known.get(kind), now) for kind, verdict in verdicts.items()]


def _condition(kind: str, verdict: Verdict, known: PodCondition | None, now: float) -> Tree:
    status = "True" if verdict.is_true else "False"
    since = known.last_transition_time if known is not None and known.status == status else None
    tree: Tree = {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": rfc3339(since.timestamp() if since else now),
    }
    # A patch merges conditions by type: a reason that has gone must be taken out by name.
    tree["reason"] = verdict.reason or None
    tree["message"] = verdict.message or None
    return tree


def _initialized(life: PodLife, phase: str) -> Verdict:
    if life.is_initialized:
        return Verdict(True, "PodCompleted") if phase == "Succeeded" else GOOD
    names = [one.name for one in life.of_role(Role.INIT, Role.SIDECAR) if not one.is_ready]
    return Verdict(False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(names)}]")


def _containers_ready(life: PodLife, phase: str) -> Verdict:
    if phase == "Succeeded":
        return Verdict(False, "PodCompleted")
    if phase == "Failed":
        return Verdict(False, "PodFailed")
    watched = life.of_role(Role.SIDECAR, Role.MAIN)
    unready = [one.name for one in watched if not one.is_ready]
    if unready or not life.is_initialized:
        return Verdict(False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    return GOOD


def _ready(life: PodLife, containers: Verdict) -> Verdict:
    if not containers.is_true:
        return containers
    known = {one.type: one.status for one in life.pod.status.conditions or ()}
    words = []
    for gate in life.pod.spec.readiness_gates or ():
        kind = gate.condition_type
        if kind not in known:
            words.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif known[kind] != "True":
            words.append(f'the status of pod readiness gate "{kind}" is not "True", but {known[kind]}')
    return Verdict(False, "ReadinessGatesNotReady", ", ".join(words)) if words else GOOD


def rfc3339(moment: float) -> str:
    """Whole seconds, as metav1.Time."""
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
