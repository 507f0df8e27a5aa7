"""Kinds that are kept for those who bring them, and that nothing in Fairway acts on.

Manifests of other projects have roles, budgets, jobs and web hooks beside what Fairway runs; clients expect the groups
in discovery. They are stored, listed and watched like all others. Where somebody could expect that something happens,
a warning says that it does not.
"""

from __future__ import annotations

from typing import Any

from fairway.apiserver import gotime, names
from fairway.apiserver.context import Call
from fairway.apiserver.fielderrors import FieldError, required
from fairway.apiserver.kinds.base import RESET_STATUS, Strategy, get, immutable
from fairway.apiserver.kinds.cells import NONE, count, labels_text, path_cell, selector_text, wide
from fairway.apiserver.kinds.poddefaults import default_pod_spec
from fairway.apiserver.kinds.rows import Row, Views
from fairway.apiserver.request import Json
from fairway.apiserver.tables import AGE, DEFAULT, NAME, Column

_BATCH = "batch.kubernetes.io/"
_RBAC = "rbac.authorization.k8s.io"


class StoredStrategy(Strategy):
    """Kept as it comes. `idle` is what a warning says does not happen."""

    idle = ""

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        if old is None and self.idle:
            return [f"{call.resource.kind} is only stored here: {self.idle}"]
        return []


class StatusStrategy(StoredStrategy):
    has_status = True
    has_generation = True
    reset = RESET_STATUS


# ---- pods to be -------------------------------------------------------------------------------------------------
class PodTemplateStrategy(StoredStrategy):
    has_generation = True
    generation_fields = ("template",)
    returns_deleted = True

    def default(self, obj: Json) -> None:
        default_pod_spec(obj.setdefault("template", {}).setdefault("spec", {}))


class JobStrategy(StatusStrategy):
    idle = "no controller runs its pods"

    def prepare_create(self, call: Call, obj: Json) -> None:
        """A Job selects its pods by a label that nobody else has."""
        super().prepare_create(call, obj)
        spec, meta = obj["spec"], obj["metadata"]
        if spec.get("manualSelector"):
            return
        own = {_BATCH + "controller-uid": meta["uid"], _BATCH + "job-name": meta["name"]}
        own |= {"controller-uid": meta["uid"], "job-name": meta["name"]}
        inner = spec["template"].setdefault("metadata", {})
        for one in (meta, inner):
            one["labels"] = {**(one.get("labels") or {}), **own}
        spec["selector"] = {"matchLabels": {_BATCH + "controller-uid": meta["uid"]}}

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        default_pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
        spec.setdefault("manualSelector", False)
        for name, value in (("parallelism", 1), ("completions", 1), ("backoffLimit", 6), ("suspend", False)):
            if spec.get(name) is None:
                spec[name] = value
        spec.setdefault("completionMode", "NonIndexed")
        spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")


class CronJobStrategy(StatusStrategy):
    idle = "no controller starts its jobs"

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("concurrencyPolicy", "Allow")
        template = spec.setdefault("jobTemplate", {}).setdefault("spec", {}).setdefault("template", {})
        default_pod_spec(template.setdefault("spec", {}))
        for name, value in (("suspend", False), ("successfulJobsHistoryLimit", 3), ("failedJobsHistoryLimit", 1)):
            if spec.get(name) is None:
                spec[name] = value

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        return [] if obj["spec"].get("schedule") else [required("spec.schedule")]


class ScalerStrategy(StatusStrategy):
    has_generation = False
    idle = "nothing measures its pods, and no controller scales them"

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        if spec.get("minReplicas") is None:
            spec["minReplicas"] = 1


_CPU = "targetCPUUtilizationPercentage"


def scaler_to_v2(obj: Json) -> Json:
    """autoscaling/v1 → v2, which is what is stored."""
    spec = dict(obj.get("spec") or {})
    percent = spec.pop(_CPU, None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    return {**obj, "spec": spec}


def scaler_from_v2(obj: Json) -> Json:
    """autoscaling/v2 → v1, which knows the CPU only."""
    spec = dict(obj.get("spec") or {})
    for metric in spec.pop("metrics", None) or []:
        resource = metric.get("resource") or {}
        percent = get(resource, "target", "averageUtilization")
        if resource.get("name") == "cpu" and percent is not None:
            spec[_CPU] = percent
    spec.pop("behavior", None)
    status = {k: v for k, v in (obj.get("status") or {}).items() if k not in ("currentMetrics", "conditions")}
    return {**obj, "spec": spec, "status": status}


# ---- rights -----------------------------------------------------------------------------------------------------
class RoleStrategy(StoredStrategy):
    name_rule = staticmethod(names.path_segment_name)


class BindingStrategy(RoleStrategy):
    def default(self, obj: Json) -> None:
        role = obj.setdefault("roleRef", {})
        if not role.get("apiGroup"):
            role["apiGroup"] = _RBAC
        for subject in obj.get("subjects") or []:
            if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
                subject["apiGroup"] = _RBAC

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        return [] if obj["roleRef"].get("name") else [required("roleRef.name")]

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return immutable(obj["roleRef"], old["roleRef"], "roleRef") + self.validate(call, obj)


def _subjects(kind: str) -> Column:
    def cell(obj: Json, _now: float) -> str:
        found = [s for s in obj.get("subjects") or [] if s.get("kind") == kind]
        return ", ".join(f"{s['namespace']}/{s['name']}" if s.get("namespace") else s["name"] for s in found)

    return wide(f"{kind}s", cell)


def _role(obj: Json, _now: float) -> str:
    return f"{get(obj, 'roleRef', 'kind')}/{get(obj, 'roleRef', 'name')}"


_BINDING = (NAME, Column("Role", _role), AGE, _subjects("User"), _subjects("Group"), _subjects("ServiceAccount"))


# ---- the rest ---------------------------------------------------------------------------------------------------
class HookStrategy(StoredStrategy):
    has_generation = True
    generation_fields = ("webhooks",)
    idle = "web hooks are not called"


class ApiServiceStrategy(StatusStrategy):
    has_generation = False
    idle = "requests are not sent on to other API servers"


class SigningStrategy(StatusStrategy):
    has_generation = False
    idle = "nothing approves or signs it"


class BudgetStrategy(StatusStrategy):
    idle = "evictions do not ask for budgets"


class PriorityStrategy(StoredStrategy):
    has_generation = True
    generation_fields = ("value", "globalDefault", "preemptionPolicy")

    def default(self, obj: Json) -> None:
        obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


class StorageClassStrategy(StoredStrategy):
    returns_deleted = True

    def default(self, obj: Json) -> None:
        obj.setdefault("reclaimPolicy", "Delete")
        obj.setdefault("volumeBindingMode", "Immediate")


def _containers(*path: str) -> tuple[Column, Column]:
    def listed(key: str) -> Any:
        return lambda o, _: ",".join(c.get(key, "") for c in get(o, *path, "spec", "containers") or [])

    return wide("Containers", listed("name")), wide("Images", listed("image"))


def _completions(obj: Json, _now: float) -> str:
    spec, done = obj.get("spec") or {}, get(obj, "status", "succeeded") or 0
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    at_once = spec.get("parallelism") or 0
    return f"{done}/1 of {at_once}" if at_once > 1 else f"{done}/1"


def _job_status(obj: Json, _now: float) -> str:
    true = {c.get("type") for c in get(obj, "status", "conditions") or [] if c.get("status") == "True"}
    for kind, word in (("Complete", "Complete"), ("Failed", "Failed")):
        if kind in true:
            return word
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((k for k in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if k in true), "Running")


def _job_duration(obj: Json, now: float) -> str:
    begun, ended = get(obj, "status", "startTime"), get(obj, "status", "completionTime")
    if not begun:
        return ""
    return gotime.duration((gotime.seconds(ended) if ended else now) - gotime.seconds(begun))


def _class_name(obj: Json, _now: float) -> str:
    marks = obj["metadata"].get("annotations") or {}
    is_default = any(marks.get(f"storageclass.{d}kubernetes.io/is-default-class") == "true" for d in ("", "beta."))
    return f"{obj['metadata']['name']} (default)" if is_default else str(obj["metadata"]["name"])


def _target(obj: Json, _now: float) -> str:
    return f"{get(obj, 'spec', 'scaleTargetRef', 'kind')}/{get(obj, 'spec', 'scaleTargetRef', 'name')}"


def _any(*path: str) -> Any:
    return lambda o, _: "N/A" if get(o, *path) is None else str(get(o, *path))


def _service(obj: Json, _now: float) -> str:
    found = get(obj, "spec", "service")
    return f"{found.get('namespace')}/{found.get('name')}" if found else "Local"


def _flag(name: str, *path: str) -> Column:
    return Column(name, path_cell(*path, default=False), "boolean")


_TEMPLATE = _containers("template")
_PODTEMPLATE = (
    NAME,
    *(c._replace(priority=0) for c in _TEMPLATE),
    Column("Pod Labels", lambda o, _: labels_text(get(o, "template", "metadata", "labels"))),
)
_JOB = (
    NAME,
    Column("Status", _job_status),
    Column("Completions", _completions),
    Column("Duration", _job_duration),
    AGE,
    *_containers("spec", "template"),
    wide("Selector", lambda o, _: selector_text(get(o, "spec", "selector"))),
)
_CRONJOB = (
    NAME,
    Column("Schedule", path_cell("spec", "schedule")),
    Column("Timezone", path_cell("spec", "timeZone", default=NONE)),
    Column("Suspend", lambda o, _: str(bool(get(o, "spec", "suspend"))), "boolean"),
    Column("Active", lambda o, _: len(get(o, "status", "active") or []), "integer"),
    Column("Last Schedule", lambda _o, _n: NONE),
    AGE,
    *_containers("spec", "jobTemplate", "spec", "template"),
    wide("Selector", lambda _o, _n: NONE),
)
_SCALER = (
    NAME,
    Column("Reference", _target),
    Column("Targets", lambda _o, _n: "<unknown>"),
    Column("MinPods", lambda o, _: str(get(o, "spec", "minReplicas") or "<unset>")),
    Column("MaxPods", path_cell("spec", "maxReplicas", default=0)),
    Column("Replicas", path_cell("status", "currentReplicas", default=0)),
    AGE,
)
_BUDGET = (
    NAME,
    Column("Min Available", _any("spec", "minAvailable")),
    Column("Max Unavailable", _any("spec", "maxUnavailable")),
    count("Allowed Disruptions", "status", "disruptionsAllowed"),
    AGE,
)
_PRIORITY = (
    NAME,
    count("Value", "value"),
    _flag("Global-Default", "globalDefault"),
    AGE,
    Column("PreemptionPolicy", path_cell("preemptionPolicy")),
)
_STORAGECLASS = (
    NAME._replace(cell=_class_name),
    Column("Provisioner", path_cell("provisioner")),
    Column("ReclaimPolicy", path_cell("reclaimPolicy")),
    Column("VolumeBindingMode", path_cell("volumeBindingMode")),
    _flag("AllowVolumeExpansion", "allowVolumeExpansion")._replace(type="string"),
    AGE,
)
_SIGNING = (
    NAME,
    AGE,
    Column("SignerName", path_cell("spec", "signerName")),
    Column("Requestor", path_cell("spec", "username")),
    Column("Condition", lambda _o, _n: "Pending"),
)
_HOOKS = (NAME, Column("Webhooks", lambda o, _: len(o.get("webhooks") or []), "integer"), AGE)
_DRIVERS = (NAME, Column("Drivers", lambda o, _: len(get(o, "spec", "drivers") or []), "integer"), AGE)
_APISERVICE = (NAME, Column("Service", _service), Column("Available", lambda _o, _n: "Unknown"), AGE)

_ALL, _STATUS, _EXTENSION = ("all",), ("status",), ("api-extensions",)
_ADMISSION, _STORAGE, _SCHEDULING = "admissionregistration.k8s.io", "storage.k8s.io", "scheduling.k8s.io"
_SCALER_VIEWS = Views("horizontalpodautoscalers.autoscaling", scaler_to_v2, scaler_from_v2)
ROWS: tuple[Row, ...] = (
    Row("core.PodTemplate", "podtemplates", "", (), (), PodTemplateStrategy, _PODTEMPLATE),
    Row("batch.Job", "jobs", "batch", (), _ALL, JobStrategy, _JOB, True, _STATUS),
    Row("batch.CronJob", "cronjobs", "batch", ("cj",), _ALL, CronJobStrategy, _CRONJOB, True, _STATUS),
    Row(
        "autoscalingv2.HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "autoscaling",
        ("hpa",),
        _ALL,
        ScalerStrategy,
        _SCALER,
        True,
        _STATUS,
        "v2",
    ),
    Row(
        "autoscaling.HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "autoscaling",
        ("hpa",),
        _ALL,
        ScalerStrategy,
        _SCALER,
        True,
        _STATUS,
        "v1",
        _SCALER_VIEWS,
    ),
    Row(
        "policy.PodDisruptionBudget",
        "poddisruptionbudgets",
        "policy",
        ("pdb",),
        (),
        BudgetStrategy,
        _BUDGET,
        True,
        _STATUS,
    ),
    Row("rbac.Role", "roles", _RBAC, (), (), RoleStrategy, DEFAULT),
    Row("rbac.RoleBinding", "rolebindings", _RBAC, (), (), BindingStrategy, _BINDING),
    Row("rbac.ClusterRole", "clusterroles", _RBAC, (), (), RoleStrategy, DEFAULT, False),
    Row("rbac.ClusterRoleBinding", "clusterrolebindings", _RBAC, (), (), BindingStrategy, _BINDING, False),
    Row(
        "scheduling.PriorityClass",
        "priorityclasses",
        "scheduling.k8s.io",
        ("pc",),
        (),
        PriorityStrategy,
        _PRIORITY,
        False,
    ),
    Row("storage.StorageClass", "storageclasses", _STORAGE, ("sc",), (), StorageClassStrategy, _STORAGECLASS, False),
    Row("storage.CSINode", "csinodes", _STORAGE, (), (), StoredStrategy, _DRIVERS, False),
    Row("storage.CSIDriver", "csidrivers", _STORAGE, (), (), StoredStrategy, (NAME, AGE), False),
    Row(
        "node.RuntimeClass",
        "runtimeclasses",
        "node.k8s.io",
        (),
        (),
        StoredStrategy,
        (NAME, Column("Handler", path_cell("handler")), AGE),
        False,
    ),
    Row(
        "certificates.CertificateSigningRequest",
        "certificatesigningrequests",
        "certificates.k8s.io",
        ("csr",),
        (),
        SigningStrategy,
        _SIGNING,
        False,
        _STATUS,
    ),
    *(
        Row(f"admissionregistration.{k}", k.lower() + "s", _ADMISSION, (), _EXTENSION, HookStrategy, _HOOKS, False)
        for k in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
    ),
    Row(
        "apiregistration.APIService",
        "apiservices",
        "apiregistration.k8s.io",
        (),
        _EXTENSION,
        ApiServiceStrategy,
        _APISERVICE,
        False,
        _STATUS,
    ),
)
