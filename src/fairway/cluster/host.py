"""What a cluster changes on the host itself, as a list: for `--dry-run`, for building it and for putting it back. Pure.

Everything inside the namespaces is no change of the host and goes with them.
"""

from __future__ import annotations

from typing import NamedTuple

from fairway.cluster.settings import ClusterSettings
from fairway.cluster.topology import Route
from fairway.values.address import Address, Family, Prefix


class Namespace(NamedTuple):
    """A named network namespace."""

    name: str

    def __str__(self) -> str:
        return f"network namespace {self.name}"


class Link(NamedTuple):
    """An interface on the host, the near end of a pair."""

    name: str
    namespace: str
    """Of the far end."""

    def __str__(self) -> str:
        return f"interface {self.name} (veth, its other end in {self.namespace})"


class HostAddress(NamedTuple):
    """An address of the host."""

    link: str
    address: Address
    length: int

    def __str__(self) -> str:
        return f"address {self.address}/{self.length} on {self.link}"


class HostRoute(NamedTuple):
    """A route of the host."""

    route: Route
    link: str

    def __str__(self) -> str:
        return f"route {self.route.to} via {self.route.via} dev {self.link}"


class HostSysctl(NamedTuple):
    """A parameter of the host's network."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"sysctl {self.key} = {self.value}"


class WayIn(NamedTuple):
    """A range of virtual addresses that the host reaches by way of the nodes."""

    to: Prefix
    link: str

    def __str__(self) -> str:
        return f"routes within {self.to} by way of the nodes, dev {self.link}"


class Table(NamedTuple):
    """An nftables table of the host."""

    family: Family
    name: str

    def __str__(self) -> str:
        family = "ip" if self.family is Family.IPV4 else "ip6"
        return f"nftables table {family} {self.name}: masquerades what pods send out"


Change = Namespace | Link | HostAddress | HostRoute | HostSysctl | WayIn | Table


def host_changes(settings: ClusterSettings) -> tuple[Change, ...]:
    """All of them, in the order in which they are made."""
    topology = settings.topology
    ways = [WayIn(one, topology.link) for one in (*settings.service_ranges, *settings.balancer_ranges)]
    tables = [Table(family, settings.egress_table) for family in settings.families]
    spaces = [Namespace(topology.switch), *(Namespace(node.namespace) for node in topology.nodes)]
    addresses = [
        HostAddress(topology.link, address, whole.length)
        for address, whole in zip(topology.host_addresses, topology.underlay, strict=True)
    ]
    addresses += [HostAddress(topology.link, one, one.family.width * 8) for one in settings.client_addresses]
    routes = [HostRoute(route, topology.link) for route in topology.host_routes]
    sysctls = [HostSysctl(key, "1") for one in topology.host_addresses for key in SYSCTLS[one.family]]
    return (*spaces, Link(topology.link, topology.switch), *addresses, *routes, *ways, *tables, *sysctls)


SYSCTLS = {
    Family.IPV4: ("net.ipv4.ip_forward", "net.ipv4.fib_multipath_hash_policy"),
    Family.IPV6: ("net.ipv6.conf.all.forwarding", "net.ipv6.fib_multipath_hash_policy"),
}
"""All are set to 1: the host forwards what pods send to the world, and picks a node for each connection, not for each
client."""
