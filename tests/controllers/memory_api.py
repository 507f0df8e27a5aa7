"""A small API server in memory, for the controllers' tests: what they and the cases rely on, and nothing else.

Objects are trees. Time, uids and versions are counted, so that two runs are the same to the byte.
"""

from __future__ import annotations

import copy
import datetime as dt
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from fairway.controllers.requests import MERGE_PATCH

Tree = dict[str, Any]
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PATH = re.compile(
    r"^/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))(?:/namespaces/(?P<namespace>[^/]+)(?=/(?!status|finalize)[a-z]))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?$"
)
KINDS = {
    "namespaces": "Namespace",
    "nodes": "Node",
    "pods": "Pod",
    "services": "Service",
    "endpoints": "Endpoints",
    "endpointslices": "EndpointSlice",
    "replicasets": "ReplicaSet",
    "replicationcontrollers": "ReplicationController",
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "daemonsets": "DaemonSet",
    "controllerrevisions": "ControllerRevision",
    "events": "Event",
    "leases": "Lease",
    "configmaps": "ConfigMap",
    "serviceaccounts": "ServiceAccount",
    "servicecidrs": "ServiceCIDR",
    "ipaddresses": "IPAddress",
    "networkpolicies": "NetworkPolicy",
}
GENERATION = ("EndpointSlice", "ReplicaSet", "ReplicationController", "Deployment", "StatefulSet", "DaemonSet")


class RefusedError(Exception):
    """An answer other than 2xx."""

    def __init__(self, code: int, reason: str, message: str = "") -> None:
        super().__init__(f"{code} {reason} {message}")
        self.code, self.reason, self.message = code, reason, message


class Place(NamedTuple):
    """Where an object is kept."""

    version: str
    plural: str
    namespace: str
    name: str

    @property
    def kind(self) -> str:
        return KINDS[self.plural]


class MemoryApi:
    """Requests in, trees out; `listener(event, tree)` hears of every change."""

    def __init__(self) -> None:
        self.now = START
        self.objects: dict[Place, Tree] = {}
        self.listeners: list[Callable[[str, Place, Tree], None]] = []
        self.refuse: Callable[[str, str], RefusedError | None] = lambda _method, _path: None
        self.writes = 0
        self._version = 0
        self._uid = 0
        self._address = 0

    def stamp(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    # -- requests

    def handle(self, method: str, path: str, body: Tree | None = None, content_type: str = "") -> Tree:
        """One request. Raises RefusedError."""
        refusal = self.refuse(method, path)
        if refusal is not None:
            raise refusal
        match = PATH.match(path)
        if match is None:
            raise RefusedError(404, "NotFound", path)
        place = Place(match["core"] or match["group"], match["plural"], match["namespace"] or "", match["name"] or "")
        body = copy.deepcopy(body or {})
        if not place.name:
            return self._collection(method, place, body)
        if method == "POST" and match["sub"] == "binding":
            return self._bind(place, body)
        held = self._get(place)
        if method == "GET":
            return copy.deepcopy(held)
        if method == "DELETE":
            return self._delete(place, held, body)
        if match["sub"] == "finalize":
            held["spec"]["finalizers"] = (body.get("spec") or {}).get("finalizers") or []
            gone = held["metadata"].get("deletionTimestamp") and not held["spec"]["finalizers"]
            if gone:
                self._remove(place, held)
            return held if gone else self.touch(place)
        if content_type == MERGE_PATCH:
            body = merge(copy.deepcopy(held), body)
        return self._update(place, held, body, match["sub"] or "")

    def touch(self, place: Place) -> Tree:
        """Tell of an object that was changed by hand."""
        return self._store("MODIFIED", place, self.objects[place])

    def _get(self, place: Place) -> Tree:
        held = self.objects.get(place)
        if held is None:
            raise RefusedError(404, "NotFound", f'{place.plural} "{place.name}" not found')
        return held

    def _collection(self, method: str, place: Place, body: Tree) -> Tree:
        if method == "POST":
            return self._create(place, body)
        found = [
            copy.deepcopy(one)
            for at, one in sorted(self.objects.items())
            if at.plural == place.plural and place.namespace in ("", at.namespace)
        ]
        if method == "DELETE":
            for one in found:
                meta = one["metadata"]
                at = place._replace(namespace=meta.get("namespace", ""), name=meta["name"])
                self._delete(at, self.objects[at], body)
        return {"kind": f"{place.kind}List", "metadata": {"resourceVersion": str(self._version)}, "items": found}

    # -- writes

    def _create(self, place: Place, body: Tree) -> Tree:
        meta = body.setdefault("metadata", {})
        self._uid += 1
        name = meta.get("name") or f"{meta.get('generateName', '')}{self._uid:05x}"
        place = place._replace(name=name)
        if place in self.objects:
            raise RefusedError(409, "AlreadyExists", f'{place.plural} "{name}" already exists')
        meta.update(name=name, uid=f"uid-{self._uid:06d}", creationTimestamp=self.stamp(), generation=1)
        if place.namespace:
            meta["namespace"] = place.namespace
        body.setdefault("kind", place.kind)
        body.setdefault("apiVersion", place.version)
        body.pop("status", None)
        self._default(body)
        self._check(body)
        return self._store("ADDED", place, body)

    def _update(self, place: Place, held: Tree, new: Tree, sub: str) -> Tree:
        asked, kept = new.get("metadata", {}), held["metadata"]
        if asked.get("resourceVersion", kept["resourceVersion"]) != kept["resourceVersion"]:
            raise RefusedError(409, "Conflict", "the object has been modified")
        if asked.get("uid", kept["uid"]) != kept["uid"]:
            raise RefusedError(409, "Conflict", "Precondition failed: UID in precondition")
        if sub == "status":
            merged = {**copy.deepcopy(held), "status": new.get("status", {})}
            merged["metadata"]["annotations"] = asked.get("annotations", kept.get("annotations"))
        else:
            merged = {**new, "kind": held["kind"], "apiVersion": held["apiVersion"]}
            if "status" in held:
                merged["status"] = copy.deepcopy(held["status"])
        fixed = ("name", "namespace", "uid", "creationTimestamp", "generateName", "generation", "deletionTimestamp")
        merged["metadata"] = {**merged["metadata"], **{key: kept[key] for key in fixed if key in kept}}
        drop_empty(merged["metadata"])
        self._default(merged)
        self._check(merged)
        if _content(merged) == _content(held):
            return copy.deepcopy(held)
        if place.kind in GENERATION and _generation_part(merged) != _generation_part(held):
            merged["metadata"]["generation"] += 1
        if _is_over(merged):
            self._remove(place, merged)
            return merged
        return self._store("MODIFIED", place, merged)

    def _delete(self, place: Place, held: Tree, options: Tree) -> Tree:
        meta = held["metadata"]
        conditions = options.get("preconditions") or {}
        if any(conditions.get(key, meta[key]) != meta[key] for key in ("uid", "resourceVersion")):
            raise RefusedError(409, "Conflict", "Precondition failed")
        extra = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.get("propagationPolicy", ""))
        new = copy.deepcopy(held)
        finalizers = new["metadata"].setdefault("finalizers", [])
        if extra and extra not in finalizers:
            finalizers.append(extra)
        grace = options.get("gracePeriodSeconds", 30 if place.kind == "Pod" else 0)
        is_placed = place.kind == "Pod" and bool(held["spec"].get("nodeName"))
        has_ended = (held.get("status") or {}).get("phase") in ("Failed", "Succeeded")
        waits = is_placed and grace > 0 and not has_ended
        if not finalizers and not waits:
            return self._remove(place, held)
        if meta.get("deletionTimestamp") and grace and not extra:
            return copy.deepcopy(held)
        due = self.now + dt.timedelta(seconds=grace if waits else 0)
        new["metadata"]["deletionTimestamp"] = due.strftime("%Y-%m-%dT%H:%M:%SZ")
        new["metadata"]["deletionGracePeriodSeconds"] = grace if waits else 0
        drop_empty(new["metadata"])
        return self._store("MODIFIED", place, new)

    def _remove(self, place: Place, held: Tree) -> Tree:
        del self.objects[place]
        self._version += 1
        self.writes += 1
        gone = copy.deepcopy(held)
        gone["metadata"]["resourceVersion"] = str(self._version)
        for listener in self.listeners:
            listener("DELETED", place, gone)
        return {"kind": "Status", "status": "Success", "details": {"uid": held["metadata"]["uid"]}}

    def _bind(self, place: Place, body: Tree) -> Tree:
        held = copy.deepcopy(self._get(place))
        held["spec"]["nodeName"] = body["target"]["name"]
        return self._store("MODIFIED", place, held)

    def _store(self, event: str, place: Place, tree: Tree) -> Tree:
        self._version += 1
        self.writes += 1
        tree["metadata"]["resourceVersion"] = str(self._version)
        self.objects[place] = tree
        for listener in self.listeners:
            listener(event, place, copy.deepcopy(tree))
        return copy.deepcopy(tree)

    # -- what a server adds and refuses

    def _check(self, tree: Tree) -> None:
        if tree["kind"] != "Endpoints":
            return
        for subset in tree.get("subsets") or []:
            for address in (*(subset.get("addresses") or ()), *(subset.get("notReadyAddresses") or ())):
                if address.get("nodeName") == "":
                    raise RefusedError(422, "Invalid", "nodeName: must not be empty")

    def _default(self, tree: Tree) -> None:
        spec = tree.get("spec") or {}
        if tree["kind"] in ("Deployment", "StatefulSet", "DaemonSet"):
            tree.setdefault("status", {})
        match tree["kind"]:
            case "Service":
                self._default_service(spec)
            case "Pod":
                tree.setdefault("status", {"phase": "Pending"})
                for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
                    for port in container.get("ports") or ():
                        port.setdefault("protocol", "TCP")
            case "EndpointSlice":
                for port in tree.get("ports") or ():
                    port.setdefault("name", "")
                    port.setdefault("protocol", "TCP")
            case "Endpoints":
                for port in (port for subset in tree.get("subsets") or () for port in subset.get("ports") or ()):
                    port.setdefault("protocol", "TCP")
            case "ReplicaSet" | "ReplicationController":
                spec.setdefault("replicas", 1)
                tree.setdefault("status", {"replicas": 0})
            case "Deployment":
                self._default_deployment(spec)

    @staticmethod
    def _default_deployment(spec: Tree) -> None:
        spec.setdefault("replicas", 1)
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)
        strategy = spec.setdefault("strategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxSurge", "25%")
            rolling.setdefault("maxUnavailable", "25%")

    def _default_service(self, spec: Tree) -> None:
        if spec.setdefault("type", "ClusterIP") == "ExternalName":
            return
        for port in spec.get("ports") or ():
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port["port"])
        policy = spec.setdefault("ipFamilyPolicy", "SingleStack")
        is_lone_headless = spec.get("clusterIP") == "None" and not spec.get("selector")
        families = spec.setdefault("ipFamilies", ["IPv4"])
        if policy != "SingleStack" or (is_lone_headless and "ipFamilies" not in spec):
            families.extend(one for one in ("IPv4", "IPv6") if one not in families)
        elif len(families) > 1:
            del families[1:]
        if not spec.get("clusterIP"):
            self._address += 1
            v4 = f"172.30.{self._address // 250}.{self._address % 250 + 1}"
            spec["clusterIP"] = f"fd00:172:30::{self._address:x}" if families[0] == "IPv6" else v4


def _is_over(tree: Tree) -> bool:
    """Nothing keeps a deleted object any more."""
    meta = tree["metadata"]
    is_waiting = meta.get("finalizers") or meta.get("deletionGracePeriodSeconds")
    is_waiting = is_waiting or (tree.get("spec") or {}).get("finalizers")
    return bool(meta.get("deletionTimestamp")) and not is_waiting


def _content(tree: Tree) -> Tree:
    meta = {key: value for key, value in tree["metadata"].items() if key != "resourceVersion" and value}
    return {**{key: value for key, value in tree.items() if key != "metadata"}, "metadata": meta}


def _generation_part(tree: Tree) -> Tree:
    part = {key: value for key, value in tree.items() if key not in ("metadata", "status")}
    if tree["kind"] == "EndpointSlice":
        part["labels"] = tree["metadata"].get("labels") or {}
    if tree["kind"] == "Deployment":
        part["annotations"] = tree["metadata"].get("annotations") or {}
    return part


def drop_empty(tree: Tree) -> None:
    """The API leaves out empty maps and lists."""
    for key in [key for key, value in tree.items() if value in ({}, [], None)]:
        del tree[key]


def merge(tree: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    out = tree if isinstance(tree, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge(out.get(key), value)
    return out
