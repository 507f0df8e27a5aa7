"""The pod template that Pods and workloads share: its defaults and its validity."""

from __future__ import annotations

import re
from typing import Any

from fairway.apiserver import names, quantity
from fairway.apiserver.fielderrors import FieldError, duplicate, forbidden, invalid, not_found, required, unsupported
from fairway.apiserver.kinds.base import get
from fairway.apiserver.kinds.service import PROTOCOLS
from fairway.apiserver.request import Json

_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
_LONGEST_SYSCTL = 253
_LISTS = ("initContainers", "containers", "ephemeralContainers")


# ---- defaults ---------------------------------------------------------------------------------------------------
def default_pod_spec(spec: Json) -> None:
    """SetDefaults_PodSpec and what is below it."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    if spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = 30
    if spec.get("serviceAccountName") and not spec.get("serviceAccount"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount") and not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for name in _LISTS:
        for container in spec.get(name) or []:
            _default_container(container, bool(spec.get("hostNetwork")))
    for volume in spec.get("volumes") or []:
        _default_volume(volume)
    for constraint in spec.get("topologySpreadConstraints") or []:
        constraint.setdefault("whenUnsatisfiable", "DoNotSchedule")


def _default_container(container: Json, host_network: bool) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = "Always" if _latest(container.get("image", "")) else "IfNotPresent"
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
        if host_network and not port.get("hostPort"):
            port["hostPort"] = port.get("containerPort", 0)
    for variable in container.get("env") or []:
        ref = get(variable, "valueFrom", "fieldRef")
        if ref is not None:
            ref.setdefault("apiVersion", "v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name) is not None:
            _default_probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _default_http(hook.get("httpGet"))


def _latest(image: str) -> bool:
    """No tag and no digest means latest."""
    if "@" in image or not re.fullmatch(r"[a-z0-9._/:-]+(:[\w.-]+)?", image):
        return False
    tag = image.rpartition("/")[2].partition(":")[2]
    return tag in ("", "latest")


def _default_probe(probe: Json) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not probe.get(name):
            probe[name] = value
    _default_http(probe.get("httpGet"))
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")


def _default_http(action: Json | None) -> None:
    if action is not None:
        if not action.get("path"):
            action["path"] = "/"
        if not action.get("scheme"):
            action["scheme"] = "HTTP"


_WITH_MODE = ("secret", "configMap", "downwardAPI", "projected")


def _default_volume(volume: Json) -> None:
    if not [k for k in volume if k != "name"]:
        volume["emptyDir"] = {}
    for name in _WITH_MODE:
        if volume.get(name) is not None and volume[name].get("defaultMode") is None:
            volume[name]["defaultMode"] = 420
    if volume.get("hostPath") is not None:
        volume["hostPath"].setdefault("type", "")
    items = list((volume.get("downwardAPI") or {}).get("items") or [])
    for source in (volume.get("projected") or {}).get("sources") or []:
        token = source.get("serviceAccountToken")
        if token is not None and token.get("expirationSeconds") is None:
            token["expirationSeconds"] = 3600
        items += (source.get("downwardAPI") or {}).get("items") or []
    for item in items:
        if item.get("fieldRef") is not None:
            item["fieldRef"].setdefault("apiVersion", "v1")


def default_requests(spec: Json) -> None:
    """Of Pods only, not of templates: requests follow limits."""
    for name in _LISTS[:2]:
        for container in spec.get(name) or []:
            resources = container.get("resources") or {}
            limits = resources.get("limits") or {}
            missing = {k: v for k, v in limits.items() if k not in (resources.get("requests") or {})}
            if missing:
                resources["requests"] = {**(resources.get("requests") or {}), **missing}


def qos_class(spec: Json) -> str:
    """BestEffort, Burstable or Guaranteed."""
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    resources = [c.get("resources") or {} for c in containers]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    full = all(
        (r.get("limits") or {}).get(n) and (r.get("requests") or {}).get(n) == r["limits"][n]
        for r in resources
        for n in ("cpu", "memory")
    )
    return "Guaranteed" if full else "Burstable"


# ---- validity ---------------------------------------------------------------------------------------------------
def pod_spec_errors(spec: Json, path: str) -> list[FieldError]:
    """The rules of ValidatePodSpec that concern what Fairway runs."""
    volumes = {v.get("name", "") for v in spec.get("volumes") or []}
    out = _volume_errors(spec.get("volumes") or [], f"{path}.volumes")
    if not spec.get("containers"):
        out.append(required(f"{path}.containers"))
    seen: set[str] = set()
    ports: set[str] = set()
    for name in ("containers", "initContainers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(name) or []):
            at = f"{path}.{name}[{i}]"
            out += _container_errors(container, at, seen)
            out += _mount_errors(container, at, volumes)
            out += _host_port_errors(container, at, ports, bool(spec.get("hostNetwork")), shared=name == "containers")
    if spec["restartPolicy"] not in ("Always", "OnFailure", "Never"):
        out.append(unsupported(f"{path}.restartPolicy", spec["restartPolicy"], ("Always", "OnFailure", "Never")))
    if spec["dnsPolicy"] not in ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"):
        out.append(
            unsupported(
                f"{path}.dnsPolicy", spec["dnsPolicy"], ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
            )
        )
    if spec.get("preemptionPolicy") not in (None, "PreemptLowerPriority", "Never"):
        known = ("PreemptLowerPriority", "Never")
        out.append(unsupported(f"{path}.preemptionPolicy", spec["preemptionPolicy"], known))
    out += names.labels_errors(spec.get("nodeSelector"), f"{path}.nodeSelector")
    out += _sysctl_errors(get(spec, "securityContext", "sysctls") or [], f"{path}.securityContext.sysctls")
    return out + _identity_errors(spec, path) + _toleration_errors(spec.get("tolerations") or [], f"{path}.tolerations")


def _sysctl_errors(sysctls: list[Json], path: str) -> list[FieldError]:
    """Which of them a pod may have is its node's business."""
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, one in enumerate(sysctls):
        name, at = one.get("name") or "", f"{path}[{i}].name"
        if not name:
            out.append(required(at))
        elif len(name) > _LONGEST_SYSCTL or not _SYSCTL.fullmatch(name):
            words = f"must have at most {_LONGEST_SYSCTL} characters and match regex ^{_SYSCTL.pattern}$"
            out.append(invalid(at, name, words))
        elif name in seen:
            out.append(duplicate(at, name))
        seen.add(name)
    return out


def _identity_errors(spec: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for name, rule in (
        ("serviceAccountName", names.subdomain_errors),
        ("priorityClassName", names.subdomain_errors),
        ("runtimeClassName", names.subdomain_errors),
        ("nodeName", names.subdomain_errors),
        ("hostname", names.dns_label_errors),
        ("subdomain", names.dns_label_errors),
    ):
        value = spec.get(name)
        if value:
            out += [invalid(f"{path}.{name}", value, m) for m in rule(value)]
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2147483647:
        out.append(invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"))
    for i, secret in enumerate(spec.get("imagePullSecrets") or []):
        if not secret.get("name"):
            out.append(required(f"{path}.imagePullSecrets[{i}].name"))
    return out


def _toleration_errors(tolerations: list[Json], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for i, item in enumerate(tolerations):
        at, operator = f"{path}[{i}]", item.get("operator", "")
        if item.get("key"):
            out += names.qualified_name_errors(f"{at}.key", item["key"])
        elif operator != "Exists":
            out.append(
                invalid(
                    f"{at}.operator",
                    operator,
                    'operator must be Exists when `key` is empty, which means "match all values and all keys"',
                )
            )
        if operator not in ("", "Equal", "Exists", "Lt", "Gt"):
            out.append(unsupported(f"{at}.operator", operator, ("Equal", "Exists")))
        elif operator == "Exists" and item.get("value"):
            out.append(invalid(f"{at}.operator", item, "value must be empty when `operator` is 'Exists'"))
        if item.get("tolerationSeconds") is not None and item.get("effect") != "NoExecute":
            out.append(
                invalid(
                    f"{at}.effect", item.get("effect", ""), "effect must be 'NoExecute' when `tolerationSeconds` is set"
                )
            )
        if item.get("effect") and item["effect"] not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
            out.append(unsupported(f"{at}.effect", item["effect"], ("NoSchedule", "PreferNoSchedule", "NoExecute")))
    return out


def _volume_errors(volumes: list[Json], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, volume in enumerate(volumes):
        at, name = f"{path}[{i}]", volume.get("name", "")
        sources = [k for k in volume if k != "name"]
        out += [forbidden(f"{at}.{extra}", "may not specify more than 1 volume type") for extra in sources[1:]]
        if volume.get("hostPath") is not None and not volume["hostPath"].get("path"):
            out.append(required(f"{at}.hostPath.path"))
        if volume.get("secret") is not None and not volume["secret"].get("secretName"):
            out.append(required(f"{at}.secret.secretName"))
        if volume.get("configMap") is not None and not volume["configMap"].get("name"):
            out.append(required(f"{at}.configMap.name"))
        if not name:
            out.append(required(f"{at}.name"))
        else:
            out += [invalid(f"{at}.name", name, m) for m in names.dns_label_errors(name)]
            if name in seen:
                out.append(duplicate(f"{at}.name", name))
        seen.add(name)
    return out


def _container_errors(container: Json, path: str, seen: set[str]) -> list[FieldError]:
    out: list[FieldError] = []
    name = container.get("name", "")
    if not name:
        out.append(required(f"{path}.name"))
    else:
        out += [invalid(f"{path}.name", name, m) for m in names.dns_label_errors(name)]
        if name in seen:
            out.append(duplicate(f"{path}.name", name))
    seen.add(name)
    image = container.get("image", "")
    if not image:
        out.append(required(f"{path}.image"))
    elif image != image.strip():
        out.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    out += _port_errors(container.get("ports") or [], f"{path}.ports")
    out += _env_errors(container.get("env") or [], f"{path}.env")
    if container["imagePullPolicy"] not in ("Always", "IfNotPresent", "Never"):
        out.append(
            unsupported(f"{path}.imagePullPolicy", container["imagePullPolicy"], ("Always", "IfNotPresent", "Never"))
        )
    if container["terminationMessagePolicy"] not in ("File", "FallbackToLogsOnError"):
        out.append(
            unsupported(
                f"{path}.terminationMessagePolicy",
                container["terminationMessagePolicy"],
                ("File", "FallbackToLogsOnError"),
            )
        )
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe) is not None:
            out += _probe_errors(container[probe], f"{path}.{probe}", probe)
    return out + _resource_errors(container.get("resources") or {}, f"{path}.resources")


def _port_errors(ports: list[Json], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        at, name = f"{path}[{i}]", port.get("name", "")
        if name:
            wrong = names.port_name_messages(name)
            out += [invalid(f"{at}.name", name, m) for m in wrong]
            if not wrong and name in seen:
                out.append(duplicate(f"{at}.name", name))
            seen.add(name)
        if not port.get("containerPort"):
            out.append(required(f"{at}.containerPort"))
        else:
            out += names.port_errors(f"{at}.containerPort", port["containerPort"])
        if port.get("hostPort"):
            out += names.port_errors(f"{at}.hostPort", port["hostPort"])
        if port["protocol"] not in PROTOCOLS:
            out.append(unsupported(f"{at}.protocol", port["protocol"], PROTOCOLS))
    return out


def _host_port_errors(
    container: Json, path: str, taken: set[str], host_network: bool, *, shared: bool
) -> list[FieldError]:
    out: list[FieldError] = []
    mine = taken if shared else set()
    for i, port in enumerate(container.get("ports") or []):
        number = port.get("hostPort", 0)
        if not number:
            continue
        at = f"{path}.ports[{i}].hostPort"
        if host_network and number != port.get("containerPort"):
            out.append(invalid(at, number, "must match `containerPort` when `hostNetwork` is true"))
        key = f"{port['protocol']}/{port.get('hostIP', '')}/{number}"
        if key in mine:
            out.append(duplicate(at, key))
        mine.add(key)
    return out


_ENV_WORDS = "a valid environment variable name must consist only of printable ASCII characters other than '='"


def _env_errors(env: list[Json], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for i, item in enumerate(env):
        at, name = f"{path}[{i}]", item.get("name", "")
        if not name:
            out.append(required(f"{at}.name"))
        elif not re.fullmatch(r"[ -<>-~]+", name):
            out.append(invalid(f"{at}.name", name, _ENV_WORDS))
        source = item.get("valueFrom")
        if source is None:
            continue
        if not source:
            out.append(
                invalid(
                    f"{at}.valueFrom",
                    "",
                    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
                )
            )
        elif item.get("value"):
            out.append(invalid(f"{at}.valueFrom", "", "may not be specified when `value` is not empty"))
        elif len(source) > 1:
            out.append(invalid(f"{at}.valueFrom", "", "may not have more than one field specified at a time"))
    return out


def _probe_errors(probe: Json, path: str, kind: str) -> list[FieldError]:
    handlers = [n for n in ("exec", "httpGet", "tcpSocket", "grpc") if probe.get(n) is not None]
    out = [forbidden(f"{path}.{extra}", "may not specify more than 1 handler type") for extra in handlers[1:]]
    for name in handlers[:1]:
        at = f"{path}.{name}"
        if name == "exec" and not probe["exec"].get("command"):
            out.append(required(f"{at}.command"))
        if name in ("httpGet", "tcpSocket"):
            out += names.port_or_name_errors(probe[name].get("port", 0), f"{at}.port")
        if name == "httpGet" and probe[name]["scheme"] not in ("HTTP", "HTTPS"):
            out.append(unsupported(f"{at}.scheme", probe[name]["scheme"], ("HTTP", "HTTPS")))
    if not handlers:
        out.append(required(path, "must specify a handler type"))
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if probe.get(name, 0) < 0:
            out.append(invalid(f"{path}.{name}", probe[name], "must be greater than or equal to 0"))
    if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        out.append(invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return out


def _mount_errors(container: Json, path: str, volumes: set[str]) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, mount in enumerate(container.get("volumeMounts") or []):
        at, name, where = f"{path}.volumeMounts[{i}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            out.append(required(f"{at}.name"))
        if name not in volumes:
            out.append(not_found(f"{at}.name", name))
        if not where:
            out.append(required(f"{at}.mountPath"))
        if where in seen:
            out.append(invalid(f"{at}.mountPath", where, "must be unique"))
        seen.add(where)
    return out


def _resource_errors(resources: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for kind, values in (("limits", limits), ("requests", requests)):
        for name, text in values.items():
            at = f"{path}.{kind}[{name}]"
            if quantity.parse(text) < 0:
                out.append(invalid(at, text, "must be greater than or equal to 0"))
            if (
                "/" not in name
                and name not in ("cpu", "memory", "ephemeral-storage", "storage")
                and not name.startswith("hugepages-")
            ):
                out.append(invalid(at, name, "must be a standard resource type or fully qualified"))
                out.append(invalid(at, name, "must be a standard resource for containers"))
    for name, text in requests.items():
        if name in limits and quantity.parse(text) > quantity.parse(limits[name]):
            out.append(
                invalid(f"{path}.requests", text, f"must be less than or equal to {name} limit of {limits[name]}")
            )
    return out


def template_errors(template: Any, selector: Json | None, path: str) -> list[FieldError]:
    """The template of a workload: labels that its selector matches, and a pod that restarts."""
    meta, spec = (template or {}).get("metadata") or {}, (template or {}).get("spec") or {}
    out: list[FieldError] = []
    labels = meta.get("labels") or {}
    if not selector_matches(selector, labels):
        out.append(invalid(f"{path}.metadata.labels", labels or None, "`selector` does not match template `labels`"))
    out += names.labels_errors(labels, f"{path}.labels") if labels else []
    out += names.annotations_errors(meta.get("annotations"), f"{path}.annotations")
    out += pod_spec_errors(spec, f"{path}.spec")
    if spec.get("restartPolicy") not in (None, "Always"):
        out.append(unsupported(f"{path}.spec.restartPolicy", spec["restartPolicy"], ("Always",)))
    return out


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
