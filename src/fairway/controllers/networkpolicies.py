"""NetworkPolicies that nobody enforces: whoever makes one is told so, where they look for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fairway.controllers.controller import Key, Turn
from fairway.controllers.view import View
from fairway.controllers.writes import AnyKind, EventType, Outcome, Record, reference_to
from fairway.kube.objects import NETWORK_POLICY

WORDS = "NetworkPolicies are stored but not enforced in this cluster: no traffic is refused because of this one"


class NetworkPolicyNotice:
    """A warning about each policy, once. Its keys are policies."""

    name = "networkpolicy-notice-controller"
    component = "networkpolicy-notice-controller"
    kinds: tuple[AnyKind, ...] = (NETWORK_POLICY,)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        return () if old is not None or new is None else (new.metadata.object_name,)

    def sync(self, turn: Turn, view: View) -> Outcome:
        policy = view.get(NETWORK_POLICY, turn.key)
        if policy is None or policy.metadata.is_leaving:
            return Outcome()
        return Outcome((Record(reference_to(NETWORK_POLICY, policy), EventType.WARNING, "NotEnforced", WORDS),))
