"""Service addresses as routes of a host that is no node: by way of which nodes packets may come in.

The host is what a cloud's load balancer or an upstream router is to a cluster: it picks a node for each connection, and
the node's proxy picks the endpoint. Nodes are kept in groups whose hashing is resilient (RFC 2992 is not: there a node
that leaves moves other nodes' connections, too). One group holds all nodes, and whole ranges are routed to it: a
Service with the external policy Cluster costs nothing, a node that comes or goes one write. What no Service has the
nodes refuse. An address with the policy Local, or with session affinity, has a route and a group of its own.

Why EndpointSlices decide for Local, and not the health check node port that they are the source of: a cloud's load
balancer cannot watch the API and polls, with seconds of delay; the host can, and hears of a change when proxies do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple
from zlib import crc32

from fairway.reconcile.items import Container, Item
from fairway.values.address import Address, Family, Prefix

HOPS: Final = "hops"
"""A node's address -> nothing."""
GROUPS: Final = "groups"
"""Name -> the addresses of its nodes, sorted."""
ROUTES: Final = "routes"
"""Network -> the name of the group that it is reached by, or UNREACHABLE."""
UNREACHABLE: Final = ""
"""Without a node: else packets would leave by the default route."""

CONTAINERS: Final = (Container(HOPS, 0, 4), Container(GROUPS, 1, 3), Container(ROUTES, 2, 2))


class Host(NamedTuple):
    """A node, as somewhere to send packets."""

    name: str
    addresses: tuple[Address, ...]
    takes_traffic: bool = True
    """Ready, stays, and not excluded by its label."""

    def address_of(self, family: Family) -> Address | None:
        """The first of the family: the node's own choice."""
        return next((one for one in self.addresses if one.family is family), None)


class Presence(NamedTuple):
    """Endpoints of one family on one node."""

    node: str
    family: Family
    is_ready: bool
    is_serving_terminating: bool = False


class Announced(NamedTuple):
    """A Service whose addresses are to be reached otherwise than their ranges."""

    cluster_ips: tuple[Address, ...] = ()
    balancer_ips: tuple[Address, ...] = ()
    is_local: bool = False
    """externalTrafficPolicy Local: what comes for a load-balancer address goes to nodes with endpoints."""
    is_sticky: bool = False
    """sessionAffinity ClientIP: nodes remember clients each for itself, so all connections have to meet one node."""
    presences: tuple[Presence, ...] = ()


class Ranges(NamedTuple):
    """What a host routes for the cluster."""

    services: tuple[Prefix, ...] = ()
    """Of cluster IPs."""
    balancers: tuple[Prefix, ...] = ()
    """Of load-balancer addresses. No address outside is ever routed: a status may name any address of the Internet."""

    @property
    def all(self) -> tuple[Prefix, ...]:
        return (*self.services, *self.balancers)


Hosts = Mapping[str, Host]


def group_of_all(family: Family) -> str:
    """The name of the group of all nodes."""
    return f"all/{family}"


def host_items(hosts: Hosts, ranges: Ranges) -> Iterator[Item]:
    """What hangs on the nodes alone."""
    for family in Family:
        hops = _hops(hosts.values(), family)
        yield from _group(group_of_all(family), hops)
        for one in ranges.all:
            if one.family is family:
                yield Item(ROUTES, one, group_of_all(family) if hops else UNREACHABLE)


def service_items(service: Announced, hosts: Hosts, ranges: Ranges) -> Iterator[Item]:
    """What one Service wants beside its ranges' routes.

    With the policy Local, where no node serves, the range's route leads to a node that says so.
    """
    everyone = list(hosts.values())
    if service.is_sticky:
        for address in _inside(service.cluster_ips, ranges.services):
            yield from _way(address, _one(address, _hops(everyone, address.family)))
    for address in _inside(service.balancer_ips, ranges.balancers):
        if service.is_local:
            names = local_nodes(service.presences, address.family)
            hops = _hops((hosts[name] for name in names if name in hosts), address.family)
        elif service.is_sticky:
            hops = _hops(everyone, address.family)
        else:
            continue
        yield from _way(address, _one(address, hops) if service.is_sticky else hops)


def _inside(addresses: Iterable[Address], ranges: tuple[Prefix, ...]) -> list[Address]:
    return [one for one in dict.fromkeys(addresses) if any(one in network for network in ranges)]


def _one(address: Address, hops: tuple[Address, ...]) -> tuple[Address, ...]:
    """One node for an address, the same as long as it is there; others' comings and goings do not matter (RFC 2991)."""
    return (max(hops, key=lambda hop: crc32(address + hop)),) if hops else ()


def _way(address: Address, hops: tuple[Address, ...]) -> Iterator[Item]:
    yield from _group(str(address), hops)
    if hops:
        yield Item(ROUTES, Prefix(address, address.family.width * 8), str(address))


def local_nodes(presences: Iterable[Presence], family: Family) -> set[str]:
    """Nodes with a ready endpoint; when there is none, those whose endpoints still serve while they end (KEP-1669).

    A node that has only ending endpoints left gets no new connections while others have ready ones, and its proxy
    serves what still comes until they are gone. So nothing is refused while the host learns of the change.
    """
    own = [one for one in presences if one.family is family and one.node]
    ready = {one.node for one in own if one.is_ready}
    return ready or {one.node for one in own if one.is_serving_terminating}


def _hops(hosts: Iterable[Host], family: Family) -> tuple[Address, ...]:
    found = (host.address_of(family) for host in hosts if host.takes_traffic)
    return tuple(sorted({one for one in found if one is not None}))


def _group(name: str, hops: tuple[Address, ...]) -> Iterator[Item]:
    if hops:
        yield from (Item(HOPS, one) for one in hops)
        yield Item(GROUPS, name, hops)
