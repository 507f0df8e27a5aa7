"""Validity of the pod spec that Pods and the templates of workloads share, as ValidatePodSpec goes through it."""

from __future__ import annotations

from typing import Any

from fairway.apiserver import names
from fairway.apiserver.fielderrors import FieldError, duplicate, forbidden, invalid, required, too_long, unsupported
from fairway.apiserver.kinds.podcontainers import (
    container_errors,
    ephemeral_container_errors,
    file_key_volume_errors,
    init_container_errors,
    surroundings,
)
from fairway.apiserver.kinds.podplacement import (
    affinity_errors,
    dns_errors,
    gate_errors,
    spread_errors,
    toleration_errors,
)
from fairway.apiserver.kinds.podresources import container_name_errors, pod_level_errors, resource_errors
from fairway.apiserver.kinds.podsecurity import host_users_errors, pod_context_errors
from fairway.apiserver.kinds.podvolumes import volume_errors
from fairway.apiserver.request import Json

_RESTARTS = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION = ("PreemptLowerPriority", "Never")


def _choice_errors(value: str, allowed: tuple[str, ...], path: str) -> list[FieldError]:
    if not value:
        return [required(path)]
    return [] if value in allowed else [unsupported(path, value, allowed)]


def pod_spec_errors(spec: Json, path: str, *, is_pod: bool = True) -> list[FieldError]:
    """What is wrong with a spec after its defaults; a template may leave to the pod what the pod will be given."""
    volumes, out = volume_errors(spec.get("volumes") or [], f"{path}.volumes")
    around = surroundings(spec, volumes)
    out += _claim_errors(spec.get("resourceClaims") or [], f"{path}.resourceClaims")
    out += container_errors(spec.get("containers") or [], f"{path}.containers", around)
    out += init_container_errors(spec, f"{path}.initContainers", around)
    out += ephemeral_container_errors(spec, f"{path}.ephemeralContainers", around)
    out += pod_level_errors(spec, around.claims, path)
    if spec.get("hostNetwork"):
        out += _host_network_errors(spec.get("containers") or [], f"{path}.containers", is_pod)
    out += _choice_errors(spec.get("restartPolicy", ""), _RESTARTS, f"{path}.restartPolicy")
    out += _choice_errors(spec.get("dnsPolicy", ""), _DNS, f"{path}.dnsPolicy")
    out += names.labels_errors(spec.get("nodeSelector"), f"{path}.nodeSelector")
    out += pod_context_errors(spec, f"{path}.securityContext")
    out += affinity_errors(spec.get("affinity") or {}, f"{path}.affinity")
    out += dns_errors(spec.get("dnsConfig"), spec.get("dnsPolicy", ""), f"{path}.dnsConfig")
    for i, gate in enumerate(spec.get("readinessGates") or []):
        at = f"{path}.readinessGates[{i}].conditionType"
        out += names.qualified_name_errors(at, gate.get("conditionType", ""))
    out += gate_errors(spec.get("schedulingGates") or [], f"{path}.schedulingGates")
    out += spread_errors(spec.get("topologySpreadConstraints") or [], f"{path}.topologySpreadConstraints")
    out += host_users_errors(spec, path) + _override_errors(spec, f"{path}.hostnameOverride")
    return out + _identity_errors(spec, path) + file_key_volume_errors(spec, path)


def _claim_errors(claims: list[Json], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, claim in enumerate(claims):
        at, name = f"{path}[{i}]", claim.get("name", "")
        if not name:
            out.append(required(f"{at}.name"))
        elif name in seen:
            out.append(duplicate(f"{at}.name", name))
        else:
            out += [invalid(f"{at}.name", name, m) for m in names.dns_label_errors(name)]
        seen.add(name)
        own, template = claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")
        shown = {"Name": name, "ResourceClaimName": own, "ResourceClaimTemplateName": template}
        if own is not None and template is not None:
            words = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            out.append(invalid(at, shown, words))
        if own is None and template is None:
            out.append(invalid(at, shown, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
        for key in ("resourceClaimName", "resourceClaimTemplateName"):
            if claim.get(key) is not None:
                out += [invalid(f"{at}.{key}", claim[key], m) for m in names.subdomain_errors(claim[key])]
    return out


def _host_network_errors(containers: list[Json], path: str, is_pod: bool) -> list[FieldError]:
    words = "must match `containerPort` when `hostNetwork` is true"
    out: list[FieldError] = []
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports") or []):
            number = port.get("hostPort", 0)
            if (is_pod or number) and number != port.get("containerPort", 0):
                out.append(invalid(f"{path}[{i}].ports[{j}].hostPort", number, words))
    return out


def _override_errors(spec: Json, path: str) -> list[FieldError]:
    name = spec.get("hostnameOverride")
    if name is None:
        return []
    others = (other for other in ("setHostnameAsFQDN", "hostNetwork") if spec.get(other))
    out = [forbidden(path, f"may not be specified when {other} is true") for other in others]
    if len(name) > 64:
        out.append(too_long(path, 64))
    return out + [invalid(path, name, m) for m in names.subdomain_errors(name)]


def _identity_errors(spec: Json, path: str) -> list[FieldError]:
    """Names, and the small fields among them, in the order in which the real server looks at them."""

    def named(field: str, rule: Any = names.subdomain_errors) -> list[FieldError]:
        value = spec.get(field)
        return [invalid(f"{path}.{field}", value, m) for m in rule(value)] if value else []

    out = named("serviceAccountName") + named("nodeName")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2147483647:
        out.append(invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"))
    out += named("hostname", names.dns_label_errors) + named("subdomain", names.dns_label_errors)
    out += toleration_errors(spec.get("tolerations") or [], f"{path}.tolerations")
    for i, alias in enumerate(spec.get("hostAliases") or []):
        at = f"{path}.hostAliases[{i}]"
        out += names.ip_errors(f"{at}.ip", alias.get("ip", ""))
        for j, host in enumerate(alias.get("hostnames") or []):
            out += [invalid(f"{at}.hostnames[{j}]", host, m) for m in names.subdomain_errors(host)]
    out += named("priorityClassName")
    runtime = spec.get("runtimeClassName")
    if runtime is not None:
        out += [invalid(f"{path}.runtimeClassName", runtime, m) for m in names.subdomain_errors(runtime)]
    if spec.get("preemptionPolicy") is not None:
        out += _choice_errors(spec["preemptionPolicy"], _PREEMPTION, f"{path}.preemptionPolicy")
    if spec.get("overhead") is not None:
        out += resource_errors({"limits": spec["overhead"]}, f"{path}.overhead", container_name_errors, set())
    return out + _system_errors(spec.get("os"), f"{path}.os")


def _system_errors(system: Json | None, path: str) -> list[FieldError]:
    if system is None:
        return []
    name = system.get("name", "")
    if not name:
        return [required(f"{path}.name")]
    return [] if name in ("linux", "windows") else [unsupported(path, name, ("linux", "windows"))]


# ---- templates --------------------------------------------------------------------------------------------------
def template_errors(template: Json | None, path: str, word: str) -> list[FieldError]:
    """ValidatePodTemplateSpec, and that its pods restart for ever; `word` is the workload's kind."""
    meta, spec = (template or {}).get("metadata") or {}, (template or {}).get("spec") or {}
    out = names.labels_errors(meta.get("labels"), f"{path}.labels")
    out += names.annotations_errors(meta.get("annotations"), f"{path}.annotations")
    out += pod_spec_errors(spec, f"{path}.spec", is_pod=False)
    if spec.get("ephemeralContainers"):
        words = "ephemeral containers not allowed in pod template"
        out.append(forbidden(f"{path}.spec.ephemeralContainers", words))
    return out + lasting_errors(spec, f"{path}.spec", word) if word else out


def lasting_errors(spec: Json, path: str, word: str) -> list[FieldError]:
    """Pods of workloads restart for ever."""
    out: list[FieldError] = []
    if spec.get("restartPolicy") != "Always":
        out.append(unsupported(f"{path}.restartPolicy", spec.get("restartPolicy", ""), ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        words = f"activeDeadlineSeconds in {word} is not Supported"
        out.append(forbidden(f"{path}.activeDeadlineSeconds", words))
    return out


def match_errors(template: Json | None, selector: Json | None, path: str) -> list[FieldError]:
    """The template's labels are those that the selector looks for."""
    meta = (template or {}).get("metadata") or {}
    if selector_matches(selector, meta.get("labels") or {}):
        return []
    words = "`selector` does not match template `labels`"
    labels = meta.get("labels")
    return [invalid(f"{path}.metadata.labels", labels and dict(sorted(labels.items())), words)]


def selector_matches(selector: Json | None, labels: Json) -> bool:
    """A LabelSelector against labels; none matches nothing."""
    if selector is None:
        return False
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for term in selector.get("matchExpressions") or []:
        value, values = labels.get(term.get("key")), term.get("values") or []
        fits = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }.get(term.get("operator", ""), False)
        if not fits:
            return False
    return True
