"""What happens to a packet of each source at a frontend (rules 7 to 13): the traffic policies, decided once.

Few combinations exist, so each is made once and shared.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from fairway.kube.service import TrafficPolicy
from fairway.plan.model import Scope, Treatment, Treatments, Verdict
from fairway.plan.reasons import Reason
from fairway.plan.view import DetectLocal, NodeView


class Situation(NamedTuple):
    """All that the treatments of a frontend depend on."""

    has_any: bool
    """Some usable endpoint exists somewhere."""
    has_cluster: bool
    has_local: bool
    can_tell_pods: bool
    masquerade_all: bool

    @classmethod
    def of(cls, view: NodeView, has_any: bool, has_cluster: bool, has_local: bool) -> Situation:
        can_tell = view.detector.mode is not DetectLocal.NONE
        return cls(has_any, has_cluster, has_local, can_tell, view.masquerade_all)


@lru_cache(maxsize=256)
def internal_treatments(situation: Situation, policy: TrafficPolicy) -> Treatments:
    """A cluster IP's: the internal policy decides, the external never matters (rules 7, 8)."""
    is_local = policy is TrafficPolicy.LOCAL
    scope = Scope.LOCAL if is_local else Scope.CLUSTER
    why = Reason.INTERNAL_LOCAL if is_local else Reason.INTERNAL_CLUSTER
    has_backends = situation.has_local if is_local else situation.has_cluster
    if not has_backends:
        return _all(_empty(situation, scope, why))
    if situation.masquerade_all:
        return _all(Treatment(Verdict.FORWARD, scope, True, (why, Reason.MASQUERADE_ALL)))
    if not situation.can_tell_pods:
        return _all(Treatment(Verdict.FORWARD, scope, False, (why, Reason.NO_DETECTOR)))
    pod = Treatment(Verdict.FORWARD, scope, False, (why, Reason.POD_SOURCE_KEPT))
    other = Treatment(Verdict.FORWARD, scope, True, (why, Reason.FROM_OUTSIDE_CLUSTER))
    return Treatments(pod, other, other)


@lru_cache(maxsize=256)
def external_treatments(situation: Situation, policy: TrafficPolicy) -> Treatments:
    """An external IP's, load balancer IP's or node port's: the external policy decides (rules 9, 10, 13)."""
    if policy is TrafficPolicy.CLUSTER:
        why = Reason.EXTERNAL_CLUSTER
        if not situation.has_cluster:
            return _all(_empty(situation, Scope.CLUSTER, why))
        return _all(Treatment(Verdict.FORWARD, Scope.CLUSTER, True, (why, Reason.EXTERNAL_MASQUERADE)))
    outside = _external_local(situation)
    if not situation.has_cluster:
        return _all(outside)
    pod = Treatment(Verdict.FORWARD, Scope.CLUSTER, False, (Reason.EXTERNAL_LOCAL, Reason.POD_SHORT_CIRCUIT))
    node = Treatment(Verdict.FORWARD, Scope.CLUSTER, True, (Reason.EXTERNAL_LOCAL, Reason.NODE_SHORT_CIRCUIT))
    return Treatments(pod if situation.can_tell_pods else outside, node, outside)


def _external_local(situation: Situation) -> Treatment:
    why = Reason.EXTERNAL_LOCAL
    if not situation.has_local:
        return _empty(situation, Scope.LOCAL, why)
    return Treatment(Verdict.FORWARD, Scope.LOCAL, False, (why, Reason.SOURCE_PRESERVED))


def _empty(situation: Situation, scope: Scope, why: Reason) -> Treatment:
    """Reject when nothing usable exists anywhere, drop when it does but not here (rule 12)."""
    if situation.has_any:
        return Treatment(Verdict.DROP, scope, False, (why, Reason.NO_LOCAL_ENDPOINTS))
    return Treatment(Verdict.REJECT, scope, False, (why, Reason.NO_ENDPOINTS))


def _all(one: Treatment) -> Treatments:
    return Treatments(one, one, one)
