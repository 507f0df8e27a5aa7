"""DaemonSet: one pod on every node that can run it, updated by replacing or, with surge, by preceding.

Pods are made without a node, but for the only one that they want: the scheduler puts them there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from fairway.controllers import history
from fairway.controllers.controller import Key, Turn
from fairway.controllers.daemonpods import (
    LABEL_REVISION,
    DaemonPods,
    Fit,
    always_tolerated,
    by_node,
)
from fairway.controllers.ownership import claim
from fairway.controllers.placement import Place, selects
from fairway.controllers.podcontrol import seconds_to_next_availability
from fairway.controllers.replicasets import pod_owners_concerned
from fairway.controllers.statefulsets import owner_of_revision
from fairway.controllers.statuses import sparse
from fairway.controllers.tolerations import NO_EXECUTE, NO_SCHEDULE, untolerated
from fairway.controllers.view import View
from fairway.controllers.writes import (
    AnyKind,
    Delete,
    EventType,
    Outcome,
    Patch,
    Record,
    Tree,
    Write,
    reference_to,
    versioned,
)
from fairway.kube.administration import ClusterNode
from fairway.kube.objectmeta import ObjectMeta
from fairway.kube.objects import CONTROLLER_REVISION, DAEMON_SET, NODE, POD
from fairway.kube.pod import Pod, PodPhase, PodSpec
from fairway.kube.workloads import ControllerRevision, DaemonSet, DaemonSetStatus


class DaemonSetController:
    """Keeps the pods of DaemonSets."""

    name = "daemonset-controller"
    component = "daemonset-controller"
    kinds: tuple[AnyKind, ...] = (DAEMON_SET, POD, NODE, CONTROLLER_REVISION)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is POD:
            return pod_owners_concerned(DAEMON_SET, old, new, view)
        if kind is CONTROLLER_REVISION:
            return owner_of_revision(DAEMON_SET, new or old)
        if kind is NODE:
            if old is not None and new is not None and _node_facts(old) == _node_facts(new):
                return ()
            return {one.metadata.object_name for one in view.all(DAEMON_SET)}
        return {(new or old).metadata.object_name}

    def sync(self, turn: Turn, view: View) -> Outcome:
        owner = view.get(DAEMON_SET, turn.key)
        if owner is None:
            return Outcome()
        if owner.spec.selector.is_empty:
            said = "This daemon set is selecting all pods. A non-empty selector is required."
            return Outcome((Record(reference_to(DAEMON_SET, owner), EventType.WARNING, "SelectingAll", said),))
        if owner.metadata.is_leaving:
            return Outcome()
        found = [*view.owned(POD, owner.metadata.uid), *view.lone(POD, turn.key.namespace)]
        pods, taken = claim(DAEMON_SET, owner, owner.spec.selector, POD, found)
        if taken:
            return Outcome(tuple(taken), memory=turn.memory)
        revisions = history.in_order(view.owned(CONTROLLER_REVISION, owner.metadata.uid))
        update, revising = history.revise(DAEMON_SET, owner, owner.spec.template, revisions, LABEL_REVISION)
        if update is None:
            return Outcome(tuple(revising), memory=turn.memory)
        nodes = sorted(view.all(NODE), key=lambda one: one.metadata.name)
        spec = msgspec.convert(owner.spec.template.get("spec") or {}, PodSpec)
        fits = {one.metadata.name: _fit(owner, spec, one) for one in nodes}
        delays = dict(turn.memory) if isinstance(turn.memory, dict) else {}
        work = DaemonPods(owner, turn.now, update, nodes, by_node(pods), fits, delays)
        writes = work.writes()
        status = work.status()
        if status != owner.status:
            writes.insert(0, Patch(DAEMON_SET, turn.key, versioned(owner, {"status": _status_tree(status)}), "status"))
        writes += _truncated(work, revisions, pods)
        return Outcome(tuple(writes), again_in=_next_check(work, pods), memory=work.delays)


def _node_facts(node: ClusterNode) -> tuple[object, ...]:
    return (node.metadata.labels, node.spec.taints, node.spec.unschedulable)


def _fit(owner: DaemonSet, spec: PodSpec, node: ClusterNode) -> Fit:
    pod = Pod(ObjectMeta(owner.metadata.name, owner.metadata.namespace), spec)
    if (spec.node_name and spec.node_name != node.metadata.name) or not selects(pod, Place(node)):
        return Fit(False, False)
    taints = [one for one in node.taints if (one.key, one.effect) not in always_tolerated(spec)]
    may_stay = not untolerated(taints, spec.tolerations, (NO_EXECUTE,))
    return Fit(may_stay and not untolerated(taints, spec.tolerations, (NO_SCHEDULE,)), may_stay)


def _truncated(work: DaemonPods, revisions: list[ControllerRevision], pods: Iterable[Pod]) -> list[Write]:
    """Deletes of the oldest revisions that no pod has. As upstream, those that pods have count for the limit, too."""
    limit = work.owner.spec.revision_history_limit
    old = [one for one in revisions if one.metadata.name != work.update.metadata.name]
    hashes = {one.metadata.label_map.get(LABEL_REVISION) for one in pods}
    unused = [one for one in old if one.metadata.label_map.get(LABEL_REVISION) not in hashes]
    surplus = max(0, len(old) - (10 if limit is None else limit))
    return [Delete(CONTROLLER_REVISION, one.metadata.object_name, one.metadata.uid) for one in unused[:surplus]]


def _status_tree(status: DaemonSetStatus) -> Tree:
    return {
        **sparse(
            observedGeneration=status.observed_generation,
            updatedNumberScheduled=status.updated_number_scheduled,
            numberAvailable=status.number_available,
            numberUnavailable=status.number_unavailable,
        ),
        "currentNumberScheduled": status.current_number_scheduled,
        "numberMisscheduled": status.number_misscheduled,
        "desiredNumberScheduled": status.desired_number_scheduled,
        "numberReady": status.number_ready,
        "collisionCount": status.collision_count,
    }


def _next_check(work: DaemonPods, pods: Iterable[Pod]) -> float | None:
    """When a ready pod will count as available, or a failed one may go."""
    ready = seconds_to_next_availability(pods, work.owner.spec.min_ready_seconds, work.now)
    waits = [] if ready is None else [ready]
    has_failed = any(pod.phase is PodPhase.FAILED and not pod.metadata.is_leaving for pod in pods)
    waits += [left for one in work.delays.values() if has_failed and (left := one.left(work.now)) > 0]
    return min(waits, default=None)
