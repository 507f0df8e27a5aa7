"""The rules of docs/semantics.md once more, naively, straight from API objects: what random clusters are judged by.

Written from the rules, not from the plan: it shares no code with it but addresses and prefixes. IPv4 only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fairway.values.address import Address, Prefix
from fairway.values.packet import Packet
from flow_cases import Tree


class Expectation(NamedTuple):
    """`verdict` in the words of the case file; `targets` as (address:port, is masqueraded)."""

    verdict: str
    targets: frozenset[tuple[str, bool]] = frozenset()


class Node(NamedTuple):
    """What the rules ask of this node."""

    name: str
    zone: str
    addresses: Sequence[Address]
    primary: Address
    node_port_addresses: Sequence[Address]
    pods: Prefix | None
    masquerade_all: bool


class _Claim(NamedTuple):
    """A wish for the destination of a packet; the least one has it (rule 17)."""

    is_node_port: bool
    created: str
    service: str
    index: int
    kind: str
    """cluster, external, balancer, node"""
    tree: Any
    port: Any


def expect(objects: Sequence[Tree], node: Node, packet: Packet) -> Expectation:
    """What must become of a packet."""
    services = [tree for tree in objects if tree["kind"] == "Service"]
    claims = [claim for tree in services for claim in _claims(tree, node, packet)]
    if not claims:
        is_cluster_ip = any(str(packet.destination) in tree["spec"]["clusterIPs"] for tree in services)
        return Expectation("reject" if is_cluster_ip else "untouched")
    winner = min(claims, key=lambda claim: claim[:4])
    slices = [tree for tree in objects if tree["kind"] == "EndpointSlice"]
    return _judge(winner, _endpoints(slices, winner, node), node, packet)


def _claims(tree: Tree, node: Node, packet: Packet) -> list[_Claim]:
    spec, destination = tree["spec"], str(packet.destination)
    created, name = tree["metadata"]["creationTimestamp"], tree["metadata"]["name"]
    balancers = _balancers(tree)
    made = []
    for index, port in enumerate(spec["ports"]):
        if port["protocol"].lower() != str(packet.protocol):
            continue
        for kind, addresses in (
            ("cluster", spec["clusterIPs"]),
            ("external", spec["externalIPs"]),
            ("balancer", balancers),
        ):
            if port["port"] == packet.port and destination in addresses:
                made.append(_Claim(False, created, name, index, kind, tree, port))
                break
        if port.get("nodePort") == packet.port and packet.destination in node.node_port_addresses:
            made.append(_Claim(True, created, name, index, "node", tree, port))
    return made


class _Endpoints(NamedTuple):
    cluster: list[str]
    local: list[str]


def _endpoints(slices: Sequence[Tree], claim: _Claim, node: Node) -> _Endpoints:
    """Rules 1 and 3 to 6. Of two copies of an address the local one counts, then a ready one, then one that drains."""
    copies: dict[str, Any] = {}
    for tree in slices:
        if tree["metadata"]["labels"]["kubernetes.io/service-name"] != claim.service:
            continue
        for port in tree["ports"]:
            if "port" not in port or (port["name"], port["protocol"]) != (claim.port["name"], claim.port["protocol"]):
                continue
            for endpoint in tree["endpoints"]:
                key = f"{endpoint['addresses'][0]}:{port['port']}"
                rank = (endpoint.get("nodeName") == node.name, _is_ready(endpoint), _drains(endpoint))
                if key not in copies or rank > copies[key][0]:
                    copies[key] = (rank, endpoint)
    all_of_them = {key: endpoint for key, (_, endpoint) in copies.items()}
    local = {key: endpoint for key, endpoint in all_of_them.items() if endpoint.get("nodeName") == node.name}
    return _Endpoints(_usable(all_of_them, node), _usable(local, None))


def _usable(endpoints: dict[str, Any], node: Node | None) -> list[str]:
    ready = {key: endpoint for key, endpoint in endpoints.items() if _is_ready(endpoint)}
    if not ready:
        return [key for key, endpoint in endpoints.items() if _drains(endpoint)]
    if node is not None:
        for name, mine in (("forNodes", node.name), ("forZones", node.zone)):
            hints = {key: [h["name"] for h in e.get("hints", {}).get(name, ())] for key, e in ready.items()}
            chosen = [key for key in ready if mine in hints[key]]
            if all(hints.values()) and chosen:
                return chosen
    return list(ready)


def _is_ready(endpoint: Tree) -> bool:
    return bool(endpoint["conditions"].get("ready", True))


def _drains(endpoint: Tree) -> bool:
    return bool(endpoint["conditions"].get("serving", True) and endpoint["conditions"].get("terminating", False))


def _judge(claim: _Claim, endpoints: _Endpoints, node: Node, packet: Packet) -> Expectation:
    """Rules 7 to 14."""
    is_pod = node.pods is not None and packet.source in node.pods
    is_node = packet.source in node.addresses
    spec = claim.tree["spec"]
    has_any = bool(endpoints.cluster or endpoints.local)
    if claim.kind == "cluster":
        chosen = endpoints.local if spec["internalTrafficPolicy"] == "Local" else endpoints.cluster
        masquerade = node.masquerade_all or (node.pods is not None and not is_pod)
    elif spec["externalTrafficPolicy"] == "Cluster":
        chosen, masquerade = endpoints.cluster, True
    elif is_pod or is_node:
        chosen, masquerade = endpoints.cluster, not is_pod
    else:
        chosen, masquerade = endpoints.local, False
    if not has_any:
        return Expectation("reject")
    if claim.kind == "balancer" and not _is_admitted(claim.tree, node, packet.source):
        return Expectation("drop")
    if not chosen:
        return Expectation("drop")
    own = {target for target in chosen if Address.parse(target.rpartition(":")[0]) == packet.source}
    return Expectation("to", frozenset((target, masquerade or target in own) for target in chosen))


def _is_admitted(tree: Tree, node: Node, source: Address) -> bool:
    """Rule 14."""
    ranges = [Prefix.parse(text.strip()) for text in tree["spec"].get("loadBalancerSourceRanges", ())]
    if not ranges or any(source in prefix for prefix in ranges):
        return True
    balancers = _balancers(tree)
    return str(source) in balancers and any(node.primary in prefix for prefix in ranges)


def _balancers(tree: Tree) -> list[str]:
    """Rule 15."""
    return [row["ip"] for row in tree["status"]["loadBalancer"]["ingress"] if row.get("ipMode") != "Proxy"]
