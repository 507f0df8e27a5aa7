"""Deployment, ReplicaSet, ReplicationController, StatefulSet, DaemonSet: defaults and validity."""

from __future__ import annotations

import re
from typing import Any

from fairway.apiserver import names
from fairway.apiserver.context import Call
from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, required, unsupported
from fairway.apiserver.fieldsets import Path
from fairway.apiserver.kinds.base import RESET_SPEC, RESET_STATUS, Strategy, _keep, immutable
from fairway.apiserver.kinds.podspec import default_pod_spec, selector_matches, template_errors
from fairway.apiserver.request import Json


def nonnegative(value: int | None, path: str) -> list[FieldError]:
    if value is not None and value < 0:
        return [invalid(path, value, "must be greater than or equal to 0")]
    return []


class WorkloadStrategy(Strategy):
    """What all of them share."""

    has_status = True
    has_generation = True
    reset = RESET_STATUS
    needs_template = True

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        template = spec.get("template")
        if template is None and self.needs_template:
            template = spec["template"] = {}
        if template is not None:
            template.setdefault("metadata", {})
            default_pod_spec(template.setdefault("spec", {}))
        self.default_spec(obj, spec)

    def default_spec(self, obj: Json, spec: Json) -> None:
        if spec.get("replicas") is None:
            spec["replicas"] = 1

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        spec = obj["spec"]
        return nonnegative(spec.get("replicas"), "spec.replicas") + self.selector_errors(spec) + self.extra_errors(spec)

    def selector_errors(self, spec: Json) -> list[FieldError]:
        selector, path = spec.get("selector"), "spec.selector"
        out: list[FieldError] = []
        if selector is None:
            if self.word != "daemonset":
                out.append(required(path))
        else:
            wrong = names.label_selector_errors(selector, path)
            out += wrong
            if wrong and self.word != "daemonset":
                out.append(invalid(path, selector, "invalid label selector"))
                selector = {}
            if not selector.get("matchLabels") and not selector.get("matchExpressions"):
                out.append(invalid(path, selector, "empty selector is invalid for " + self.word))
        return out + template_errors(spec.get("template"), selector, "spec.template")

    word = "deployment"

    def extra_errors(self, spec: Json) -> list[FieldError]:
        return []

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        out = self.validate(call, obj)
        return out + immutable(obj["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")

    def validate_status(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        status = obj.get("status") or {}
        return [
            e
            for name, value in sorted(status.items())
            if isinstance(value, int) and not isinstance(value, bool)
            for e in nonnegative(value, f"status.{name}")
        ]


def int_or_percent(value: Any, path: str) -> list[FieldError]:
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]+%", value):
            words = (
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
                "regex used for validation is '[0-9]+%')"
            )
            return [invalid(path, value, words)]
        return []
    return nonnegative(value, path)


def _is_zero(value: Any) -> bool:
    return value in (0, "0%", None)


def _internal(strategy: Json) -> Json:
    """A strategy as the server's internal types print it."""
    rolling = strategy.get("rollingUpdate")
    inner = {k[0].upper() + k[1:]: v for k, v in rolling.items()} if rolling is not None else None
    return {"Type": strategy["type"], "RollingUpdate": inner}


class DeploymentStrategy(WorkloadStrategy):
    def default_spec(self, obj: Json, spec: Json) -> None:
        super().default_spec(obj, spec)
        strategy = spec.setdefault("strategy", {})
        strategy.setdefault("type", "RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            for name in ("maxUnavailable", "maxSurge"):
                if rolling.get(name) is None:
                    rolling[name] = "25%"
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        if spec.get("progressDeadlineSeconds") is None:
            spec["progressDeadlineSeconds"] = 600

    def extra_errors(self, spec: Json) -> list[FieldError]:
        strategy, path = spec["strategy"], "spec.strategy"
        out: list[FieldError] = []
        if strategy["type"] == "Recreate":
            if strategy.get("rollingUpdate") is not None:
                words = "may not be specified when strategy `type` is 'Recreate'"
                out.append(forbidden(f"{path}.rollingUpdate", words))
        elif strategy["type"] == "RollingUpdate":
            rolling = strategy["rollingUpdate"]
            for name in ("maxUnavailable", "maxSurge"):
                out += int_or_percent(rolling[name], f"{path}.rollingUpdate.{name}")
            if _is_zero(rolling["maxUnavailable"]) and _is_zero(rolling["maxSurge"]):
                words = "may not be 0 when `maxSurge` is 0"
                out.append(invalid(f"{path}.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], words))
        else:
            out.append(unsupported(path, _internal(strategy), ("Recreate", "RollingUpdate")))
        out += nonnegative(spec.get("minReadySeconds"), "spec.minReadySeconds")
        out += nonnegative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
        out += nonnegative(spec.get("progressDeadlineSeconds"), "spec.progressDeadlineSeconds")
        if spec["progressDeadlineSeconds"] <= spec.get("minReadySeconds", 0):
            out.append(
                invalid(
                    "spec.progressDeadlineSeconds",
                    spec["progressDeadlineSeconds"],
                    "must be greater than minReadySeconds",
                )
            )
        return out

    def bump_generation(self, obj: Json, old: Json) -> None:
        changed = obj.get("spec") != old.get("spec") or obj["metadata"].get("annotations") != old["metadata"].get(
            "annotations"
        )
        obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + (1 if changed else 0)

    def prepare_status(self, call: Call, obj: Json, old: Json) -> None:
        super().prepare_status(call, obj, old)
        _keep(obj["metadata"], old["metadata"], "labels")

    def status_reset(self) -> tuple[Path, ...]:
        return (*RESET_SPEC, ("f:metadata", "f:labels"))


class ReplicaSetStrategy(WorkloadStrategy):
    word = "deployment"  # its words, for both

    def extra_errors(self, spec: Json) -> list[FieldError]:
        return nonnegative(spec.get("minReadySeconds"), "spec.minReadySeconds")

    def prepare_create(self, call: Call, obj: Json) -> None:
        super().prepare_create(call, obj)
        obj["status"] = {"replicas": 0}

    def fields(self, obj: Json) -> dict[str, str]:
        return {"status.replicas": str((obj.get("status") or {}).get("replicas", 0))}


class ReplicationControllerStrategy(ReplicaSetStrategy):
    """v1: its selector is a plain map, and the template may be missing (which is an error of its own)."""

    needs_template = False
    orphans = True
    name_rule = staticmethod(names.long_name)
    selectable = ("status.replicas",)

    def default_spec(self, obj: Json, spec: Json) -> None:
        super().default_spec(obj, spec)
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
        if labels:
            spec.setdefault("selector", dict(labels))
            if not obj["metadata"].get("labels"):
                obj["metadata"]["labels"] = dict(labels)

    def selector_errors(self, spec: Json) -> list[FieldError]:
        selector = spec.get("selector") or {}
        if spec.get("template") is None:
            return [*([] if selector else [required("spec.selector")]), required("spec.template")]
        if not selector:
            return [required("spec.selector"), *template_errors(spec["template"], {}, "spec.template")]
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
        out = names.labels_errors(selector, "spec.selector")
        if not selector_matches({"matchLabels": selector}, labels):
            out.append(
                invalid("spec.template.metadata.labels", labels or None, "`selector` does not match template `labels`")
            )
        return out + template_errors(spec["template"], {}, "spec.template")

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return self.validate(call, obj)


class StatefulSetStrategy(WorkloadStrategy):
    name_rule = staticmethod(names.label_name)
    word = "statefulset"

    def default_spec(self, obj: Json, spec: Json) -> None:
        super().default_spec(obj, spec)
        spec.setdefault("podManagementPolicy", "OrderedReady")
        strategy = spec.setdefault("updateStrategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
            strategy.setdefault("rollingUpdate", {})
        if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
            strategy["rollingUpdate"].setdefault("partition", 0)
        policy = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
        for name in ("whenDeleted", "whenScaled"):
            policy.setdefault(name, "Retain")
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10

    def prepare_create(self, call: Call, obj: Json) -> None:
        super().prepare_create(call, obj)
        obj["status"] = {"replicas": 0, "availableReplicas": 0}

    def extra_errors(self, spec: Json) -> list[FieldError]:
        out: list[FieldError] = []
        if spec["podManagementPolicy"] not in ("OrderedReady", "Parallel"):
            words = "must be 'OrderedReady' or 'Parallel'"
            out.append(invalid("spec.podManagementPolicy", spec["podManagementPolicy"], words))
        if spec["updateStrategy"]["type"] not in ("OnDelete", "RollingUpdate"):
            words = "must be 'RollingUpdate' or 'OnDelete'"
            rolling = spec["updateStrategy"].get("rollingUpdate")
            inner = (
                {"Partition": rolling.get("partition", 0), "MaxUnavailable": rolling.get("maxUnavailable")}
                if rolling is not None
                else None
            )
            shown = {"Type": spec["updateStrategy"]["type"], "RollingUpdate": inner}
            out.append(invalid("spec.updateStrategy", shown, words))
        policy = spec["persistentVolumeClaimRetentionPolicy"]
        for name in ("whenDeleted", "whenScaled"):
            if policy[name] not in ("Retain", "Delete"):
                path = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
                out.append(unsupported(path, policy[name], ("Retain", "Delete")))
        return out + nonnegative(spec.get("minReadySeconds"), "spec.minReadySeconds")

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        mutable = (
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        )
        new, was = ({k: v for k, v in o["spec"].items() if k not in mutable} for o in (obj, old))
        out = self.validate(call, obj)
        if new != was:
            listed = ", ".join(f"'{m}'" for m in mutable[:-1])
            words = f"updates to statefulset spec for fields other than {listed} and 'minReadySeconds' are forbidden"
            out.append(forbidden("spec", words))
        return out


_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


class DaemonSetStrategy(WorkloadStrategy):
    word = "daemonset"

    def prepare_update(self, call: Call, obj: Json, old: Json) -> None:
        super().prepare_update(call, obj, old)
        meta = obj["metadata"]
        before = (old["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION, "1")
        changed = obj["spec"]["template"] != old["spec"]["template"]
        number = int(before) + changed if before.isdigit() else 1
        meta["annotations"] = {**(meta.get("annotations") or {}), _TEMPLATE_GENERATION: str(number)}

    def default_spec(self, obj: Json, spec: Json) -> None:
        meta = obj["metadata"]
        if not (meta.get("annotations") or {}).get(_TEMPLATE_GENERATION, "").isdigit():
            meta["annotations"] = {**(meta.get("annotations") or {}), _TEMPLATE_GENERATION: "0"}
        strategy = spec.setdefault("updateStrategy", {})
        strategy.setdefault("type", "RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            if rolling.get("maxUnavailable") is None:
                rolling["maxUnavailable"] = 1
            if rolling.get("maxSurge") is None:
                rolling["maxSurge"] = 0
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        out = immutable(obj["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
        return out + self.validate(call, obj)

    def prepare_status(self, call: Call, obj: Json, old: Json) -> None:
        super().prepare_status(call, obj, old)
        number = (old["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION, "1")
        obj["metadata"]["annotations"][_TEMPLATE_GENERATION] = number

    def prepare_create(self, call: Call, obj: Json) -> None:
        super().prepare_create(call, obj)
        meta = obj["metadata"]
        meta["annotations"] = {**(meta.get("annotations") or {}), _TEMPLATE_GENERATION: "1"}
        obj["status"] = dict.fromkeys(
            ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"), 0
        )

    def extra_errors(self, spec: Json) -> list[FieldError]:
        out = nonnegative(spec.get("minReadySeconds"), "spec.minReadySeconds")
        if spec["updateStrategy"]["type"] not in ("OnDelete", "RollingUpdate"):
            rolling = spec["updateStrategy"].get("rollingUpdate")
            inner = {k[0].upper() + k[1:]: v for k, v in rolling.items()} if rolling is not None else None
            shown = {"Type": spec["updateStrategy"]["type"], "RollingUpdate": inner}
            out.append(unsupported("spec.updateStrategy", shown, ("RollingUpdate", "OnDelete")))
        return out
