"""DNS as a part of a node of the embedded cluster: its server, wired to the node's client and its place."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from fairway.values.errors import ConfigError

if TYPE_CHECKING:
    from fairway.agents.corefile_feed import CorefileSink
    from fairway.agents.dns import DnsAgent
    from fairway.io.dns.node import NodePlace, NodeWorld
    from fairway.io.kube.client import ApiClient

log = logging.getLogger("fairway.dns")


class NodeDns:
    """The node's DNS server. `work` until cancelled."""

    def __init__(self, place: NodePlace, api: ApiClient) -> None:
        self._place = place
        self._api = api
        self.has_started = asyncio.Event()
        """Set when questions are answered."""

    async def work(self) -> None:
        """Answer at the node's address and at the one for its own pods, as the Corefile says."""
        from fairway.agents.corefile_feed import CorefileSink
        from fairway.io.dns.node import NodeWorld

        _open_local_address()
        world = NodeWorld(self._place, self._api)
        sink = CorefileSink(world.take)
        async with self._following(sink, world), self._serving(world) as agent:
            self.has_started.set()
            await asyncio.gather(sink.reload_for_ever(agent), _stop_forwarding_in_circles(agent, world))

    @contextlib.asynccontextmanager
    async def _following(self, sink: CorefileSink, world: NodeWorld) -> AsyncIterator[None]:
        from fairway.agents.reflector import Reflector
        from fairway.io.host.clock import SystemClock

        reflector = Reflector(self._api, sink.feed(), SystemClock(), world.random)
        task = asyncio.ensure_future(reflector.run())
        try:
            await reflector.wait_synced()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _serving(self, world: NodeWorld) -> AsyncIterator[DnsAgent]:
        from fairway.agents.dns import DnsAgent
        from fairway.agents.dns_fast import FastTables
        from fairway.agents.dns_status import StatusPages
        from fairway.dns.metrics import Metrics
        from fairway.io.dns.world import fast_tables, merge_fast

        metrics, tables = Metrics(), FastTables()
        agent = DnsAgent(world, [metrics])
        pages = StatusPages(agent, metrics, world)
        agent.started.append(lambda generation: tables.begin(generation, fast_tables(agent.listeners)))
        pages.collectors.append(lambda counted: merge_fast(agent.listeners, tables.rows, counted))
        try:
            await _start(agent, world)
            await pages.start()
            agent.started.append(pages.renew)
            yield agent
        finally:
            await pages.close()
            await agent.close()


async def _start(agent: DnsAgent, world: NodeWorld) -> None:
    """A cluster without names is worse than one that is not as its Corefile says."""
    try:
        await agent.start()
    except ConfigError as error:
        log.error("msg='the Corefile was not taken; the default one is in force until it is mended' error='%s'", error)
        world.take_default()
        await agent.start()


async def _stop_forwarding_in_circles(agent: DnsAgent, world: NodeWorld) -> None:
    """CoreDNS ends when what it forwards comes back. A node goes on with the names that it knows itself."""
    said = await agent.failure
    log.error("msg='nothing is forwarded any more: %s'", said)
    world.may_forward = False
    await agent.reload()


def _open_local_address() -> None:
    """The address for this node's own pods; that it gets no conntrack entries is `node_network.keep_node_tables`'."""
    from fairway.io.dns.node import LOCAL_ADDRESS
    from fairway.io.netlink.addresses import ensure_address
    from fairway.values.address import Address

    address = Address.parse(LOCAL_ADDRESS)
    ensure_address("lo", address, address.family.width * 8)
