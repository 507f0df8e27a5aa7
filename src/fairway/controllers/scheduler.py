"""Pods without a node get one, or hear why not. One look places all that wait, each seeing where the others went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from fairway.controllers.controller import Key, Turn
from fairway.controllers.placement import Place, best_place, reasons_against
from fairway.controllers.view import View
from fairway.controllers.writes import (
    AnyKind,
    EventType,
    Outcome,
    Patch,
    Post,
    Record,
    Write,
    reference_to,
    versioned,
)
from fairway.kube.objectmeta import Condition, condition_of, to_tree
from fairway.kube.objects import NODE, POD
from fairway.kube.pod import Pod
from fairway.values.names import ObjectName

ALL_PENDING = ObjectName("", "pending")
NAME = "default-scheduler"
TRY_AGAIN = 300.0
"""After so long a pod that fits nowhere is said so again (kube-scheduler's flush of unschedulable pods)."""
PREEMPTION = "preemption: 0/{0} nodes are available: {0} Preemption is not helpful for scheduling."

Assumed = Mapping[str, str]
"""Pod uid to the node that it was bound to, as long as the watch has not told of it."""


class Scheduler:
    """A simple scheduler with the default one's name."""

    name = "scheduler"
    component = NAME
    kinds: tuple[AnyKind, ...] = (POD, NODE)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is POD and new is not None and not _waits(new) and (old is None or not _waits(old)):
            return () if not _freed(old, new) or not view.pods_on("") else (ALL_PENDING,)
        return (ALL_PENDING,) if kind is POD or view.pods_on("") else ()

    def sync(self, turn: Turn, view: View) -> Outcome:
        waiting = [pod for pod in view.pods_on("") if _waits(pod)]
        memory = turn.memory if isinstance(turn.memory, Mapping) else {}
        uids = {pod.metadata.uid for pod in waiting}
        assumed = {uid: node for uid, node in memory.items() if uid in uids}
        if not waiting:
            return Outcome()
        places = _snapshot(view, waiting, assumed)
        writes: list[Write] = []
        stuck = False
        for pod in sorted(waiting, key=lambda one: (one.metadata.created, one.metadata.object_name)):
            if pod.metadata.uid in assumed:
                continue
            against = {place.name: reasons_against(pod, place, places) for place in places}
            fitting = [place for place in places if not against[place.name]]
            if not fitting:
                stuck = True
                writes += _tell_unschedulable(pod, against, turn.now)
                continue
            place = best_place(pod, fitting, places)
            place.pods.append(pod)
            assumed[pod.metadata.uid] = place.name
            writes.append(_bind(pod, place.name))
        return Outcome(tuple(writes), again_in=TRY_AGAIN if stuck else None, memory=assumed or None)


def _waits(pod: Pod) -> bool:
    spec = pod.spec
    return (
        not spec.node_name and pod.is_active and not spec.scheduling_gates and spec.scheduler_name in (None, "", NAME)
    )


def _freed(old: Pod | None, new: Pod) -> bool:
    """A pod that ended makes room."""
    return old is not None and new.is_terminal and not old.is_terminal


def _snapshot(view: View, waiting: Iterable[Pod], assumed: Assumed) -> list[Place]:
    """The nodes with what runs on them, and with what was bound and is not told of yet."""
    places = {node.metadata.name: Place(node) for node in view.all(NODE) if not node.metadata.is_leaving}
    for place in places.values():
        place.pods = [pod for pod in view.pods_on(place.name) if not pod.is_terminal]
    for pod in waiting:
        node = places.get(assumed.get(pod.metadata.uid, ""))
        if node is not None:
            node.pods.append(pod)
    return sorted(places.values(), key=lambda place: place.name)


def _bind(pod: Pod, node: str) -> Post:
    name = pod.metadata.object_name
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name.name, "namespace": name.namespace, "uid": pod.metadata.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    said = f"Successfully assigned {name} to {node}"
    done = Record(reference_to(POD, pod), EventType.NORMAL, "Scheduled", said)
    return Post(POD, name, "binding", body, done=done, may_be_late=True)


def _tell_unschedulable(pod: Pod, against: Mapping[str, list[str]], now: datetime) -> list[Write]:
    """The condition and the event, when they are not what was said before."""
    message = unschedulable_message(against)
    held = condition_of(pod.status.conditions, "PodScheduled")
    record = Record(reference_to(POD, pod), EventType.WARNING, "FailedScheduling", message)
    if held is not None and (held.status, held.reason, held.message) == ("False", "Unschedulable", message):
        since = (now - (held.last_transition_time or now)).total_seconds()
        return [record] if since % TRY_AGAIN < 1 and since >= TRY_AGAIN else []
    moment = held.last_transition_time if held is not None and held.status == "False" else now.replace(microsecond=0)
    new = Condition("PodScheduled", "False", "Unschedulable", message, moment)
    conditions = [*(one for one in pod.status.conditions or () if one.type != "PodScheduled"), new]
    body = versioned(pod, {"status": {"conditions": to_tree(conditions)}})
    return [record, Patch(POD, pod.metadata.object_name, body, "status")]


def unschedulable_message(against: Mapping[str, list[str]]) -> str:
    """kube-scheduler's sentence: how many nodes had which reason."""
    total = len(against)
    if not total:
        return "no nodes available to schedule pods"
    counts = Counter(reason for reasons in against.values() for reason in reasons)
    listed = ", ".join(sorted(f"{number} {reason}" for reason, number in counts.items()))
    return f"0/{total} nodes are available: {listed}. {PREEMPTION.format(total)}"
