"""Revisions of a Deployment: which set is the newest, the numbers and annotations that sets carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fairway.controllers.rollout import ANNOTATION_DESIRED, ANNOTATION_MAX, by_age, max_surge
from fairway.controllers.templates import is_same_template
from fairway.kube.workloads import Deployment, ReplicaSet

ANNOTATION_REVISION = "deployment.kubernetes.io/revision"
ANNOTATION_HISTORY = "deployment.kubernetes.io/revision-history"
NOT_COPIED = (
    "kubectl.kubernetes.io/last-applied-configuration",
    ANNOTATION_REVISION,
    ANNOTATION_HISTORY,
    ANNOTATION_DESIRED,
    ANNOTATION_MAX,
    "deprecated.deployment.rollback.to",
)
HISTORY_LIMIT = 2000
"""Characters of the history annotation."""


def newest_set(deployment: Deployment, sets: Iterable[ReplicaSet]) -> ReplicaSet | None:
    """The set that has the Deployment's template; of several the oldest."""
    return next((one for one in by_age(sets) if is_same_template(one.spec.template, deployment.spec.template)), None)


def revision_of(one: ReplicaSet) -> int:
    """0 when it has none, or none that can be read."""
    text = one.metadata.annotation_map.get(ANNOTATION_REVISION, "0")
    return int(text) if text.isascii() and text.isdecimal() else 0


def next_revision(old: Sequence[ReplicaSet]) -> int:
    return max((revision_of(one) for one in old), default=0) + 1


def replicas_annotations(deployment: Deployment) -> dict[str, str]:
    """What a set remembers of the Deployment's size, so that a scaling is noticed."""
    wanted = deployment.replicas
    return {ANNOTATION_DESIRED: str(wanted), ANNOTATION_MAX: str(wanted + max_surge(deployment))}


def set_annotations(deployment: Deployment, present: Mapping[str, str], revision: int) -> dict[str, str]:
    """The annotations of the newest set: the Deployment's, and a revision that is above all others.

    A set that is used again keeps its former numbers in its history.
    """
    wanted = dict(present)
    wanted.update({k: v for k, v in deployment.metadata.annotation_map.items() if k not in NOT_COPIED})
    former = present.get(ANNOTATION_REVISION, "")
    if former and not (former.isascii() and former.isdecimal()):
        return wanted
    if int(former or "0") < revision:
        wanted[ANNOTATION_REVISION] = str(revision)
        if former:
            wanted[ANNOTATION_HISTORY] = _lengthened(present.get(ANNOTATION_HISTORY, ""), former)
    return wanted


def _lengthened(history: str, former: str) -> str:
    """The oldest numbers go when the text becomes too long."""
    numbers = [*(one for one in history.split(",") if one), former]
    while len(",".join(numbers)) > HISTORY_LIMIT and len(numbers) > 1:
        del numbers[0]
    return ",".join(numbers)
