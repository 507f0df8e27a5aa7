"""PersistentVolume and its claim: kept and shown, so that clients and StatefulSets find them; nobody binds them."""

from __future__ import annotations

from fairway.apiserver import names, quantity
from fairway.apiserver.context import Call
from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, required, unsupported
from fairway.apiserver.kinds.base import RESET_STATUS, Strategy, get
from fairway.apiserver.request import Json

_AFTER_CREATION = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


class PersistentVolumeStrategy(Strategy):
    has_status = True
    returns_deleted = True
    reset = RESET_STATUS

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
        if spec.get("hostPath") is not None:
            spec["hostPath"].setdefault("type", "")
        spec.setdefault("volumeMode", "Filesystem")

    def prepare_create(self, call: Call, obj: Json) -> None:
        obj["status"] = {"phase": "Pending"}

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        spec = obj.get("spec") or {}
        out: list[FieldError] = []
        if not spec.get("accessModes"):
            out.append(required("spec.accessModes", ""))
        if not get(obj, "spec", "capacity", "storage"):
            out.append(required("spec.capacity", ""))
        return out


class PersistentVolumeClaimStrategy(Strategy):
    has_status = True
    returns_deleted = True
    reset = RESET_STATUS

    def default(self, obj: Json) -> None:
        default_claim(obj)

    def prepare_create(self, call: Call, obj: Json) -> None:
        obj["status"] = {"phase": "Pending"}

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        return claim_spec_errors(obj.get("spec") or {}, "spec")

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        found = self.validate(call, obj)
        if _fixed(obj) != _fixed(old):
            found.append(forbidden("spec", _AFTER_CREATION))
        return found


def _fixed(obj: Json) -> Json:
    return {name: value for name, value in (obj.get("spec") or {}).items() if name != "resources"}


def default_claim(obj: Json) -> None:
    """What decoding fills into a claim, or into the template of one."""
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def claim_spec_errors(spec: Json, path: str) -> list[FieldError]:
    """ValidatePersistentVolumeClaimSpec, of claims and of the templates of StatefulSets."""
    modes, at = spec.get("accessModes") or [], f"{path}.accessModes"
    out = [] if modes else [required(at, "at least 1 access mode is required")]
    out += names.label_selector_errors(spec.get("selector"), f"{path}.selector")
    out += [unsupported(at, mode, _MODES) for mode in modes if mode not in _MODES]
    if "ReadWriteOncePod" in modes and any(m in _MODES[:3] for m in modes):
        out.append(forbidden(at, "may not use ReadWriteOncePod with other access modes"))
    size, at = get(spec, "resources", "requests", "storage"), f"{path}.resources[storage]"
    if size is None:
        out.append(required(at))
    elif quantity.parse(size) <= 0:
        out.append(invalid(at, size, "must be greater than zero"))
    for name in ("storageClassName", "volumeAttributesClassName"):
        if spec.get(name):
            out += [invalid(f"{path}.{name}", spec[name], m) for m in names.subdomain_errors(spec[name])]
    if spec.get("volumeMode") not in (None, "Block", "Filesystem"):
        out.append(unsupported(f"{path}.volumeMode", spec["volumeMode"], ("Block", "Filesystem")))
    return out
