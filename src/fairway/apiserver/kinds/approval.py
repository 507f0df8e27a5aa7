"""Groups of the Kubernetes project: a definition in one says where its API was approved (KEP-1111)."""

from __future__ import annotations

import re

from fairway.apiserver.fielderrors import FieldError, invalid, required
from fairway.apiserver.kinds.base import get
from fairway.apiserver.request import Json

ANNOTATION = "api-approved.kubernetes.io"
CONDITION = "KubernetesAPIApprovalPolicyConformant"
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"
_MUST = f'protected groups must have approval annotation "{ANNOTATION}"'


def _state(crd: Json) -> tuple[str, str, str] | None:
    """Status, reason and message of the condition; None for groups of others."""
    group = get(crd, "spec", "group") or ""
    if not re.fullmatch(r"(.*\.)?(k8s|kubernetes)\.io", group):
        return None
    given = (crd["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    if not given:
        return "False", "MissingAnnotation", f"{_MUST}, {_SEE}"
    if given.startswith("unapproved"):
        return "False", "UnapprovedAnnotation", f'not approved: "{given}"'
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]", given):
        return "True", "ApprovedAnnotation", f"approved in {given}"
    words = f'{_MUST} with either a URL or a reason starting with "unapproved", {_SEE}'
    return "False", "InvalidAnnotation", words


def errors(crd: Json, old: Json | None) -> list[FieldError]:
    """Why the annotation will not do; what an update leaves as it was is let pass."""
    found = _state(crd)
    if found is None or (old is not None and (was := _state(old)) is not None and was[1] == found[1]):
        return []
    path = f"metadata.annotations[{ANNOTATION}]"
    match found[1]:
        case "MissingAnnotation":
            return [required(path, found[2])]
        case "InvalidAnnotation":
            return [invalid(path, crd["metadata"]["annotations"][ANNOTATION], found[2])]
    return []


def condition(crd: Json) -> tuple[str, str, str] | None:
    """What the definition's status says of it."""
    return _state(crd)
