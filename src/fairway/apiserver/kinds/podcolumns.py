"""The cells of `kubectl get` of pods and of what makes pods."""

from __future__ import annotations

from collections.abc import Callable

from fairway.apiserver import gotime
from fairway.apiserver.kinds.base import get
from fairway.apiserver.kinds.cells import (
    NONE,
    count,
    labels_text,
    path_cell,
    selector_text,
    wide,
)
from fairway.apiserver.request import Json
from fairway.apiserver.tables import AGE, NAME, Column


# ---- pods -------------------------------------------------------------------------------------------------------
def _terminated(state: Json, head: str = "") -> str:
    if state.get("reason"):
        return f"{head}{state['reason']}"
    if state.get("signal"):
        return f"{head}Signal:{state['signal']}"
    return f"{head}ExitCode:{state.get('exitCode', 0)}"


def _is_sidecar(spec: Json, name: str) -> bool:
    return any(c.get("name") == name and c.get("restartPolicy") == "Always" for c in spec.get("initContainers") or [])


def _condition(status: Json, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or [])


class _PodCells:
    """printPod: ready count, reason and restarts hang together."""

    def __init__(self, obj: Json) -> None:
        self.spec, self.status, self.meta = obj["spec"], obj.get("status") or {}, obj["metadata"]
        self.ready = self.restarts = self._sidecar_restarts = 0
        self.last = self._sidecar_last = ""
        inits = self.spec.get("initContainers") or []
        self.total = len(self.spec.get("containers") or []) + sum(c.get("restartPolicy") == "Always" for c in inits)
        self.reason = self.status.get("reason") or self.status.get("phase", "")
        if any(
            c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated"
            for c in self.status.get("conditions") or []
        ):
            self.reason = "SchedulingGated"
        if not self._initializing(len(inits)) or _condition(self.status, "Initialized"):
            self.restarts, self.last = self._sidecar_restarts, self._sidecar_last
            self._running()
        if self.meta.get("deletionTimestamp"):
            if self.status.get("reason") == "NodeLost":
                self.reason = "Unknown"
            elif self.status.get("phase") not in ("Succeeded", "Failed"):
                self.reason = "Terminating"

    def _initializing(self, count: int) -> bool:
        for i, container in enumerate(self.status.get("initContainerStatuses") or []):
            state, sidecar = container.get("state") or {}, _is_sidecar(self.spec, container.get("name", ""))
            ended = get(container, "lastState", "terminated", "finishedAt") or ""
            self.restarts += container.get("restartCount", 0)
            self.last = max(self.last, ended)
            if sidecar:
                self._sidecar_restarts += container.get("restartCount", 0)
                self._sidecar_last = max(self._sidecar_last, ended)
            terminated, waiting = state.get("terminated"), state.get("waiting") or {}
            if terminated is not None and terminated.get("exitCode", 0) == 0:
                continue
            if sidecar and container.get("started"):
                self.ready += bool(container.get("ready"))
                continue
            if terminated is not None:
                self.reason = _terminated(terminated, "Init:")
            elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
                self.reason = f"Init:{waiting['reason']}"
            else:
                self.reason = f"Init:{i}/{count}"
            return True
        return False

    def _running(self) -> None:
        running, failed = False, ""
        for container in reversed(self.status.get("containerStatuses") or []):
            state = container.get("state") or {}
            self.restarts += container.get("restartCount", 0)
            self.last = max(self.last, get(container, "lastState", "terminated", "finishedAt") or "")
            if (state.get("waiting") or {}).get("reason"):
                self.reason = state["waiting"]["reason"]
            elif state.get("terminated") is not None:
                self.reason = _terminated(state["terminated"])
                if state["terminated"].get("exitCode", 0) != 0:
                    failed = self.reason
            elif container.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed":
            if running and _condition(self.status, "Ready"):
                self.reason = "Running"
            elif failed or running:
                self.reason = failed or "NotReady"

    def restarts_text(self, now: float) -> str:
        if self.restarts and self.last:
            return f"{self.restarts} ({gotime.age(self.last, now)} ago)"
        return str(self.restarts)


class _LastPod:
    """Three cells of a row ask for the same pod, one after the other."""

    def __init__(self) -> None:
        self._obj: Json = {}
        self._cells: _PodCells | None = None

    def cells(self, obj: Json) -> _PodCells:
        if self._cells is None or self._obj is not obj:
            self._obj, self._cells = obj, _PodCells(obj)
        return self._cells


_last_pod = _LastPod()


def _pod_ready(obj: Json, _now: float) -> str:
    cells = _last_pod.cells(obj)
    return f"{cells.ready}/{cells.total}"


def _gates(obj: Json, _now: float) -> str:
    gates = obj["spec"].get("readinessGates") or []
    if not gates:
        return NONE
    met = sum(_condition(obj.get("status") or {}, g.get("conditionType", "")) for g in gates)
    return f"{met}/{len(gates)}"


def _pod_ip(obj: Json, _now: float) -> str:
    addresses = get(obj, "status", "podIPs") or [{}]
    return addresses[0].get("ip") or NONE


POD = (
    NAME,
    Column("Ready", _pod_ready),
    Column("Status", lambda o, _: _last_pod.cells(o).reason),
    Column("Restarts", lambda o, now: _last_pod.cells(o).restarts_text(now)),
    AGE,
    wide("IP", _pod_ip),
    wide("Node", lambda o, _: o["spec"].get("nodeName") or NONE),
    wide("Nominated Node", lambda o, _: get(o, "status", "nominatedNodeName") or NONE),
    wide("Readiness Gates", _gates),
)


# ---- workloads --------------------------------------------------------------------------------------------------
def _containers(key: str) -> Callable[[Json, float], str]:
    def cell(obj: Json, _now: float) -> str:
        return ",".join(c.get(key, "") for c in get(obj, "spec", "template", "spec", "containers") or [])

    return cell


_TEMPLATE = (wide("Containers", _containers("name")), wide("Images", _containers("image")))
_SELECTOR = wide("Selector", lambda o, _: selector_text(get(o, "spec", "selector")))


def _fraction(obj: Json, _now: float) -> str:
    return f"{get(obj, 'status', 'readyReplicas') or 0}/{get(obj, 'spec', 'replicas') or 0}"


DEPLOYMENT = (
    NAME,
    Column("Ready", _fraction),
    Column("Up-to-date", path_cell("status", "updatedReplicas", default=0)),
    Column("Available", path_cell("status", "availableReplicas", default=0)),
    AGE,
    *_TEMPLATE,
    _SELECTOR,
)
_REPLICAS = (
    count("Desired", "spec", "replicas"),
    count("Current", "status", "replicas"),
    count("Ready", "status", "readyReplicas"),
)
REPLICASET = (NAME, *_REPLICAS, AGE, *_TEMPLATE, _SELECTOR)
REPLICATIONCONTROLLER = (
    NAME,
    *_REPLICAS,
    AGE,
    *_TEMPLATE,
    wide("Selector", lambda o, _: labels_text(get(o, "spec", "selector"))),
)
STATEFULSET = (NAME, Column("Ready", _fraction), AGE, *_TEMPLATE)
DAEMONSET = (
    NAME,
    count("Desired", "status", "desiredNumberScheduled"),
    count("Current", "status", "currentNumberScheduled"),
    count("Ready", "status", "numberReady"),
    count("Up-to-date", "status", "updatedNumberScheduled"),
    count("Available", "status", "numberAvailable"),
    Column("Node Selector", lambda o, _: labels_text(get(o, "spec", "template", "spec", "nodeSelector"))),
    AGE,
    *_TEMPLATE,
    _SELECTOR,
)


def _controller(obj: Json, _now: float) -> str:
    for ref in obj["metadata"].get("ownerReferences") or []:
        if ref.get("controller"):
            group = ref.get("apiVersion", "").rpartition("/")[0]
            kind = ref.get("kind", "").lower() + (f".{group}" if group else "")
            return f"{kind}/{ref.get('name', '')}"
    return NONE


_revision = count("Revision", "revision")._replace(type="string")
CONTROLLERREVISION = (NAME, Column("Controller", _controller), _revision, AGE)
