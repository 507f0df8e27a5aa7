"""IP families of a Service: which it has, from what the client says, what it had and what the cluster is made for."""

from __future__ import annotations

from fairway.apiserver import errors
from fairway.apiserver.context import Call
from fairway.apiserver.fielderrors import FieldError, invalid
from fairway.apiserver.kinds.service_addresses import cluster_ip_errors, family_of
from fairway.apiserver.request import Json

NODE_PORT_TYPES = ("NodePort", "LoadBalancer")
SINGLE = "SingleStack"


def refuse(obj: Json, found: list[FieldError]) -> None:
    """Raise what was found wrong with a Service."""
    if found:
        raise errors.invalid("Service", "", obj["metadata"].get("name", ""), found)


def families(call: Call) -> list[str]:
    """Families that this server was started with, the default one first."""
    return [family_of(c.split("/")[0]) for c in call.server.settings.service_cidrs]


def matching_prefer(spec: Json, old: Json | None) -> bool:
    """A PreferDualStack Service is not upgraded because the cluster became dual-stack."""
    if old is None or spec.get("ipFamilyPolicy") is None or spec.get("type") != old.get("type"):
        return False
    if spec.get("type") not in ("ClusterIP", *NODE_PORT_TYPES) or spec["ipFamilyPolicy"] != "PreferDualStack":
        return False
    if old.get("ipFamilyPolicy") not in (None, "PreferDualStack"):
        return False
    return (spec.get("clusterIPs") or []) == (old.get("clusterIPs") or []) and (spec.get("ipFamilies") or []) == (
        old.get("ipFamilies") or []
    )


def init_families(call: Call, obj: Json, old: Json | None) -> None:
    """initIPFamilyFields: policy and families that the client left out; refuses what cannot be."""
    spec = obj["spec"]
    if spec.get("type") == "ExternalName" or matching_prefer(spec, old):
        return
    _init_policy(spec, old)
    refuse(obj, cluster_ip_errors(spec, old or {}))
    found = _update_families(spec, old) if old is not None else []
    if spec["ipFamilyPolicy"] == SINGLE:
        for name, word in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")):
            if len(spec.get(name) or []) == 2:
                words = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {word} are specified"
                found.append(invalid("spec.ipFamilyPolicy", SINGLE, words))
    found += _infer_families(call, spec)
    refuse(obj, found)
    have = families(call)
    if spec.get("clusterIP") == "None" and not spec.get("selector"):
        chosen = spec.get("ipFamilies") or [have[0]]
        spec["ipFamilies"] = chosen
        if len(chosen) < 2 and spec["ipFamilyPolicy"] != SINGLE:
            chosen.append("IPv6" if chosen[0] == "IPv4" else "IPv4")
        return
    refuse(obj, _unconfigured(spec, have))
    chosen = spec.get("ipFamilies") or [have[0]]
    spec["ipFamilies"] = chosen
    if spec["ipFamilyPolicy"] != SINGLE and len(chosen) == 1 and len(have) == 2:
        chosen.append("IPv6" if chosen[0] == "IPv4" else "IPv4")


def _init_policy(spec: Json, old: Json | None) -> None:
    if spec.get("ipFamilyPolicy") is not None:
        return
    if old is not None and old.get("ipFamilyPolicy") is not None:
        spec["ipFamilyPolicy"] = old["ipFamilyPolicy"]
    elif spec.get("clusterIP") == "None" and not spec.get("selector"):
        spec["ipFamilyPolicy"] = "RequireDualStack"
    else:
        spec["ipFamilyPolicy"] = SINGLE


def _update_families(spec: Json, old: Json) -> list[FieldError]:
    out: list[FieldError] = []
    for name, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        new, was = spec.get(name) or [], old.get(name) or []
        if spec["ipFamilyPolicy"] == SINGLE:
            if new == was and len(new) > 1:
                spec[name] = new[:1]
        elif new and len(new) < len(was):
            words = f"must be 'SingleStack' to release the secondary {what}"
            out.append(invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], words))
    return out


def _infer_families(call: Call, spec: Json) -> list[FieldError]:
    out: list[FieldError] = []
    have = families(call)
    for i, address in enumerate(spec.get("clusterIPs") or []):
        if address == "None":
            break
        if i >= len(spec.get("ipFamilies") or []):
            family = family_of(address)
            if family not in have:
                out.append(
                    invalid(f"spec.clusterIPs[{i}]", spec["clusterIPs"], f"{family} is not configured on this cluster")
                )
            else:
                spec["ipFamilies"] = [*(spec.get("ipFamilies") or []), family]
    return out


def _unconfigured(spec: Json, have: list[str]) -> list[FieldError]:
    out: list[FieldError] = []
    if spec["ipFamilyPolicy"] == "RequireDualStack" and len(have) < 2:
        out.append(
            invalid("spec.ipFamilyPolicy", "RequireDualStack", "this cluster is not configured for dual-stack services")
        )
    for i, family in enumerate(spec.get("ipFamilies") or []):
        if family not in have:
            out.append(invalid(f"spec.ipFamilies[{i}]", family, "not configured on this cluster"))
    return out
