"""Sub-resources that change one part of a pod's spec: ephemeralcontainers (KEP-277) and resize (KEP-1287)."""

from __future__ import annotations

from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, not_found
from fairway.apiserver.kinds.podspec import pod_spec_errors, qos_class
from fairway.apiserver.request import Json

EPHEMERAL, RESIZE = "ephemeralcontainers", "resize"
_PATH = "spec.ephemeralContainers"
_NOT_OF_EPHEMERAL = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy")
_KEPT_META = ("labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp")


def keep_rest(obj: Json, old: Json, part: str) -> None:
    """Put back all but the part that the sub-resource is for; the generation counts what changed."""
    spec, meta, was = {**old["spec"]}, obj["metadata"], old["metadata"]
    if part == EPHEMERAL:
        wanted = obj["spec"].get("ephemeralContainers")
        spec.pop("ephemeralContainers", None)
        if wanted:
            spec["ephemeralContainers"] = wanted
    else:
        for name in ("containers", "initContainers"):
            if name in spec:
                spec[name] = [_resized(c, obj["spec"].get(name) or []) for c in spec[name]]
    for name in _KEPT_META:
        meta.pop(name, None)
        if name in was:
            meta[name] = was[name]
    obj["spec"], obj["status"] = spec, old["status"]
    meta["generation"] = was.get("generation", 0) + (1 if spec != old["spec"] else 0)


def _resized(container: Json, wanted: list[Json]) -> Json:
    new = next((w for w in wanted if w.get("name") == container.get("name")), container)
    kept = {k: v for k, v in container.items() if k not in ("resources", "resizePolicy")}
    return {**kept, **{k: new[k] for k in ("resources", "resizePolicy") if k in new}}


def part_errors(obj: Json, old: Json, part: str) -> list[FieldError]:
    """What is wrong with a pod after one of these writes."""
    out = pod_spec_errors(obj["spec"], "spec")
    if part == EPHEMERAL:
        return out + ephemeral_errors(obj["spec"]) + _kept_errors(obj["spec"], old["spec"])
    before = qos_class(old["spec"])
    if qos_class(obj["spec"]) != before:
        out.append(invalid("spec", before, "Pod QOS Class may not change as a result of resizing"))
    return out


def _kept_errors(spec: Json, was: Json) -> list[FieldError]:
    """Ephemeral containers are added, never changed nor taken away."""
    named = {c.get("name"): c for c in spec.get("ephemeralContainers") or []}
    out: list[FieldError] = []
    for old in was.get("ephemeralContainers") or []:
        new, what = named.get(old.get("name")), f'existing ephemeral containers "{old.get("name")}" may not be'
        if new is None:
            out.append(forbidden(_PATH, f"{what} removed\n"))
        elif new != old:
            out.append(forbidden(_PATH, f"{what} changed\n"))
    return out


def ephemeral_errors(spec: Json) -> list[FieldError]:
    """What is special about them; names and images are checked with the other containers."""
    others = {c.get("name") for n in ("containers", "initContainers") for c in spec.get(n) or []}
    out: list[FieldError] = []
    for i, container in enumerate(spec.get("ephemeralContainers") or []):
        path, target = f"{_PATH}[{i}]", container.get("targetContainerName")
        if target and target not in others:
            out.append(not_found(f"{path}.targetContainerName", target))
        told = [n for n in _NOT_OF_EPHEMERAL if container.get(n)]
        told += ["resources"] if any(container.get("resources", {}).values()) else []
        out += [forbidden(f"{path}.{n}", "cannot be set for an Ephemeral Container") for n in told]
    return out
