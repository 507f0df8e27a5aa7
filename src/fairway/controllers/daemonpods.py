"""What a DaemonSet's nodes and pods need: pods made and deleted node by node, the update, the counts of its status.

Which nodes a pod fits is decided by the controller. The rules are upstream's, its daemon_controller.go and update.go:
pods that are leaving count for the status only, and a node may be counted as missing that has one old pod and one new.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import msgspec

from fairway.controllers.podcontrol import create_pod, delete_pod
from fairway.controllers.rollout import scaled
from fairway.controllers.templates import pod_body
from fairway.controllers.tolerations import NO_EXECUTE, NO_SCHEDULE
from fairway.controllers.writes import EventType, Record, Tree, Write, controlled_by, reference_to
from fairway.kube.administration import ClusterNode
from fairway.kube.objects import DAEMON_SET
from fairway.kube.pod import Pod, PodPhase, PodSpec
from fairway.kube.workloads import ControllerRevision, DaemonSet, DaemonSetStatus

LABEL_REVISION = "controller-revision-hash"
LABEL_GENERATION = "pod-template-generation"
ANNOTATION_GENERATION = "deprecated.daemonset.template.generation"
ALWAYS_TOLERATED = (
    ("node.kubernetes.io/not-ready", NO_EXECUTE),
    ("node.kubernetes.io/unreachable", NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/unschedulable", NO_SCHEDULE),
)
HOST_NETWORK_TOLERATED = ("node.kubernetes.io/network-unavailable", NO_SCHEDULE)
FIRST_DELAY = 1.0
LONGEST_DELAY = 900.0


def always_tolerated(spec: PodSpec) -> set[tuple[str, str]]:
    """Taints that keep no pod of any DaemonSet away."""
    return {*ALWAYS_TOLERATED, *((HOST_NETWORK_TOLERATED,) if spec.host_network else ())}


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


def by_node(pods: Iterable[Pod]) -> dict[str, list[Pod]]:
    """Of each node its pods: those that are on it before those that only want to be, then the oldest first."""
    found: dict[str, list[Pod]] = {}
    for pod in sorted(pods, key=lambda one: (not one.node, one.metadata.created, one.metadata.name)):
        if not (pod.is_terminal and pod.metadata.is_leaving):
            found.setdefault(target_node(pod), []).append(pod)
    return found


class Fit(NamedTuple):
    """Whether a pod should be made on a node, and whether one that is there may stay."""

    should_run: bool
    may_stay: bool


class Delay(NamedTuple):
    """How long a node's next failed pod is left as it is after the last one was deleted."""

    seconds: float
    since: datetime

    def left(self, now: datetime) -> float:
        """Not positive when it is over."""
        return self.seconds - (now - self.since).total_seconds()


Delays = Mapping[str, Delay]
"""By node."""


class _Pair(NamedTuple):
    """The pod of the wanted revision and the one of another on a node, those that leave left out."""

    new: Pod | None
    old: Pod | None


@dataclass(slots=True)
class DaemonPods:
    """One look at one set."""

    owner: DaemonSet
    now: datetime
    update: ControllerRevision
    nodes: list[ClusterNode]
    by_node: dict[str, list[Pod]]
    fits: dict[str, Fit]
    delays: dict[str, Delay] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return self.update.metadata.label_map.get(LABEL_REVISION, "")

    def is_updated(self, pod: Pod) -> bool:
        return pod.metadata.label_map.get(LABEL_REVISION) == self.digest

    def is_available(self, pod: Pod) -> bool:
        return pod.is_available(self.owner.spec.min_ready_seconds, self.now)

    @property
    def wanted_nodes(self) -> int:
        return sum(fit.should_run for fit in self.fits.values())

    @property
    def allows_surge(self) -> bool:
        return scaled(self.owner.spec.update_strategy.rolling.max_surge, 1, round_up=True) > 0

    @property
    def max_surge(self) -> int:
        return scaled(self.owner.spec.update_strategy.rolling.max_surge, self.wanted_nodes, round_up=True)

    @property
    def max_unavailable(self) -> int:
        given = self.owner.spec.update_strategy.rolling.max_unavailable
        most = scaled(given, self.wanted_nodes, round_up=True) if given is not None else 1
        return max(1, most) if self.max_surge == 0 else most

    # -- what to do

    def writes(self) -> list[Write]:
        """Make what is missing and delete what should not be; when nothing of that is left, update."""
        writes: list[Write] = []
        for node in self.nodes:
            name, pods = node.metadata.name, self.by_node.get(node.metadata.name)
            fit = self.fits[name]
            if fit.should_run and pods is None:
                writes.append(self.create(name))
            elif fit.may_stay:
                writes += self._tidy(name, pods or [])
            else:
                writes += [self.delete(pod) for pod in pods or () if not pod.metadata.is_leaving]
        lost = [pods for name, pods in self.by_node.items() if name not in self.fits]
        writes += [self.delete(pod) for pods in lost for pod in pods if not pod.node and not pod.metadata.is_leaving]
        if writes or self.owner.spec.update_strategy.type != "RollingUpdate":
            return writes
        return self._roll_ahead() if self.max_surge else self._roll_in_place()

    def _tidy(self, node: str, pods: list[Pod]) -> list[Write]:
        """Ended pods go and are made anew; of several the oldest stays, with surge one of each revision."""
        writes: list[Write] = []
        running: list[Pod] = []
        for pod in (one for one in pods if not one.metadata.is_leaving):
            if pod.is_terminal:
                writes += self._end(pod, node)
            else:
                running.append(pod)
        if not self.allows_surge:
            return [*writes, *(self.delete(pod) for pod in running[1:])]
        if not running and self.fits[node].should_run:
            return [*writes, self.create(node)]
        return [*writes, *self._tidy_surge(running)]

    def _end(self, pod: Pod, node: str) -> list[Write]:
        """Delete an ended pod, and say so; failed ones ever more slowly, since a kubelet may refuse each."""
        has_failed = pod.phase is PodPhase.FAILED
        if has_failed:
            held = self.delays.get(node)
            if held is not None and held.left(self.now) > 0:
                return []
            is_old = held is None or held.left(self.now) < -2 * LONGEST_DELAY
            seconds = FIRST_DELAY if held is None or is_old else min(2 * held.seconds, LONGEST_DELAY)
            self.delays[node] = Delay(seconds, self.now)
        word, fate = ("failed", "kill") if has_failed else ("succeeded", "delete")
        said = f"Found {word} daemon pod {pod.metadata.object_name} on node {node}, will try to {fate} it"
        kind = EventType.WARNING if has_failed else EventType.NORMAL
        about = reference_to(DAEMON_SET, self.owner)
        return [Record(about, kind, f"{word.capitalize()}DaemonPod", said), self.delete(pod)]

    def _tidy_surge(self, running: list[Pod]) -> list[Write]:
        """An old pod stays as long as it is ready and its successor is not available."""
        new = [pod for pod in running if self.is_updated(pod)]
        old = [pod for pod in running if not self.is_updated(pod)]
        surplus = [*new[1:], *old[1:]]
        if new and old and (not old[0].is_ready or self.is_available(new[0])):
            surplus.append(old[0])
        return [self.delete(pod) for pod in surplus]

    def _pairs(self) -> Iterator[tuple[str, _Pair | None]]:
        """Of each node that has or should have a pod; None where there are too many of one revision."""
        for node in self.nodes:
            name = node.metadata.name
            pods = self.by_node.get(name)
            if pods is None and not self.fits[name].should_run:
                continue
            staying = [pod for pod in pods or () if not pod.metadata.is_leaving]
            new = [pod for pod in staying if self.is_updated(pod)]
            old = [pod for pod in staying if not self.is_updated(pod)]
            is_clear = len(new) <= 1 and len(old) <= 1
            yield name, _Pair(next(iter(new), None), next(iter(old), None)) if is_clear else None

    def _roll_in_place(self) -> list[Write]:
        """Old pods that are not available go at once, others as many as may be missing."""
        unavailable = 0
        broken: list[Pod] = []
        healthy: list[Pod] = []
        for _, pair in self._pairs():
            if pair is None or (pair.new is None) == (pair.old is None):
                unavailable += 1
            elif pair.new is not None:
                unavailable += not self.is_available(pair.new)
            elif pair.old is not None:
                (healthy if self.is_available(pair.old) else broken).append(pair.old)
        spare = max(0, self.max_unavailable - unavailable)
        return [self.delete(pod) for pod in (*broken, *healthy[:spare])]

    def _roll_ahead(self) -> list[Write]:
        """New pods beside old ones, as many as may be more; an old one goes when its successor is available."""
        deletes: list[Pod] = []
        leavable: list[Pod] = []
        urgent: list[str] = []
        ready: list[str] = []
        surging = available = 0
        for name, pair in self._pairs():
            if pair is None:
                surging += 1
                continue
            spokesman = pair.old or pair.new
            available += spokesman is not None and self.is_available(spokesman)
            if pair.old is None:
                continue
            if pair.new is not None and self.is_available(pair.new):
                deletes.append(pair.old)
            elif pair.new is not None:
                surging += 1
            elif not self.fits[name].should_run:  # no successor here: it goes when there are enough elsewhere
                (leavable if self.is_available(pair.old) else deletes).append(pair.old)
            else:
                (ready if self.is_available(pair.old) else urgent).append(name)
        deletes += leavable[: max(0, available - self.wanted_nodes)]
        spare = max(0, self.max_surge - surging)
        return [*(self.delete(pod) for pod in deletes), *(self.create(name) for name in (*urgent, *ready[:spare]))]

    # -- pods

    def create(self, node: str) -> Write:
        """A pod for this node alone, that stands what every node may go through."""
        template = self.owner.spec.template
        spec = dict(template.get("spec") or {})
        read = msgspec.convert(spec, PodSpec)
        tolerations = list(spec.get("tolerations") or ())
        tolerations += [
            made
            for key, effect in sorted(always_tolerated(read))
            if (made := {"key": key, "operator": "Exists", "effect": effect}) not in tolerations
        ]
        spec["tolerations"] = tolerations
        spec["affinity"] = _only_on(spec.get("affinity") or {}, node)
        labels = {LABEL_REVISION: self.digest}
        if generation := self.owner.metadata.annotation_map.get(ANNOTATION_GENERATION):
            labels[LABEL_GENERATION] = generation
        owner = controlled_by(DAEMON_SET, self.owner)
        body = pod_body({**template, "spec": spec}, owner, labels=labels)
        return create_pod(DAEMON_SET, self.owner, body)

    def delete(self, pod: Pod) -> Write:
        return delete_pod(DAEMON_SET, self.owner, pod)

    # -- status

    def status(self) -> DaemonSetStatus:
        """On each node the first pod speaks for it."""
        wanted = scheduled = misplaced = ready = available = updated = 0
        for node in self.nodes:
            pods = self.by_node.get(node.metadata.name)
            if not self.fits[node.metadata.name].should_run:
                misplaced += bool(pods)
                continue
            wanted += 1
            if pods:
                scheduled += 1
                ready += pods[0].is_ready
                available += self.is_available(pods[0])
                updated += self.is_updated(pods[0])
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
