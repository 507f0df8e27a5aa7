"""A Deployment's status: counts over its sets, and the conditions Available, Progressing and ReplicaFailure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from fairway.controllers import rollout
from fairway.controllers.statuses import Conditions, replace_condition, sparse, without_condition
from fairway.kube.objectmeta import Condition, condition_of, to_tree
from fairway.kube.workloads import Deployment, DeploymentStatus, ReplicaSet


def _condition(kind: str, status: str, reason: str, message: str, now: datetime) -> Condition:
    moment = now.replace(microsecond=0)
    return Condition(kind, status, reason, message, moment, moment)


def wanted_status(
    deployment: Deployment,
    sets: Sequence[ReplicaSet],
    new: ReplicaSet | None,
    conditions: Conditions,
    now: datetime,
) -> DeploymentStatus:
    """Counts and availability; progress is not judged."""
    available = sum(one.status.available_replicas for one in sets)
    if available >= deployment.replicas - rollout.max_unavailable(deployment):
        said = _condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    else:
        text = "Deployment does not have minimum availability."
        said = _condition("Available", "False", "MinimumReplicasUnavailable", text, now)
    return DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=sum(one.status.replicas for one in sets),
        updated_replicas=new.status.replicas if new is not None else 0,
        ready_replicas=sum(one.status.ready_replicas for one in sets),
        available_replicas=available,
        unavailable_replicas=max(0, rollout.total_replicas(sets) - available),
        terminating_replicas=_terminating(sets),
        collision_count=deployment.status.collision_count,
        conditions=replace_condition(conditions, said),
    )


def _terminating(sets: Sequence[ReplicaSet]) -> int | None:
    """Unknown as long as a set that was looked at does not say."""
    seen = [one.status for one in sets if one.status.observed_generation or one.status.terminating_replicas is not None]
    if any(one.terminating_replicas is None for one in seen):
        return None
    return sum(one.terminating_replicas or 0 for one in seen)


def progress_status(
    deployment: Deployment,
    sets: Sequence[ReplicaSet],
    new: ReplicaSet | None,
    conditions: Conditions,
    now: datetime,
) -> DeploymentStatus:
    """The status in a rollout: with progress, completion or a missed deadline."""
    status = wanted_status(deployment, sets, new, conditions, now)
    found = status.conditions or ()
    if rollout.has_deadline(deployment):
        found = _progress(deployment, status, new, conditions, now)
    else:
        found = without_condition(found, "Progressing")
    failure = _failure(sets, new)
    found = without_condition(found, "ReplicaFailure") if failure is None else replace_condition(found, failure)
    return msgspec.structs.replace(status, conditions=found or None)


def _progress(
    deployment: Deployment, status: DeploymentStatus, new: ReplicaSet | None, conditions: Conditions, now: datetime
) -> Conditions:
    found = status.conditions or ()
    held = condition_of(conditions, "Progressing")
    is_done = status.replicas == status.updated_replicas and held is not None
    if is_done and held is not None and held.reason == "NewReplicaSetAvailable":
        return found
    name = f'ReplicaSet "{new.metadata.name}"' if new is not None else f'Deployment "{deployment.metadata.name}"'
    if rollout.is_complete(deployment, status):
        text = f"{name} has successfully progressed."
        return replace_condition(found, _condition("Progressing", "True", "NewReplicaSetAvailable", text, now))
    if rollout.is_progressing(deployment.status, status):
        made = _condition("Progressing", "True", "ReplicaSetUpdated", f"{name} is progressing.", now)
        if held is not None and held.status == "True":
            made = msgspec.structs.replace(made, last_transition_time=held.last_transition_time)
        return (*without_condition(found, "Progressing"), made)
    if rollout.has_timed_out(deployment, status, now):
        text = f"{name} has timed out progressing."
        return replace_condition(found, _condition("Progressing", "False", "ProgressDeadlineExceeded", text, now))
    return found


def _failure(sets: Sequence[ReplicaSet], new: ReplicaSet | None) -> Condition | None:
    """What a set says of pods that it cannot make; the newest set is heard first."""
    for one in (*((new,) if new is not None else ()), *sets):
        held = condition_of(one.status.conditions, "ReplicaFailure")
        if held is not None:
            return msgspec.structs.replace(held, last_update_time=held.last_transition_time)
    return None


def paused_conditions(deployment: Deployment, conditions: Conditions, now: datetime) -> Conditions:
    """Pausing stops the deadline's clock, resuming starts it anew."""
    held = condition_of(conditions, "Progressing")
    reason = held.reason if held is not None else ""
    if not rollout.has_deadline(deployment) or reason == "ProgressDeadlineExceeded":
        return conditions
    is_said = reason == "DeploymentPaused"
    if deployment.spec.paused and not is_said:
        made = _condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
    elif not deployment.spec.paused and is_said:
        made = _condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    else:
        return conditions
    return replace_condition(conditions, made)


def failed_create(deployment: Deployment, conditions: Conditions, name: str, error: str, now: datetime) -> Conditions:
    """The set could not be made."""
    if not rollout.has_deadline(deployment):
        return conditions
    text = f'Failed to create new replica set "{name}": {error}'
    return replace_condition(conditions, _condition("Progressing", "False", "ReplicaSetCreateError", text, now))


def next_progress_check(deployment: Deployment, status: DeploymentStatus, now: datetime) -> float | None:
    """In how many seconds the deadline will have passed, if nothing happens until then."""
    held = condition_of(status.conditions, "Progressing")
    if not rollout.has_deadline(deployment) or held is None or held.last_update_time is None:
        return None
    if rollout.is_complete(deployment, status) or held.reason in ("ProgressDeadlineExceeded", "NewReplicaSetAvailable"):
        return None
    passed = (now - held.last_update_time).total_seconds()
    return max(0.0, (deployment.spec.progress_deadline_seconds or 0) - passed) + 1


def status_tree(status: DeploymentStatus) -> dict[str, Any]:
    """As it is sent: numbers that are 0 are left out."""
    return {
        **sparse(
            observedGeneration=status.observed_generation,
            replicas=status.replicas,
            updatedReplicas=status.updated_replicas,
            readyReplicas=status.ready_replicas,
            availableReplicas=status.available_replicas,
            unavailableReplicas=status.unavailable_replicas,
        ),
        "terminatingReplicas": status.terminating_replicas,
        "collisionCount": status.collision_count,
        "conditions": to_tree(status.conditions) if status.conditions else None,
    }
