"""`fairway proxy`: the Service proxy of this node, on kube-proxy's configuration file and flags."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from fairway import __version__
from fairway.agents.drift import compare_for_ever, mend_foreign_changes
from fairway.agents.node_view import NodeViews
from fairway.agents.proxy import ProxyAgent, ProxyParts
from fairway.agents.stale_flows import StaleFlowCleaner
from fairway.cli import status
from fairway.cli.sources import proxy_feeds, proxy_sources
from fairway.cli.wiring import (
    NftablesFamily,
    host_name,
    load_settings,
    make_families,
    require_root,
    set_up_logging,
    uniform,
)
from fairway.config.proxy import FLAGS, Flag, ProxySettings, node_name, parse_flags, usage, write_config
from fairway.config.proxy.kinds import Bool, Text
from fairway.io.host.clock import SystemClock
from fairway.io.netlink.addresses import AddressWatch, Links
from fairway.io.netlink.conntrack import Conntrack
from fairway.io.netlink.nftables import NftablesKernel
from fairway.state.tables import State, Writer
from fairway.values.address import Family

OWN_FLAGS = (
    Flag("manifests", "Objects from a folder of YAML or JSON files instead of an API server.", kind=Text("a path")),
    Flag("once", "Return as soon as the kernel holds the plan.", kind=Bool()),
    Flag("dry-run", "Print what would change in the kernel, change nothing, and exit.", kind=Bool()),
    Flag("strict-config", "Refuse a configuration file with unknown fields.", kind=Bool()),
)


def run(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if arguments[:1] == ["status"]:
        return status.run(arguments[1:])
    table = (*FLAGS, *OWN_FLAGS)
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(f"usage: fairway proxy [FLAGS]\n       fairway proxy status [FLAGS]\n\n{usage(table)}\n")
        return 0
    flags = parse_flags(arguments, table)
    if flags.get("version") == "true":
        sys.stdout.write(f"fairway {__version__}\n")
        return 0
    set_up_logging()
    if flags.get("cleanup") == "true":
        return _clean_up()
    loaded = load_settings(flags)
    if "write-config-to" in flags:
        Path(flags["write-config-to"]).write_text(write_config(loaded.settings), encoding="utf-8")
        return 0
    require_root("fairway proxy")
    if flags.get("dry-run") == "true":
        return status.dry_run(loaded.settings, flags)
    return _with_uvloop(serve(loaded.settings, flags))


def _clean_up() -> int:
    """Remove everything that is ours, and only that."""
    require_root("fairway proxy --cleanup")
    for family in Family:
        with NftablesKernel(family) as kernel:
            kernel.remove()
    return 0


def _with_uvloop(main: Coroutine[Any, Any, int]) -> int:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def serve(settings: ProxySettings, flags: Mapping[str, str]) -> int:
    """Run the proxy until it is told to stop, or until the kernel holds the plan once."""
    state = State()
    writer = Writer(state)
    name = node_name(settings, host_name())
    with Links() as links:
        views = NodeViews(settings, name, state, links.usable_addresses())
    kernels = {family: NftablesFamily(family, settings) for family in Family}
    families = make_families(state, views, kernels)
    clock = SystemClock()
    cleaner = StaleFlowCleaner(Conntrack(), lambda: views.addresses, clock, uniform)
    agent = ProxyAgent(ProxyParts(state, writer, families, views, clock, uniform, cleaner))
    sources = proxy_sources(proxy_feeds(writer, agent.changed, name), settings, flags)
    work = [
        agent.run(sources.all),
        cleaner.run(),
        _follow_addresses(views, agent),
        mend_foreign_changes(agent, {family: kernel.events() for family, kernel in kernels.items()}),
        compare_for_ever(agent, tuple(Family), clock, settings.sync_period),
    ]
    gc.disable()  # hundreds of thousands of rows come to stay: looking for cycles among them costs seconds
    try:
        if flags.get("once") == "true":
            return await _until(agent.wait_filled(), work)
        return await _until(_told_to_stop(agent), work)
    finally:
        await sources.close()


async def _until(end: Coroutine[Any, Any, None], work: list[Coroutine[Any, Any, None]]) -> int:
    """Do the work until `end` returns, or the first of the work fails."""
    ended = asyncio.ensure_future(end)
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait((ended, *tasks), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (ended, *tasks):
            task.cancel()
        await asyncio.gather(ended, *tasks, return_exceptions=True)
    return 0


async def _told_to_stop(agent: ProxyAgent) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await agent.wait_filled()
    gc.freeze()
    gc.enable()
    await stop.wait()


async def _follow_addresses(views: NodeViews, agent: ProxyAgent) -> None:
    """The node's addresses decide where node ports are served, and who counts as the node."""
    with AddressWatch() as watch:
        async for addresses in watch.usable_addresses():
            if addresses != views.addresses:
                views.addresses = addresses
                agent.changed()
