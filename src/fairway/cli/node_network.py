"""Host ports and DNS as parts of a node of the embedded cluster, wired to the node's kernel and client."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from fairway.agents.hostports import HostPorts
    from fairway.cli.node_dns import NodeDns
    from fairway.cluster.settings import ClusterSettings
    from fairway.cluster.topology import ClusterNode
    from fairway.io.kube.client import ApiClient
    from fairway.values.address import Address

ROUTE_LOCALNET = Path("/proc/sys/net/ipv4/conf/all/route_localnet")


def make_host_ports(settings: ClusterSettings, stack: contextlib.ExitStack) -> HostPorts:
    """In the network namespace of the calling thread; `stack` closes what is opened."""
    from fairway.agents.hostports import HostPorts
    from fairway.agents.upkeep import Timing, Upkeep
    from fairway.io.host.clock import SystemClock
    from fairway.io.netlink.addresses import Links
    from fairway.io.netlink.conntrack import Conntrack
    from fairway.io.netlink.hostports import HostPortTable
    from fairway.podnet.hostports import CONTAINERS
    from fairway.values.address import Family

    links, timing = stack.enter_context(Links()), Timing(SystemClock(), random.random)

    def own_addresses() -> Collection[Address]:
        return links.usable_addresses()

    parts = {
        family: Upkeep("host ports", CONTAINERS, stack.enter_context(HostPortTable(family)), timing)
        for family in settings.families
    }
    made = HostPorts(parts, stack.enter_context(Conntrack()), own_addresses)
    made.open()
    if Family.IPV4 in parts:
        # Host ports at 127.0.0.1 need it; the table that guards 127.0.0.0/8 against others stands now.
        ROUTE_LOCALNET.write_text("1", encoding="ascii")
    return made


async def keep_node_tables(settings: ClusterSettings) -> None:
    """The node's small tables that depend on nothing but settings. Until cancelled."""
    from fairway.cli.own_tables import keep_tables
    from fairway.dataplanes.nftables.own_tables import balancers_table, dns_table
    from fairway.io.dns.node import LOCAL_ADDRESS
    from fairway.values.address import Address

    local = Address.parse(LOCAL_ADDRESS)
    refusing = [balancers_table(family, settings.balancer_ranges) for family in settings.families]
    await keep_tables((dns_table(local.family, local), *refusing))


def make_dns(settings: ClusterSettings, node: ClusterNode, api: ApiClient) -> NodeDns:
    """The node's DNS server."""
    from fairway.cli.host_side import node_resolvers
    from fairway.cli.node_dns import NodeDns
    from fairway.io.dns.node import NodePlace

    addresses = tuple(str(one) for one in node.addresses)
    return NodeDns(NodePlace(addresses, node_resolvers(settings).servers), api)
