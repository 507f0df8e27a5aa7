"""Kinds with few rules: Namespace, Node, ServiceAccount, Lease, Event, ControllerRevision."""

from __future__ import annotations

import ipaddress

from fairway.apiserver import names
from fairway.apiserver.context import Call
from fairway.apiserver.fielderrors import FieldError, duplicate, forbidden, invalid, required, unsupported
from fairway.apiserver.fieldsets import Path
from fairway.apiserver.kinds.base import IMMUTABLE, RESET_STATUS, Strategy, get, immutable
from fairway.apiserver.kinds.podresources import quantity_errors
from fairway.apiserver.request import Json


# ---- Namespace ---------------------------------------------------------------------------------------------------
class NamespaceStrategy(Strategy):
    name_rule = staticmethod(names.label_name)
    has_status = True
    returns_deleted = True
    selects_namespace = False
    selectable = ("status.phase",)
    reset = RESET_STATUS
    parts = ("finalize",)

    def default(self, obj: Json) -> None:
        """The label that selectors use (KEP-2161)."""
        meta = obj["metadata"]
        if meta.get("name"):
            meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": meta["name"]}
        status = obj.setdefault("status", {})
        if not status.get("phase"):
            status["phase"] = "Active"

    def prepare_create(self, call: Call, obj: Json) -> None:
        self.default(obj)
        kept = [f for f in get(obj, "spec", "finalizers") or [] if f != "kubernetes"]
        obj["spec"] = {**(obj.get("spec") or {}), "finalizers": [*kept, "kubernetes"]}
        obj["status"] = {"phase": "Active"}

    def begin_create(self, call: Call, obj: Json) -> None:
        """Where pods need an account, `default` is there from the first moment.

        kube-apiserver lets a pod wait for the controller that makes it; here a client that makes a namespace and a pod
        in one breath is served at once. The controller puts the account right when somebody deletes it.
        """
        if call.server.settings.require_accounts:
            call.after.append(lambda: _make_default_account(call, obj["metadata"]["name"]))

    def prepare_update(self, call: Call, obj: Json, old: Json) -> None:
        obj["spec"] = {**(obj.get("spec") or {}), "finalizers": get(old, "spec", "finalizers")}
        if obj["spec"]["finalizers"] is None:
            del obj["spec"]["finalizers"]
        obj["status"] = old.get("status") or {}

    def prepare_part(self, call: Call, obj: Json, old: Json, part: str) -> None:
        obj["status"] = old.get("status") or {}

    def validate_part(self, call: Call, obj: Json, old: Json, part: str) -> list[FieldError]:
        """The one way to change a namespace's own finalizers."""
        words = "name is neither a standard finalizer name nor is it fully qualified"
        return [
            invalid(f"spec.finalizers[{i}]", name, words)
            for i, name in enumerate(get(obj, "spec", "finalizers") or [])
            if "/" not in name and name != "kubernetes"
        ]

    def other_reset(self, part: str) -> tuple[Path, ...]:
        return RESET_STATUS

    def validate_status(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        phase, goes = get(obj, "status", "phase") or "", bool(obj["metadata"].get("deletionTimestamp"))
        wanted = "Terminating" if goes else "Active"
        words = f"may only be '{wanted}' if `deletionTimestamp` is {'not ' if goes else ''}empty"
        return [] if phase == wanted else [invalid("status.Phase", phase, words)]

    def fields(self, obj: Json) -> dict[str, str]:
        return {"status.phase": get(obj, "status", "phase") or ""}


def _make_default_account(call: Call, namespace: str) -> None:
    key = f"{namespace}/default"
    if call.store.get("serviceaccounts", key) is None:
        meta = {"name": "default", "namespace": namespace, "uid": call.new_uid(), "creationTimestamp": call.time}
        call.server.write("serviceaccounts", key, {"metadata": meta}, call.now)


# ---- Node --------------------------------------------------------------------------------------------------------
class NodeStrategy(Strategy):
    meta_checks = (1, 1)
    has_status = True
    selects_namespace = False
    selectable = ("spec.unschedulable",)
    reset = RESET_STATUS

    def prepare_create(self, call: Call, obj: Json) -> None:
        """TaintNodesByCondition: nothing lands on a node before it is ready. Status is the kubelet's to give."""
        spec = obj.setdefault("spec", {})
        taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
        if not any(
            t.get("key") == taint["key"] and t.get("effect") == taint["effect"] for t in spec.get("taints") or []
        ):
            spec["taints"] = [*(spec.get("taints") or []), taint]

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        return self._errors(obj, "metadata.taints") + self._range_errors(obj)

    def _errors(self, obj: Json, where: str) -> list[FieldError]:
        out: list[FieldError] = []
        seen: set[tuple[str, str]] = set()
        for i, taint in enumerate(get(obj, "spec", "taints") or []):
            out += _taint_errors(taint, f"{where}[{i}]", seen)
        return out

    def _range_errors(self, obj: Json) -> list[FieldError]:
        cidrs = get(obj, "spec", "podCIDRs") or []
        out = [e for i, cidr in enumerate(cidrs) for e in names.cidr_errors(f"spec.podCIDRs[{i}]", cidr)]
        if (
            not out
            and len(cidrs) > 1
            and (len(cidrs) > 2 or len({ipaddress.ip_network(c, strict=False).version for c in cidrs}) < 2)
        ):
            words = "may specify no more than one CIDR for each IP family"
            out.append(invalid("spec.podCIDRs", cidrs, words))
        return out

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        if get(obj, "spec", "externalID"):
            return ["spec.externalID: this field is deprecated, and is unused by Kubernetes"]
        return []

    def default(self, obj: Json) -> None:
        """podCIDR and podCIDRs say the same; dynamic configuration of kubelets is gone; all there is can be used."""
        status = obj.get("status") or {}
        if status.get("capacity") and not status.get("allocatable"):
            status["allocatable"] = dict(status["capacity"])
        spec = obj.get("spec") or {}
        spec.pop("configSource", None)
        if spec.get("podCIDR") and (spec.get("podCIDRs") or [""])[0] != spec["podCIDR"]:
            spec["podCIDRs"] = [spec["podCIDR"]]
        elif spec.get("podCIDRs") and not spec.get("podCIDR"):
            spec["podCIDR"] = spec["podCIDRs"][0]

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        out = self.validate(call, obj)
        new, was = get(obj, "spec", "podCIDRs") or [], get(old, "spec", "podCIDRs") or []
        if was and new != was:
            out.append(forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
        provider = get(old, "spec", "providerID")
        if provider and get(obj, "spec", "providerID") != provider:
            out.append(forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid'))
        out += self._errors(obj, "metadata.taints")
        if get(obj, "spec", "externalID") != get(old, "spec", "externalID"):
            out.append(forbidden("spec.externalID", "may not be updated"))
        return out

    def validate_status(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        status = obj.get("status") or {}
        out: list[FieldError] = []
        for kind in ("capacity", "allocatable"):
            for name, text in sorted((status.get(kind) or {}).items()):
                out += quantity_errors(name, text, f"status.{kind}.{name}")
        seen: list[Json] = []
        for i, address in enumerate(status.get("addresses") or []):
            if address in seen:
                shown = {"Type": address.get("type", ""), "Address": address.get("address", "")}
                out.append(duplicate(f"status.addresses[{i}]", shown))
            seen.append(address)
        return out

    def fields(self, obj: Json) -> dict[str, str]:
        return {"spec.unschedulable": "true" if get(obj, "spec", "unschedulable") else "false"}


def _taint_errors(taint: Json, path: str, seen: set[tuple[str, str]]) -> list[FieldError]:
    out = names.qualified_name_errors(f"{path}.key", taint.get("key", ""))
    value, effect = taint.get("value", ""), taint.get("effect", "")
    out += [invalid(f"{path}.value", value, m) for m in names.label_value_errors(value)]
    if not effect:
        out.append(required(f"{path}.effect"))
    elif effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
        out.append(unsupported(f"{path}.effect", effect, ("NoSchedule", "PreferNoSchedule", "NoExecute")))
    key = (taint.get("key", ""), effect)
    if key in seen:
        shown = {"Key": key[0], "Value": value, "Effect": effect, "TimeAdded": taint.get("timeAdded")}
        again = duplicate(path, shown)
        out.append(again._replace(body=f"{again.body}: taints must be unique by key and effect pair"))
    seen.add(key)
    return out


# ---- ServiceAccount ----------------------------------------------------------------------------------------------
class ServiceAccountStrategy(Strategy):
    meta_checks = (1, 2)
    returns_deleted = True


# ---- Lease ---------------------------------------------------------------------------------------------------------
class LeaseStrategy(Strategy):
    standard_finalizers = False
    needs_version = True
    creates_on_update = True

    def default(self, obj: Json) -> None:
        """Coordinated leader election is a feature that is off: its fields are not kept."""
        spec = obj.get("spec") or {}
        for name in ("strategy", "preferredHolder"):
            spec.pop(name, None)

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        spec = obj.get("spec") or {}
        out: list[FieldError] = []
        if spec.get("leaseDurationSeconds") is not None and spec["leaseDurationSeconds"] <= 0:
            out.append(invalid("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0"))
        if spec.get("leaseTransitions") is not None and spec["leaseTransitions"] < 0:
            out.append(invalid("spec.leaseTransitions", spec["leaseTransitions"], "must be greater than or equal to 0"))
        return out


# ---- Event ---------------------------------------------------------------------------------------------------------
_RENAMED = {
    "reportingController": "reportingComponent",
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_BACK = {v: k for k, v in _RENAMED.items()}


def event_to_core(obj: Json) -> Json:
    """events.k8s.io/v1 → v1, which is what is stored."""
    out = {_RENAMED.get(k, k): v for k, v in obj.items()}
    out.setdefault("reportingComponent", "")
    out.setdefault("reportingInstance", "")
    return out


def event_from_core(obj: Json) -> Json:
    """v1 → events.k8s.io/v1."""
    out = {_BACK.get(k, k): v for k, v in obj.items()}
    for name in ("reportingController", "reportingInstance"):
        if out.get(name) == "":
            del out[name]
    return out


class EventStrategy(Strategy):
    """v1 Event, with the lax rules that it always had."""

    name_rule = staticmethod(names.path_segment_name)
    meta_last = True
    standard_finalizers = False
    propagates = False
    creates_on_update = True
    selectable = (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    )

    controller_field = "reportingComponent"

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        """legacyValidateEvent: an event with an eventTime is of the new kind and must say more."""
        core = event_to_core(obj)
        space, about = obj["metadata"].get("namespace", ""), get(core, "involvedObject", "namespace") or ""
        words = "does not match event.namespace"
        out: list[FieldError] = []
        if not core.get("eventTime"):
            if about != space if about else space not in ("", "default"):
                out.append(invalid("involvedObject.namespace", about, words))
            return out
        if not about and space not in ("default", "kube-system"):
            out.append(invalid("involvedObject.namespace", about, words))
        controller = core.get("reportingComponent", "")
        if not controller:
            out.append(required(self.controller_field))
        out += names.qualified_name_errors(self.controller_field, controller)
        for name, limit in (("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)):
            if not core.get(name) and name != "message":
                out.append(required(name))
            if len(core.get(name) or "") > limit:
                out.append(invalid(name, "", f"can have at most {limit} characters"))
        return out

    def fields(self, obj: Json) -> dict[str, str]:
        core = event_to_core(obj)
        about, source = core.get("involvedObject") or {}, core.get("source") or {}
        out = {
            f"involvedObject.{n}": about.get(n, "")
            for n in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        }
        component = core.get("reportingComponent", "")
        out |= {"reason": core.get("reason", ""), "type": core.get("type", ""), "reportingComponent": component}
        return out | {"source": source.get("component") or component}


class NewEventStrategy(EventStrategy):
    """events.k8s.io/v1 Event: the deprecated fields stay empty, and only the series changes."""

    name_rule = staticmethod(names.subdomain_name)

    controller_field = "reportingController"

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        core = event_to_core(obj)
        out = super().validate(call, obj) + _series_errors(core)
        if not core.get("eventTime"):
            out.append(required("eventTime"))
        if core.get("type") not in ("Normal", "Warning"):
            out.append(invalid("type", "", f"has invalid value: {core.get('type', '')}"))
        for name in ("firstTimestamp", "lastTimestamp", "count", "source"):
            if core.get(name):
                out.append(invalid(name, "", "needs to be unset"))
        return out

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        new, was = event_to_core(obj), event_to_core(old)
        out = super().validate(call, obj)
        if new.get("series") != was.get("series"):
            out += _series_errors(new)
        for name in _FIXED:
            value, before = new.get(name), was.get(name)
            if value == before:
                continue
            shown = "reportingController" if name == "reportingComponent" else name
            out.append(invalid(shown, _internal(name, value), IMMUTABLE))
        return out


_FIXED = (
    "involvedObject",
    "reason",
    "message",
    "reason",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
)
_GO_FIELDS = {
    "source": ("Component", "Host"),
    "involvedObject": ("Kind", "Namespace", "Name", "UID", "APIVersion", "ResourceVersion", "FieldPath"),
    "related": ("Kind", "Namespace", "Name", "UID", "APIVersion", "ResourceVersion", "FieldPath"),
}


def _internal(name: str, value: Json | None) -> object:
    """A value as the server's internal types print it: structs with their Go names, nothing left out."""
    fields = _GO_FIELDS.get(name)
    if fields is not None and (value is not None or name != "related"):
        given = {k.lower(): v for k, v in (value or {}).items()}
        return {f: given.get(f.lower(), "") for f in fields}
    if name == "count":
        return value or 0
    return value if value is not None or name.endswith(("Timestamp", "Time")) or name == "related" else ""


def _series_errors(core: Json) -> list[FieldError]:
    series = core.get("series")
    if series is None:
        return []
    out: list[FieldError] = []
    if series.get("count", 0) < 2:
        out.append(invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        out.append(required("series.lastObservedTime"))
    return out


class ControllerRevisionStrategy(Strategy):
    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        out = self._revision_errors(obj)
        if obj.get("data") is None:
            out.append(required("data", "data is mandatory"))
        elif not isinstance(obj["data"], dict):
            out.append(required("data", "data must be a valid JSON object"))
        return out

    def _revision_errors(self, obj: Json) -> list[FieldError]:
        if obj.get("revision", 0) < 0:
            return [invalid("revision", obj["revision"], "must be greater than or equal to 0")]
        return []

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return self._revision_errors(obj) + immutable(obj.get("data"), old.get("data"), "data")
