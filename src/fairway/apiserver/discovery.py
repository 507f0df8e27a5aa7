"""Discovery in both forms: `/api`, `/apis`, `/apis/GROUP/VERSION`, and the aggregated lists of KEP-3352."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

from fairway.apiserver.kinds.base import Resource
from fairway.apiserver.kinds.registry import REVIEWS, Registry
from fairway.apiserver.request import Json

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_UPDATES = ("get", "patch", "update")
# Sub-resources whose kind is not the resource's own: (group, version, kind), verbs.
_SPECIAL: dict[str, tuple[tuple[str, str, str], tuple[str, ...]]] = {
    "attach": (("", "", "PodAttachOptions"), ("create", "get")),
    "binding": (("", "", "Binding"), ("create",)),
    "eviction": (("policy", "v1", "Eviction"), ("create",)),
    "exec": (("", "", "PodExecOptions"), ("create", "get")),
    "log": (("", "", "Pod"), ("get",)),
    "portforward": (("", "", "PodPortForwardOptions"), ("create", "get")),
    "scale": (("autoscaling", "v1", "Scale"), _UPDATES),
    "token": (("authentication.k8s.io", "v1", "TokenRequest"), ("create",)),
    "finalize": (("", "", "Namespace"), ("update",)),
}
_PROXY_VERBS = ("create", "delete", "get", "patch", "update")


def _hash(group: str, version: str, kind: str) -> str:
    """storageVersionHash, as the real server computes it."""
    return base64.b64encode(hashlib.sha256(f"{group}/{version}/{kind}".encode()).digest()[:8]).decode()


def _verbs(resource: Resource) -> list[str]:
    verbs = resource.verbs
    if resource.key == "namespaces":
        verbs = tuple(v for v in verbs if v != "deletecollection")
    elif resource.key == "services":
        pass
    return list(verbs)


def _main(resource: Resource) -> Json:
    out: Json = {
        "name": resource.plural,
        "singularName": resource.singular or resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _verbs(resource),
    }
    if resource.short_names:
        out["shortNames"] = list(resource.short_names)
    if resource.categories:
        out["categories"] = list(resource.categories)
    version = "v2" if resource.group == "autoscaling" else resource.storage_version or resource.version
    out["storageVersionHash"] = _hash(resource.stored_group, version, resource.kind)
    return out


def _sub(resource: Resource, name: str) -> Json:
    (group, version, kind), verbs = _SPECIAL.get(name, (("", "", resource.kind), _UPDATES))
    if name == "proxy":
        kind, verbs = f"{resource.kind}ProxyOptions", _PROXY_VERBS
    out: Json = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
    if group:
        out |= {"group": group, "version": version}
    return {**out, "kind": kind, "verbs": list(verbs)}


def rows(registry: Registry, group: str, version: str) -> Iterator[Json]:
    """APIResources of a group version, by name."""
    found: list[Json] = []
    for resource in registry.of(group, version):
        found.append(_main(resource))
        found += [_sub(resource, name) for name in resource.subresources]
    if version == "v1":
        for plural, kind, namespaced in REVIEWS.get(group, ()):
            found.append(
                {
                    "name": plural,
                    "singularName": kind.lower(),
                    "namespaced": namespaced,
                    "kind": kind,
                    "verbs": ["create"],
                }
            )
    if group == "":
        found.append(
            {"name": "bindings", "singularName": "binding", "namespaced": True, "kind": "Binding", "verbs": ["create"]}
        )
    yield from found if group and registry.is_custom(group) else sorted(found, key=lambda r: str(r["name"]))


def resource_list(registry: Registry, group: str, version: str) -> Json:
    group_version = f"{group}/{version}" if group else version
    head: Json = {"kind": "APIResourceList"}
    if group:
        head["apiVersion"] = "v1"
    return {**head, "groupVersion": group_version, "resources": list(rows(registry, group, version))}


def api_versions(address: str) -> Json:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group(registry: Registry, name: str) -> Json:
    """An APIGroup; without kind and apiVersion when it stands in a list."""
    versions = [{"groupVersion": f"{name}/{v}", "version": v} for v in registry.versions(name)]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def group_list(registry: Registry) -> Json:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(registry, g) for g in registry.groups()]}


# ---- aggregated -------------------------------------------------------------------------------------------------
def _aggregated_resources(registry: Registry, name: str, version: str) -> list[Json]:
    main: dict[str, Json] = {}
    for row in rows(registry, name, version):
        plural, _, sub = row["name"].partition("/")
        own = (name, version) if registry.is_custom(name) else ("", "")
        kind = {"group": row.get("group", own[0]), "version": row.get("version", own[1]), "kind": row["kind"]}
        if not sub:
            entry: Json = {
                "resource": plural,
                "responseKind": kind,
                "scope": "Namespaced" if row["namespaced"] else "Cluster",
                "singularResource": row["singularName"],
                "verbs": row["verbs"],
            }
            entry |= {k: row[k] for k in ("shortNames", "categories") if k in row}
            main[plural] = entry
        else:
            child = {"subresource": sub, "responseKind": kind, "verbs": row["verbs"]}
            main[plural].setdefault("subresources", []).append(child)
    return list(main.values())


def aggregated(registry: Registry, names: list[str]) -> Json:
    """APIGroupDiscoveryList of the groups named."""
    items: list[Json] = []
    for name in names:
        versions: list[Any] = [
            {"version": v, "resources": _aggregated_resources(registry, name, v), "freshness": "Current"}
            for v in registry.versions(name)
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": versions})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }
