"""Plays the endpoint cases (`cases/endpoints.json`, whose `about` explains the form) on the API in memory.

The kubelet that is not there is played too. What comes out is compared in the form of `case_form`.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from controllers.case_form import Form
from controllers.memory_api import RefusedError, Tree, drop_empty

PATHS = {
    "Namespace": ("/api/v1", "namespaces", False),
    "Node": ("/api/v1", "nodes", False),
    "Pod": ("/api/v1", "pods", True),
    "Service": ("/api/v1", "services", True),
    "Endpoints": ("/api/v1", "endpoints", True),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices", True),
    "ReplicaSet": ("/apis/apps/v1", "replicasets", True),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "StatefulSet": ("/apis/apps/v1", "statefulsets", True),
}
RUNNING = {
    "phase": "Running",
    "podIP": "${ip}",
    "podIPs": [{"ip": "${ip}"}],
    "conditions": [{"type": "Ready", "status": "True"}],
}
STEP_SECONDS = 2
"""Between two steps, as much as the recording waited at least."""
PATIENCE = 20
"""Seconds that a step may take to come to what is expected."""


class Api(Protocol):
    """Where requests go."""

    now: dt.datetime

    def handle(self, method: str, path: str, body: Tree | None = None, content_type: str = "") -> Tree: ...


class Cluster(Protocol):
    """A simulation, or a real one."""

    @property
    def api(self) -> Api: ...

    def settle(self) -> None: ...

    def pass_time(self, seconds: float) -> None: ...


class Player:
    """One case."""

    def __init__(self, case: Tree, defaults: Tree, simulation: Cluster, namespace: str = "case") -> None:
        self.case, self.defaults, self.sim, self.namespace = case, defaults, simulation, namespace
        self.api = simulation.api
        self.applied: set[tuple[str, str]] = set()
        self.addresses = 0

    def play(self) -> list[str]:
        """Play every step; returns what differs at the first that does."""
        for node in self.case.get("nodes", self.defaults["nodes"]):
            self.apply(node, self.namespace)
        self.sim.settle()
        before: Tree = {}
        for number, step in enumerate(self.case["steps"]):
            self.api.now += dt.timedelta(seconds=STEP_SECONDS)
            self.play_step(step)
            options = {**self.defaults["compare"], **self.case.get("compare", {}), **step.get("compare", {})}
            form = Form(self.applied, options, is_workload=bool(self.case.get("workloads")), namespace=self.namespace)
            state, found = self.settled(form, before, step["expect"])
            before = state
            if found != step["expect"]:
                return [f"step {number}", *difference(step["expect"], found)]
        return []

    def settled(self, form: Form, before: Tree, wanted: Tree) -> tuple[Tree, Tree]:
        """The state at rest; where it is not what is wanted yet, time passes."""
        for second in range(PATIENCE):
            self.sim.settle()
            while self.case.get("kubelet") == "auto" and self.auto():
                self.sim.settle()
            state = self.state()
            found = form.all(state, before)
            if found == wanted and second > 0:
                break
            self.sim.pass_time(1)
        return state, found

    def state(self) -> Tree:
        return {kind: self.list(kind) for kind in ("EndpointSlice", "Endpoints", "Deployment", "ReplicaSet", "Pod")}

    # -- the API

    def path(self, kind: str, name: str = "", sub: str = "") -> str:
        root, plural, is_namespaced = PATHS[kind]
        parts = [root, *(("namespaces", self.namespace) if is_namespaced else ()), plural, *([name] if name else ())]
        return "/".join([*parts, *([sub] if sub else ())])

    def get(self, kind: str, name: str) -> Tree:
        return self.api.handle("GET", self.path(kind, name))

    def list(self, kind: str) -> list[Tree]:
        return self.api.handle("GET", self.path(kind))["items"]

    def put(self, kind: str, tree: Tree, sub: str = "") -> Tree:
        return self.api.handle("PUT", self.path(kind, tree["metadata"]["name"], sub), tree)

    # -- one step

    def play_step(self, step: Tree) -> None:
        for action in step.get("first") or []:
            self.remove(action)
        for tree in expand(step.get("apply") or []):
            self.apply(json.loads(json.dumps(tree).replace("${ns}", self.namespace)), self.namespace)
        for action in step.get("edit") or []:
            self.edit(action)
        for action in step.get("delete") or []:
            self.remove(action)
        for action in step.get("play") or []:
            self.kubelet(action)

    def apply(self, tree: Tree, namespace: str) -> None:
        tree = copy.deepcopy(tree)
        kind, meta, status = tree["kind"], tree["metadata"], tree.pop("status", None)
        if PATHS[kind][2]:
            meta["namespace"] = namespace
        self.applied.add((kind, meta["name"]))
        try:
            self.api.handle("POST", self.path(kind), tree)
        except RefusedError as refused:
            if refused.code != 409:
                raise
            self.replace(kind, tree)
        if status is not None:
            self.change(kind, meta["name"], lambda live: live.update(status=self.status(status)), "status")

    def change(self, kind: str, name: str, edit: Callable[[Tree], object], sub: str = "") -> None:
        """Read, edit and write back, again when somebody else was faster."""
        for tries_left in range(8, -1, -1):
            live = self.get(kind, name)
            edit(live)
            try:
                self.put(kind, live, sub)
            except RefusedError as refused:
                if refused.code != 409 or not tries_left:
                    raise
            else:
                return

    def replace(self, kind: str, tree: Tree) -> Tree:
        live = self.get(kind, tree["metadata"]["name"])
        if kind in ("Pod", "Node"):
            new = copy.deepcopy(live)
            new["metadata"]["labels"] = tree["metadata"].get("labels") or {}
            new["metadata"]["annotations"] = tree["metadata"].get("annotations") or {}
            return self.put(kind, new)
        new, meta = tree, live["metadata"]
        new["metadata"]["resourceVersion"] = meta["resourceVersion"]
        new["metadata"].setdefault("ownerReferences", meta.get("ownerReferences") or [])
        if kind in ("Deployment", "ReplicaSet"):
            asked = tree["metadata"].get("annotations") or {}
            new["metadata"]["annotations"] = {**(meta.get("annotations") or {}), **asked}
        if kind == "Service" and live["spec"].get("clusterIP") and new["spec"].get("type") != "ExternalName":
            new["spec"].setdefault("clusterIP", live["spec"]["clusterIP"])
        drop_empty(new["metadata"])
        return self.put(kind, new)

    def status(self, status: Tree) -> Tree:
        """Times are written as seconds from now; conditions without one have changed now."""
        status = copy.deepcopy(status)
        for condition in status.get("conditions") or []:
            condition.setdefault("lastTransitionTime", "@0")
        return self.times(status)

    def times(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.times(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.times(one) for one in value]
        if isinstance(value, str) and re.fullmatch(r"@-?\d+", value):
            return (self.api.now + dt.timedelta(seconds=int(value[1:]))).strftime("%Y-%m-%dT%H:%M:%SZ")
        return value

    def matching(self, ref: Tree) -> list[str]:
        if "in_slice_of" in ref:
            full = [one for one in self.list("EndpointSlice") if len(one.get("endpoints") or []) == ref["in_slice_of"]]
            names = sorted(one["targetRef"]["name"] for one in full[0]["endpoints"]) if full else []
            return names[: ref.get("count", 1)]
        if "name" in ref:
            return [ref["name"]]
        wanted = ref.get("labels") or {}
        found = [
            one["metadata"]["name"]
            for one in self.list(ref["kind"])
            if all((one["metadata"].get("labels") or {}).get(key) == value for key, value in wanted.items())
            and one.get("addressType") == ref.get("addressType", one.get("addressType"))
        ]
        return sorted(found)[: ref.get("count")]

    def edit(self, action: Tree) -> None:
        def edit(live: Tree) -> None:
            for pointer, value in (action.get("set") or {}).items():
                put_pointer(live, pointer, json.loads(json.dumps(value).replace("${ns}", self.namespace)))
            for pointer in action.get("unset") or []:
                put_pointer(live, pointer, None)

        for name in self.matching(action):
            self.change(action["kind"], name, edit)

    def remove(self, ref: Tree) -> None:
        body = {"propagationPolicy": ref.get("propagation", "Background")}
        if "grace" in ref:
            body["gracePeriodSeconds"] = ref["grace"]
        if "range" in ref:
            first, last = ref["range"]
            names = [ref["pattern"].replace("${i}", str(i)) for i in range(first, last + 1)]
        else:
            names = self.matching(ref)
        for name in names:
            try:
                self.api.handle("DELETE", self.path(ref["kind"], name), body)
            except RefusedError as refused:
                if refused.code != 404:
                    raise

    # -- the kubelet

    def kubelet(self, action: Tree) -> None:
        for pod in self.pods(action.get("select") or {})[: action.get("count")]:
            name = pod["metadata"]["name"]
            if action.get("finish"):
                self.remove({"kind": "Pod", "name": name, "grace": 0})
                continue
            if action.get("node") and not pod["spec"].get("nodeName"):
                target = {"apiVersion": "v1", "kind": "Node", "name": action["node"]}
                binding = {"metadata": {"name": name, "namespace": self.namespace}, "target": target}
                self.api.handle("POST", self.path("Pod", name, "binding"), binding)
            if "status" in action:
                status = self.status(self.with_address(action["status"], pod))
                self.change("Pod", name, lambda live, status=status: live.update(status=status), "status")

    def with_address(self, status: Tree, pod: Tree) -> Tree:
        text = json.dumps(status)
        if "${ip}" not in text:
            return status
        address = (pod.get("status") or {}).get("podIP")
        if not address:
            self.addresses += 1
            address = f"10.77.{self.addresses // 250}.{self.addresses % 250 + 1}"
        return json.loads(text.replace("${ip}", address))

    def pods(self, select: Tree) -> list[Tree]:
        found = []
        for pod in self.list("Pod"):
            labels = pod["metadata"].get("labels") or {}
            facts = {
                "image": pod["spec"]["containers"][0]["image"],
                "ready": is_ready(pod),
                "terminating": bool(pod["metadata"].get("deletionTimestamp")),
                "unassigned": not pod["spec"].get("nodeName"),
            }
            if all(labels.get(key) == value for key, value in (select.get("labels") or {}).items()) and all(
                facts[key] == value for key, value in select.items() if key != "labels"
            ):
                found.append(pod)
        return sorted(found, key=lambda pod: pod["metadata"]["name"])

    def auto(self) -> bool:
        """Every pod runs and is ready at once, every deleted one goes; returns whether there was anything to do."""
        leaving = self.pods({"terminating": True})
        waiting = self.pods({"terminating": False, "unassigned": True})
        if leaving:
            self.kubelet({"select": {"terminating": True}, "finish": True})
        if waiting:
            node = self.case.get("node", "node-a")
            self.kubelet({"select": {"terminating": False, "unassigned": True}, "node": node, "status": RUNNING})
        return bool(leaving or waiting)


def is_ready(pod: Tree) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def expand(trees: list[Tree]) -> list[Tree]:
    """Unroll `{"range": [first, last], "object": …}`."""
    made: list[Tree] = []
    for tree in trees:
        if "range" not in tree:
            made.append(tree)
            continue
        text = json.dumps(tree["object"])
        for i in range(tree["range"][0], tree["range"][1] + 1):
            filled = text.replace("${i}", str(i)).replace("${hi}", str(i // 250)).replace("${lo}", str(i % 250 + 1))
            made.append(json.loads(filled))
    return made


def put_pointer(tree: Any, pointer: str, value: Any) -> None:
    """Set what a JSON pointer names, or take it out."""
    keys = [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]
    for key in keys[:-1]:
        tree = tree[int(key)] if isinstance(tree, list) else tree.setdefault(key, {})
    last: Any = int(keys[-1]) if isinstance(tree, list) else keys[-1]
    if value is not None:
        tree[last] = value
    elif isinstance(tree, list):
        del tree[last]
    else:
        tree.pop(last, None)


def difference(wanted: Tree, found: Tree) -> list[str]:
    """Where two states differ, line by line."""
    import difflib

    both = [json.dumps(one, indent=1, sort_keys=True).splitlines() for one in (wanted, found)]
    return list(difflib.unified_diff(*both, "wanted", "found", lineterm="", n=3))
