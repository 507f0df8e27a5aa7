"""StatefulSet: pods with a number each, in order or all at once, updated from the highest number down to the partition.

In order, one look does one thing: whatever comes next waits until it shows. Volume claims are made and never deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from fairway.controllers import history
from fairway.controllers.controller import Key, Turn
from fairway.controllers.ownership import claim
from fairway.controllers.podcontrol import seconds_to_next_availability
from fairway.controllers.replicasets import pod_owners_concerned
from fairway.controllers.rollout import scaled
from fairway.controllers.statuses import sparse
from fairway.controllers.templates import pod_body
from fairway.controllers.view import View
from fairway.controllers.writes import (
    AnyKind,
    Create,
    Delete,
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
from fairway.kube.objects import CONTROLLER_REVISION, POD, STATEFUL_SET, VOLUME_CLAIM
from fairway.kube.pod import Pod, PodPhase
from fairway.kube.workloads import ControllerRevision, StatefulSet, StatefulSetStatus, Template
from fairway.values.names import ObjectName

LABEL_REVISION = "controller-revision-hash"
LABEL_HISTORY_HASH = "controller.kubernetes.io/hash"
LABEL_POD_NAME = "statefulset.kubernetes.io/pod-name"
LABEL_POD_INDEX = "apps.kubernetes.io/pod-index"


class StatefulSetController:
    """Keeps the pods of StatefulSets."""

    name = "statefulset-controller"
    component = "statefulset-controller"
    kinds: tuple[AnyKind, ...] = (STATEFUL_SET, POD, CONTROLLER_REVISION)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is POD:
            return pod_owners_concerned(STATEFUL_SET, old, new, view)
        if kind is CONTROLLER_REVISION:
            return owner_of_revision(STATEFUL_SET, new or old)
        return {(new or old).metadata.object_name}

    def sync(self, turn: Turn, view: View) -> Outcome:
        owner = view.get(STATEFUL_SET, turn.key)
        if owner is None:
            return Outcome()
        found = [*view.owned(POD, owner.metadata.uid), *view.lone(POD, turn.key.namespace)]
        members = [one for one in found if ordinal_of(owner, one) is not None]
        pods, taken = claim(STATEFUL_SET, owner, owner.spec.selector, POD, members)
        if taken:
            return Outcome(tuple(taken))
        revisions = history.in_order(view.owned(CONTROLLER_REVISION, owner.metadata.uid))
        update, revising = history.revise(STATEFUL_SET, owner, owner.spec.template, revisions, LABEL_HISTORY_HASH)
        if update is None:
            return Outcome(tuple(revising) if not owner.metadata.is_leaving else ())
        held = owner.status.current_revision
        current = next((one for one in revisions if one.metadata.name == held), update)
        work = _Work(owner, turn.now, current, update, pods)
        writes = [] if owner.metadata.is_leaving else work.writes()
        status = work.status()
        if status != owner.status:
            writes.insert(
                0, Patch(STATEFUL_SET, turn.key, versioned(owner, {"status": _status_tree(status)}), "status")
            )
        live = {current.metadata.name, update.metadata.name, *(_revision_of(pod) for pod in pods)}
        writes += history.truncated(revisions, live, owner.spec.revision_history_limit)
        return Outcome(
            tuple(writes), again_in=seconds_to_next_availability(pods, owner.spec.min_ready_seconds, turn.now)
        )


def owner_of_revision(kind: AnyKind, revision: ControllerRevision) -> set[Key]:
    """The set whose history it is."""
    ref = revision.metadata.controller
    is_ours = ref is not None and ref.kind == kind.name
    return {ObjectName(revision.metadata.namespace, ref.name)} if ref is not None and is_ours else set()


def ordinal_of(owner: StatefulSet, pod: Pod) -> int | None:
    """The number at the end of the pod's name; None when the name is not of this set."""
    parent, _, number = pod.metadata.name.rpartition("-")
    is_number = number.isascii() and number.isdecimal() and str(int(number)) == number
    return int(number) if parent == owner.metadata.name and is_number else None


def _revision_of(pod: Pod) -> str:
    return pod.metadata.label_map.get(LABEL_REVISION, "")


class _Slot(NamedTuple):
    """A number that should have a pod, and the pod that has it."""

    ordinal: int
    pod: Pod | None


@dataclass(slots=True)
class _Work:
    """One look at one set."""

    owner: StatefulSet
    now: datetime
    current: ControllerRevision
    update: ControllerRevision
    pods: list[Pod]
    replaced: list[Pod] = field(default_factory=list)
    """Those that this look deletes for the update."""

    @property
    def start(self) -> int:
        return self.owner.spec.ordinals.start if self.owner.spec.ordinals else 0

    @property
    def is_ordered(self) -> bool:
        return self.owner.spec.pod_management_policy != "Parallel"

    def slots(self) -> list[_Slot]:
        by_ordinal = {ordinal_of(self.owner, pod): pod for pod in self.pods}
        return [_Slot(i, by_ordinal.get(i)) for i in range(self.start, self.start + self.owner.replicas)]

    def condemned(self) -> list[Pod]:
        """Pods whose number is not wanted any more, highest first."""
        wanted = range(self.start, self.start + self.owner.replicas)
        surplus = [(ordinal_of(self.owner, pod) or 0, pod) for pod in self.pods]
        return [pod for number, pod in sorted(surplus, key=lambda pair: -pair[0]) if number not in wanted]

    def is_available(self, pod: Pod | None) -> bool:
        least = self.owner.spec.min_ready_seconds
        return pod is not None and not pod.metadata.is_leaving and pod.is_available(least, self.now)

    # -- what to do

    def writes(self) -> list[Write]:
        """Fill the numbers, then empty those that are too many, then update."""
        for step in (self.fill, self.shrink):
            writes: list[Write] = []
            for batch, is_last in step():
                writes += batch
                if is_last:
                    return writes
            if writes:
                return writes
        return [] if self.owner.spec.update_strategy.type == "OnDelete" else self.roll()

    def fill(self) -> Iterator[tuple[list[Write], bool]]:
        """Each number's write; True where, in order, the rest has to wait."""
        for slot in self.slots():
            pod = slot.pod
            if pod is not None and pod.is_terminal:
                yield ([] if pod.metadata.is_leaving else [self.delete(pod)]), self.is_ordered
            elif pod is None:
                yield self.create(slot.ordinal), self.is_ordered
            elif not self.is_available(pod) or not self.is_running(pod):
                yield [], self.is_ordered
            else:
                yield self.fix_identity(pod), False

    @staticmethod
    def is_running(pod: Pod) -> bool:
        return pod.phase is PodPhase.RUNNING and pod.is_ready

    def shrink(self) -> Iterator[tuple[list[Write], bool]]:
        condemned = self.condemned()
        waiting = [slot.pod for slot in self.slots()] + condemned[::-1]
        first_unhealthy = next((pod for pod in waiting if not self.is_available(pod)), None)
        for pod in condemned:
            if pod.metadata.is_leaving:
                yield [], self.is_ordered
            elif self.is_ordered and not self.is_available(pod) and pod is not first_unhealthy:
                yield [], True
            else:
                yield [self.delete(pod)], self.is_ordered

    def roll(self) -> list[Write]:
        """Pods of another revision go, highest number first."""
        rolling = self.owner.spec.update_strategy.rolling
        least = self.start + (rolling.partition or 0)
        slots = [slot for slot in reversed(self.slots()) if slot.ordinal >= least]
        self.replaced = self._some_stale(slots) if rolling.max_unavailable is not None else self._one_stale(slots)
        return [self.delete(pod) for pod in self.replaced]

    def _one_stale(self, slots: list[_Slot]) -> list[Pod]:
        """The first stale pod, when all above it are available; those below it need not be."""
        for slot in slots:
            if slot.pod is not None and self.is_stale(slot.pod):
                return [slot.pod]
            if not self.is_available(slot.pod):
                break
        return []

    def _some_stale(self, slots: list[_Slot]) -> list[Pod]:
        """As many as may be missing, whatever their numbers (KEP-961)."""
        most = scaled(self.owner.spec.update_strategy.rolling.max_unavailable, self.owner.replicas, round_up=False)
        spare = max(1, most) - sum(not self.is_available(slot.pod) for slot in self.slots())
        stale = [slot.pod for slot in slots if slot.pod is not None and self.is_stale(slot.pod)]
        return stale[: max(0, spare)]

    def is_stale(self, pod: Pod) -> bool:
        return not pod.metadata.is_leaving and _revision_of(pod) != self.update.metadata.name

    # -- pods

    def create(self, ordinal: int) -> list[Write]:
        """The pod of this number, of the revision that its number calls for, after its claims."""
        name = f"{self.owner.metadata.name}-{ordinal}"
        revision = self.current if ordinal < self.start + self.current_count() else self.update
        labels = {
            LABEL_POD_NAME: name,
            LABEL_POD_INDEX: str(ordinal),
            LABEL_REVISION: revision.metadata.name,
        }
        owner = controlled_by(STATEFUL_SET, self.owner)
        body = pod_body(self._template(history.template_of(revision), name), owner, name=name, labels=labels)
        body["spec"] = {**body["spec"], "hostname": name, "subdomain": self.owner.spec.service_name}
        done, failed = self._records("Create", name)
        return [*self._claims(name), Create(POD, self.owner.metadata.namespace, body, done, failed)]

    def current_count(self) -> int:
        """Of how many numbers, from the first, a new pod is of the current revision."""
        strategy = self.owner.spec.update_strategy
        if strategy.type != "RollingUpdate":
            return 0
        if strategy.rolling_update is None:  # as many as still have it: upstream, isCurrentRevisionNeeded
            return self.owner.status.current_replicas
        return strategy.rolling.partition or 0

    def _template(self, template: Template, name: str) -> Template:
        """With a volume for each claim."""
        claims = [claim["metadata"]["name"] for claim in self.owner.spec.volume_claim_templates or ()]
        if not claims:
            return template
        spec = template.get("spec") or {}
        volumes = [one for one in spec.get("volumes") or () if one.get("name") not in claims]
        made = [{"name": one, "persistentVolumeClaim": {"claimName": f"{one}-{name}"}} for one in claims]
        return {**template, "spec": {**spec, "volumes": [*made, *volumes]}}

    def _claims(self, name: str) -> list[Write]:
        made: list[Write] = []
        for template in self.owner.spec.volume_claim_templates or ():
            given = template.get("metadata") or {}
            labels = {**(given.get("labels") or {}), **(self.owner.spec.selector.match_labels or {})}
            metadata: Tree = {**given, "name": f"{given['name']}-{name}", "labels": labels}
            metadata["namespace"] = self.owner.metadata.namespace
            head: Tree = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata}
            body = {**head, "spec": template.get("spec") or {}}
            made.append(Create(VOLUME_CLAIM, self.owner.metadata.namespace, body, may_exist=True))
        return made

    def delete(self, pod: Pod) -> Delete:
        done, failed = self._records("Delete", pod.metadata.name)
        return Delete(POD, pod.metadata.object_name, pod.metadata.uid, done=done, failed=failed)

    def fix_identity(self, pod: Pod) -> list[Write]:
        """Labels that tell a pod's number, if somebody took them off."""
        wanted = {LABEL_POD_NAME: pod.metadata.name, LABEL_POD_INDEX: str(ordinal_of(self.owner, pod))}
        if all(pod.metadata.label_map.get(key) == value for key, value in wanted.items()):
            return []
        done, failed = self._records("Update", pod.metadata.name)
        return [Patch(POD, pod.metadata.object_name, versioned(pod, labels=wanted), done=done, failed=failed)]

    def _records(self, verb: str, pod: str) -> tuple[Record, Record]:
        about = reference_to(STATEFUL_SET, self.owner)
        said = f"{verb} Pod {pod} in StatefulSet {self.owner.metadata.name}"
        return (
            Record(about, EventType.NORMAL, f"Successful{verb}", f"{said} successful"),
            Record(about, EventType.WARNING, f"Failed{verb}", f"{said} failed error: {{error}}"),
        )

    # -- status

    def status(self) -> StatefulSetStatus:
        ready = [pod for pod in self.pods if self.is_running(pod)]
        # A pod that goes now counts no more: without a partition, what it is made of next is told by this number.
        staying = [pod for pod in self.pods if not pod.metadata.is_leaving and pod not in self.replaced]
        status = StatefulSetStatus(
            observed_generation=self.owner.metadata.generation,
            replicas=len(self.pods),
            ready_replicas=len(ready),
            available_replicas=sum(pod.is_available(self.owner.spec.min_ready_seconds, self.now) for pod in ready),
            current_replicas=sum(_revision_of(pod) == self.current.metadata.name for pod in staying),
            updated_replicas=sum(_revision_of(pod) == self.update.metadata.name for pod in staying),
            current_revision=self.current.metadata.name,
            update_revision=self.update.metadata.name,
            collision_count=self.owner.status.collision_count or 0,
            conditions=self.owner.status.conditions,
        )
        wanted = self.owner.replicas
        is_rolling = self.owner.spec.update_strategy.type == "RollingUpdate"
        if is_rolling and status.updated_replicas == status.ready_replicas == status.replicas == wanted:
            return msgspec.structs.replace(
                status, current_replicas=status.updated_replicas, current_revision=status.update_revision
            )
        return status


def _status_tree(status: StatefulSetStatus) -> Tree:
    return {
        **sparse(
            observedGeneration=status.observed_generation,
            readyReplicas=status.ready_replicas,
            currentReplicas=status.current_replicas,
            updatedReplicas=status.updated_replicas,
            currentRevision=status.current_revision,
            updateRevision=status.update_revision,
        ),
        "replicas": status.replicas,
        "availableReplicas": status.available_replicas,
        "collisionCount": status.collision_count,
    }
