"""The host's side of a cluster: the switch, the nodes' namespaces, the links between them, the host's way to the pods.

Made from a `Topology`, put back by its names alone, so that a run that was killed anywhere can be put back, too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fairway.cluster.host import SYSCTLS, HostSysctl
from fairway.cluster.topology import ClusterNode, Topology
from fairway.io.host import netns
from fairway.io.netlink.links import Hop, LinkWriter, Peer
from fairway.values.address import Address, Family, Prefix

BRIDGE = "underlay"
HOST_PORT = "host"
NODE_LINK = "eth0"
_NO_CALL = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")


def build(topology: Topology) -> None:
    """Make everything that is not there. Raises UnavailableError and KernelError, and leaves what is made then."""
    if not netns.exists(topology.switch):
        netns.add(topology.switch)
    with _writer_in(topology.switch) as switch, LinkWriter() as host:
        for key in _NO_CALL:
            with contextlib.suppress(FileNotFoundError):
                netns.set_sysctl(topology.switch, key, "0")
        switch.add_bridge(BRIDGE)
        _connect_host(topology, host, switch)
        for node in topology.nodes:
            _add_node(topology, node, switch)
        for route in topology.host_routes:
            host.add_route(route.to, Hop(topology.link, route.via))


def _connect_host(topology: Topology, host: LinkWriter, switch: LinkWriter) -> None:
    with _descriptor(topology.switch) as there:
        host.add_veth(topology.link, Peer(HOST_PORT, there))
    switch.set_master(HOST_PORT, BRIDGE)
    switch.set_up(HOST_PORT)
    for address, whole in zip(topology.host_addresses, topology.underlay, strict=True):
        host.add_address(topology.link, address, whole.length)


def _add_node(topology: Topology, node: ClusterNode, switch: LinkWriter) -> None:
    if not netns.exists(node.namespace):
        switch.remove(node.link)  # it leads to a namespace that has lost its name
        netns.add(node.namespace)
        # A link-local address that is still being tried asks for no neighbours (RFC 4862), for a second or two.
        for scope in ("all", "default"):
            with contextlib.suppress(FileNotFoundError):
                netns.set_sysctl(node.namespace, f"net.ipv6.conf.{scope}.accept_dad", "0")
    with _descriptor(node.namespace) as there:
        switch.add_veth(node.link, Peer(NODE_LINK, there))
    switch.set_master(node.link, BRIDGE)
    with _writer_in(node.namespace) as inside:
        inside.set_up(NODE_LINK)
        connect_node(inside, topology, node)


def connect_node(inside: LinkWriter, topology: Topology, node: ClusterNode) -> None:
    """A node's own end: its addresses, its way out and its ways to the other nodes' pods; made again when they went.

    Raises KernelError while its link is down: whoever took it down has a reason.
    """
    for address, whole, gateway in zip(node.addresses, topology.underlay, topology.host_addresses, strict=True):
        inside.add_address(NODE_LINK, address, whole.length)
        inside.add_route(_everywhere(address.family), Hop(NODE_LINK, gateway))
    for route in topology.routes_of(node):
        inside.add_route(route.to, Hop(NODE_LINK, route.via))


def remove(topology: Topology) -> None:
    """Take everything away that is there: what lies in the namespaces goes with them."""
    with LinkWriter() as host:
        host.remove(topology.link)
    for node in topology.nodes:
        netns.remove(node.namespace)
    netns.remove(topology.switch)


def read_sysctl(key: str) -> str:
    """Of this thread's network namespace."""
    return Path("/proc/sys", *key.split(".")).read_text(encoding="ascii").strip()


def write_sysctl(sysctl: HostSysctl) -> None:
    """In this thread's network namespace."""
    Path("/proc/sys", *sysctl.key.split(".")).write_text(sysctl.value, encoding="ascii")


def sysctls_now(topology: Topology) -> tuple[HostSysctl, ...]:
    """The host's sysctls that a cluster changes, as they are, to be put back later."""
    keys = dict.fromkeys(key for one in topology.host_addresses for key in SYSCTLS[one.family])
    return tuple(HostSysctl(key, read_sysctl(key)) for key in keys)


def _everywhere(family: Family) -> Prefix:
    return Prefix(Address(bytes(family.width)), 0)


@contextlib.contextmanager
def _writer_in(namespace: str) -> Iterator[LinkWriter]:
    with netns.entered(namespace):
        writer = LinkWriter()
    with writer:
        yield writer


@contextlib.contextmanager
def _descriptor(namespace: str) -> Iterator[int]:
    descriptor = os.open(netns.FOLDER / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
