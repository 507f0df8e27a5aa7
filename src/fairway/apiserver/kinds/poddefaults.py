"""What decoding fills into the pod spec that Pods and the templates of workloads share."""

from __future__ import annotations

import re

from fairway.apiserver import quantity
from fairway.apiserver.request import Json

_LISTS = ("initContainers", "containers", "ephemeralContainers")


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
            _default_container(container)
    for volume in spec.get("volumes") or []:
        _default_volume(volume)
    spec.pop("schedulingGroup", None)  # GenericWorkload is off


def _default_container(container: Json) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = "Always" if _latest(container.get("image", "")) else "IfNotPresent"
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or []:
        _default_reference(variable.get("valueFrom") or {})
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name) is not None:
            _default_probe(container[name])
    if container.get("lifecycle") is not None:
        _default_lifecycle(container)


def _default_lifecycle(container: Json) -> None:
    lifecycle = container["lifecycle"]
    if lifecycle.pop("stopSignal", None) is not None and not lifecycle:  # ContainerStopSignals is off
        del container["lifecycle"]
    for hook in lifecycle.values():
        _default_http((hook or {}).get("httpGet"))


def _default_reference(source: Json) -> None:
    if source.get("fieldRef") is not None:
        source["fieldRef"].setdefault("apiVersion", "v1")
    if source.get("resourceFieldRef") is not None:
        source["resourceFieldRef"].setdefault("divisor", "0")


_WORD = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_IMAGE = re.compile(
    rf"(?P<name>(?:{_HOST}(?:\.{_HOST})*(?::[0-9]+)?/)?{_WORD}(?:/{_WORD})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?P<digest>@[A-Za-z][\w+.-]*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


def _latest(image: str) -> bool:
    """No tag and no digest means latest; 64 hexadecimal digits are an id, which is no name."""
    match = _IMAGE.fullmatch(image)
    if match is None or len(match["name"]) > 255 or re.fullmatch(r"[a-f0-9]{64}", image):
        return False
    return match["tag"] == "latest" or (match["tag"] is None and match["digest"] is None)


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
    claim = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if claim is not None:
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    image = volume.get("image")
    if image is not None and not image.get("pullPolicy"):
        image["pullPolicy"] = "Always" if _latest(image.get("reference", "")) else "IfNotPresent"
    if volume.get("hostPath") is not None:
        volume["hostPath"].setdefault("type", "")
    items = list((volume.get("downwardAPI") or {}).get("items") or [])
    for source in (volume.get("projected") or {}).get("sources") or []:
        for name in ("clusterTrustBundle", "podCertificate"):  # features that are off
            source.pop(name, None)
        token = source.get("serviceAccountToken")
        if token is not None and token.get("expirationSeconds") is None:
            token["expirationSeconds"] = 3600
        items += (source.get("downwardAPI") or {}).get("items") or []
    for item in items:
        _default_reference(item)


def default_requests(spec: Json) -> None:
    """Of Pods only, not of templates: requests follow limits, and ports in the host's network are the host's."""
    for container in (c for name in _LISTS for c in spec.get(name) or [] if spec.get("hostNetwork")):
        for port in container.get("ports") or []:
            if not port.get("hostPort"):
                port["hostPort"] = port.get("containerPort", 0)
    for name in _LISTS[:2]:
        for container in spec.get(name) or []:
            resources = container.get("resources") or {}
            limits = resources.get("limits") or {}
            missing = {k: v for k, v in limits.items() if k not in (resources.get("requests") or {})}
            if missing:
                resources["requests"] = {**(resources.get("requests") or {}), **missing}
    if spec.get("resources") is not None:
        _default_pod_requests(spec)


def _default_pod_requests(spec: Json) -> None:
    """Of the pod as a whole: what its containers ask for together, else its limit."""
    limits, requests = spec["resources"].get("limits") or {}, dict(spec["resources"].get("requests") or {})
    asked = [(c.get("resources") or {}).get("requests") or {} for c in spec.get("containers") or []]
    for name, limit in limits.items():
        parts = [quantity.parse(a[name]) for a in asked if name in a]
        if name not in requests and name in ("cpu", "memory"):
            requests[name] = quantity.canonical(f"{sum(parts):f}") if parts else limit
    if requests:
        spec["resources"]["requests"] = requests
