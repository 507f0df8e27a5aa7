"""Rules for a Service's cluster IPs and families: alone, and against what it had before."""

from __future__ import annotations

from fairway.apiserver import names
from fairway.apiserver.fielderrors import FieldError, duplicate, invalid, required, unsupported
from fairway.apiserver.request import Json

_FAMILIES = ("IPv4", "IPv6")
_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")


def is_headless(spec: Json) -> bool:
    return spec.get("clusterIPs") == ["None"]


def family_of(address: str) -> str:
    return "IPv6" if names.is_ipv6(address) else "IPv4"


def cluster_ip_errors(spec: Json, old: Json) -> list[FieldError]:
    """ValidateServiceClusterIPsRelatedFields."""
    if spec.get("type") == "ExternalName":
        return []
    address, addresses, families = spec.get("clusterIP", ""), spec.get("clusterIPs") or [], spec.get("ipFamilies") or []
    out = _primary_errors(address, addresses) + _listed_family_errors(families)
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _POLICIES:
        out.append(unsupported("spec.ipFamilyPolicy", policy, _POLICIES))
    broken: list[FieldError] = []
    for i, text in enumerate(addresses):
        if i == 0 and text == "None":
            if len(addresses) > 1:
                broken.append(invalid("spec.clusterIPs", addresses, "'None' must be the first and only value"))
            continue
        broken += names.ip_errors(f"spec.clusterIPs[{i}]", text, old.get("clusterIPs"))
    out += broken
    if len(addresses) > 2:
        out.append(invalid("spec.clusterIPs", addresses, "may only hold up to 2 values"))
    if broken:
        return out
    if len(addresses) > 1 and len({family_of(a) for a in addresses}) < 2:
        out.append(invalid("spec.clusterIPs", addresses, "may specify no more than one IP for each IP family"))
    return out if is_headless(spec) else out + _match_errors(addresses, families)


def _listed_family_errors(families: list[str]) -> list[FieldError]:
    out: list[FieldError] = []
    for i, family in enumerate(families):
        if family not in _FAMILIES:
            out.append(unsupported(f"spec.ipFamilies[{i}]", family, _FAMILIES))
        if family in families[:i]:
            out.append(duplicate(f"spec.ipFamilies[{i}]", family))
    return out


def _match_errors(addresses: list[str], families: list[str]) -> list[FieldError]:
    return [
        invalid(f"spec.clusterIPs[{i}]", text, f"expected an {family} value as indicated by `ipFamilies[{i}]`")
        for i, (text, family) in enumerate(zip(addresses, families, strict=False))
        if family in _FAMILIES and family_of(text) != family
    ]


def _primary_errors(address: str, addresses: list[str]) -> list[FieldError]:
    if address and not addresses:
        return [required("spec.clusterIPs")]
    if address and addresses[0] != address:
        return [invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`")]
    if not address and addresses:
        return [invalid("spec.clusterIPs", addresses, "must be empty when `clusterIP` is not specified")]
    return []


_ONCE = "may not change once set"


def family_change_errors(spec: Json, old: Json) -> list[FieldError]:
    """Primary address and family never change; the secondary comes and goes with the policy."""
    if "ExternalName" in (spec.get("type"), old.get("type")):
        return []
    out: list[FieldError] = []
    headless, was_headless = is_headless(spec), is_headless(old)
    if not (headless and was_headless):
        out += _address_changes(spec, old)
    if not headless and not was_headless:
        out += _family_changes(spec, old)
    return out


def _address_changes(spec: Json, old: Json) -> list[FieldError]:
    new, was = spec.get("clusterIPs") or [], old.get("clusterIPs") or []
    if len(new) == len(was):
        return [invalid(f"spec.clusterIPs[{i}]", new, _ONCE) for i, a in enumerate(was) if a != new[i]]
    out: list[FieldError] = []
    if len(was) > len(new) and not new:
        out.append(invalid("spec.clusterIPs[0]", new, "primary clusterIP can not be unset"))
    if new and was and new[0] != was[0]:
        out.append(invalid("spec.clusterIPs[0]", new, _ONCE))
    if len(was) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        words = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        out.append(invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), words))
    return out


def _family_changes(spec: Json, old: Json) -> list[FieldError]:
    new, was = spec.get("ipFamilies") or [], old.get("ipFamilies") or []
    if len(new) == len(was):
        return [invalid("spec.ipFamilies[0]", new, _ONCE) for i, f in enumerate(was) if f != new[i]]
    out: list[FieldError] = []
    if len(was) > len(new) and not spec.get("clusterIPs"):
        out.append(invalid("spec.ipFamilies[0]", new, "primary ipFamily can not be unset"))
    if new and was and new[0] != was[0]:
        out.append(invalid("spec.ipFamilies[0]", spec.get("clusterIPs"), _ONCE))
    if len(was) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        words = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        out.append(invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), words))
    return out
