"""`fairway proxy`: the Service proxy of this node, on kube-proxy's configuration file and flags."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairway import __version__
from fairway.agents.feed import Source
from fairway.agents.node_view import NodeViews
from fairway.agents.proxy import ProxyAgent, ProxyParts
from fairway.cli.sources import api_sources, proxy_feeds
from fairway.cli.wiring import host_name, load_settings, make_families, require_root, set_up_logging, uniform
from fairway.config.proxy import FLAGS, Flag, ProxySettings, node_name, parse_flags, usage, write_config
from fairway.config.proxy.kinds import Bool, Text
from fairway.io.host.clock import SystemClock
from fairway.state.tables import State, Writer
from fairway.values.address import Family

log = logging.getLogger("fairway.proxy")

OWN_FLAGS = (
    Flag("manifests", "Objects from a folder of YAML or JSON files instead of an API server.", kind=Text("a path")),
    Flag("once", "Return as soon as the kernel holds the plan.", kind=Bool()),
    Flag("dry-run", "Print what would change in the kernel, change nothing, and exit.", kind=Bool()),
    Flag("strict-config", "Refuse a configuration file with unknown fields.", kind=Bool()),
)


def run(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    table = (*FLAGS, *OWN_FLAGS)
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(f"usage: fairway proxy [FLAGS]\n\n{usage(table)}\n")
        return 0
    flags = parse_flags(arguments, table)
    if flags.get("version") == "true":
        sys.stdout.write(f"fairway {__version__}\n")
        return 0
    set_up_logging()
    loaded = load_settings(flags)
    if "write-config-to" in flags:
        Path(flags["write-config-to"]).write_text(write_config(loaded.settings), encoding="utf-8")
        return 0
    require_root("fairway proxy")
    return _with_uvloop(serve(loaded.settings, flags))


def _with_uvloop(main: Any) -> int:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return int(runner.run(main))


async def serve(settings: ProxySettings, flags: Mapping[str, str]) -> int:
    """Run the proxy until it is told to stop, or once."""
    state = State()
    writer = Writer(state)
    name = node_name(settings, host_name())
    views = NodeViews(settings, name, state, ())
    families = make_families(state, views, tuple(Family), settings)
    agent = ProxyAgent(ProxyParts(state, writer, families, views, SystemClock(), uniform))
    feeds = proxy_feeds(writer, agent.changed, name)
    sources: list[Source]
    sources, client = api_sources(feeds, settings, flags)
    gc.disable()  # hundreds of thousands of rows come to stay: looking for cycles among them costs seconds
    running = asyncio.create_task(agent.run(sources))
    try:
        await agent.wait_filled()
        gc.freeze()
        gc.enable()
        if flags.get("once") == "true":
            return 0
        await running
        return 0
    finally:
        running.cancel()
        await client.close()
