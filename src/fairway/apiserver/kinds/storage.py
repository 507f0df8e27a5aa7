"""PersistentVolume and its claim: kept and shown, so that clients and StatefulSets find them; nobody binds them."""

from __future__ import annotations

from fairway.apiserver.context import Call
from fairway.apiserver.fielderrors import FieldError, forbidden, required
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
        spec = obj.setdefault("spec", {})
        spec.setdefault("volumeMode", "Filesystem")

    def prepare_create(self, call: Call, obj: Json) -> None:
        obj["status"] = {"phase": "Pending"}

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        spec = obj.get("spec") or {}
        out: list[FieldError] = []
        if not spec.get("accessModes"):
            out.append(required("spec.accessModes", "at least 1 access mode is required"))
        if not get(obj, "spec", "resources", "requests", "storage"):
            out.append(required("spec.resources[storage]", ""))
        return out

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        found = self.validate(call, obj)
        if _fixed(obj) != _fixed(old):
            found.append(forbidden("spec", _AFTER_CREATION))
        return found


def _fixed(obj: Json) -> Json:
    return {name: value for name, value in (obj.get("spec") or {}).items() if name != "resources"}
