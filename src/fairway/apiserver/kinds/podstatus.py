"""Validity of a pod's status, against what it was (ValidatePodStatusUpdate)."""

from __future__ import annotations

from fairway.apiserver import names
from fairway.apiserver.fielderrors import FieldError, forbidden, internal, invalid
from fairway.apiserver.kinds.base import IMMUTABLE
from fairway.apiserver.request import Json

_OF_THE_SYSTEM = ("PodScheduled", "Ready", "Initialized")
_COUNT = "must be a non-negative integer"


def status_errors(obj: Json, old: Json) -> list[FieldError]:
    """What is wrong with the new status."""
    status, was = obj.get("status") or {}, old.get("status") or {}
    out: list[FieldError] = []
    for i, condition in enumerate(status.get("conditions") or []):
        at, kind = f"status.conditions[{i}]", condition.get("type", "")
        if condition.get("observedGeneration", 0) < 0:
            out.append(invalid(f"{at}.observedGeneration", condition["observedGeneration"], _COUNT))
        if kind not in _OF_THE_SYSTEM:
            out += names.qualified_name_errors(f"{at}.Type", kind)
    nominated, bound = status.get("nominatedNodeName", ""), (old.get("spec") or {}).get("nodeName")
    if nominated and nominated != was.get("nominatedNodeName"):
        at = "status.nominatedNodeName"
        out += [invalid(at, nominated, m) for m in names.subdomain_errors(nominated)]
        if bound:
            out.append(forbidden(at, "may not be set on pods that are already bound to a node"))
    if status.get("observedGeneration", 0) < 0:
        out.append(invalid("status.observedGeneration", status["observedGeneration"], _COUNT))
    if status.get("qosClass") != was.get("qosClass"):
        out.append(invalid("status.qosClass", status.get("qosClass", ""), IMMUTABLE))
    out += _transition_errors(status, was, old.get("spec") or {})
    return out + _address_errors(status, was, "podIPs") + _host_errors(status) + _address_errors(status, was, "hostIPs")


def keep_generations(status: Json, was: Json) -> None:
    """What a writer that knows no observedGeneration leaves out stays, in the conditions too."""
    known: dict[str, list[int]] = {}
    for condition in was.get("conditions") or []:
        known.setdefault(condition.get("type", ""), []).append(condition.get("observedGeneration", 0))
    pairs = [(status, was.get("observedGeneration", 0))]
    for condition in status.get("conditions") or []:
        left = known.get(condition.get("type", ""))
        pairs.append((condition, left.pop(0) if left else 0))
    for holder, generation in pairs:
        if generation and not holder.get("observedGeneration"):
            holder["observedGeneration"] = generation


def _host_errors(status: Json) -> list[FieldError]:
    first = (status.get("hostIPs") or [{}])[0].get("ip", "")
    if not status.get("hostIPs") or status.get("hostIP", "") == first:
        return []
    return [invalid("status.hostIPs[0].ip", first, "must be equal to `hostIP`")]


def _address_errors(status: Json, was: Json, name: str) -> list[FieldError]:
    """One address of each family; what was there already may stay."""
    addresses = [a.get("ip", "") for a in status.get(name) or []]
    existing = [a.get("ip", "") for a in was.get(name) or []]
    out: list[FieldError] = []
    for i, address in enumerate(addresses):
        out += names.ip_errors(f"status.{name}[{i}]", address, existing)
    if len(addresses) > 1:
        out += _unreadable_errors(addresses, f"status.{name}")
    families = {names.is_ipv6(a) for a in addresses}
    if len(addresses) > 1 and (len(families) < 2 or len(addresses) > 2):
        shown = [{"IP": a} for a in addresses]
        out.append(invalid(f"status.{name}", shown, "may specify no more than one IP for each IP family"))
    return out


def _unreadable_errors(addresses: list[str], path: str) -> list[FieldError]:
    wrong = next(((i, a) for i, a in enumerate(addresses) if names.parse_ip(a) is None), None)
    if wrong is None:
        return []
    words = f"failed to check for dual stack with error:invalid IP[{wrong[0]}]: {wrong[1]}"
    return [internal(path, words)]


def _transition_errors(status: Json, was: Json, spec: Json) -> list[FieldError]:
    """A container that has ended and does not restart stays ended."""
    containers = {c.get("name"): c for c in spec.get("containers") or []}
    if any(_restarts_all(c) for c in containers.values()):
        return []
    out: list[FieldError] = []
    for i, before in enumerate(was.get("containerStatuses") or []):
        ended = (before.get("state") or {}).get("terminated")
        now = next((s for s in status.get("containerStatuses") or [] if s.get("name") == before.get("name")), None)
        if ended is None or now is None or (now.get("state") or {}).get("terminated") is not None:
            continue
        container = containers.get(before.get("name"))
        if container is None or not _restarts(container, spec, ended.get("exitCode", 0)):
            path = f"status.containerStatuses[{i}].state"
            out.append(forbidden(path, "may not be transitioned to non-terminated state"))
    return out


def _restarts_all(container: Json) -> bool:
    return any(r.get("action") == "RestartAllContainers" for r in container.get("restartPolicyRules") or [])


def _restarts(container: Json, spec: Json, code: int) -> bool:
    for rule in container.get("restartPolicyRules") or []:
        codes = rule.get("exitCodes") or {}
        if (code in (codes.get("values") or [])) == (codes.get("operator") == "In"):
            return True
    policy = container.get("restartPolicy") or spec.get("restartPolicy")
    return policy == "Always" or (policy == "OnFailure" and code != 0)
