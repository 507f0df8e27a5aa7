"""Services by every three choices together: what random draws may never put side by side.

A choice is one field's value, or one arrangement of endpoints. Any choices for any three different fields meet in at
least one Service, always in the same one; each configuration of the node gets all Services.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fairway.values.address import Address
from fairway.values.packet import Packet
from fairway.values.protocol import Protocol
from flow_cases import DEFAULTS, Tree
from flow_random import NODE, ZONE, Cluster

HAIRPIN = "10.0.1.1"
"""A pod that is an endpoint of every Service that has local ones."""
SOURCES = ("10.0.0.2", HAIRPIN, "192.168.0.2", "192.168.1.2", "203.0.113.2", "203.0.113.130")
"""Beside the Service's own load balancer addresses (rule 14)."""
BACKEND_PORT, FIRST_PORT, FIRST_NODE_PORT = 8080, 10000, 31000
SERVICE_RANGE = "172.30.0.0/16"
_STRENGTH = 3
"""How many choices meet."""
Row = Mapping[str, Any]


def _endpoint(host: int, node: str | None, **more: Any) -> Tree:
    """`zones` and `nodes` are hints; everything else is a condition."""
    hints = {
        field: [{"name": name} for name in more.pop(key)]
        for key, field in (("zones", "forZones"), ("nodes", "forNodes"))
        if key in more
    }
    made: dict[str, Any] = {"addresses": [f"10.0.1.{host}"], "conditions": more}
    if node:
        made["nodeName"] = node
    return {**made, "hints": hints} if hints else made


_LOCAL, _LOCAL2 = _endpoint(1, NODE), _endpoint(2, NODE, ready=True)
_REMOTE, _REMOTE2, _NOWHERE = _endpoint(3, "other"), _endpoint(4, "third"), _endpoint(5, None)
_ENDING = {"ready": False, "serving": True, "terminating": True}
_GONE = {"ready": False, "serving": False, "terminating": True}
_UNREADY = {"ready": False, "serving": True, "terminating": False}
_HERE, _THERE = {"zones": [ZONE]}, {"zones": ["zone-b"]}

ENDPOINTS: Mapping[str, Sequence[Sequence[Tree]]] = {
    "none": [],
    "empty slice": [[]],
    "local, without a port": [[_LOCAL]],
    "local": [[_LOCAL]],
    "local and remote": [[_LOCAL, _LOCAL2, _REMOTE]],
    "remote": [[_REMOTE, _REMOTE2, _NOWHERE]],
    "in two slices, once local": [[_endpoint(1, "other"), _REMOTE], [_LOCAL]],
    "in two slices, once unready": [[_endpoint(3, "other", **_UNREADY)], [_REMOTE, _LOCAL]],
    "unready but serving": [[_endpoint(1, NODE, **_UNREADY), _endpoint(3, "other", **_UNREADY)]],
    "all ending": [[_endpoint(1, NODE, **_ENDING), _endpoint(3, "other", **_ENDING)]],
    "ending here, ready there": [[_endpoint(1, NODE, **_ENDING), _REMOTE]],
    "ready here, ending there": [[_LOCAL, _endpoint(3, "other", **_ENDING)]],
    "gone here, ending there": [[_endpoint(1, NODE, **_GONE), _endpoint(3, "other", **_ENDING)]],
    "ready and ending": [[_endpoint(1, NODE, ready=True, serving=True, terminating=True), _REMOTE]],
    "zones": [[_endpoint(1, NODE, **_HERE), _endpoint(3, "other", **_THERE), _endpoint(4, "third", **_HERE)]],
    "zones, none of them here": [[_endpoint(1, NODE, **_THERE), _endpoint(3, "other", **_THERE)]],
    "zones, one missing": [[_endpoint(1, NODE, **_HERE), _REMOTE, _endpoint(4, "third", **_THERE)]],
    "zones, the missing one not ready": [[_endpoint(1, NODE, **_THERE), _endpoint(3, "other", **_UNREADY),
                                          _endpoint(4, "third", **_HERE)]],
    "zones, only an ending one here": [[_endpoint(1, NODE, **_ENDING, **_HERE), _endpoint(3, "other", **_THERE)]],
    "nodes": [[_endpoint(1, NODE, nodes=[NODE], **_HERE), _endpoint(4, "third", nodes=["third"], **_HERE)]],
    "nodes, a remote one for here": [[_endpoint(1, NODE, nodes=["other"], **_THERE),
                                      _endpoint(3, "other", nodes=[NODE, "third"], **_HERE)]],
    "nodes, one missing": [[_endpoint(1, NODE, nodes=[NODE], **_HERE), _endpoint(3, "other", **_HERE),
                            _endpoint(4, "third", nodes=["third"], **_THERE)]],
    "nodes, not this one": [[_endpoint(3, "other", nodes=["other"], **_HERE),
                             _endpoint(4, "third", nodes=["third"], **_THERE)]],
}  # fmt: skip

CHOICES: Mapping[str, Sequence[Any]] = {
    "endpoints": list(ENDPOINTS),
    "type": ["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer without node ports"],
    "internal": ["Cluster", "Local"],
    "external": ["Cluster", "Local"],
    "externalIPs": [[], ["1.2.{high}.{low}"], ["192.168.1.2"]],
    "ingress": [["VIP"], ["Proxy"], [None, "VIP"], []],
    "ranges": [[], ["203.0.113.0/25"], ["10.0.0.0/8"], [" 192.168.0.0/24 ", "203.0.113.128/25"]],
    "affinity": ["None", "ClientIP"],
    "protocol": ["TCP", "UDP"],
}
CONFIGURATIONS: Sequence[Row] = (
    {"pods": "10.0.0.0/8", "node ports": ["0.0.0.0/0", "::/0"], "masqueradeAll": False, "zone": ZONE, "guarded": False},
    {"pods": "", "node ports": ["primary"], "masqueradeAll": False, "zone": "zone-b", "guarded": True},
    {"pods": "10.0.0.0/8", "node ports": ["192.168.1.0/24"], "masqueradeAll": True, "zone": None, "guarded": True},
    {"pods": "", "node ports": ["192.168.0.0/24"], "masqueradeAll": True, "zone": ZONE, "guarded": False},
    {"pods": "10.0.0.0/24", "node ports": [], "masqueradeAll": False, "zone": ZONE, "guarded": True},
)


def rows() -> list[Row]:
    """Combinations in which every three choices occur: greedily, each row takes the value that covers most."""
    missing = {
        frozenset(zip(fields, numbers, strict=True))
        for fields in itertools.combinations(CHOICES, _STRENGTH)
        for numbers in itertools.product(*(range(len(CHOICES[field])) for field in fields))
    }
    made: list[Row] = []
    while missing:
        row = dict(min(missing, key=sorted))
        for field, values in CHOICES.items():
            if field not in row:
                row[field] = max(range(len(values)), key=lambda n: (_covered(row, (field, n), missing), -n))
        missing -= {frozenset(some) for some in itertools.combinations(row.items(), _STRENGTH)}
        made.append({field: CHOICES[field][number] for field, number in row.items()})
    return made


def _covered(row: Mapping[str, int], choice: tuple[str, int], missing: set[frozenset[tuple[str, int]]]) -> int:
    others = itertools.combinations(row.items(), _STRENGTH - 1)
    return sum(frozenset((choice, *some)) in missing for some in others)


class Matrix(NamedTuple):
    """All Services on one node."""

    cluster: Cluster
    questions: Sequence[tuple[Sequence[Tree], Packet]]
    """Of each Service, what decides and what is asked."""

    def sample(self, first: int, step: int) -> Sequence[tuple[Sequence[Tree], Packet]]:
        """Every so many-th question."""
        return self.questions[first::step]


@functools.cache
def matrices() -> Sequence[Matrix]:
    """One for each configuration, with a Service for each row."""
    services = [objects(number, row) for number, row in enumerate(rows(), 1)]
    questions = [(trees, asked) for trees in services for asked in _questions(trees[0])]
    made = []
    for row in CONFIGURATIONS:
        labels = {"topology.kubernetes.io/zone": row["zone"]} if row["zone"] else {}
        address = {"type": "InternalIP", "address": DEFAULTS["node"]["primaryIP"]["IPv4"]}
        meta = {"name": NODE, "labels": {**labels, "kubernetes.io/hostname": NODE}}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": {"addresses": [address]}}
        every = [*_ranges(row), *(tree for trees in services for tree in trees)]
        made.append(Matrix(Cluster(_configuration(row), node, every), questions))
    return made


def _questions(service: Tree) -> Iterator[Packet]:
    """Every address of a Service from everywhere, and the port beside it."""
    spec = service["spec"]
    (port,) = spec["ports"]
    balancers = [row["ip"] for row in service["status"]["loadBalancer"]["ingress"]]
    targets = [(ip, port["port"]) for ip in (*spec["clusterIPs"], *spec["externalIPs"], *balancers)]
    if port["port"] == 80:
        targets += [(ip, 81) for ip in spec["clusterIPs"]]
    if "nodePort" in port:
        targets += [("192.168.0.2", port["nodePort"]), ("192.168.1.2", port["nodePort"])]
    protocol = Protocol[port["protocol"]]
    for (destination, number), source in itertools.product(targets, (*SOURCES, *balancers[:1])):
        yield Packet(Address.parse(source), Address.parse(destination), protocol, number)


def is_sticky(trees: Sequence[Tree], found: set[tuple[str, str, bool]], promised: set[tuple[str, str, bool]]) -> bool:
    """Whether one backend only was met because the Service has affinity."""
    return trees[0]["spec"]["sessionAffinity"] == "ClientIP" and len(found) == 1 and found <= promised


def _configuration(row: Row) -> Tree:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE,
        "clusterCIDR": row["pods"],
        "detectLocalMode": "ClusterCIDR" if row["pods"] else "",
        "bindAddress": "0.0.0.0",
        "nodePortAddresses": row["node ports"],
        "nftables": {"masqueradeAll": row["masqueradeAll"], "minSyncPeriod": "0s"},
    }


def _ranges(row: Row) -> Sequence[Tree]:
    if not row["guarded"]:
        return ()
    meta = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}}
    return [{**meta, "spec": {"cidrs": [SERVICE_RANGE]}}]


def objects(number: int, row: Row) -> list[Tree]:
    """The Service of a row and its slices."""
    meta = {"namespace": "ns", "name": f"svc{number}", "uid": f"u{number}", "creationTimestamp": "2026-01-01T00:00:00Z"}
    kind, _, without = row["type"].partition(" without ")
    shared = row["externalIPs"] == ["192.168.1.2"]
    port = {"name": "p", "port": FIRST_PORT + number if shared else 80, "protocol": row["protocol"]}
    if kind != "ClusterIP" and not without:
        port["nodePort"] = FIRST_NODE_PORT + number
    high, low = divmod(number, 250)
    ip = f"172.30.{high + 1}.{low + 1}"
    spec = {
        "type": kind,
        "clusterIP": ip,
        "clusterIPs": [ip],
        "ipFamilies": ["IPv4"],
        "ports": [port],
        "internalTrafficPolicy": row["internal"],
        "externalTrafficPolicy": row["external"],
        "externalIPs": [text.format(high=high + 1, low=low + 1) for text in row["externalIPs"]],
        "sessionAffinity": row["affinity"],
    }
    ingress = []
    if kind == "LoadBalancer":
        spec["loadBalancerSourceRanges"] = row["ranges"]
        spec["allocateLoadBalancerNodePorts"] = not without
        modes = [{"ipMode": mode} if mode else {} for mode in row["ingress"]]
        ingress = [{"ip": f"5.{6 + high}.{7 + place}.{low + 1}", **mode} for place, mode in enumerate(modes)]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
    slices = [_slice(number, place, rows, row) for place, rows in enumerate(ENDPOINTS[row["endpoints"]])]
    return [{**service, "status": {"loadBalancer": {"ingress": ingress}}}, *slices]


def _slice(number: int, place: int, endpoints: Sequence[Tree], row: Row) -> Tree:
    port: dict[str, Any] = {"name": "p", "port": BACKEND_PORT, "protocol": row["protocol"]}
    ports = [{**port, "name": "a", "port": BACKEND_PORT + 1}, port]
    if "without a port" in row["endpoints"]:
        del port["port"]
    labels = {"kubernetes.io/service-name": f"svc{number}"}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "ns", "name": f"svc{number}-{place}", "labels": labels},
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": list(endpoints),
    }
