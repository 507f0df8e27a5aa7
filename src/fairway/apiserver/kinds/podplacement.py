"""Validity of what says where a pod goes: affinity, tolerations, spread, gates."""

from __future__ import annotations

import re

from fairway.apiserver import names
from fairway.apiserver.fielderrors import FieldError, duplicate, forbidden, invalid, required, unsupported
from fairway.apiserver.request import Json

_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_OPERATOR = "not a valid selector operator"
_WEIGHT = "must be in the range 1-100"


# ---- nodes ------------------------------------------------------------------------------------------------------
def _requirement_errors(term: Json, path: str, strict: bool) -> list[FieldError]:
    operator, values, at = term.get("operator", ""), term.get("values") or [], f"{path}.values"
    out: list[FieldError] = []
    if operator in ("In", "NotIn"):
        if not values:
            out.append(required(at, "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            out.append(forbidden(at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            out.append(required(at, "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    else:
        out.append(invalid(f"{path}.operator", operator, _OPERATOR))
    out += names.qualified_name_errors(f"{path}.key", term.get("key", ""))
    if strict:
        for i, value in enumerate(values):
            out += [invalid(f"{at}[{i}]", value, m) for m in names.label_value_errors(value)]
    return out


def _field_errors(term: Json, path: str) -> list[FieldError]:
    operator, values, key = term.get("operator", ""), term.get("values") or [], term.get("key", "")
    out: list[FieldError] = []
    if operator not in ("In", "NotIn"):
        out.append(invalid(f"{path}.operator", operator, _OPERATOR))
    elif len(values) != 1:
        words = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        out.append(required(f"{path}.values", words))
    if key != "metadata.name":
        return [*out, invalid(f"{path}.key", key, "not a valid field selector key")]
    for i, value in enumerate(values):
        out += [invalid(f"{path}.values[{i}]", value, m) for m in names.subdomain_errors(value)]
    return out


def _term_errors(term: Json, path: str, strict: bool) -> list[FieldError]:
    out: list[FieldError] = []
    for i, one in enumerate(term.get("matchExpressions") or []):
        out += _requirement_errors(one, f"{path}.matchExpressions[{i}]", strict)
    for i, one in enumerate(term.get("matchFields") or []):
        out += _field_errors(one, f"{path}.matchFields[{i}]")
    return out


def _node_errors(affinity: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    if affinity.get(_REQUIRED) is not None:
        terms, at = affinity[_REQUIRED].get("nodeSelectorTerms") or [], f"{path}.{_REQUIRED}.nodeSelectorTerms"
        if not terms:
            out.append(required(at, "must have at least one node selector term"))
        for i, term in enumerate(terms):
            out += _term_errors(term, f"{at}[{i}]", strict=True)
    for i, item in enumerate(affinity.get(_PREFERRED) or []):
        at = f"{path}.{_PREFERRED}[{i}]"
        if not 1 <= item.get("weight", 0) <= 100:
            out.append(invalid(f"{at}.weight", item.get("weight", 0), _WEIGHT))
        out += _term_errors(item.get("preference") or {}, f"{at}.preference", strict=False)
    return out


# ---- pods -------------------------------------------------------------------------------------------------------
def _pod_term_errors(term: Json, path: str) -> list[FieldError]:
    out = names.label_selector_errors(term.get("labelSelector"), f"{path}.labelSelector")
    out += names.label_selector_errors(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or []:
        out += [invalid(f"{path}.namespace", name, m) for m in names.dns_label_errors(name)]
    out += _label_key_errors(term, path)
    key = term.get("topologyKey", "")
    if not key:
        out.append(required(f"{path}.topologyKey", "can not be empty"))
    return out + names.qualified_name_errors(f"{path}.topologyKey", key)


def _label_key_errors(term: Json, path: str) -> list[FieldError]:
    """ValidateMatchLabelKeysAndMismatchLabelKeys."""
    out: list[FieldError] = []
    selector = term.get("labelSelector")
    match, mismatch = term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or []
    for name, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if keys and selector is None:
            out.append(forbidden(f"{path}.{name}", "must not be specified when labelSelector is not set"))
            continue
        for i, key in enumerate(keys):
            out += names.qualified_name_errors(f"{path}.{name}[{i}]", key)
    taken = set((selector or {}).get("matchLabels") or {})
    for item in (selector or {}).get("matchExpressions") or []:
        key = item.get("key", "")
        if key in match and key in taken:
            at = f"{path}[{len(match) - 1 - match[::-1].index(key)}]"
            out.append(invalid(at, key, "exists in both matchLabelKeys and labelSelector"))
        taken.add(key)
    for i, key in enumerate(match):
        if key in mismatch:
            words = "exists in both matchLabelKeys and mismatchLabelKeys"
            out.append(invalid(f"{path}.matchLabelKeys[{i}]", key, words))
    return out


def _pod_errors(affinity: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for i, term in enumerate(affinity.get(_REQUIRED) or []):
        out += _pod_term_errors(term, f"{path}.{_REQUIRED}[{i}]")
    for i, item in enumerate(affinity.get(_PREFERRED) or []):
        at = f"{path}.{_PREFERRED}[{i}]"
        if not 1 <= item.get("weight", 0) <= 100:
            out.append(invalid(f"{at}.weight", item.get("weight", 0), _WEIGHT))
        out += _pod_term_errors(item.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm")
    return out


def affinity_errors(affinity: Json, path: str) -> list[FieldError]:
    """validateAffinity."""
    out: list[FieldError] = []
    if affinity.get("nodeAffinity") is not None:
        out += _node_errors(affinity["nodeAffinity"], f"{path}.nodeAffinity")
    for name in ("podAffinity", "podAntiAffinity"):
        if affinity.get(name) is not None:
            out += _pod_errors(affinity[name], f"{path}.{name}")
    return out


# ---- tolerations ------------------------------------------------------------------------------------------------
def toleration_errors(tolerations: list[Json], path: str) -> list[FieldError]:
    """ValidateTolerations."""
    out: list[FieldError] = []
    for i, item in enumerate(tolerations):
        at, operator, effect = f"{path}[{i}]", item.get("operator", ""), item.get("effect", "")
        if item.get("key"):
            out += names.qualified_name_errors(f"{at}.key", item["key"])
        elif operator != "Exists":
            words = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            out.append(invalid(f"{at}.operator", operator, words))
        if item.get("tolerationSeconds") is not None and effect != "NoExecute":
            out.append(invalid(f"{at}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
        out += _value_errors(operator, item.get("value", ""), at)
        if effect and effect not in _EFFECTS:
            out.append(unsupported(f"{at}.effect", effect, _EFFECTS))
    return out


def _value_errors(operator: str, value: str, path: str) -> list[FieldError]:
    at = f"{path}.operator"
    if operator in ("", "Equal"):
        wrong = names.label_value_errors(value)
        return [invalid(at, value, ";".join(wrong))] if wrong else []
    if operator == "Exists":
        return [invalid(at, value, "value must be empty when `operator` is 'Exists'")] if value else []
    known = ("Equal", "Exists", "Lt", "Gt") if operator in ("Lt", "Gt") else ("Equal", "Exists")
    return [unsupported(at, operator, known)]


# ---- spread -----------------------------------------------------------------------------------------------------
def spread_errors(constraints: list[Json], path: str) -> list[FieldError]:
    """validateTopologySpreadConstraints."""
    out: list[FieldError] = []
    pairs = [(c.get("topologyKey", ""), c.get("whenUnsatisfiable", "")) for c in constraints]
    for i, item in enumerate(constraints):
        at, (key, action) = f"{path}[{i}]", pairs[i]
        if item.get("maxSkew", 0) <= 0:
            out.append(invalid(f"{at}.maxSkew", item.get("maxSkew", 0), "must be greater than zero"))
        if not key:
            out.append(required(f"{at}.topologyKey", "can not be empty"))
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            out.append(unsupported(f"{at}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway")))
        if pairs[i] in pairs[i + 1 :]:
            out.append(duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        out += _domain_errors(item.get("minDomains"), action, f"{at}.minDomains")
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if item.get(name) not in (None, "Honor", "Ignore"):
                out.append(unsupported(f"{at}.{name}", item[name], ("Honor", "Ignore")))
        out += _label_key_errors(item, at)
        out += names.label_selector_errors(item.get("labelSelector"), f"{at}.labelSelector")
    return out


def _domain_errors(count: int | None, action: str, path: str) -> list[FieldError]:
    if count is None:
        return []
    out = [invalid(path, count, "must be greater than zero")] if count <= 0 else []
    if action != "DoNotSchedule":
        words = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        out.append(invalid(path, count, words))
    return out


def gate_errors(gates: list[Json], path: str) -> list[FieldError]:
    """validateSchedulingGates."""
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, gate in enumerate(gates):
        name = gate.get("name", "")
        out += names.qualified_name_errors(f"{path}[{i}]", name)
        if name in seen:
            out.append(duplicate(f"{path}[{i}]", name))
        seen.add(name)
    return out


# ---- names ------------------------------------------------------------------------------------------------------
_UNDERSCORED = re.compile(r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*")
_UNDERSCORED_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start"
    f" and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_UNDERSCORED.pattern}')"
)


def _search_errors(text: str, path: str) -> list[FieldError]:
    if text == ".":
        return []
    name = text.removesuffix(".")
    out = [invalid(path, name, "must be no more than 253 characters")] if len(name) > 253 else []
    return out if _UNDERSCORED.fullmatch(name) else [*out, invalid(path, name, _UNDERSCORED_WORDS)]


def dns_errors(config: Json | None, policy: str, path: str) -> list[FieldError]:
    """validatePodDNSConfig."""
    if policy == "None":
        if config is None:
            return [required(path, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            words = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [required(f"{path}.nameservers", words)]
    out: list[FieldError] = []
    servers, searches = (config or {}).get("nameservers") or [], (config or {}).get("searches") or []
    if len(servers) > 3:
        out.append(invalid(f"{path}.nameservers", servers, "must not have more than 3 nameservers"))
    for i, server in enumerate(servers):
        out += names.ip_errors(f"{path}.nameservers[{i}]", server)
    if len(searches) > 32:
        out.append(invalid(f"{path}.searches", searches, "must not have more than 32 search paths"))
    if len(" ".join(searches)) > 2048:
        words = "must not have more than 2048 characters (including spaces) in the search list"
        out.append(invalid(f"{path}.searches", searches, words))
    for i, search in enumerate(searches):
        out += _search_errors(search, f"{path}.searches[{i}]")
    for i, option in enumerate((config or {}).get("options") or []):
        if not option.get("name"):
            out.append(required(f"{path}.options[{i}]", "must not be empty"))
    return out
