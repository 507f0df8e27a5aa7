"""Validity of resource requests and limits, of containers and of whole pods."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal

from fairway.apiserver import names, quantity
from fairway.apiserver.fielderrors import FieldError, duplicate, forbidden, invalid, not_found, required, unsupported
from fairway.apiserver.request import Json

_COUNTED = (
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
)
_OF_CONTAINERS = ("cpu", "memory", "ephemeral-storage")
_STANDARD = (
    *_OF_CONTAINERS,
    *(f"requests.{name}" for name in (*_OF_CONTAINERS, "storage")),
    *(f"limits.{name}" for name in _OF_CONTAINERS),
    "storage",
    *_COUNTED,
)
_HUGE, _NATIVE = "hugepages-", "kubernetes.io/"
NONNEGATIVE = "must be greater than or equal to 0"

NameCheck = Callable[[str, str], list[FieldError]]


def is_native(name: str) -> bool:
    """Of Kubernetes itself: without a domain, or of kubernetes.io."""
    return "/" not in name or _NATIVE in name


def is_extended(name: str) -> bool:
    """Of a vendor, countable."""
    return (
        not is_native(name)
        and not name.startswith("requests.")
        and not names.qualified_name_messages(f"requests.{name}")
    )


def is_whole(text: str) -> bool:
    """A whole number, as far as thousandths show."""
    return (quantity.parse(text) * 1000).to_integral_value(ROUND_CEILING) % 1000 == 0


def quantity_errors(name: str, text: str, path: str) -> list[FieldError]:
    """ValidateResourceQuantityValue."""
    out: list[FieldError] = []
    if quantity.parse(text) < 0:
        out.append(invalid(path, text, NONNEGATIVE))
    if (name in _COUNTED or is_extended(name)) and not is_whole(text):
        out.append(invalid(path, text, "must be an integer"))
    return out


def _name_errors(name: str, path: str) -> list[FieldError]:
    wrong = names.qualified_name_errors(path, name)
    if wrong or "/" in name:
        return wrong
    if name in _STANDARD or name.startswith((_HUGE, f"requests.{_HUGE}")):
        return []
    return [invalid(path, name, "must be a standard resource type or fully qualified")]


def container_name_errors(name: str, path: str) -> list[FieldError]:
    """validateContainerResourceName."""
    out = _name_errors(name, path)
    if "/" not in name:
        if name not in _OF_CONTAINERS and not name.startswith(_HUGE):
            out.append(invalid(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        out.append(invalid(path, name, "doesn't follow extended resource name standard"))
    return out


def pod_name_errors(name: str, path: str) -> list[FieldError]:
    """validatePodResourceName: what a pod as a whole may ask for."""
    out = _name_errors(name, path)
    if out or name in ("cpu", "memory") or name.startswith(_HUGE):
        return out
    return [unsupported(path, name, ("cpu", "hugepages-", "memory"))]


def _page_errors(name: str, text: str, path: str) -> list[FieldError]:
    if not name.startswith(_HUGE):
        return []
    try:
        size = quantity.parse(name.removeprefix(_HUGE))
    except quantity.QuantityError:
        size = Decimal(0)
    if size > 0 and size % 1 == 0 and quantity.parse(text).to_integral_value(ROUND_CEILING) % size == 0:
        return []
    return [invalid(path, text, f"{text} is not positive integer multiple of {name}")]


def resource_errors(resources: Json, path: str, check: NameCheck, claims: set[str]) -> list[FieldError]:
    """validateResourceRequirements."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    out: list[FieldError] = []
    for kind, values in (("limits", limits), ("requests", requests)):
        for name, text in sorted(values.items()):
            at = f"{path}.{kind}[{name}]"
            out += check(name, at) + quantity_errors(name, text, at)
            if kind == "requests":
                out += _overcommit_errors(name, text, limits, path)
            out += _page_errors(name, text, at)
    asked = {*limits, *requests}
    if any(name.startswith(_HUGE) for name in asked) and not asked & {"cpu", "memory"}:
        out.append(forbidden(path, "HugePages require cpu or memory"))
    return out + _claim_errors(resources.get("claims") or [], claims, f"{path}.claims")


def _overcommit_errors(name: str, text: str, limits: Json, path: str) -> list[FieldError]:
    shared = is_native(name) and not name.startswith(_HUGE)
    if name not in limits:
        words = "Limit must be set for non overcommitable resources"
        return [] if shared else [required(f"{path}.limits", words)]
    asked, limit = quantity.parse(text), quantity.parse(limits[name])
    if asked != limit and not shared:
        return [invalid(f"{path}.requests", text, f"must be equal to {name} limit of {limits[name]}")]
    if asked > limit:
        return [invalid(f"{path}.requests", text, f"must be less than or equal to {name} limit of {limits[name]}")]
    return []


def _claim_errors(claims: list[Json], known: set[str], path: str) -> list[FieldError]:
    """validateResourceClaimNames: each names a claim of the pod, once."""
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, claim in enumerate(claims):
        at, name, part = f"{path}[{i}]", claim.get("name", ""), claim.get("request", "")
        if not name:
            out.append(required(at))
            continue
        key = f"{name}/{part}" if part else name
        if name in seen:
            out.append(duplicate(at, name))
        else:
            if part:
                out += [invalid(f"{at}.request", part, m) for m in names.dns_label_errors(part)]
            if key in seen or (not part and any(s.startswith(f"{name}/") for s in seen)):
                out.append(duplicate(at, key))
            seen.add(key)
        if name not in known:
            listed = f": {', '.join(sorted(known))}" if known else " which is empty"
            words = f"must be one of the names in pod.spec.resourceClaims{listed}"
            missing = not_found(at, name)
            out.append(missing._replace(body=f"{missing.body}: {words}"))
    return out


def pod_level_errors(spec: Json, claims: set[str], path: str) -> list[FieldError]:
    """Resources of the pod as a whole: at least what its containers ask for."""
    whole, at = spec.get("resources"), f"{path}.resources"
    if whole is None:
        return []
    if (spec.get("os") or {}).get("name") == "windows":
        return [forbidden(at, "may not be set for a windows pod")]
    out: list[FieldError] = []
    if whole.get("claims") is not None:
        out.append(forbidden(f"{at}.claims", "claims may not be set for Resources at pod-level"))
    out += resource_errors(whole, at, pod_name_errors, claims)
    containers = [c.get("resources") or {} for c in spec.get("containers") or []]
    for name, text in sorted((whole.get("requests") or {}).items()):
        total = sum((quantity.parse((c.get("requests") or {}).get(name, "0")) for c in containers), Decimal(0))
        if total > quantity.parse(text):
            shown = quantity.canonical(f"{total.normalize():f}")
            words = f"must be greater than or equal to aggregate container requests of {shown}"
            out.append(invalid(f"{at}.requests[{name}]", text, words))
    for i, container in enumerate(containers):
        for name, text in sorted((container.get("limits") or {}).items()):
            limit = (whole.get("limits") or {}).get(name)
            if limit is not None and quantity.parse(text) > quantity.parse(limit):
                words = f"must be less than or equal to pod limits of {limit}"
                out.append(invalid(f"{at}.containers[{i}][{name}].limits", text, words))
    return out


def qos_class(spec: Json) -> str:
    """BestEffort, Burstable or Guaranteed: by CPU and memory, of the pod as a whole where that is said."""
    whole = spec.get("resources") or {}
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    parts = [whole] if whole.get("requests") or whole.get("limits") else [c.get("resources") or {} for c in containers]
    totals: dict[str, dict[str, Decimal]] = {"requests": {}, "limits": {}}
    is_limited = True
    for part in parts:
        for kind, total in totals.items():
            given = {n: quantity.parse(v) for n, v in (part.get(kind) or {}).items() if n in ("cpu", "memory")}
            for name, value in given.items():
                total[name] = total.get(name, Decimal(0)) + value
            is_limited = is_limited and (kind == "requests" or {n for n, v in given.items() if v} == {"cpu", "memory"})
    requests, limits = ({n: v for n, v in total.items() if v} for total in totals.values())
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if is_limited and requests == limits else "Burstable"
