"""Deployment, ReplicaSet, ReplicationController, StatefulSet, DaemonSet: defaults and validity."""

from __future__ import annotations

import re
from typing import Any

from fairway.apiserver import names
from fairway.apiserver.context import Call
from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, required, unsupported
from fairway.apiserver.fieldsets import Path
from fairway.apiserver.kinds.base import RESET_SPEC, RESET_STATUS, Strategy, _keep, immutable
from fairway.apiserver.kinds.poddefaults import default_pod_spec
from fairway.apiserver.kinds.podspec import lasting_errors, match_errors, template_errors
from fairway.apiserver.kinds.podwarnings import template_warnings
from fairway.apiserver.kinds.storage import claim_spec_errors, default_claim
from fairway.apiserver.request import Json


def nonnegative(value: int | None, path: str) -> list[FieldError]:
    if value is not None and value < 0:
        return [invalid(path, value, "must be greater than or equal to 0")]
    return []


def shown_selector(selector: Json | None) -> Json | None:
    """As Go prints it: keys of a map are sorted."""
    if not selector or not selector.get("matchLabels"):
        return selector
    return {**selector, "matchLabels": dict(sorted(selector["matchLabels"].items()))}


def selector_kept(obj: Json, old: Json) -> list[FieldError]:
    """Whose pods they are never changes."""
    new, was = (shown_selector(o["spec"].get("selector")) for o in (obj, old))
    return immutable(new, was, "spec.selector")


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

    word = "deployment"
    pods_of = "ReplicaSet"  # what a refusal of the pods' deadline names
    bad_selector = "invalid label selector"

    def selector_errors(self, spec: Json) -> list[FieldError]:
        """The selector, and the template beside it: of a selector that is none, the template is not looked at."""
        selector, path = spec.get("selector"), "spec.selector"
        out = [required(path)] if selector is None else names.label_selector_errors(selector, path)
        wrong = bool(out) and selector is not None
        if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
            out.append(invalid(path, selector, f"empty selector is invalid for {self.word}"))
            selector = {}
        if wrong:
            return [*out, invalid(path, shown_selector(selector), self.bad_selector)]
        return out + match_errors(spec.get("template"), selector, "spec.template") + self.template_errors(spec)

    def template_errors(self, spec: Json) -> list[FieldError]:
        return template_errors(spec.get("template"), "spec.template", self.pods_of)

    def extra_errors(self, spec: Json) -> list[FieldError]:
        return []

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        out = self.validate(call, obj)
        return out + selector_kept(obj, old)

    counts: tuple[str, ...] = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    counted: tuple[str, ...] = ("observedGeneration", "terminatingReplicas")
    first: tuple[str, ...] = ()
    ready = "readyReplicas"  # as the status' words call it

    def validate_status(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        """No count is negative, none of the pods' larger than all, and what is available is ready."""
        status = obj.get("status") or {}
        out: list[FieldError] = []
        for name in (*self.first, *self.counts, *self.counted):
            out += nonnegative(status.get(name), f"status.{name}")
        total = status.get("replicas", 0)
        for name in self.counts[1:]:
            if status.get(name, 0) > total:
                out.append(invalid(f"status.{name}", status.get(name, 0), "cannot be greater than status.replicas"))
        available = status.get("availableReplicas", 0)
        if available > status.get("readyReplicas", 0):
            out.append(invalid("status.availableReplicas", available, f"cannot be greater than {self.ready}"))
        return out + collision_errors(status, old.get("status") or {}, "collisionCount" in self.counted)

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        template = obj["spec"].get("template")
        return template_warnings(template, "spec.template") if self._looks_again(obj, old) and template else []

    def _looks_again(self, obj: Json, old: Json | None) -> bool:
        """Only a changed object is warned about."""
        return old is None or obj["metadata"].get("generation") != old["metadata"].get("generation")


def collision_errors(status: Json, old: Json, counted: bool) -> list[FieldError]:
    """A count that names are made from only grows."""
    value, was = status.get("collisionCount"), old.get("collisionCount")
    if not counted or was is None or (value is not None and value >= was):
        return []
    return [invalid("status.collisionCount", value or 0, "cannot be decremented")]


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


def _amount(value: Any) -> int:
    """A count or a percentage as a number; what is neither is nothing."""
    if not isinstance(value, str):
        return value or 0
    match = re.fullmatch(r"[0-9]+%|[+-]?[0-9]+", value)
    return int(value.removesuffix("%")) if match else 0


def _percent_errors(value: Any, path: str) -> list[FieldError]:
    if isinstance(value, str) and re.fullmatch(r"[0-9]+%", value) and _amount(value) > 100:
        return [invalid(path, value, "must not be greater than 100%")]
    return []


def _internal(strategy: Json, *fields: str) -> Json:
    """A strategy as the server's internal types print it."""
    rolling = strategy.get("rollingUpdate")
    inner = {f[0].upper() + f[1:]: rolling.get(f, 0) for f in fields} if rolling is not None else None
    return {"Type": strategy["type"], "RollingUpdate": inner}


class DeploymentStrategy(WorkloadStrategy):
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    first = ("observedGeneration",)
    counted = ("unavailableReplicas", "terminatingReplicas", "collisionCount")

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
            at = f"{path}.rollingUpdate.maxUnavailable"
            if not _amount(rolling["maxUnavailable"]) and not _amount(rolling["maxSurge"]):
                out.append(invalid(at, rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"))
            out += _percent_errors(rolling["maxUnavailable"], at)
        else:
            shown = _internal(strategy, "maxUnavailable", "maxSurge")
            out.append(unsupported(path, shown, ("Recreate", "RollingUpdate")))
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
    """Its words for a selector are the Deployment's."""

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        spec = obj["spec"]
        out = nonnegative(spec.get("replicas"), "spec.replicas")
        return out + nonnegative(spec.get("minReadySeconds"), "spec.minReadySeconds") + self.selector_errors(spec)

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

    pods_of = "ReplicationController"

    def _looks_again(self, obj: Json, old: Json | None) -> bool:
        return old is None

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        spec, path = obj["spec"], "spec.template"
        selector, template = spec.get("selector") or {}, spec.get("template")
        out = nonnegative(spec.get("minReadySeconds"), "spec.minReadySeconds")
        out += [] if selector else [required("spec.selector")]
        out += nonnegative(spec.get("replicas"), "spec.replicas")
        if template is None:
            return [*out, required(path)]
        return out + match_errors(template, {"matchLabels": selector}, path) + self.template_errors(spec)

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
        (strategy.get("rollingUpdate") or {}).pop("maxUnavailable", None)  # MaxUnavailableStatefulSet is off
        policy = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
        for name in ("whenDeleted", "whenScaled"):
            policy.setdefault(name, "Retain")
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        for claim in spec.get("volumeClaimTemplates") or []:
            default_claim(claim)
            claim.update(apiVersion="v1", kind="PersistentVolumeClaim")

    def prepare_create(self, call: Call, obj: Json) -> None:
        super().prepare_create(call, obj)
        obj["status"] = {"replicas": 0, "availableReplicas": 0}

    pods_of = "StatefulSet"
    bad_selector = ""

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        out = super().warnings(call, obj, old)
        if obj["spec"].get("revisionHistoryLimit", 0) < 0:
            words = "a negative value retains all historical revisions; a value >= 0 is recommended"
            out.append(f"spec.revisionHistoryLimit: {words}")
        return out

    counts = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    counted = ("observedGeneration", "collisionCount")
    ready = "status.readyReplicas"

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        return self._errors(obj["spec"], is_new=True)

    def _errors(self, spec: Json, *, is_new: bool) -> list[FieldError]:
        """What cannot be changed is looked at once, when it is made."""
        out: list[FieldError] = []
        if spec["podManagementPolicy"] not in ("OrderedReady", "Parallel"):
            words = "must be 'OrderedReady' or 'Parallel'"
            out.append(invalid("spec.podManagementPolicy", spec["podManagementPolicy"], words))
        out += self._strategy_errors(spec["updateStrategy"], "spec.updateStrategy")
        policy = spec["persistentVolumeClaimRetentionPolicy"]
        for name in ("whenDeleted", "whenScaled"):
            if policy[name] not in ("Retain", "Delete"):
                path = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
                out.append(unsupported(path, policy[name], ("Retain", "Delete")))
        for i, claim in enumerate((spec.get("volumeClaimTemplates") or []) if is_new else []):
            out += claim_spec_errors(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{i}].spec")
        out += nonnegative(spec.get("replicas"), "spec.replicas")
        out += nonnegative(spec.get("minReadySeconds"), "spec.minReadySeconds")
        if spec.get("ordinals") is not None:
            out += nonnegative(spec["ordinals"].get("start"), "spec.ordinals.start")
        service = spec.get("serviceName", "")
        if service and is_new:
            out += [invalid("spec.serviceName", service, m) for m in names.dns_label_errors(service)]
        return out + self.selector_errors(spec)

    def _strategy_errors(self, strategy: Json, path: str) -> list[FieldError]:
        rolling, at = strategy.get("rollingUpdate"), f"{path}.rollingUpdate"
        inner = {"Partition": rolling.get("partition", 0), "MaxUnavailable": None} if rolling is not None else None
        if strategy["type"] not in ("OnDelete", "RollingUpdate"):
            shown = {"Type": strategy["type"], "RollingUpdate": inner}
            return [invalid(path, shown, "must be 'RollingUpdate' or 'OnDelete'")]
        if rolling is not None and strategy["type"] == "OnDelete":
            return [invalid(at, inner, "only allowed for updateStrategy 'RollingUpdate'")]
        return nonnegative((rolling or {}).get("partition"), f"{at}.partition")

    def template_errors(self, spec: Json) -> list[FieldError]:
        """Names of pods are the controller's, and so are the volumes of its claims."""
        template, claims = spec.get("template") or {}, spec.get("volumeClaimTemplates") or []
        inner = {k: v for k, v in (template.get("spec") or {}).items() if k not in ("hostname", "subdomain")}
        named = [(c.get("metadata") or {}).get("name", "") for c in claims]
        made = [{"name": n, "persistentVolumeClaim": {"claimName": n}} for n in named]
        if made:
            inner["volumes"] = [*made, *(v for v in inner.get("volumes") or [] if v.get("name", "") not in named)]
        path, meta = "spec.template", template.get("metadata") or {}
        out = template_errors({**template, "spec": inner}, path, "")
        out += names.labels_errors(meta.get("labels"), f"{path}.labels")
        out += names.annotations_errors(meta.get("annotations"), f"{path}.annotations")
        return out

    def selector_errors(self, spec: Json) -> list[FieldError]:
        return super().selector_errors(spec) + lasting_errors(
            spec["template"]["spec"], "spec.template.spec", "StatefulSet"
        )

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
        out = self._errors(obj["spec"], is_new=False)
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
        out = selector_kept(obj, old)
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

    pods_of = "DaemonSet"
    counts = ()
    counted = (
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    )

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        spec = obj["spec"]
        selector, path = spec.get("selector"), "spec.selector"
        out = names.label_selector_errors(selector, path)
        empty = selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions")
        if not out:
            out += match_errors(spec.get("template"), selector, "spec.template")
        if empty:
            out.append(invalid(path, selector, "empty selector is invalid for daemonset"))
        out += self.template_errors(spec) + nonnegative(spec.get("minReadySeconds"), "spec.minReadySeconds")
        out += self._strategy_errors(spec["updateStrategy"], "spec.updateStrategy")
        return out + nonnegative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")

    def _strategy_errors(self, strategy: Json, path: str) -> list[FieldError]:
        if strategy["type"] == "OnDelete":
            return []
        if strategy["type"] != "RollingUpdate":
            shown = _internal(strategy, "maxUnavailable", "maxSurge")
            return [unsupported(path, shown, ("RollingUpdate", "OnDelete"))]
        rolling, at = strategy["rollingUpdate"], f"{path}.rollingUpdate"
        both = (rolling["maxUnavailable"], f"{at}.maxUnavailable"), (rolling["maxSurge"], f"{at}.maxSurge")
        out = [e for value, where in both for e in int_or_percent(value, where)]
        out += [e for value, where in both for e in _percent_errors(value, where)]
        down, up = _amount(rolling["maxUnavailable"]), _amount(rolling["maxSurge"])
        if down and up:
            out.append(invalid(f"{at}.maxSurge", rolling["maxSurge"], "may not be set when maxUnavailable is non-zero"))
        elif not down and not up:
            out.append(required(f"{at}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
        return out
