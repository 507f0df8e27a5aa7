"""Deployment to ReplicaSets: rolling update, recreate, scaling in the middle of both, pause, history, progress.

One look works on a draft of the sets (`_Draft`): what it decides is seen by what it decides next, and each set is
written once. The pods are the sets' business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from fairway.controllers import rollout
from fairway.controllers.controller import Key, Turn
from fairway.controllers.deploymentstatus import (
    failed_create,
    next_progress_check,
    paused_conditions,
    progress_status,
    status_tree,
    wanted_status,
)
from fairway.controllers.ownership import claim
from fairway.controllers.revisions import (
    ANNOTATION_REVISION,
    newest_set,
    next_revision,
    replicas_annotations,
    revision_of,
    set_annotations,
)
from fairway.controllers.statuses import Conditions, replace_condition
from fairway.controllers.templates import LABEL_TEMPLATE_HASH, is_same_template, labels_of, template_hash, with_labels
from fairway.controllers.view import View
from fairway.controllers.writes import (
    AnyKind,
    Create,
    Delete,
    EventType,
    Failure,
    Outcome,
    Patch,
    Record,
    Tree,
    Write,
    controlled_by,
    map_patch,
    reference_to,
    versioned,
)
from fairway.kube.objectmeta import Condition, LabelSelector, ObjectMeta, condition_of, to_tree
from fairway.kube.objects import DEPLOYMENT, POD, REPLICA_SET
from fairway.kube.workloads import Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec
from fairway.values.names import ObjectName

MAX_NAME = 253


class DeploymentController:
    """Keeps the ReplicaSets of Deployments."""

    name = "deployment-controller"
    component = "deployment-controller"
    kinds: tuple[AnyKind, ...] = (DEPLOYMENT, REPLICA_SET, POD)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is DEPLOYMENT:
            return {(new or old).metadata.object_name}
        if kind is REPLICA_SET:
            return _deployments_of_set(old, new, view)
        return _deployment_of_gone_pod(old, view) if new is None else set()

    def sync(self, turn: Turn, view: View) -> Outcome:
        deployment = view.get(DEPLOYMENT, turn.key)
        if deployment is None:
            return Outcome()
        if deployment.spec.selector.is_empty:
            return _refuse_everything(deployment)
        candidates = [*view.owned(REPLICA_SET, deployment.metadata.uid), *view.lone(REPLICA_SET, turn.key.namespace)]
        sets, taken = claim(DEPLOYMENT, deployment, deployment.spec.selector, REPLICA_SET, candidates)
        if taken:  # the versions of what was taken or let go are old now; the next look sees the new ones
            return Outcome(tuple(taken))
        draft = _Draft.begin(deployment, sets, turn.now)
        explained = _explained_failure(draft, turn.failure, view) if turn.failure is not None else None
        if explained is not None and turn.failure is not None:
            return Outcome(tuple(draft.status_writes(explained)), retry=turn.failure.message)
        status = _decide(draft, view)
        writes = draft.finish(status)
        return Outcome(tuple(writes), again_in=next_progress_check(deployment, status, turn.now))


def _refuse_everything(deployment: Deployment) -> Outcome:
    said = "This deployment is selecting all pods. A non-empty selector is required."
    writes: list[Write] = [Record(reference_to(DEPLOYMENT, deployment), EventType.WARNING, "SelectingAll", said)]
    if deployment.status.observed_generation < deployment.metadata.generation:
        body = versioned(deployment, {"status": {"observedGeneration": deployment.metadata.generation}})
        writes.append(Patch(DEPLOYMENT, deployment.metadata.object_name, body, "status"))
    return Outcome(tuple(writes))


def _deployments_of_set(old: ReplicaSet | None, new: ReplicaSet | None, view: View) -> set[Key]:
    found: set[Key] = set()
    for one in (old, new):
        ref = one.metadata.controller if one is not None else None
        if one is not None and ref is not None and ref.kind == DEPLOYMENT.name:
            found.add(ObjectName(one.metadata.namespace, ref.name))
    if new is not None and new.metadata.controller is None:
        found |= {
            one.metadata.object_name
            for one in view.in_namespace(DEPLOYMENT, new.metadata.namespace)
            if not one.spec.selector.is_empty and one.spec.selector.matches(new.metadata.label_map)
        }
    return found


def _deployment_of_gone_pod(pod: Any, view: View) -> set[Key]:
    """Only Recreate waits for pods to be gone."""
    ref = pod.metadata.controller if pod is not None else None
    owner = view.get(REPLICA_SET, ObjectName(pod.metadata.namespace, ref.name)) if ref is not None else None
    above = owner.metadata.controller if owner is not None else None
    if owner is None or above is None or above.kind != DEPLOYMENT.name:
        return set()
    name = ObjectName(owner.metadata.namespace, above.name)
    deployment = view.get(DEPLOYMENT, name)
    return {name} if deployment is not None and not rollout.is_rolling(deployment) else set()


@dataclass(slots=True)
class _Draft:
    """A Deployment and its sets as they will be after this look."""

    deployment: Deployment
    now: datetime
    conditions: Conditions
    present: dict[str, ReplicaSet]
    """As they are, by name."""
    old: list[ReplicaSet]
    new: ReplicaSet | None
    revision: str
    """What the Deployment's annotation should say; empty when it is not to be touched."""
    made: list[Create] = field(default_factory=list)
    records: list[Write] = field(default_factory=list)
    removed: list[ReplicaSet] = field(default_factory=list)

    @classmethod
    def begin(cls, deployment: Deployment, sets: list[ReplicaSet], now: datetime) -> _Draft:
        new = newest_set(deployment, sets)
        old = [one for one in rollout.by_age(sets) if new is None or one.metadata.uid != new.metadata.uid]
        conditions = deployment.status.conditions or ()
        return cls(deployment, now, conditions, {one.metadata.name: one for one in sets}, old, new, "")

    @property
    def sets(self) -> list[ReplicaSet]:
        return [*self.old, self.new] if self.new is not None else list(self.old)

    @property
    def active_old(self) -> list[ReplicaSet]:
        return [one for one in self.old if one.replicas > 0]

    def put(self, changed: ReplicaSet) -> None:
        """Take a changed set into the draft."""
        if self.new is not None and self.new.metadata.name == changed.metadata.name:
            self.new = changed
        self.old = [changed if one.metadata.name == changed.metadata.name else one for one in self.old]

    def scale(self, one: ReplicaSet, size: int, *, force: bool = False) -> bool:
        """Give a set another size; returns whether it is another. `force`: also when only its annotations are old."""
        if not force and one.replicas == size:
            return False
        annotations = {**one.metadata.annotation_map, **replicas_annotations(self.deployment)}
        if one.replicas == size and annotations == one.metadata.annotation_map:
            return False
        metadata = msgspec.structs.replace(one.metadata, annotations=annotations)
        spec = msgspec.structs.replace(one.spec, replicas=size)
        self.put(msgspec.structs.replace(one, metadata=metadata, spec=spec))
        if one.replicas != size:
            way = "up" if size > one.replicas else "down"
            self.say(f"Scaled {way} replica set {one.metadata.name} from {one.replicas} to {size}")
        return one.replicas != size

    def say(self, message: str) -> None:
        about = reference_to(DEPLOYMENT, self.deployment)
        self.records.append(Record(about, EventType.NORMAL, "ScalingReplicaSet", message))

    def condition(self, status: str, reason: str, message: str) -> None:
        """Set condition Progressing."""
        moment = self.now.replace(microsecond=0)
        new = Condition("Progressing", status, reason, message, moment, moment)
        self.conditions = replace_condition(self.conditions, new)

    # -- what is written

    def finish(self, status: DeploymentStatus) -> list[Write]:
        writes: list[Write] = [*self.made]
        made = {one.body["metadata"]["name"] for one in self.made}
        writes += [
            self._patch(self.present[one.metadata.name], one)
            for one in self.sets
            if one.metadata.name not in made and one is not self.present[one.metadata.name]
        ]
        writes += self.records
        writes += [Delete(REPLICA_SET, one.metadata.object_name, one.metadata.uid) for one in self.removed]
        return [*writes, *self.status_writes(status)]

    def status_writes(self, status: DeploymentStatus) -> list[Write]:
        """The status as it should be, with the revision, which lives in an annotation."""
        held = self.deployment
        old_revision = held.metadata.annotation_map.get(ANNOTATION_REVISION, "")
        if status == held.status and self.revision in ("", old_revision):
            return []
        annotations = {"annotations": {ANNOTATION_REVISION: self.revision}} if self.revision else {}
        body = versioned(held, {"status": status_tree(status)}, **annotations)
        return [Patch(DEPLOYMENT, held.metadata.object_name, body, "status")]

    @staticmethod
    def _patch(present: ReplicaSet, wanted: ReplicaSet) -> Patch:
        spec: Tree = {}
        if present.replicas != wanted.replicas:
            spec["replicas"] = wanted.replicas
        if present.spec.min_ready_seconds != wanted.spec.min_ready_seconds:
            spec["minReadySeconds"] = wanted.spec.min_ready_seconds
        annotations = map_patch(present.metadata.annotations, wanted.metadata.annotations)
        body = versioned(present, {"spec": spec} if spec else {}, annotations=annotations)
        return Patch(REPLICA_SET, present.metadata.object_name, body)


def _decide(draft: _Draft, view: View) -> DeploymentStatus:
    """What this Deployment needs now; returns its new status."""
    deployment = draft.deployment
    if deployment.metadata.is_leaving:
        _sync_newest(draft)
        return wanted_status(deployment, draft.sets, draft.new, draft.conditions, draft.now)
    draft.conditions = paused_conditions(deployment, draft.conditions, draft.now)
    _sync_newest(draft)
    if deployment.spec.paused or _is_scaling(draft):
        _scale(draft)
        if deployment.spec.paused:
            _clean_up(draft)
        return wanted_status(deployment, draft.sets, draft.new, draft.conditions, draft.now)
    if rollout.is_rolling(deployment):
        _roll(draft)
    else:
        _recreate(draft, view)
    return progress_status(deployment, draft.sets, draft.new, draft.conditions, draft.now)


def _sync_newest(draft: _Draft) -> None:
    """Bring the newest set's annotations up to date, and the Deployment's revision and progress with it."""
    new, deployment = draft.new, draft.deployment
    if new is None:
        return
    annotations = set_annotations(deployment, new.metadata.annotation_map, next_revision(draft.old))
    least = deployment.spec.min_ready_seconds
    if annotations != new.metadata.annotation_map or new.spec.min_ready_seconds != least:
        metadata = msgspec.structs.replace(new.metadata, annotations=annotations)
        spec = msgspec.structs.replace(new.spec, min_ready_seconds=least)
        draft.put(msgspec.structs.replace(new, metadata=metadata, spec=spec))
    draft.revision = annotations.get(ANNOTATION_REVISION, "")
    if rollout.has_deadline(deployment) and condition_of(draft.conditions, "Progressing") is None:
        draft.condition("True", "FoundNewReplicaSet", f'Found new replica set "{new.metadata.name}"')


def _make_newest(draft: _Draft) -> ReplicaSet:
    """A set for the Deployment's template, as large as it may be now."""
    deployment = draft.deployment
    digest = template_hash(deployment.spec.template, deployment.status.collision_count)
    extra = {LABEL_TEMPLATE_HASH: digest}
    template = with_labels(deployment.spec.template, extra)
    selector = msgspec.structs.replace(
        deployment.spec.selector, match_labels={**(deployment.spec.selector.match_labels or {}), **extra}
    )
    revision = next_revision(draft.old)
    annotations = {**set_annotations(deployment, {}, revision), **replicas_annotations(deployment)}
    size = rollout.new_set_size(deployment, draft.old, 0)
    name = f"{deployment.metadata.name[: MAX_NAME - 1 - len(digest)]}-{digest}"
    meta = ObjectMeta(
        name=name, namespace=deployment.metadata.namespace, labels=labels_of(template), annotations=annotations
    )
    new = ReplicaSet(meta, ReplicaSetSpec(selector, template, size, deployment.spec.min_ready_seconds))
    draft.made.append(_create(draft, new))
    if size > 0:
        draft.say(f"Scaled up replica set {name} from 0 to {size}")
    draft.new = new
    draft.revision = str(revision)
    if rollout.has_deadline(deployment):
        draft.condition("True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
    return new


def _create(draft: _Draft, new: ReplicaSet) -> Create:
    deployment, meta = draft.deployment, new.metadata
    spec: Tree = {
        "replicas": new.replicas,
        "selector": _selector_tree(new.spec.selector),
        "template": new.spec.template,
    }
    if new.spec.min_ready_seconds:
        spec["minReadySeconds"] = new.spec.min_ready_seconds
    metadata: Tree = {
        "name": meta.name,
        "namespace": meta.namespace,
        "labels": meta.labels,
        "annotations": meta.annotations,
        "ownerReferences": [to_tree(controlled_by(DEPLOYMENT, deployment))],
    }
    head: Tree = {"apiVersion": REPLICA_SET.api_version, "kind": REPLICA_SET.name}
    said = f'Failed to create new replica set "{meta.name}": {{error}}'
    failed = Record(reference_to(DEPLOYMENT, deployment), EventType.WARNING, "ReplicaSetCreateError", said)
    return Create(REPLICA_SET, meta.namespace, {**head, "metadata": metadata, "spec": spec}, failed=failed)


def _selector_tree(selector: LabelSelector) -> Tree:
    return {key: value for key, value in msgspec.to_builtins(selector).items() if value is not None}


def _explained_failure(draft: _Draft, failure: Failure, view: View) -> DeploymentStatus | None:
    """After a set could not be made: another name if the hash is taken, else a condition that says why.

    None when there is nothing to say, or it is said already.
    """
    write, deployment = failure.write, draft.deployment
    if not isinstance(write, Create) or write.kind is not REPLICA_SET or draft.new is not None:
        return None
    name = ObjectName(write.namespace, str(write.body["metadata"]["name"]))
    count = deployment.status.collision_count
    if failure.reason == "AlreadyExists":
        taken = view.get(REPLICA_SET, name)
        is_counted = template_hash(deployment.spec.template, count) not in name.name
        owner = taken.metadata.controller if taken is not None else None
        is_owned = owner is not None and owner.uid == deployment.metadata.uid
        if taken is None or is_counted:
            return None
        if is_owned and is_same_template(taken.spec.template, deployment.spec.template):
            return None
        return msgspec.structs.replace(deployment.status, collision_count=(count or 0) + 1)
    said = failed_create(deployment, draft.conditions, name.name, failure.message, draft.now)
    if said == (deployment.status.conditions or ()):
        return None
    return msgspec.structs.replace(deployment.status, conditions=said or None)


def _is_scaling(draft: _Draft) -> bool:
    """A set with pods remembers another size than is wanted."""
    remembered = (rollout.number_annotation(one, rollout.ANNOTATION_DESIRED) for one in draft.sets if one.replicas > 0)
    return any(size is not None and size != draft.deployment.replicas for size in remembered)


def _scale(draft: _Draft) -> None:
    """Follow the Deployment's size: the only set with pods, or all in proportion."""
    deployment, wanted = draft.deployment, draft.deployment.replicas
    active = [one for one in draft.sets if one.replicas > 0]
    if len(active) <= 1:
        target = active[0] if active else draft.new or next(reversed(rollout.by_age(draft.old)), None)
        if target is not None:
            draft.scale(target, wanted)
        return
    if draft.new is not None and _is_saturated(deployment, draft.new):
        for one in draft.active_old:
            draft.scale(one, 0)
    elif rollout.is_rolling(deployment):
        allowed = wanted + rollout.max_surge(deployment) if wanted > 0 else 0
        ordered = rollout.largest_first(active, newer_first=allowed > rollout.total_replicas(active))
        for name, size in rollout.proportional_sizes(deployment, ordered).items():
            draft.scale(next(one for one in active if one.metadata.name == name), size, force=True)


def _is_saturated(deployment: Deployment, new: ReplicaSet) -> bool:
    wanted = deployment.replicas
    remembered = rollout.number_annotation(new, rollout.ANNOTATION_DESIRED)
    return new.replicas == remembered == new.status.available_replicas == wanted


def _roll(draft: _Draft) -> None:
    """Up where there is room, else down where enough is available."""
    deployment = draft.deployment
    new = draft.new or _make_newest(draft)
    size = min(deployment.replicas, new.replicas)
    if new.replicas < deployment.replicas:
        size = rollout.new_set_size(deployment, draft.sets, new.replicas)
    if draft.scale(new, size):
        return
    if _shrink_old(draft, new):
        return
    if rollout.is_complete(deployment, deployment.status):
        _clean_up(draft)


def _shrink_old(draft: _Draft, new: ReplicaSet) -> bool:
    """First old pods that are not available, then available ones as long as enough are left."""
    deployment = draft.deployment
    least = deployment.replicas - rollout.max_unavailable(deployment)
    missing_new = new.replicas - _available(new)
    most = rollout.total_replicas(draft.sets) - least - missing_new
    if not draft.active_old or most <= 0:
        return False
    cleaned = 0
    for one in rollout.by_age(draft.active_old):
        unhealthy = min(most - cleaned, one.replicas - _available(one))
        if unhealthy > 0:
            draft.scale(one, one.replicas - unhealthy)
            cleaned += unhealthy
    spare = sum(_available(one) for one in draft.sets) - least
    shrunk = 0
    for one in rollout.by_age(draft.active_old):
        fewer = min(one.replicas, spare - shrunk)
        if fewer > 0:
            draft.scale(one, one.replicas - fewer)
            shrunk += fewer
    return cleaned + shrunk > 0


def _available(one: ReplicaSet) -> int:
    """Pods to rely on: of those that the set has yet to delete, none, though its status still counts them."""
    return min(one.status.available_replicas, one.replicas)


def _recreate(draft: _Draft, view: View) -> None:
    """All old pods go, and only when the last is gone the new ones come."""
    old = draft.active_old
    for one in old:
        draft.scale(one, 0)
    if old or _has_old_pods(draft, view):
        return
    new = draft.new or _make_newest(draft)
    draft.scale(new, draft.deployment.replicas)
    if rollout.is_complete(draft.deployment, draft.deployment.status):
        _clean_up(draft)


def _has_old_pods(draft: _Draft, view: View) -> bool:
    return any(
        one.status.replicas > 0 or any(not pod.is_terminal for pod in view.owned(POD, one.metadata.uid))
        for one in draft.old
    )


def _clean_up(draft: _Draft) -> None:
    """Old sets beyond the history limit go, the lowest revisions first, if they are empty."""
    limit = draft.deployment.spec.revision_history_limit
    if limit in (None, rollout.NO_LIMIT):
        return
    present = [one for one in draft.old if not one.metadata.is_leaving]
    ordered = sorted(present, key=lambda one: (revision_of(one), one.metadata.created, one.metadata.name))
    for one in ordered[: max(0, len(present) - (limit or 0))]:
        is_seen = one.metadata.generation <= one.status.observed_generation
        if is_seen and one.replicas == 0 and one.status.replicas == 0:
            draft.removed.append(one)
