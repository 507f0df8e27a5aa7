"""ReplicaSet and ReplicationController: as many pods as wanted, no more, and a status that says so."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from fairway.controllers.controller import Key, Turn
from fairway.controllers.ownership import claim
from fairway.controllers.podcontrol import create_pod, delete_pod, seconds_to_next_availability, worst_first
from fairway.controllers.statuses import replace_condition, sparse, without_condition
from fairway.controllers.templates import labels_of, pod_body
from fairway.controllers.view import View
from fairway.controllers.writes import AnyKind, Outcome, Patch, Write, controlled_by, versioned
from fairway.kube.objectmeta import Condition, contains, to_tree
from fairway.kube.objects import POD, REPLICA_SET, REPLICATION_CONTROLLER
from fairway.kube.pod import Pod
from fairway.kube.workloads import ReplicaSet, ReplicaSetStatus
from fairway.values.names import ObjectName

BURST = 500
"""How many pods are made or deleted at one look."""


class ReplicaSetController:
    """Keeps the pods of one kind of set."""

    follows_everything = False

    def __init__(self, kind: AnyKind = REPLICA_SET) -> None:
        self._kind = kind
        is_set = kind is REPLICA_SET
        self.name = "replicaset-controller" if is_set else "replicationcontroller-controller"
        self.component = "replicaset-controller" if is_set else "replication-controller"
        self.kinds: tuple[AnyKind, ...] = (kind, POD)

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is not POD:
            return {(new or old).metadata.object_name}
        return pod_owners_concerned(self._kind, old, new, view)

    def sync(self, turn: Turn, view: View) -> Outcome:
        owner = view.get(self._kind, turn.key)
        if owner is None:
            return Outcome()
        found = [*view.owned(POD, owner.metadata.uid), *view.lone(POD, turn.key.namespace)]
        active, writes = claim(self._kind, owner, owner.spec.selector, POD, (one for one in found if one.is_active))
        leaving = [one for one in view.owned(POD, owner.metadata.uid) if _is_terminating(one)]
        if not owner.metadata.is_leaving:
            writes += self._manage(owner, active, view, turn.now)
        failed = turn.failure.message if turn.failure and turn.failure.is_about(POD) else ""
        status = wanted_status(owner, Pods(active, leaving), failed, turn.now)
        if self._kind is REPLICATION_CONTROLLER:
            status = status_without_terminating(status)
        if status != owner.status:
            # First, so that the status tells even of pods that cannot be made.
            writes.insert(0, Patch(self._kind, turn.key, versioned(owner, {"status": status_tree(status)}), "status"))
        return Outcome(tuple(writes), again_in=_next_check(owner, active, status, turn.now))

    def _manage(self, owner: ReplicaSet, active: list[Pod], view: View, now: datetime) -> list[Write]:
        """Make what is missing, delete what is too much."""
        surplus = len(active) - owner.replicas
        if surplus < 0:
            body = pod_body(owner.spec.template, controlled_by(self._kind, owner))
            one: Write = create_pod(self._kind, owner, body)
            return [one] * min(-surplus, BURST)
        if surplus == 0:
            return []
        order = worst_first(active, related_pods(owner, view), now)
        return [delete_pod(self._kind, owner, pod) for pod in order[: min(surplus, BURST)]]


def pod_owners_concerned(kind: AnyKind, old: Pod | None, new: Pod | None, view: View) -> set[Key]:
    """The owners of a kind that a pod's change concerns: its controller, or whoever may take a lone one."""
    found: set[Key] = set()
    for pod in (old, new):
        ref = pod.metadata.controller if pod is not None else None
        if pod is not None and ref is not None and ref.kind == kind.name:
            name = ObjectName(pod.metadata.namespace, ref.name)
            owner = view.get(kind, name)
            if owner is not None and owner.metadata.uid == ref.uid:
                found.add(name)
    if new is not None and new.metadata.controller is None and _may_be_taken(old, new):
        found |= {
            owner.metadata.object_name
            for owner in view.in_namespace(kind, new.metadata.namespace)
            if not owner.spec.selector.is_empty and owner.spec.selector.matches(new.metadata.label_map)
        }
    return found


def _may_be_taken(old: Pod | None, new: Pod) -> bool:
    return old is None or old.metadata.labels != new.metadata.labels or old.metadata.controller is not None


def _is_terminating(pod: Pod) -> bool:
    return pod.metadata.is_leaving and not pod.is_terminal


def related_pods(owner: ReplicaSet, view: View) -> list[Pod]:
    """The pods of all sets that belong to the same owner, so that crowded nodes are known; none without an owner."""
    ref = owner.metadata.controller
    return [
        pod
        for one in (view.owned(REPLICA_SET, ref.uid) if ref is not None else ())
        for pod in view.pods_matching(one.metadata.namespace, one.spec.selector.match_labels or {})
        if one.spec.selector.matches(pod.metadata.label_map)
    ]


class Pods(NamedTuple):
    active: list[Pod]
    leaving: list[Pod]


def wanted_status(owner: ReplicaSet, pods: Pods, failed: str, now: datetime) -> ReplicaSetStatus:
    """Counts, and the condition that pods cannot be made or deleted."""
    template_labels = labels_of(owner.spec.template)
    ready = [one for one in pods.active if one.is_ready]
    return ReplicaSetStatus(
        replicas=len(pods.active),
        fully_labeled_replicas=sum(contains(one.metadata.label_map, template_labels) for one in pods.active),
        ready_replicas=len(ready),
        available_replicas=sum(one.is_available(owner.spec.min_ready_seconds, now) for one in ready),
        terminating_replicas=len(pods.leaving),
        observed_generation=owner.metadata.generation,
        conditions=_conditions(owner, len(pods.active), failed, now) or None,
    )


def _conditions(owner: ReplicaSet, active: int, failed: str, now: datetime) -> tuple[Condition, ...]:
    present = owner.status.conditions or ()
    if not failed:
        return without_condition(present, "ReplicaFailure")
    if any(one.type == "ReplicaFailure" for one in present):
        return present
    reason = "FailedCreate" if active < owner.replicas else "FailedDelete"
    return replace_condition(present, Condition("ReplicaFailure", "True", reason, failed, now.replace(microsecond=0)))


def status_without_terminating(status: ReplicaSetStatus) -> ReplicaSetStatus:
    """A ReplicationController's status has no such number."""
    return ReplicaSetStatus(
        status.replicas,
        status.fully_labeled_replicas,
        status.ready_replicas,
        status.available_replicas,
        None,
        status.observed_generation,
        status.conditions,
    )


def status_tree(status: ReplicaSetStatus) -> dict[str, Any]:
    """As it is sent: numbers that are 0 are left out, but for those that the API always shows."""
    return {
        **sparse(
            fullyLabeledReplicas=status.fully_labeled_replicas,
            readyReplicas=status.ready_replicas,
            availableReplicas=status.available_replicas,
            observedGeneration=status.observed_generation,
        ),
        "replicas": status.replicas,
        "terminatingReplicas": status.terminating_replicas,
        "conditions": to_tree(status.conditions) if status.conditions else None,
    }


def _next_check(owner: ReplicaSet, active: list[Pod], status: ReplicaSetStatus, now: datetime) -> float | None:
    """When the next ready pod will count as available."""
    least = owner.spec.min_ready_seconds
    if not least or status.ready_replicas == status.available_replicas:
        return None
    left = seconds_to_next_availability(active, least, now)
    return float(least) if left is None else left
