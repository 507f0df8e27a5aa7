"""Pods that have to go: those that their node's taints do not allow any longer, and those whose node is gone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fairway.controllers.controller import Key, Turn
from fairway.controllers.tolerations import NO_EXECUTE, seconds_tolerated
from fairway.controllers.view import View
from fairway.controllers.writes import (
    AnyKind,
    Delete,
    EventType,
    Lookup,
    Outcome,
    Patch,
    Record,
    Tree,
    Write,
    reference_to,
    versioned,
)
from fairway.kube.objectmeta import Condition, to_tree
from fairway.kube.objects import NODE, POD
from fairway.kube.pod import Pod
from fairway.values.names import ObjectName

QUARANTINE_SECONDS = 40.0
"""So long a node may be missing before its pods count as lost."""


class TaintEvictionController:
    """Deletes pods that do not stand a NoExecute taint, at once or when their time is over. Its keys are pods."""

    name = "taint-eviction-controller"
    component = "taint-eviction-controller"
    kinds: tuple[AnyKind, ...] = (POD, NODE)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is NODE:
            if old is not None and new is not None and old.taints == new.taints:
                return ()
            return {pod.metadata.object_name for pod in view.pods_on((new or old).metadata.name)}
        if old is not None and new is not None and old.node == new.node:
            return ()
        return {(new or old).metadata.object_name}

    def sync(self, turn: Turn, view: View) -> Outcome:
        pod = view.get(POD, turn.key)
        node = view.get(NODE, ObjectName("", pod.node)) if pod is not None else None
        if pod is None or node is None or pod.metadata.is_leaving:
            return Outcome()
        about = reference_to(POD, pod)
        taints = [one for one in node.taints if one.effect == NO_EXECUTE]
        limit = seconds_tolerated(taints, pod.spec.tolerations)
        since = turn.memory if isinstance(turn.memory, datetime) else turn.now
        if limit is None:
            said = f"Cancelling deletion of Pod {turn.key}"
            was_doomed = turn.memory is not None
            return Outcome((Record(about, EventType.NORMAL, "TaintManagerEviction", said),) if was_doomed else ())
        left = limit - (turn.now - since).total_seconds()
        if left > 0:
            return Outcome(again_in=left, memory=since)
        said = f"Marking for deletion Pod {turn.key}"
        reason = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
        return Outcome(
            (
                Record(about, EventType.NORMAL, "TaintManagerEviction", said),
                _mark_disrupted(pod, reason, turn.now, {}),
                Delete(POD, turn.key, pod.metadata.uid),
            ),
            memory=since,
        )


def _mark_disrupted(pod: Pod, reason: tuple[str, str], now: datetime, more: Tree) -> Patch:
    """KEP-3329: say why the pod ends."""
    new = Condition("DisruptionTarget", "True", *reason, now.replace(microsecond=0))
    conditions = [*(one for one in pod.status.conditions or () if one.type != "DisruptionTarget"), new]
    body = versioned(pod, {"status": {"conditions": to_tree(conditions), **more}})
    return Patch(POD, pod.metadata.object_name, body, "status")


class PodGarbageCollector:
    """Its keys are node names; the empty one stands for pods that have no node."""

    name = "pod-garbage-collector-controller"
    component = "pod-garbage-collector-controller"
    kinds: tuple[AnyKind, ...] = (POD, NODE)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is NODE:
            return {(new or old).metadata.object_name}
        if new is None or (new.node and view.get(NODE, ObjectName("", new.node)) is not None):
            return ()
        return {ObjectName("", new.node)}

    def sync(self, turn: Turn, view: View) -> Outcome:
        pods = view.pods_on(turn.key.name)
        if not turn.key.name:
            leaving = [one for one in pods if one.metadata.is_leaving and not one.metadata.finalizers]
            return Outcome(tuple(Delete(POD, one.metadata.object_name, one.metadata.uid, grace=0) for one in leaving))
        if not pods or view.get(NODE, turn.key) is not None:
            return Outcome()
        since = turn.memory if isinstance(turn.memory, datetime) else turn.now
        left = QUARANTINE_SECONDS - (turn.now - since).total_seconds()
        if left > 0:
            return Outcome(again_in=left, memory=since)
        question = Lookup(NODE, turn.key)
        if question not in turn.answers:
            return Outcome(questions=(question,), memory=since)
        if turn.answers[question] is not None:
            return Outcome(retry="the node is there after all", memory=since)
        return Outcome(tuple(write for pod in pods for write in _end_lost(pod, turn.now)), memory=since)


def _end_lost(pod: Pod, now: datetime) -> list[Write]:
    reason = ("DeletionByPodGC", "PodGC: node no longer exists")
    delete = Delete(POD, pod.metadata.object_name, pod.metadata.uid, grace=0)
    return [delete] if pod.is_terminal else [_mark_disrupted(pod, reason, now, {"phase": "Failed"}), delete]
