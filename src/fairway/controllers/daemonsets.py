"""DaemonSet: one pod on every node that can run it, updated by replacing or, with surge, by preceding.

Pods are made without a node, but for the only one that they want: the scheduler puts them there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from fairway.controllers import history
from fairway.controllers.controller import Key, Turn
from fairway.controllers.ownership import claim
from fairway.controllers.placement import Place, selects
from fairway.controllers.podcontrol import create_pod, delete_pod
from fairway.controllers.replicasets import pod_owners_concerned
from fairway.controllers.rollout import scaled
from fairway.controllers.statefulsets import owner_of_revision
from fairway.controllers.statuses import sparse
from fairway.controllers.templates import pod_body
from fairway.controllers.tolerations import NO_EXECUTE, NO_SCHEDULE, untolerated
from fairway.controllers.view import View
from fairway.controllers.writes import (
    AnyKind,
    EventType,
    Outcome,
    Patch,
    Record,
    Tree,
    Write,
    controlled_by,
    reference_to,
    versioned,
)
from fairway.kube.administration import ClusterNode
from fairway.kube.objectmeta import ObjectMeta
from fairway.kube.objects import CONTROLLER_REVISION, DAEMON_SET, NODE, POD
from fairway.kube.pod import Pod, PodSpec
from fairway.kube.workloads import ControllerRevision, DaemonSet, DaemonSetStatus

LABEL_REVISION = "controller-revision-hash"
LABEL_GENERATION = "pod-template-generation"
ALWAYS_TOLERATED = (
    ("node.kubernetes.io/not-ready", NO_EXECUTE),
    ("node.kubernetes.io/unreachable", NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/unschedulable", NO_SCHEDULE),
)
HOST_NETWORK_TOLERATED = ("node.kubernetes.io/network-unavailable", NO_SCHEDULE)


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
            return Outcome(tuple(taken))
        revisions = history.in_order(view.owned(CONTROLLER_REVISION, owner.metadata.uid))
        update, revising = history.revise(DAEMON_SET, owner, owner.spec.template, revisions, LABEL_REVISION)
        if update is None:
            return Outcome(tuple(revising))
        nodes = sorted(view.all(NODE), key=lambda one: one.metadata.name)
        spec = msgspec.convert(owner.spec.template.get("spec") or {}, PodSpec)
        fits = {one.metadata.name: _fit(owner, spec, one) for one in nodes}
        work = _Work(owner, turn.now, update, nodes, _by_node(pods), fits)
        writes = work.writes()
        status = work.status()
        if status != owner.status:
            writes.insert(0, Patch(DAEMON_SET, turn.key, versioned(owner, {"status": _status_tree(status)}), "status"))
        hashes = {one.metadata.label_map.get(LABEL_REVISION) for one in pods}
        live = {one.metadata.name for one in revisions if one.metadata.label_map.get(LABEL_REVISION) in hashes}
        writes += history.truncated(revisions, {*live, update.metadata.name}, owner.spec.revision_history_limit)
        return Outcome(tuple(writes), again_in=_next_check(owner, pods, turn.now))


def _node_facts(node: ClusterNode) -> tuple[object, ...]:
    return (node.metadata.labels, node.spec.taints, node.spec.unschedulable)


def target_node(pod: Pod) -> str:
    """The node that the pod is on, or the only one that it wants."""
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    if pod.node or affinity is None or affinity.required is None:
        return pod.node
    for term in affinity.required.node_selector_terms:
        for one in term.match_fields or ():
            if one.key == "metadata.name" and one.operator == "In" and len(one.values or ()) == 1:
                return (one.values or ("",))[0]
    return ""


def _by_node(pods: Iterable[Pod]) -> dict[str, list[Pod]]:
    found: dict[str, list[Pod]] = {}
    for pod in sorted(pods, key=lambda one: (one.metadata.created, one.metadata.name)):
        found.setdefault(target_node(pod), []).append(pod)
    return found


class _Fit(NamedTuple):
    """Whether a pod should be made on a node, and whether one that is there may stay."""

    should_run: bool
    may_stay: bool


def _fit(owner: DaemonSet, spec: PodSpec, node: ClusterNode) -> _Fit:
    pod = Pod(ObjectMeta(owner.metadata.name, owner.metadata.namespace), spec)
    if (spec.node_name and spec.node_name != node.metadata.name) or not selects(pod, Place(node)):
        return _Fit(False, False)
    taints = [one for one in node.taints if (one.key, one.effect) not in _tolerated(spec)]
    may_stay = not untolerated(taints, spec.tolerations, (NO_EXECUTE,))
    return _Fit(may_stay and not untolerated(taints, spec.tolerations, (NO_SCHEDULE,)), may_stay)


def _tolerated(spec: PodSpec) -> set[tuple[str, str]]:
    return {*ALWAYS_TOLERATED, *((HOST_NETWORK_TOLERATED,) if spec.host_network else ())}


@dataclass(slots=True)
class _Work:
    """One look at one set."""

    owner: DaemonSet
    now: datetime
    update: ControllerRevision
    nodes: list[ClusterNode]
    by_node: dict[str, list[Pod]]
    fits: dict[str, _Fit]

    def fit(self, node: ClusterNode) -> _Fit:
        return self.fits[node.metadata.name]

    @property
    def digest(self) -> str:
        return self.update.metadata.label_map.get(LABEL_REVISION, "")

    def is_updated(self, pod: Pod) -> bool:
        return pod.metadata.label_map.get(LABEL_REVISION) == self.digest

    def is_available(self, pod: Pod) -> bool:
        least = self.owner.spec.min_ready_seconds
        return not pod.metadata.is_leaving and pod.is_available(least, self.now)

    @property
    def max_surge(self) -> int:
        return scaled(self.owner.spec.update_strategy.rolling.max_surge, self.wanted_nodes, round_up=True)

    @property
    def max_unavailable(self) -> int:
        given = self.owner.spec.update_strategy.rolling.max_unavailable
        most = scaled(given, self.wanted_nodes, round_up=True) if given is not None else 1
        return max(1, most) if self.max_surge == 0 else most

    @property
    def wanted_nodes(self) -> int:
        return sum(fit.should_run for fit in self.fits.values())

    # -- what to do

    def writes(self) -> list[Write]:
        """Make what is missing and delete what should not be; when nothing of that is left, update."""
        makes: list[Write] = []
        deletes: list[Write] = []
        for node in self.nodes:
            fit = self.fit(node)
            pods = self.by_node.get(node.metadata.name, [])
            if fit.should_run and not pods:
                makes.append(self.create(node.metadata.name))
            elif pods and not fit.may_stay:
                deletes += [self.delete(pod) for pod in pods if not pod.metadata.is_leaving]
            elif pods and fit.should_run:
                deletes += self._tidy(node, pods)
        lost = [pods for name, pods in self.by_node.items() if not any(n.metadata.name == name for n in self.nodes)]
        deletes += [self.delete(pod) for pods in lost for pod in pods if not pod.node and not pod.metadata.is_leaving]
        if makes or deletes:
            return [*deletes, *makes]
        return self._roll() if self.owner.spec.update_strategy.type == "RollingUpdate" else []

    def _tidy(self, node: ClusterNode, pods: list[Pod]) -> list[Write]:
        """Ended pods go and are made anew; of several the oldest stays, with surge one of each revision."""
        writes: list[Write] = []
        about = reference_to(DAEMON_SET, self.owner)
        running: list[Pod] = []
        for pod in pods:
            if pod.metadata.is_leaving:
                continue
            if pod.is_terminal:
                word = "failed" if pod.phase.value == "Failed" else "succeeded"
                reason = f"{word.capitalize()}DaemonPod"
                where = f"daemon pod {pod.metadata.object_name} on node {node.metadata.name}"
                said = f"Found {word} {where}, will try to {'kill' if word == 'failed' else 'delete'} it"
                kind = EventType.WARNING if word == "failed" else EventType.NORMAL
                writes += [Record(about, kind, reason, said), self.delete(pod)]
            else:
                running.append(pod)
        groups = [[p for p in running if self.is_updated(p)], [p for p in running if not self.is_updated(p)]]
        for group in groups if self.max_surge else [running]:
            writes += [self.delete(pod) for pod in group[1:]]
        return writes

    def _roll(self) -> list[Write]:
        return self._roll_ahead() if self.max_surge else self._roll_in_place()

    def _pair(self, node: ClusterNode) -> tuple[Pod | None, Pod | None]:
        """The pod of the new revision and the one of an old revision on a node."""
        pods = self.by_node.get(node.metadata.name, [])
        new = next((pod for pod in pods if self.is_updated(pod)), None)
        return new, next((pod for pod in pods if not self.is_updated(pod)), None)

    def _roll_in_place(self) -> list[Write]:
        """Old pods that are not available go at once, others as many as may be missing."""
        unavailable = 0
        broken: list[Pod] = []
        healthy: list[Pod] = []
        for node in (one for one in self.nodes if self.fit(one).should_run):
            new, old = self._pair(node)
            if new is not None or old is None:
                unavailable += new is None or not self.is_available(new)
            elif old.metadata.is_leaving:
                unavailable += 1
            elif not self.is_available(old):
                broken.append(old)
            else:
                healthy.append(old)
        spare = max(0, self.max_unavailable - unavailable - len(broken))
        return [self.delete(pod) for pod in (*broken, *healthy[:spare])]

    def _roll_ahead(self) -> list[Write]:
        """New pods beside old ones, as many as may be more; an old one goes when its successor is available."""
        deletes: list[Write] = []
        urgent: list[str] = []
        ready: list[str] = []
        surging = 0
        for node in (one for one in self.nodes if self.fit(one).should_run):
            new, old = self._pair(node)
            if old is None:
                continue
            if new is None:
                (ready if self.is_available(old) else urgent).append(node.metadata.name)
            elif self.is_available(new):
                deletes += [] if old.metadata.is_leaving else [self.delete(old)]
            else:
                surging += 1
        spare = max(0, self.max_surge - surging - len(urgent))
        return [*deletes, *(self.create(name) for name in (*urgent, *ready[:spare]))]

    # -- pods

    def create(self, node: str) -> Write:
        template = self.owner.spec.template
        spec = dict(template.get("spec") or {})
        read = msgspec.convert(spec, PodSpec)
        tolerations = list(spec.get("tolerations") or ())
        tolerations += [
            made
            for key, effect in sorted(_tolerated(read))
            if (made := {"key": key, "operator": "Exists", "effect": effect}) not in tolerations
        ]
        spec["tolerations"] = tolerations
        spec["affinity"] = _only_on(spec.get("affinity") or {}, node)
        labels = {LABEL_REVISION: self.digest, LABEL_GENERATION: str(self.owner.metadata.generation)}
        owner = controlled_by(DAEMON_SET, self.owner)
        body = pod_body({**template, "spec": spec}, owner, labels=labels)
        return create_pod(DAEMON_SET, self.owner, body)

    def delete(self, pod: Pod) -> Write:
        return delete_pod(DAEMON_SET, self.owner, pod)

    # -- status

    def status(self) -> DaemonSetStatus:
        wanted = scheduled = misplaced = ready = available = updated = 0
        for node in self.nodes:
            pods = self.by_node.get(node.metadata.name, [])
            if not self.fit(node).should_run:
                misplaced += bool(pods)
                continue
            wanted += 1
            if pods:
                scheduled += 1
                # The newest of the wanted revision speaks for the node, else the oldest.
                pod = next((one for one in pods if one.is_ready and self.is_updated(one)), None)
                pod = pod or next((one for one in pods if one.is_ready), pods[0])
                ready += pod.is_ready
                available += pod.is_available(self.owner.spec.min_ready_seconds, self.now)
                updated += any(self.is_updated(one) for one in pods)
        return DaemonSetStatus(
            observed_generation=self.owner.metadata.generation,
            current_number_scheduled=scheduled,
            number_misscheduled=misplaced,
            desired_number_scheduled=wanted,
            number_ready=ready,
            updated_number_scheduled=updated,
            number_available=available,
            number_unavailable=wanted - available,
            collision_count=self.owner.status.collision_count,
            conditions=self.owner.status.conditions,
        )


def _only_on(affinity: Tree, node: str) -> Tree:
    """The template's affinity, bound to one node besides."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    given = dict(affinity.get("nodeAffinity") or {})
    given["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [term]}
    return {**affinity, "nodeAffinity": given}


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


def _next_check(owner: DaemonSet, pods: Iterable[Pod], now: datetime) -> float | None:
    least = owner.spec.min_ready_seconds
    waits = [wait for pod in pods if (wait := pod.seconds_to_availability(least, now)) is not None] if least else []
    return min(waits, default=None)
