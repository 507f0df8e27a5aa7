"""The arithmetic of rolling updates: how many more, how many fewer, whose share, done or stuck."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from fairway.kube.objectmeta import condition_of
from fairway.kube.workloads import Deployment, DeploymentStatus, IntOrPercent, ReplicaSet

NO_LIMIT = 2**31 - 1
ANNOTATION_DESIRED = "deployment.kubernetes.io/desired-replicas"
ANNOTATION_MAX = "deployment.kubernetes.io/max-replicas"


def scaled(value: IntOrPercent | None, total: int, *, round_up: bool) -> int:
    """A number, or a percentage of `total`. Unreadable text counts as 0; the API server refuses it."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    text = value.removesuffix("%")
    if not text.isdecimal() or text == value:
        return 0
    product = int(text) * total
    return -(-product // 100) if round_up else product // 100


def is_rolling(deployment: Deployment) -> bool:
    return deployment.spec.strategy.type == "RollingUpdate"


def max_surge(deployment: Deployment) -> int:
    """How many pods more than wanted there may be."""
    if not is_rolling(deployment):
        return 0
    return scaled(deployment.spec.strategy.rolling.max_surge, deployment.replicas, round_up=True)


def max_unavailable(deployment: Deployment) -> int:
    """How many of the wanted pods may be missing; one at least when there can be no surge, or nothing would move."""
    if not is_rolling(deployment) or deployment.replicas == 0:
        return 0
    unavailable = scaled(deployment.spec.strategy.rolling.max_unavailable, deployment.replicas, round_up=False)
    if unavailable == 0 and max_surge(deployment) == 0:
        unavailable = 1
    return min(unavailable, deployment.replicas)


def total_replicas(sets: Iterable[ReplicaSet]) -> int:
    """Wanted pods of all the sets."""
    return sum(one.replicas for one in sets)


def new_set_size(deployment: Deployment, sets: Sequence[ReplicaSet], new: int) -> int:
    """How many pods the newest set may have now; `sets` are all, `new` is its present size."""
    if not is_rolling(deployment):
        return deployment.replicas
    room = deployment.replicas + max_surge(deployment) - total_replicas(sets)
    return new if room <= 0 else new + min(room, deployment.replicas - new)


def proportional_sizes(deployment: Deployment, sets: Sequence[ReplicaSet]) -> dict[str, int]:
    """Sizes after the Deployment was scaled in the middle of a rollout: each set by its share, the rest to the largest.

    `sets` are those with pods, largest first.
    """
    allowed = deployment.replicas + max_surge(deployment) if deployment.replicas > 0 else 0
    change = allowed - total_replicas(sets)
    sizes: dict[str, int] = {}
    given = 0
    for one in sets:
        share = _share(one, deployment, change, given)
        sizes[one.metadata.name] = one.replicas + share
        given += share
    if change and sets:
        largest = sets[0].metadata.name
        sizes[largest] = max(0, sizes[largest] + change - given)
    return sizes


def _share(one: ReplicaSet, deployment: Deployment, change: int, given: int) -> int:
    if one.replicas == 0 or change in (0, given):
        return 0
    fraction = _fraction(one, deployment)
    return min(fraction, change - given) if change > 0 else max(fraction, change - given)


def _fraction(one: ReplicaSet, deployment: Deployment) -> int:
    """What a set would gain or lose by growing as its Deployment did."""
    if deployment.replicas == 0:
        return -one.replicas
    before = number_annotation(one, ANNOTATION_MAX) or deployment.status.replicas
    if before == 0:
        return 0
    exact = one.replicas * (deployment.replicas + max_surge(deployment)) / before
    return math.floor(exact + 0.5) - one.replicas


def number_annotation(one: ReplicaSet, key: str) -> int | None:
    """A number that an annotation holds; None when there is none."""
    text = one.metadata.annotation_map.get(key, "")
    return int(text) if text.isascii() and text.isdecimal() and int(text) <= NO_LIMIT else None


def by_age(sets: Iterable[ReplicaSet]) -> list[ReplicaSet]:
    """Oldest first."""
    return sorted(sets, key=lambda one: (one.metadata.created, one.metadata.name))


def largest_first(sets: Iterable[ReplicaSet], *, newer_first: bool) -> list[ReplicaSet]:
    """By size; of two equal ones the newer or the older first."""
    aged = by_age(sets)
    if newer_first:
        aged.reverse()
    return sorted(aged, key=lambda one: -one.replicas)


def has_deadline(deployment: Deployment) -> bool:
    return deployment.spec.progress_deadline_seconds not in (None, NO_LIMIT)


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """All pods are new and available, and no others are left."""
    wanted = deployment.replicas
    return (
        status.updated_replicas == wanted
        and status.replicas == wanted
        and status.available_replicas == wanted
        and status.observed_generation >= deployment.metadata.generation
    )


def is_progressing(old: DeploymentStatus, new: DeploymentStatus) -> bool:
    """More new pods, fewer old ones, or more that are ready or available."""
    return (
        new.updated_replicas > old.updated_replicas
        or new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        or new.ready_replicas > old.ready_replicas
        or new.available_replicas > old.available_replicas
    )


def has_timed_out(deployment: Deployment, status: DeploymentStatus, now: datetime) -> bool:
    """No progress for longer than the deadline."""
    condition = condition_of(status.conditions, "Progressing")
    if not has_deadline(deployment) or condition is None or condition.reason == "NewReplicaSetAvailable":
        return False
    if condition.reason == "ProgressDeadlineExceeded":
        return True
    since = condition.last_update_time
    deadline = timedelta(seconds=deployment.spec.progress_deadline_seconds or 0)
    return since is not None and since + deadline < now
