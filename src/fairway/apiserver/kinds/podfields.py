"""References to a pod's own fields and to its containers' resources, as variables and files take them."""

from __future__ import annotations

import re

from fairway.apiserver import names, quantity
from fairway.apiserver.fielderrors import FieldError, invalid, required, unsupported
from fairway.apiserver.request import Json

_KNOWN = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_RESOURCES = tuple(
    sorted(f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage"))
)
_HUGE = ("limits.hugepages-", "requests.hugepages-")
_SIZES = ("1", *(f"1{unit}{end}" for end in ("", "i") for unit in "kMGTPE"))


def object_field_errors(ref: Json, path: str, allowed: tuple[str, ...]) -> list[FieldError]:
    """validateObjectFieldSelector."""
    text, version = ref.get("fieldPath", ""), ref.get("apiVersion", "")
    for name, value in (("apiVersion", version), ("fieldPath", text)):
        if not value:
            return [required(f"{path}.{name}")]
    match = re.fullmatch(r"(.+?)\['(.*)'\]", text, re.DOTALL)
    wrong = ""
    if version != "v1":
        wrong = f"unsupported pod version: {version}"
    elif match and match[1] not in ("metadata.annotations", "metadata.labels"):
        wrong = f"field label does not support subscript: {text}"
    elif not match and text not in (*_KNOWN, "spec.host"):
        wrong = f"field label not supported: {text}"
    if wrong:
        return [invalid(f"{path}.fieldPath", text, f"error converting fieldPath: {wrong}")]
    if match:
        key = match[2].lower() if match[1] == "metadata.annotations" else match[2]
        return names.qualified_name_errors(path, key)
    inner = "spec.nodeName" if text == "spec.host" else text
    return [] if inner in allowed else [unsupported(f"{path}.fieldPath", inner, sorted(allowed))]


def container_field_errors(ref: Json, path: str, *, named: bool) -> list[FieldError]:
    """validateContainerResourceFieldSelector; files have to name the container, variables are their own's."""
    resource = ref.get("resource", "")
    out: list[FieldError] = []
    if named and not ref.get("containerName"):
        out.append(required(f"{path}.containerName"))
    elif not resource:
        out.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE):
        out.append(unsupported(f"{path}.resource", resource, _RESOURCES))
    return out + _divisor_errors(resource, ref.get("divisor") or "0", f"{path}.divisor")


def _divisor_errors(resource: str, divisor: str, path: str) -> list[FieldError]:
    if quantity.parse(divisor) == 0:
        return []
    what = resource.partition(".")[2]
    if what == "cpu":
        words = "only divisor's values 1m and 1 are supported with the cpu resource"
        return [] if divisor in ("1m", "1") else [invalid(path, resource, words)]
    shown = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}.get(what)
    if resource.startswith(_HUGE):
        shown = "hugepages"
    if shown is None or divisor in (*_SIZES, "1Ki"):
        return []
    words = (
        "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the "
        f"{shown} resource"
    )
    return [invalid(path, resource, words)]
