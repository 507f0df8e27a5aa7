"""Making and deleting a workload's pods: the writes, and the events that tell of them in upstream's words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cmp_to_key
from math import log2
from typing import NamedTuple

from fairway.controllers.writes import AnyKind, Create, Delete, EventType, Record, Tree, reference_to
from fairway.kube.objectmeta import ApiObject
from fairway.kube.objects import POD
from fairway.kube.pod import Pod, PodPhase

ANNOTATION_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

_PHASE_ORDER = {PodPhase.PENDING: 0, PodPhase.UNKNOWN: 1, PodPhase.RUNNING: 2}


def create_pod(owner_kind: AnyKind, owner: ApiObject, body: Tree) -> Create:
    """One pod of this owner."""
    about = reference_to(owner_kind, owner)
    return Create(
        POD,
        owner.metadata.namespace,
        body,
        done=Record(about, EventType.NORMAL, "SuccessfulCreate", "Created pod: {name}"),
        failed=Record(about, EventType.WARNING, "FailedCreate", "Error creating: {error}"),
    )


def delete_pod(owner_kind: AnyKind, owner: ApiObject, pod: Pod) -> Delete:
    """This pod of this owner."""
    about = reference_to(owner_kind, owner)
    return Delete(
        POD,
        pod.metadata.object_name,
        pod.metadata.uid,
        done=Record(about, EventType.NORMAL, "SuccessfulDelete", "Deleted pod: {name}"),
        failed=Record(about, EventType.WARNING, "FailedDelete", "Error deleting: {error}"),
    )


class _Ranked(NamedTuple):
    pod: Pod
    neighbours: int
    """Active related pods on the same node."""
    cost: int


def worst_first(pods: Iterable[Pod], related: Iterable[Pod], now: datetime) -> list[Pod]:
    """The order in which pods go when there are too many; `related` are those of all sets of the same owner."""
    on_node: dict[str, int] = {}
    for pod in related:
        if pod.is_active:
            on_node[pod.node] = on_node.get(pod.node, 0) + 1
    ranked = [_Ranked(pod, on_node.get(pod.node, 0), deletion_cost(pod)) for pod in pods]

    def compare(a: _Ranked, b: _Ranked) -> int:
        return _compare(a, b, now)

    return [one.pod for one in sorted(ranked, key=cmp_to_key(compare))]


def seconds_to_next_availability(pods: Iterable[Pod], min_ready_seconds: int, now: datetime) -> float | None:
    """When the next ready pod will count as available; None when none is on its way."""
    if not min_ready_seconds:
        return None
    waits = (pod.seconds_to_availability(min_ready_seconds, now) for pod in pods)
    return min((wait for wait in waits if wait is not None), default=None)


def deletion_cost(pod: Pod) -> int:
    """KEP-2255: what the annotation says; 0 when it says nothing readable."""
    text = pod.metadata.annotation_map.get(ANNOTATION_DELETION_COST, "0")
    try:
        cost = int(text)
    except ValueError:
        return 0
    return cost if -(2**31) <= cost < 2**31 else 0


def _compare(a: _Ranked, b: _Ranked, now: datetime) -> int:
    """Unassigned, pending, not ready, cheaper, fuller node, ready for less time, more restarts, younger."""
    first = _sign(_early_key(a), _early_key(b))
    if first:
        return first
    if a.pod.is_ready and b.pod.is_ready:
        decided = _by_age(_ready_since(a.pod), _ready_since(b.pod), (a.pod, b.pod), now)
        if decided:
            return decided
    if a.pod.restarts != b.pod.restarts:
        return -1 if a.pod.restarts > b.pod.restarts else 1
    return _by_age(a.pod.metadata.creation_timestamp, b.pod.metadata.creation_timestamp, (a.pod, b.pod), now)


def _early_key(one: _Ranked) -> tuple[bool, int, bool, int, int]:
    pod = one.pod
    return (bool(pod.node), _PHASE_ORDER.get(pod.phase, 2), pod.is_ready, one.cost, -one.neighbours)


def _sign(a: tuple[object, ...], b: tuple[object, ...]) -> int:
    return (a > b) - (a < b)


def _ready_since(pod: Pod) -> datetime | None:
    condition = pod.ready_condition
    return condition.last_transition_time if condition else None


def _by_age(a: datetime | None, b: datetime | None, pods: tuple[Pod, Pod], now: datetime) -> int:
    """The younger first, ages compared by magnitude only (KEP-2185), so that one moment's pods do not all go."""
    if a == b:
        return 0
    if a is None or b is None:
        return -1 if a is None else 1
    difference = _magnitude(now, a) - _magnitude(now, b)
    if difference:
        return -1 if difference < 0 else 1
    return -1 if pods[0].metadata.uid < pods[1].metadata.uid else 1


def _magnitude(now: datetime, then: datetime) -> int:
    nanoseconds = (now - then).total_seconds() * 1e9
    return int(log2(nanoseconds)) if nanoseconds > 0 else -1
