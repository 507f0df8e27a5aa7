"""The pods' network on one node: a bridge, a pair of links a pod, addresses out of the node's ranges.

Fulfils `fairway.io.containers.machine.PodNetwork`, for a process that is in the node's namespace.

A pod has its address alone (/32, /128) and sends everything to the bridge, whose ports are isolated from each other: so
all that pods send, also to a pod of the same node, is routed by the node and meets its Service rules on both ways.
Where frames went from pod to pod, an answer would pass by the translation that it needs unless the kernel has
br_netfilter, which is the host's to switch on.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from fairway.cluster.topology import ClusterNode, Topology, nth
from fairway.io.host import netns
from fairway.io.host.underlay import connect_node
from fairway.io.netlink.links import Hop, LinkWriter, Peer
from fairway.kube.podspec import NodePod
from fairway.pods.addresses import Leases, give, strangers, take_back
from fairway.values.address import Address, Family, Prefix

BRIDGE = "fw-pods"
POD_LINK = "eth0"
_NODE_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
    # A packet that comes and goes by the bridge is as it should be: no pod is to be told of a shorter way.
    "net.ipv4.conf.all.send_redirects": "0",
    f"net.ipv4.conf.{BRIDGE}.send_redirects": "0",
    "net.bridge.bridge-nf-call-iptables": "0",
    "net.bridge.bridge-nf-call-ip6tables": "0",
}
_POD_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",  # as containerd and docker have it
    f"net.ipv6.conf.{POD_LINK}.accept_redirects": "0",
    "net.ipv6.conf.all.accept_dad": "0",
    f"net.ipv6.conf.{POD_LINK}.accept_dad": "0",
    f"net.ipv6.conf.{POD_LINK}.accept_ra": "0",
}


class BridgeNetwork:
    """All pods of one node. `folder` keeps who has which address, for the process that comes after this one."""

    def __init__(self, topology: Topology, node: ClusterNode, folder: Path) -> None:
        self._topology, self._node = topology, node
        self._file = folder / "addresses.json"
        self._bits = min(one.family.width * 8 - one.length for one in node.pod_ranges)
        self._links = LinkWriter()
        self._leases = Leases()
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            self._leases = msgspec.json.decode(self._file.read_bytes(), type=Leases)

    def close(self) -> None:
        self._links.close()

    def ensure(self) -> None:
        """The node's own part: bridge, gateways, ways to other nodes. Again whenever a link went away and came back."""
        connect_node(self._links, self._topology, self._node)
        self._links.add_bridge(BRIDGE)
        for address in self._node.gateways:
            self._links.add_address(BRIDGE, address, 32 if address.family is Family.IPV4 else 128)
        for whole in self._node.pod_ranges:
            self._links.add_route(whole, Hop(BRIDGE))
        _set_sysctls(_NODE_SYSCTLS)

    # -- PodNetwork

    async def attach(self, pod: NodePod) -> tuple[str, tuple[str, ...]]:
        """Raises NoAddressError, UnavailableError, KernelError."""
        if pod.spec.host_network:
            return self._node.namespace, tuple(str(one) for one in self._node.addresses)
        uid = pod.metadata.uid
        number = give(self._leases, uid, self._bits)
        self._save()
        addresses = tuple(nth(one, number) for one in self._node.pod_ranges)
        namespace = self._namespace(uid)
        await asyncio.to_thread(self._connect, namespace, link_name(uid), addresses)
        return namespace, tuple(str(one) for one in addresses)

    async def detach(self, pod: NodePod) -> None:
        if not pod.spec.host_network:
            await self._forget(pod.metadata.uid)

    async def keep(self, uids: Collection[str]) -> None:
        """Take away what pods left that went while nobody looked."""
        for uid in strangers(self._leases, uids):
            await self._forget(uid)

    async def _forget(self, uid: str) -> None:
        await asyncio.to_thread(self._disconnect, self._namespace(uid), link_name(uid))
        if take_back(self._leases, uid):
            self._save()

    def _namespace(self, uid: str) -> str:
        return f"{self._node.namespace}-{uid}"

    def _save(self) -> None:
        part = self._file.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(self._leases))
        part.replace(self._file)

    def _connect(self, namespace: str, link: str, addresses: tuple[Address, ...]) -> None:
        if not netns.exists(namespace):
            netns.add(namespace)
        if not self._links.index(link):
            with netns.entered(namespace), LinkWriter() as inside:
                inside.remove(POD_LINK)  # the other end is in a namespace that the node had before
            descriptor = os.open(netns.FOLDER / namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._links.add_veth(link, Peer(POD_LINK, descriptor))
            finally:
                os.close(descriptor)
        self._links.set_master(link, BRIDGE)
        self._links.isolate(link)
        with netns.entered(namespace), LinkWriter() as inside:
            _set_sysctls(_POD_SYSCTLS)
            inside.set_up(POD_LINK)
            for address, gateway in zip(addresses, self._node.gateways, strict=True):
                width = address.family.width
                inside.add_address(POD_LINK, address, width * 8)
                inside.add_route(Prefix(gateway, width * 8), Hop(POD_LINK))
                inside.add_route(Prefix(Address(bytes(width)), 0), Hop(POD_LINK, gateway))

    def _disconnect(self, namespace: str, link: str) -> None:
        self._links.remove(link)
        netns.remove(namespace)


def link_name(uid: str) -> str:
    """The node's end of a pod's link: the same for the same pod, and short enough."""
    return f"fw{hashlib.blake2s(uid.encode(), digest_size=5).hexdigest()}"


def _set_sysctls(wanted: dict[str, str]) -> None:
    """Of this thread's network namespace; what this kernel does not have needs no setting."""
    for key, value in wanted.items():
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys", *key.split(".")).write_text(value, encoding="ascii")
