"""The real kube-proxy in nftables mode, in this thread's network namespace, and the API server that it follows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import netns
from fairway.values.address import Family
from fake_api import FakeApi
from flow_cases import Tree
from flow_command import Command, marker
from peer import peer

KUBE_PROXY = peer("kube-proxy")
TABLES = {Family.IPV4: "ip", Family.IPV6: "ip6"}


class DefaultingApi(FakeApi):
    """Fills in what a real server fills in and kube-proxy counts on."""

    def put(self, collection: str, tree: Mapping[str, Any]) -> str:
        spec = dict(tree.get("spec", {}))
        if spec.get("clusterIPs"):
            spec.setdefault("ipFamilies", ["IPv6" if ":" in ip else "IPv4" for ip in spec["clusterIPs"]])
        if spec.get("sessionAffinity") == "ClientIP":
            spec.setdefault("sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}})
        made = {**tree, "spec": spec} if spec else dict(tree)
        for holder in (spec, made):
            if "ports" in holder:
                holder["ports"] = [{"name": "", "protocol": "TCP", **port} for port in holder["ports"] or ()]
        return super().put(collection, made)


class KubeProxy(Command):
    """As `Command`, but kube-proxy."""

    def __init__(self, api: FakeApi, configuration: Tree, folder: Path) -> None:
        alone = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
        connection = {"contentType": "application/json"}
        changed = {**configuration, "clientConnection": connection, "conntrack": alone}
        super().__init__(api, changed, folder, program=(KUBE_PROXY,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        for word in TABLES.values():
            netns.run("nft", "-f", "-", stdin=f"add table {word} kube-proxy\ndelete table {word} kube-proxy\n")

    def holds(self, family: Family, number: int) -> bool:
        address = marker(family)
        try:
            text = netns.run("nft", "list", "map", TABLES[family], "kube-proxy", "service-ips")
        except RuntimeError:
            return False
        return f"{address} . tcp . {number} " in text
