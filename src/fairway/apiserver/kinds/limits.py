"""What namespaces limit: LimitRanges and ResourceQuotas. They are kept as they come; nothing counts them."""

from __future__ import annotations

from fairway.apiserver.context import Call
from fairway.apiserver.fielderrors import FieldError, duplicate, forbidden, required
from fairway.apiserver.kinds.base import RESET_STATUS, Strategy, get, immutable
from fairway.apiserver.kinds.podresources import quantity_errors
from fairway.apiserver.kinds.rows import Row
from fairway.apiserver.request import Json
from fairway.apiserver.tables import AGE, DEFAULT, NAME, Column


class LimitStrategy(Strategy):
    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        return [f"{call.resource.kind} is only stored here: pods are not held to it"] if old is None else []

    def default(self, obj: Json) -> None:
        """SetDefaults_LimitRangeItem."""
        for limit in get(obj, "spec", "limits") or []:
            if limit.get("type") == "Container":
                usual, least = limit.setdefault("default", {}), limit.setdefault("defaultRequest", {})
                usual |= {k: v for k, v in (limit.get("max") or {}).items() if k not in usual}
                least |= {k: v for k, v in usual.items() if k not in least}
                least |= {k: v for k, v in (limit.get("min") or {}).items() if k not in least}

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        out: list[FieldError] = []
        seen: set[str] = set()
        for i, limit in enumerate(get(obj, "spec", "limits") or []):
            path, kind = f"spec.limits[{i}]", limit.get("type", "")
            if kind in seen:
                out.append(duplicate(f"{path}.type", kind))
            seen.add(kind)
            out += _of_kind(limit, kind, path)
        return out

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return self.validate(call, obj)


def _of_kind(limit: Json, kind: str, path: str) -> list[FieldError]:
    if kind == "Pod":
        given = (key for key in ("default", "defaultRequest") if limit.get(key))
        return [forbidden(f"{path}.{key}", "may not be specified when `type` is 'Pod'") for key in given]
    if kind == "PersistentVolumeClaim" and not any("storage" in (limit.get(key) or {}) for key in ("min", "max")):
        words = "either minimum or maximum storage value is required, but neither was provided"
        return [required(f"{path}.limits", words)]
    return []


class QuotaStrategy(Strategy):
    has_status = True
    reset = RESET_STATUS

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        return [f"{call.resource.kind} is only stored here: nothing counts what it limits"] if old is None else []

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        hard = get(obj, "spec", "hard") or {}
        return [e for name in sorted(hard) for e in quantity_errors(name, hard[name], f"spec.hard[{name}]")]

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        now, before = (sorted(get(one, "spec", "scopes") or []) for one in (obj, old))
        return self.validate(call, obj) + immutable(now, before, "spec.scopes")


def _used(obj: Json, *, limits: bool) -> str:
    status = obj.get("status") or {}
    used, hard = status.get("used") or {}, status.get("hard") or {}
    names = sorted(name for name in hard if name.startswith("limits.") == limits)
    return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in names)


_QUOTA = (
    NAME,
    Column("Request", lambda o, _: _used(o, limits=False)),
    Column("Limit", lambda o, _: _used(o, limits=True)),
    AGE,
)
ROWS: tuple[Row, ...] = (
    Row("core.LimitRange", "limitranges", "", ("limits",), (), LimitStrategy, DEFAULT),
    Row("core.ResourceQuota", "resourcequotas", "", ("quota",), (), QuotaStrategy, _QUOTA, True, ("status",)),
)
