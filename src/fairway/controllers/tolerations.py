"""Taints and tolerations: which of a node's taints a pod stands, and for how long."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.kube.administration import Taint
from fairway.kube.pod import Toleration

NO_SCHEDULE = "NoSchedule"
NO_EXECUTE = "NoExecute"
PREFER_NO_SCHEDULE = "PreferNoSchedule"
TAINT_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
TAINT_NOT_READY = "node.kubernetes.io/not-ready"
TAINT_UNREACHABLE = "node.kubernetes.io/unreachable"


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """An empty effect is every effect; an empty key with Exists is every taint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    match toleration.operator or "Equal":
        case "Exists":
            return True
        case "Equal":
            return bool(toleration.key) and (toleration.value or "") == taint.value
    return False


def untolerated(
    taints: Iterable[Taint], tolerations: Iterable[Toleration] | None, effects: tuple[str, ...]
) -> list[Taint]:
    """The taints of these effects that the pod does not stand."""
    given = tuple(tolerations or ())
    return [one for one in taints if one.effect in effects and not any(tolerates(t, one) for t in given)]


def seconds_tolerated(taints: Iterable[Taint], tolerations: Iterable[Toleration] | None) -> float | None:
    """How long a pod may stay under these NoExecute taints: 0 for not at all, None for ever."""
    given = tuple(tolerations or ())
    limits: list[float] = []
    for taint in taints:
        if taint.effect != NO_EXECUTE:
            continue
        matching = [one for one in given if tolerates(one, taint)]
        if not matching:
            return 0.0
        limits += [max(0.0, one.toleration_seconds) for one in matching if one.toleration_seconds is not None]
    return min(limits, default=None)
