"""Nodes that fall silent: not ready, tainted, and their pods not ready either, so that their endpoints go.

Time is measured from when this process saw a sign of life, not from what a node's clock wrote. The taints that follow
from conditions are kept here too; who has to leave because of them is decided in `podgc`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from fairway.controllers.controller import Key, Turn
from fairway.controllers.tolerations import (
    NO_EXECUTE,
    NO_SCHEDULE,
    TAINT_NOT_READY,
    TAINT_UNREACHABLE,
    TAINT_UNSCHEDULABLE,
)
from fairway.controllers.view import View
from fairway.controllers.writes import AnyKind, EventType, Outcome, Patch, Record, Write, reference_to, versioned
from fairway.kube.administration import ClusterNode, Lease, Taint
from fairway.kube.objectmeta import Condition, ObjectReference, condition_of, to_tree
from fairway.kube.objects import LEASE, NODE, POD
from fairway.kube.pod import Pod
from fairway.values.names import ObjectName

LEASE_NAMESPACE = "kube-node-lease"
STARTUP_SECONDS = 60.0
"""A node that never said how it is has so long to begin."""
REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
CONDITION_TAINTS = {
    ("Ready", "False"): TAINT_NOT_READY,
    ("Ready", "Unknown"): TAINT_UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
OWN_KEYS = (*CONDITION_TAINTS.values(), TAINT_UNSCHEDULABLE)
EVICTING_KEYS = (TAINT_NOT_READY, TAINT_UNREACHABLE)


class Health(NamedTuple):
    """The last sign of life of a node."""

    heartbeat: datetime | None
    renewed: datetime | None
    seen: datetime
    """When this process saw it."""
    was_ready: bool


class NodeLifecycleController:
    """Watches over the nodes. Its keys are node names."""

    name = "node-lifecycle-controller"
    component = "node-controller"
    kinds: tuple[AnyKind, ...] = (NODE, LEASE, POD)
    follows_everything = False

    def __init__(self, grace_seconds: float) -> None:
        self._grace = grace_seconds

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is POD:
            return _node_of_moved_pod(old, new)
        meta = (new or old).metadata
        if kind is LEASE:
            return {ObjectName("", meta.name)} if meta.namespace == LEASE_NAMESPACE else ()
        # Whether all nodes are down is each node's concern.
        is_turn = old is None or new is None or old.is_ready != new.is_ready
        return {one.metadata.object_name for one in view.all(NODE)} if is_turn else {meta.object_name}

    def sync(self, turn: Turn, view: View) -> Outcome:
        node = view.get(NODE, turn.key)
        if node is None:
            return Outcome(tuple(_removed(turn)))
        lease = view.get(LEASE, ObjectName(LEASE_NAMESPACE, turn.key.name))
        known = turn.memory if isinstance(turn.memory, Health) else None
        health = _observe(node, lease, known, turn.now)
        writes: list[Write] = []
        if known is None:
            writes.append(_node_event(node, "RegisteredNode", f"Registered Node {turn.key.name} in Controller"))
        has_spoken = condition_of(node.status.conditions, "Ready") is not None
        left = (self._grace if has_spoken else STARTUP_SECONDS) - (turn.now - health.seen).total_seconds()
        conditions = node.status.conditions or ()
        if left < 0:
            conditions = _unknown_conditions(node, turn.now)
            if conditions != (node.status.conditions or ()):
                body = versioned(node, {"status": {"conditions": to_tree(conditions)}})
                writes.append(Patch(NODE, turn.key, body, "status"))
                # The taints follow at the next look, on the node's new version.
                return Outcome((*writes, *_not_ready_event(node, health)), memory=health._replace(was_ready=False))
        writes += _not_ready_event(node, health)
        writes += _mark_pods(node, view)
        writes += _taint(node, view, turn.now)
        again = max(left, 0) + 0.1 if left >= 0 else None
        return Outcome(tuple(writes), again_in=again, memory=health._replace(was_ready=node.is_ready))


def _node_of_moved_pod(old: Pod | None, new: Pod | None) -> set[Key]:
    """A pod that says it is ready on a node that is not."""
    if new is None or not new.node or (old is not None and old.is_ready == new.is_ready and old.node == new.node):
        return set()
    return {ObjectName("", new.node)} if new.is_ready else set()


def _observe(node: ClusterNode, lease: Lease | None, known: Health | None, now: datetime) -> Health:
    ready = condition_of(node.status.conditions, "Ready")
    heartbeat = ready.last_heartbeat_time if ready is not None else None
    renewed = lease.spec.renew_time if lease is not None else None
    if known is None:
        # Silent nodes are given the whole time from here: what they said before is not known.
        seen = now if ready is not None else node.metadata.created
        return Health(heartbeat, renewed, seen, node.is_ready)
    is_alive = renewed != known.renewed and renewed is not None
    is_alive = is_alive or (heartbeat != known.heartbeat and ready is not None and ready.status != "Unknown")
    return Health(heartbeat, renewed, now if is_alive else known.seen, known.was_ready)


def _unknown_conditions(node: ClusterNode, now: datetime) -> tuple[Condition, ...]:
    conditions = {one.type: one for one in node.status.conditions or ()}
    moment = now.replace(microsecond=0)
    for kind in REPORTED:
        held = conditions.get(kind)
        if held is None:
            said = ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
            conditions[kind] = Condition(
                kind, "Unknown", *said, moment, last_heartbeat_time=node.metadata.creation_timestamp
            )
        elif held.status != "Unknown":
            said = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
            conditions[kind] = Condition(kind, "Unknown", *said, moment, last_heartbeat_time=held.last_heartbeat_time)
    return tuple(conditions.values())


def _not_ready_event(node: ClusterNode, health: Health) -> list[Write]:
    if node.is_ready or not health.was_ready:
        return []
    name = node.metadata.name
    about = ObjectReference("Node", "", name, node.metadata.uid, "v1")
    return [Record(about, EventType.NORMAL, "NodeNotReady", f"Node {name} status is now: NodeNotReady")]


def _node_event(node: ClusterNode, reason: str, message: str) -> Record:
    name = node.metadata.name
    about = ObjectReference("Node", "", name, node.metadata.uid, "v1")
    return Record(about, EventType.NORMAL, reason, f"Node {name} event: {message}")


def _removed(turn: Turn) -> list[Write]:
    if turn.memory is None:
        return []
    name = turn.key.name
    about = ObjectReference("Node", "", name, "", "v1")
    said = f"Node {name} event: Removing Node {name} from Controller"
    return [Record(about, EventType.NORMAL, "RemovingNode", said)]


def _mark_pods(node: ClusterNode, view: View) -> list[Write]:
    """Ready pods of a node that is not ready are not ready: nobody there checks them any more."""
    ready = condition_of(node.status.conditions, "Ready")
    if ready is None or ready.status == "True":
        return []
    writes: list[Write] = []
    for pod in view.pods_on(node.metadata.name):
        if not pod.is_ready:
            continue
        conditions = [
            msgspec.structs.replace(one, status="False", last_transition_time=ready.last_transition_time)
            if one.type == "Ready"
            else one
            for one in pod.status.conditions or ()
        ]
        done = Record(reference_to(POD, pod), EventType.WARNING, "NodeNotReady", "Node is not ready")
        body = versioned(pod, {"status": {"conditions": to_tree(conditions)}})
        writes.append(Patch(POD, pod.metadata.object_name, body, "status", done=done))
    return writes


def _taint(node: ClusterNode, view: View, now: datetime) -> list[Write]:
    """The taints that the conditions and the cordon call for, and no others of ours."""
    keys = [key for (kind, status), key in CONDITION_TAINTS.items() if _is(node, kind, status)]
    if node.spec.unschedulable:
        keys.append(TAINT_UNSCHEDULABLE)
    wanted = {(key, NO_SCHEDULE) for key in keys}
    if any(one.is_ready for one in view.all(NODE)):
        # When nothing at all is ready, the fault is here or between: nobody is sent away.
        wanted |= {(key, NO_EXECUTE) for key in keys if key in EVICTING_KEYS}
    kept = [one for one in node.taints if (one.key, one.effect) in wanted or not _is_own(one)]
    present = {(one.key, one.effect) for one in kept}
    moment = now.replace(microsecond=0)
    made = [Taint(key, effect, time_added=moment) for key, effect in sorted(wanted) if (key, effect) not in present]
    if not made and len(kept) == len(node.taints):
        return []
    taints = to_tree([*kept, *made])
    return [Patch(NODE, node.metadata.object_name, versioned(node, {"spec": {"taints": taints or None}}))]


def _is(node: ClusterNode, kind: str, status: str) -> bool:
    condition = condition_of(node.status.conditions, kind)
    return condition is not None and condition.status == status


def _is_own(taint: Taint) -> bool:
    if taint.effect == NO_EXECUTE:
        return taint.key in EVICTING_KEYS
    return taint.effect == NO_SCHEDULE and taint.key in OWN_KEYS
