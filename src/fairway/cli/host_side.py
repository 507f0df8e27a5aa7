"""The host's part in an embedded cluster, in the control plane's process: ways to Services, a way out, a DNS relay."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from fairway.values.errors import FairwayError

if TYPE_CHECKING:
    from fairway.agents.controllers.manager import Manager
    from fairway.cluster.resolvers import Resolvers
    from fairway.cluster.settings import ClusterSettings

log = logging.getLogger("fairway.host")

OWN, BEHIND_STUB = Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")


async def keep_ways_in(settings: ClusterSettings, manager: Manager) -> None:
    """Routes to Services, as Services, endpoints and nodes say: of what the controllers follow. Until cancelled."""
    import random

    from fairway.agents.announcer import KINDS, Announcer
    from fairway.agents.upkeep import Timing, Upkeep
    from fairway.announce.routes import CONTAINERS, Ranges
    from fairway.io.host.clock import SystemClock
    from fairway.io.host.waysin import route_table

    with route_table(settings) as routes:
        upkeep = Upkeep("routes to Services", CONTAINERS, routes, Timing(SystemClock(), random.random))
        await manager.has_started.wait()
        missing = [kind.plural for kind in KINDS if not manager.view.cache(kind).has_synced]
        if missing:
            log.warning("msg='no route to Services: no controller runs that follows %s'", ", ".join(missing))
            await asyncio.get_running_loop().create_future()
        announcer = Announcer(manager.view, Ranges(settings.service_ranges, settings.balancer_ranges), upkeep)
        announcer.open()
        await upkeep.run()


async def keep_way_out(settings: ClusterSettings) -> None:
    """What leaves the cluster is masqueraded. Until cancelled."""
    from fairway.cli.own_tables import keep_tables
    from fairway.io.host.waysin import egress_tables

    await keep_tables(egress_tables(settings))


def node_resolvers(settings: ClusterSettings) -> Resolvers:
    """What this machine's nodes ask for names that are not the cluster's."""
    from fairway.cluster.resolvers import plan_resolvers
    from fairway.pods.files import read_resolv_conf

    texts = []
    for path in (OWN, BEHIND_STUB):
        with contextlib.suppress(OSError):
            texts.append(read_resolv_conf(path.read_text(encoding="utf-8", errors="replace"))[0])
            continue
        texts.append(())
    topology = settings.topology
    inside = (*settings.service_ranges, *settings.pod_ranges, *topology.underlay)
    return plan_resolvers(texts[0], texts[1], topology.host_addresses[0], inside)


async def relay_names(settings: ClusterSettings) -> None:
    """Pass nodes' questions on where a resolver listens on the host's loopback alone. Until cancelled."""
    from fairway.io.dns.relay import Relay

    resolvers = node_resolvers(settings)
    relay = Relay(str(settings.topology.host_addresses[0]), resolvers.relayed)
    try:
        if resolvers.relayed:
            await relay.start()
    except FairwayError as error:
        log.warning("msg='nodes can resolve no names of the world' error='%s'", error)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await relay.close()
