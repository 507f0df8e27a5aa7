"""Sub-resources that change one part of a pod's spec: ephemeralcontainers (KEP-277) and resize (KEP-1287)."""

from __future__ import annotations

from fairway.apiserver.fielderrors import FieldError, forbidden, invalid
from fairway.apiserver.kinds.podresources import qos_class
from fairway.apiserver.kinds.podspec import pod_spec_errors
from fairway.apiserver.request import Json

EPHEMERAL, RESIZE = "ephemeralcontainers", "resize"
_PATH = "spec.ephemeralContainers"
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
        return out + _kept_errors(obj["spec"], old["spec"])
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
