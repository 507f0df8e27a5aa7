"""Pod: what admission adds, what may change, and its sub-resources' rules."""

from __future__ import annotations

from typing import Any

from fairway.apiserver import errors
from fairway.apiserver.context import Call
from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, required
from fairway.apiserver.fieldsets import Path
from fairway.apiserver.kinds import podparts
from fairway.apiserver.kinds.base import RESET_SPEC, RESET_STATUS, Strategy, get
from fairway.apiserver.kinds.podcontainers import image_space_errors
from fairway.apiserver.kinds.poddefaults import default_pod_spec, default_requests
from fairway.apiserver.kinds.podplacement import toleration_errors
from fairway.apiserver.kinds.podresources import qos_class
from fairway.apiserver.kinds.podspec import pod_spec_errors
from fairway.apiserver.kinds.podstatus import keep_generations, status_errors
from fairway.apiserver.kinds.podwarnings import pod_warnings
from fairway.apiserver.request import Json

_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path, no secret
_MUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


class PodStrategy(Strategy):
    has_status = True
    has_generation = True
    returns_deleted = True
    reset = RESET_STATUS
    parts = (podparts.EPHEMERAL, podparts.RESIZE)
    selectable = (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    )

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        default_pod_spec(spec)
        default_requests(spec)
        if spec.get("enableServiceLinks") is None:
            spec["enableServiceLinks"] = True
        if spec.get("hostNetwork") is False:
            del spec["hostNetwork"]
        status = obj.setdefault("status", {})
        first = (status.get("podIPs") or [{}])[0].get("ip", "")
        if status.get("podIP") and status["podIP"] != first:
            status["podIPs"] = [{"ip": status["podIP"]}]  # where the two differ, the older field counts
        elif first:
            status["podIP"] = first

    def admit(self, call: Call, obj: Json, old: Json | None) -> None:
        spec = obj["spec"]
        if old is None:
            _admit_account(call, obj)
            _admit_priority(call, obj)
            _admit_runtime(call, obj)
        else:
            for name in ("priority", "preemptionPolicy"):
                if spec.get(name) is None and old["spec"].get(name) is not None:
                    spec[name] = old["spec"][name]
        tolerations = list(spec.get("tolerations") or [])
        for key in _TOLERATED:
            if not any(_tolerates(t, key) for t in tolerations):
                tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
        spec["tolerations"] = tolerations

    def prepare_create(self, call: Call, obj: Json) -> None:
        obj["metadata"]["generation"] = 1
        if obj["spec"]["terminationGracePeriodSeconds"] < 0:
            obj["spec"]["terminationGracePeriodSeconds"] = 1
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj["spec"])}
        if obj["spec"].get("schedulingGates"):
            obj["status"]["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "lastProbeTime": None,
                    "lastTransitionTime": call.time,
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                }
            ]

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        spec = obj["spec"]
        out = _spec_errors(spec)
        if spec.get("ephemeralContainers"):
            out.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
        if spec.get("nodeName") and spec.get("schedulingGates"):
            words = "cannot be set until all schedulingGates have been cleared"
            out.append(forbidden("spec.nodeName", words))
        return out

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        return pod_warnings(obj) if old is None else []

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        out, new, was = _spec_errors(obj["spec"]), obj["spec"], old["spec"]
        for name in ("containers", "initContainers"):
            path, containers = f"spec.{name}", new.get(name) or []
            if len(containers) != len(was.get(name) or []):
                return [*out, forbidden(path, "pod updates may not add or remove containers")]
            for i, container in enumerate(containers):  # as the real server, once more
                out += [] if container.get("image") else [required(f"{path}[{i}].image")]
                out += image_space_errors(container, f"{path}[{i}]")
        wrong = _deadline_errors(new.get("activeDeadlineSeconds"), was.get("activeDeadlineSeconds"))
        out += wrong
        if wrong and new.get("activeDeadlineSeconds") is not None:
            return out
        kept = [{**t, "tolerationSeconds": None} for t in new.get("tolerations") or []]
        if any({**t, "tolerationSeconds": None} not in kept for t in was.get("tolerations") or []):
            words = "existing toleration can not be modified except its tolerationSeconds"
            out.append(forbidden("spec.tolerations", words))
        else:
            out += toleration_errors(new.get("tolerations") or [], "spec.tolerations")
        gates = [g.get("name", "") for g in was.get("schedulingGates") or []]
        for i, gate in enumerate(new.get("schedulingGates") or []):
            if gate.get("name", "") not in gates:
                words = f"only deletion is allowed, but found new scheduling gate '{gate.get('name', '')}'"
                out.append(forbidden(f"spec.schedulingGates[{i}].name", words))
        if gates:
            out += _selector_errors(new, was) + _node_affinity_errors(new, was)
        if _frozen(new, was) != _frozen(was, was):
            out.append(forbidden("spec", _MUTABLE + "\n" + _difference(new, was)))
        return out

    def prepare_status(self, call: Call, obj: Json, old: Json) -> None:
        super().prepare_status(call, obj, old)
        meta, was = obj["metadata"], old["metadata"]
        meta["deletionTimestamp"] = was.get("deletionTimestamp")
        if meta["deletionTimestamp"] is None:
            del meta["deletionTimestamp"]
        if "ownerReferences" in was:
            meta["ownerReferences"] = was["ownerReferences"]
        keep_generations(obj["status"], old["status"])
        obj["status"].setdefault("qosClass", old["status"].get("qosClass") or qos_class(obj["spec"]))

    def validate_status(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return status_errors(obj, old)

    def status_reset(self) -> tuple[Path, ...]:
        return (*RESET_SPEC, ("f:metadata", "f:deletionTimestamp"), ("f:metadata", "f:ownerReferences"))

    def prepare_part(self, call: Call, obj: Json, old: Json, part: str) -> None:
        podparts.keep_rest(obj, old, part)

    def validate_part(self, call: Call, obj: Json, old: Json, part: str) -> list[FieldError]:
        return podparts.part_errors(obj, old, part)

    def fields(self, obj: Json) -> dict[str, str]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        return {
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.restartPolicy": spec.get("restartPolicy", ""),
            "spec.schedulerName": spec.get("schedulerName", ""),
            "spec.serviceAccountName": spec.get("serviceAccountName", ""),
            "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
            "status.phase": status.get("phase", ""),
            "status.podIP": status.get("podIP", ""),
            "status.nominatedNodeName": status.get("nominatedNodeName", ""),
        }


def _spec_errors(spec: Json) -> list[FieldError]:
    """A template may ask for what a Pod may not."""
    out = pod_spec_errors(spec, "spec")
    for i, volume in enumerate(spec.get("volumes") or []):
        for j, source in enumerate(get(volume, "projected", "sources") or []):
            if source.get("serviceAccountToken") is not None and not spec.get("serviceAccountName"):
                at = f"spec.volumes[{i}].projected.sources[{j}].serviceAccountToken"
                out.append(forbidden(at, "must not be specified when serviceAccountName is not set"))
    for kind in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(kind) or []):
            out += image_space_errors(container, f"spec.{kind}[{i}]")
    return out


def _selector_errors(new: Json, old: Json) -> list[FieldError]:
    """A pod whose scheduling has not begun may be sent to fewer nodes, not to others."""
    selector, was = new.get("nodeSelector") or {}, old.get("nodeSelector") or {}
    if all(selector.get(key) == value for key, value in was.items()):
        return []
    words = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
    return [invalid("spec.nodeSelector", new.get("nodeSelector"), words)]


def _node_affinity_errors(new: Json, old: Json) -> list[FieldError]:
    """As its node selector: terms stay, and what stands in each may only grow."""
    where = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    terms, was, path = get(new, *where) or [], get(old, *where) or [], ".".join(("spec", *where))
    if was and len(terms) != len(was):
        words = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [invalid(path, [_shown_term(t) for t in terms] or None, words)]
    words = "only additions are allowed (no mutations or deletions)"
    pairs = enumerate(zip(terms, was, strict=False))
    return [invalid(f"{path}[{i}]", _shown_term(t), words) for i, (t, o) in pairs if not _only_grew(t, o)]


def _only_grew(term: Json, old: Json) -> bool:
    kinds = ("matchExpressions", "matchFields")
    if not any(old.get(kind) for kind in kinds):
        return not any(term.get(kind) for kind in kinds)
    return all((term.get(kind) or [])[: len(old.get(kind) or [])] == (old.get(kind) or []) for kind in kinds)


def _shown_term(term: Json) -> Json:
    """As the server's internal type prints it."""

    def shown(kind: str) -> list[Json] | None:
        listed = term.get(kind)
        names = ("key", "operator", "values")
        return None if listed is None else [{n.capitalize(): item.get(n) for n in names} for item in listed]

    return {"MatchExpressions": shown("matchExpressions"), "MatchFields": shown("matchFields")}


def _deadline_errors(value: int | None, old: int | None) -> list[FieldError]:
    """A pod's deadline may be set, and come nearer."""
    path = "spec.activeDeadlineSeconds"
    if value is None:
        return [] if old is None else [invalid(path, None, "must not update from a positive integer to nil value")]
    if not 0 <= value <= 2147483647:
        return [invalid(path, value, "must be between 0 and 2147483647, inclusive")]
    if old is not None and value > old:
        return [invalid(path, value, "must be less than or equal to previous value")]
    return []


PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


def _admit_priority(call: Call, obj: Json) -> None:
    """Priority admission: the number is the class's, and a pod may not name another."""
    spec, name = obj["spec"], obj["metadata"].get("name", "")
    given, policy = priority_of(call, spec.get("priorityClassName", ""), name)
    if spec.get("priority") not in (None, given):
        why = (
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission "
            f"controller computed {given} from the given PriorityClass name"
        )
        raise errors.forbidden("pods", "", name, why)
    if spec.get("preemptionPolicy") not in (None, policy):
        why = (
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
            f"priority admission controller computed {policy} from the given PriorityClass name"
        )
        raise errors.forbidden("pods", "", name, why)
    spec["priority"], spec["preemptionPolicy"] = given, policy


def _admit_runtime(call: Call, obj: Json) -> None:
    """RuntimeClass admission: the class is there, and says what its pods cost beside their containers."""
    spec, name = obj["spec"], obj["metadata"].get("name", "")
    wanted, found = spec.get("runtimeClassName"), None
    if wanted:
        found = call.server.read("runtimeclasses.node.k8s.io", wanted)
        if found is None:
            raise errors.forbidden("pods", "", name, f'pod rejected: RuntimeClass "{wanted}" not found')
    cost = get(found, "overhead", "podFixed")
    if cost is not None:
        if spec.get("overhead") not in (None, cost):
            why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
            raise errors.forbidden("pods", "", name, why)
        spec["overhead"] = cost


def priority_of(call: Call, wanted: str, pod: str) -> tuple[int, str]:
    """A class's number and preemption policy."""
    if wanted in PRIORITIES:
        return PRIORITIES[wanted], "PreemptLowerPriority"
    if wanted:
        found = call.server.read("priorityclasses.scheduling.k8s.io", wanted)
        if found is None:
            raise errors.forbidden("pods", "", pod, f"no PriorityClass with name {wanted} was found")
        return found.get("value", 0), found.get("preemptionPolicy", "PreemptLowerPriority")
    return 0, "PreemptLowerPriority"


def _tolerates(toleration: Json, key: str) -> bool:
    return toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")


def _admit_account(call: Call, obj: Json) -> None:
    """ServiceAccount admission: the account `default`, and its token where the pod does not say no."""
    spec, meta = obj["spec"], obj["metadata"]
    if not call.server.settings.require_accounts:
        return
    if (meta.get("annotations") or {}).get("kubernetes.io/config.mirror"):
        return
    if not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"] = "default"
    name = spec["serviceAccountName"]
    account = call.server.read("serviceaccounts", f"{call.namespace}/{name}")
    if account is None:
        why = f'error looking up service account {call.namespace}/{name}: serviceaccount "{name}" not found'
        raise errors.forbidden("pods", "", meta.get("name", ""), why)
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]
    wants = spec.get("automountServiceAccountToken")
    if wants is None:
        wants = account.get("automountServiceAccountToken")
    if wants is not False:
        _mount_token(call, spec)


def _mount_token(call: Call, spec: Json) -> None:
    made = f"kube-api-access-{call.suffix()}"
    # A copy of a pod (kubectl debug --copy-to) brings its own.
    known = [v["name"] for v in spec.get("volumes") or [] if v.get("name", "").startswith("kube-api-access-")]
    volume = (*known, made)[0]
    used = False
    for container in (*(spec.get("initContainers") or []), *(spec.get("containers") or [])):
        mounts = container.get("volumeMounts") or []
        if not any(m.get("mountPath") == TOKEN_PATH for m in mounts):
            container["volumeMounts"] = [*mounts, {"name": volume, "readOnly": True, "mountPath": TOKEN_PATH}]
            used = True
    if used and not known:
        spec["volumes"] = [*(spec.get("volumes") or []), _token_volume(volume)]


def _token_volume(name: str) -> Json:
    root = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    space = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources: list[Json] = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": root},
        {"downwardAPI": {"items": [space]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 420}}


def _frozen(spec: Json, was: Json) -> Json:
    """The parts of a spec that no update may change: what may change is set as it was."""
    out = {k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "schedulingGates")}
    for name in ("containers", "initContainers"):
        if name in out:
            out[name] = [
                {**c, "image": o.get("image")} for c, o in zip(out[name] or [], was.get(name) or [], strict=False)
            ]
    out["tolerations"] = was.get("tolerations")
    if (was.get("terminationGracePeriodSeconds") or 0) < 0 and out.get("terminationGracePeriodSeconds") == 1:
        out["terminationGracePeriodSeconds"] = was["terminationGracePeriodSeconds"]
    if was.get("schedulingGates"):
        for name in ("nodeSelector", "affinity"):
            out[name] = was.get(name)
    return out


def _difference(new: Json, old: Json) -> str:
    """What changed, a line each (the real server prints a Go diff here)."""
    lines = [
        f"- {k}: {_short(old.get(k))}\n+ {k}: {_short(new.get(k))}"
        for k in sorted({*new, *old})
        if new.get(k) != old.get(k)
    ]
    return "\n".join(lines)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 200 else text[:200] + "…"
