"""The form in which the endpoint cases write what is expected: names, uids and order taken out, sizes if asked for."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

Tree = dict[str, Any]
TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def ordered(values: list[Any]) -> list[Any]:
    return sorted(values, key=text_of)


def text_of(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: clean(one) for key, one in value.items() if one is not None}
    return [clean(one) for one in value] if isinstance(value, list) else value


def named_ns(value: Any, namespace: str) -> Any:
    """The case's namespace reads NS."""
    if isinstance(value, dict):
        return {key: named_ns(one, namespace) for key, one in value.items()}
    if isinstance(value, list):
        named = [named_ns(one, namespace) for one in value]
        return ordered(named) if any(isinstance(one, dict) for one in named) else named
    return re.sub(rf"\b{namespace}\b", "NS", value) if isinstance(value, str) else value


class Form:
    """Turns a state into what a case expects, with the case's options."""

    def __init__(
        self, applied: set[tuple[str, str]], options: Tree, *, is_workload: bool, namespace: str = "case"
    ) -> None:
        self.applied, self.options, self.is_workload, self.namespace = applied, options, is_workload, namespace

    def all(self, state: Tree, before: Tree) -> Tree:
        out = {
            "slices": self.slices(state["EndpointSlice"]),
            "endpoints": ordered([self.endpoints(one) for one in state["Endpoints"]]),
        }
        if self.is_workload:
            if self.options.get("endpoints") is False:
                out = {}
            out["other"] = self.workloads(state)
        if self.options.get("moves"):
            out["moves"] = moves(state, before)
        return named_ns(out, self.namespace)

    @property
    def is_exact(self) -> bool:
        return self.options.get("packing", "exact") == "exact"

    def annotations(self, meta: Tree) -> Tree:
        out = dict(meta.get("annotations") or {})
        if TRIGGER in out:
            out[TRIGGER] = "<time>" if TIME.fullmatch(out[TRIGGER]) else f"<bad time {out[TRIGGER]}>"
            if self.options.get("trigger_time") is False:
                del out[TRIGGER]
        return clean(out)

    def slice_name(self, meta: Tree) -> str:
        if ("EndpointSlice", meta["name"]) in self.applied:
            return meta["name"]
        service = (meta.get("labels") or {}).get("kubernetes.io/service-name", "")
        return f"{service}-*" if meta["name"].startswith(f"{service}-") else "*"

    # -- slices

    def slices(self, items: list[Tree]) -> list[Any]:
        out = [self.slice(one) for one in items]
        if self.is_exact:
            return ordered(out)
        groups: dict[str, Tree] = {}
        for one in out:
            lines = [self.line(endpoint) for endpoint in one.pop("endpoints")]
            alike = text_of({key: value for key, value in one.items() if key not in ("hint_counts", "annotations")})
            group = groups.setdefault(alike, {**one, "sizes": [], "lines": []})
            group["sizes"].append(len(lines))
            group["lines"] += lines
        return ordered([self.group(one) for one in groups.values()])

    def group(self, group: Tree) -> Tree:
        group.pop("annotations", None)
        group["sizes"].sort(reverse=True)
        group["lines"].sort()
        if self.options.get("lines") == "count":
            group["lines"] = len(group["lines"])
        if self.options["packing"] == "multiset":
            most = self.options.get("max", 100)
            group["slices"] = {"max": most, "within": max(group.pop("sizes")) <= most}
        return group

    def slice(self, tree: Tree) -> Tree:
        meta = tree["metadata"]
        endpoints = ordered([endpoint_form(one) for one in tree.get("endpoints") or []])
        out = {
            "name": self.slice_name(meta),
            "labels": clean(meta.get("labels") or {}),
            "annotations": self.annotations(meta),
            "owners": owners(meta),
            "addressType": tree["addressType"],
            "ports": ordered([clean(one) for one in tree.get("ports") or []]),
        }
        if self.options.get("hints") == "counts":
            out["hint_counts"] = dict(Counter(f"{one.get('zone')} -> {taken_hints(one)}" for one in endpoints))
        if self.options.get("hints") == "balance":
            out["hint_counts"] = dict(Counter(taken_hints(one) for one in endpoints))
        return {**out, "endpoints": endpoints}

    def line(self, endpoint: Tree) -> str:
        conditions = endpoint["conditions"]
        letters = (("R", "ready"), ("S", "serving"), ("T", "terminating"))
        flags = "".join(letter if conditions.get(name) else "-" for letter, name in letters)
        hints = "" if self.options.get("hints") == "counts" or "hints" not in endpoint else text_of(endpoint["hints"])
        pod = (endpoint.get("targetRef") or {}).get("name")
        parts = (",".join(endpoint["addresses"]), flags, pod, endpoint.get("nodeName"), endpoint.get("zone"), hints)
        return " ".join(one for one in parts if one)

    # -- Endpoints

    def endpoints(self, tree: Tree) -> Tree:
        meta = tree["metadata"]
        return {
            "name": meta["name"],
            "labels": clean(meta.get("labels") or {}),
            "annotations": self.annotations(meta),
            "owners": owners(meta),
            "subsets": ordered([self.subset(one) for one in tree.get("subsets") or []]),
        }

    def subset(self, tree: Tree) -> Tree:
        out: Tree = {"ports": ordered([clean(one) for one in tree.get("ports") or []])}
        for field in ("addresses", "notReadyAddresses"):
            values = ordered([self.address(one) for one in tree.get(field) or []])
            out[field] = {"count": len(values)} if self.options.get("addresses") == "count" else values
        return out

    def address(self, tree: Tree) -> Any:
        if not self.is_exact:
            parts = (tree["ip"], (tree.get("targetRef") or {}).get("name"), tree.get("nodeName"))
            return " ".join(str(one) for one in parts if one)
        out = {key: tree[key] for key in ("ip", "hostname", "nodeName") if tree.get(key)}
        if tree.get("targetRef"):
            out["targetRef"] = reference(tree["targetRef"])
        return out

    # -- workloads

    def workloads(self, state: Tree) -> Tree:
        sets = sorted(state["ReplicaSet"], key=_by_revision)
        hashes: dict[str, str] = {}
        for one in sets:
            digest = (one["metadata"].get("labels") or {}).get("pod-template-hash")
            if digest and digest not in hashes:
                hashes[digest] = f"<hash{len(hashes) + 1}>"
        for pod in state["Pod"]:
            digest = (pod["metadata"].get("labels") or {}).get("pod-template-hash")
            if digest:
                hashes.setdefault(digest, "<gone>")
        out = {
            "deployments": [self.deployment(one) for one in state["Deployment"]],
            "replicasets": [self.replica_set(one) for one in sets],
            "pods": [self.pod(one) for one in state["Pod"]],
        }
        return {key: ordered(value) for key, value in clean(_swapped(out, hashes)).items()}

    def deployment(self, tree: Tree) -> Tree:
        return {
            "name": tree["metadata"]["name"],
            "annotations": dict(tree["metadata"].get("annotations") or {}),
            "replicas": tree["spec"].get("replicas"),
            "status": status_form(tree),
        }

    def replica_set(self, tree: Tree) -> Tree:
        meta, template = tree["metadata"], tree["spec"]["template"]
        given = template["metadata"].get("annotations") or {}
        restarted = "kubectl.kubernetes.io/restartedAt"
        return {
            "name": meta["name"],
            "labels": meta.get("labels") or {},
            "annotations": dict(meta.get("annotations") or {}),
            "owners": owners(meta),
            "selector": tree["spec"]["selector"],
            "image": template["spec"]["containers"][0]["image"],
            "template_labels": template["metadata"].get("labels") or {},
            "template_annotations": {key: "<time>" if key == restarted else value for key, value in given.items()},
            "replicas": tree["spec"].get("replicas"),
            "status": status_form(tree),
        }

    def pod(self, tree: Tree) -> Tree:
        meta, name = tree["metadata"], tree["metadata"]["name"]
        owner = next((one["name"] for one in meta.get("ownerReferences") or []), None)
        if ("Pod", name) not in self.applied and owner and name.startswith(f"{owner}-"):
            name = f"{owner}-*"
        status = tree.get("status") or {}
        labels = meta.get("labels") or {}
        return {
            "name": name,
            "labels": {key: value for key, value in labels.items() if not key.startswith("topology.kubernetes.io/")},
            "owners": owners(meta),
            "node": tree["spec"].get("nodeName", ""),
            "phase": status.get("phase"),
            "terminating": bool(meta.get("deletionTimestamp")),
            "ready": any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or []),
        }


def owners(meta: Tree) -> list[str]:
    refs = meta.get("ownerReferences") or []
    return ordered([f"{one['kind']}/{one['name']}" + (" controller" if one.get("controller") else "") for one in refs])


def reference(tree: Tree) -> Tree:
    return clean({key: tree.get(key) for key in ("kind", "namespace", "name") if tree.get(key)})


def endpoint_form(tree: Tree) -> Tree:
    out = {key: tree[key] for key in ("hostname", "nodeName", "zone", "deprecatedTopology") if tree.get(key)}
    out["addresses"] = tree.get("addresses") or []
    out["conditions"] = tree.get("conditions") or {}
    if tree.get("targetRef"):
        out["targetRef"] = reference(tree["targetRef"])
    hints = tree.get("hints") or {}
    short = {
        shown: sorted(one["name"] for one in hints[field])
        for shown, field in (("zones", "forZones"), ("nodes", "forNodes"))
        if hints.get(field)
    }
    if short:
        out["hints"] = short
    return clean(out)


def taken_hints(endpoint: Tree) -> str:
    return text_of(endpoint.pop("hints")) if "hints" in endpoint else "none"


def status_form(tree: Tree) -> Tree:
    status = tree.get("status") or {}
    left_out = ("observedGeneration", "conditions", "collisionCount")
    out = {key: value for key, value in status.items() if value and key not in left_out}
    out["observed"] = status.get("observedGeneration") == tree["metadata"].get("generation")
    shown = ("type", "status", "reason")
    out["conditions"] = ordered(
        [{key: one[key] for key in shown if key in one} for one in status.get("conditions") or []]
    )
    return out


def moves(state: Tree, before: Tree) -> Tree:
    """What a change did to the slices that were there."""

    def places(of: Tree) -> dict[str, str]:
        slices = of.get("EndpointSlice", [])
        return {
            at: one["metadata"]["uid"] for one in slices for e in one.get("endpoints") or [] for at in e["addresses"]
        }

    def versions(of: Tree) -> dict[str, str]:
        return {one["metadata"]["uid"]: one["metadata"]["resourceVersion"] for one in of.get("EndpointSlice", [])}

    was, now, old, new = places(before), places(state), versions(before), versions(state)
    return {
        "moved": sum(1 for one in was if one in now and was[one] != now[one]),
        "made": len(new.keys() - old.keys()),
        "removed": len(old.keys() - new.keys()),
        "rewritten": sum(1 for uid in old if uid in new and old[uid] != new[uid]),
    }


def _by_revision(tree: Tree) -> tuple[str, int, str]:
    meta = tree["metadata"]
    revision = (meta.get("annotations") or {}).get("deployment.kubernetes.io/revision", "0")
    return (meta["creationTimestamp"], int(revision or 0), meta["name"])


def _swapped(value: Any, hashes: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _swapped(one, hashes) for key, one in value.items()}
    if isinstance(value, list):
        return [_swapped(one, hashes) for one in value]
    if isinstance(value, str):
        for digest, shown in hashes.items():
            value = value.replace(digest, shown)
        return re.sub(r"(created replica set|ReplicaSet) \"[^\"]*\"", r'\1 "…"', value)
    return value
