"""N nodes on one machine: their names, zones, addresses and pod ranges, and the Node objects that say so.

Decides addresses once from the ranges; the same settings give the same topology. Refuses to know how a link is made.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from fairway.values.address import Address, Family, Prefix
from fairway.values.errors import ConfigError

POD_BITS: Final = {Family.IPV4: 24, Family.IPV6: 64}
"""The length of a node's pod range (the controller manager's defaults)."""
LONGEST_LINK: Final = 15
"""IFNAMSIZ without its end."""
MOST_PODS: Final = 110
KUBELET_PORT: Final = 10250


class Ranges(NamedTuple):
    """What the cluster may use, one prefix a family, the primary family first."""

    underlay: tuple[Prefix, ...]
    pods: tuple[Prefix, ...]


class Route(NamedTuple):
    """On a node or the host: this range is behind that address."""

    to: Prefix
    via: Address


class ClusterNode(NamedTuple):
    """One node."""

    name: str
    namespace: str
    zone: str
    addresses: tuple[Address, ...]
    pod_ranges: tuple[Prefix, ...]

    @property
    def link(self) -> str:
        """The far end of its underlay link, a port of the switch's bridge."""
        return self.name

    @property
    def gateways(self) -> tuple[Address, ...]:
        """The pod bridge's addresses: the first of each range."""
        return tuple(nth(prefix, 1) for prefix in self.pod_ranges)


class Topology(NamedTuple):
    """The whole cluster."""

    switch: str
    """The namespace of the bridge that stands for the underlay. It is not the host's own, so that what passes between
    nodes never meets the host's rules: with br_netfilter, Docker's FORWARD policy would drop it."""
    link: str
    """The host's interface on the underlay."""
    host_addresses: tuple[Address, ...]
    """Of the host on the underlay: the nodes' way out."""
    underlay: tuple[Prefix, ...]
    nodes: tuple[ClusterNode, ...]

    def routes_of(self, node: ClusterNode) -> tuple[Route, ...]:
        """To the pods of all other nodes."""
        return tuple(route for other in self.nodes if other != node for route in _routes_to(other))

    @property
    def host_routes(self) -> tuple[Route, ...]:
        """To the pods of all nodes."""
        return tuple(route for node in self.nodes for route in _routes_to(node))


def plan(count: int, ranges: Ranges, *, zones: int = 3, prefix: str = "fw") -> Topology:
    """A topology of `count` nodes, spread over zones in turn. Raises ConfigError, naming what does not fit."""
    _check(count, ranges, zones)
    link = f"{prefix}-underlay"
    if len(link) > LONGEST_LINK:
        raise ConfigError(f"link name {link!r} is longer than {LONGEST_LINK} characters: use a shorter prefix")
    nodes = []
    for index in range(count):
        name = f"node-{index + 1}"
        nodes.append(
            ClusterNode(
                name=name,
                namespace=f"{prefix}-{name}",
                zone=f"zone-{chr(ord('a') + index % zones)}",
                addresses=tuple(nth(one, index + 2) for one in ranges.underlay),
                pod_ranges=tuple(_pod_range(one, index) for one in ranges.pods),
            )
        )
    hosts = tuple(nth(one, 1) for one in ranges.underlay)
    return Topology(f"{prefix}-switch", link, hosts, ranges.underlay, tuple(nodes))


def _check(count: int, ranges: Ranges, zones: int) -> None:
    if count < 1:
        raise ConfigError(f"--nodes: {count} is less than 1")
    if not 1 <= zones <= 26:
        raise ConfigError(f"zones: {zones} is not between 1 and 26")
    if [one.family for one in ranges.underlay] != [one.family for one in ranges.pods]:
        raise ConfigError("the underlay's ranges and the pods' have not the same families in the same order")
    for one in ranges.underlay:
        # Network, host, and in IPv4 the broadcast address are not for nodes.
        room = (1 << (one.family.width * 8 - one.length)) - (3 if one.family is Family.IPV4 else 2)
        if room < count:
            raise ConfigError(f"underlay {one}: room for {max(room, 0)} nodes, {count} are wanted")
    for one in ranges.pods:
        bits = POD_BITS[one.family]
        if one.length > bits or 1 << (bits - one.length) < count:
            raise ConfigError(f"--pod-cidr: {one}: no room for {count} ranges of /{bits}")
    both = [*ranges.underlay, *ranges.pods]
    for place, first in enumerate(both):
        for second in both[place + 1 :]:
            if first.address in second or second.address in first:
                raise ConfigError(f"{first} and {second} overlap")


def _pod_range(whole: Prefix, index: int) -> Prefix:
    bits = POD_BITS[whole.family]
    return Prefix(nth(whole, index << (whole.family.width * 8 - bits)), bits)


def _routes_to(node: ClusterNode) -> tuple[Route, ...]:
    return tuple(Route(to, via) for to, via in zip(node.pod_ranges, node.addresses, strict=True))


def nth(prefix: Prefix, number: int) -> Address:
    """The address so many places after the first."""
    return Address((int.from_bytes(prefix.address, "big") + number).to_bytes(prefix.family.width, "big"))


class Machine(NamedTuple):
    """What a node says of the machine that it is on: `arch` in Go's words (amd64), `memory` in bytes."""

    cpus: int
    memory: int
    arch: str
    kernel: str = ""
    system: str = ""
    ident: str = ""
    boot: str = ""


def node_object(node: ClusterNode, machine: Machine, version: str = "") -> dict[str, Any]:
    """The Node as a kubelet of that version registers it; its conditions are the node agent's to write."""
    labels = {
        "kubernetes.io/arch": machine.arch,
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/region": "local",
        "topology.kubernetes.io/zone": node.zone,
    }
    ranges = [str(one) for one in node.pod_ranges]
    size = {"cpu": str(machine.cpus), "memory": f"{machine.memory >> 10}Ki", "pods": str(MOST_PODS)}
    addresses = [{"type": "InternalIP", "address": str(one)} for one in node.addresses]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"podCIDR": ranges[0], "podCIDRs": ranges},
        "status": {
            "addresses": [*addresses, {"type": "Hostname", "address": node.name}],
            "capacity": size,
            "allocatable": size,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
            "nodeInfo": {
                "architecture": machine.arch,
                "bootID": machine.boot,
                "containerRuntimeVersion": f"fairway://{version}",
                "kernelVersion": machine.kernel,
                "kubeProxyVersion": "",
                "kubeletVersion": version,
                "machineID": machine.ident,
                "operatingSystem": "linux",
                "osImage": machine.system,
                "systemUUID": machine.ident,
            },
        },
    }
