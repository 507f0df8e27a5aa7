"""Ports of a node that lead to a pod's: what must stand in the kernel for a pod, and who is in each other's way.

The scheduler keeps conflicts away (`hostIP`, protocol and port, where no hostIP is in conflict with every one); pods
that name their node themselves are not asked about it, so their node refuses the later one (`fairway.pods.grants`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from fairway.kube.podspec import NodePod
from fairway.reconcile.items import Container, Item
from fairway.values.address import Address, Family
from fairway.values.errors import InvalidValueError
from fairway.values.protocol import Protocol

PORTS: Final = "ports"
"""(address, protocol, port) -> (the pod's address, its port)"""
ANY_PORTS: Final = "any-ports"
"""(protocol, port) -> the same, at every address of the node"""
HAIRPIN: Final = "hairpin"
"""A pod's address: it may use its own host port."""

CONTAINERS: Final = (Container(HAIRPIN, 0, 2), Container(PORTS, 1, 1), Container(ANY_PORTS, 1, 1))


class PortMapping(NamedTuple):
    """One entry of a container's ports that has a hostPort."""

    host_port: int
    container_port: int
    protocol: Protocol = Protocol.TCP
    host_ip: Address | None = None
    """None and the unspecified addresses of the families mean every address of the node."""

    @property
    def host_text(self) -> str:
        """As a person writes it: `10.0.0.1:8080/tcp`, `*:8080/tcp`."""
        where = "*" if self.host_ip is None else str(self.host_ip)
        return f"{where}:{self.host_port}/{self.protocol.name.lower()}"


def mappings_of(pod: NodePod) -> tuple[PortMapping, ...]:
    """The host ports of a pod; none of one that is in the node's network, where they are simply its ports.

    What is no address or protocol is left out: the API refuses it.
    """
    return () if pod.spec.host_network else claims_of(pod)


def claims_of(pod: NodePod) -> tuple[PortMapping, ...]:
    """The ports of the node that a pod wants for itself, in whatever network it is."""
    found: list[PortMapping] = []
    for port in (one for container in pod.all_containers for one in container.ports or ()):
        if port.host_port:
            with suppress(InvalidValueError):
                address = Address.parse(port.host_ip) if port.host_ip else None
                protocol = Protocol.parse(port.protocol)
                found.append(PortMapping(port.host_port, port.container_port, protocol, address))
    return tuple(dict.fromkeys(found))


def have_conflict(one: NodePod, other: NodePod) -> bool:
    """Whether one node has not the ports for both."""
    return any(in_each_others_way(mine, theirs) for mine in claims_of(one) for theirs in claims_of(other))


def _is_anywhere(address: Address | None) -> bool:
    return address is None or not any(address)


def families(mapping: PortMapping) -> tuple[Family, ...]:
    """Where the mapping counts."""
    return tuple(Family) if mapping.host_ip is None else (mapping.host_ip.family,)


def in_each_others_way(one: PortMapping, other: PortMapping) -> bool:
    """Whether both cannot stand on one node."""
    if (one.protocol, one.host_port) != (other.protocol, other.host_port):
        return False
    if not set(families(one)) & set(families(other)):
        return False
    return _is_anywhere(one.host_ip) or _is_anywhere(other.host_ip) or one.host_ip == other.host_ip


def items(address: Address, mappings: Sequence[PortMapping]) -> Iterator[Item]:
    """What one pod wants in the family of one of its addresses."""
    own = [one for one in mappings if address.family in families(one)]
    for one in own:
        target = (address, one.container_port)
        if _is_anywhere(one.host_ip):
            yield Item(ANY_PORTS, (one.protocol, one.host_port), target)
        else:
            yield Item(PORTS, (one.host_ip, one.protocol, one.host_port), target)
    if own:
        yield Item(HAIRPIN, address)
