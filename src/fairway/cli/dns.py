"""`fairway dns`: the cluster's DNS server, from a Corefile as it is."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairway.values.errors import ConfigError

if TYPE_CHECKING:
    from fairway.agents.dns import DnsAgent
    from fairway.config.corefile_settings import CorefileSettings

USAGE = """usage: fairway dns [--conf COREFILE] [--check] [--dns.port PORT] [--quiet]

  --conf COREFILE   the Corefile; default ./Corefile (CoreDNS' flag -conf is the same)
  --check           read the Corefile, say what is wrong with it, and end
  --dns.port PORT   instead of 53, for server blocks that name no port
  --quiet           no lines about starting
"""


def run(arguments: Sequence[str]) -> int:
    """Serve until told to end. Raises ConfigError for a Corefile that cannot be read at the start."""
    flags = _flags(arguments)
    if "help" in flags:
        sys.stdout.write(USAGE)
        return 0
    level = logging.WARNING if "quiet" in flags else logging.INFO
    logging.basicConfig(level=level, format="[%(levelname)s] %(name)s %(message)s", stream=sys.stdout)
    path = Path(flags.get("conf", "Corefile"))
    if "check" in flags:
        from fairway.io.dns.world import RealWorld

        RealWorld(path).read_settings()
        sys.stdout.write(f"{path}: ok\n")
        return 0
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(path, int(flags.get("dns.port", "53")), is_quiet="quiet" in flags))


def _flags(arguments: Sequence[str]) -> dict[str, str]:
    """`--conf F`, `-conf F`, `--conf=F`: CoreDNS' flags with one dash or two."""
    found: dict[str, str] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        name = {"h": "help", "p": "dns.port"}.get(name, name)
        if not word.startswith("-") or name not in {"conf", "check", "dns.port", "quiet", "help"}:
            raise ConfigError(f"fairway dns: {word}: not known\n{USAGE}")
        if name in {"conf", "dns.port"} and not equals:
            if not words:
                raise ConfigError(f"fairway dns: {word} needs a value")
            value = words.pop(0)
        found[name] = value
    if not found.get("dns.port", "53").isdigit():
        raise ConfigError(f"fairway dns: --dns.port: {found['dns.port']!r} is not a port")
    return found


async def _serve(path: Path, port: int, *, is_quiet: bool) -> int:
    from fairway.agents.dns import DnsAgent
    from fairway.agents.dns_fast import FastTables
    from fairway.agents.dns_status import StatusPages
    from fairway.dns.metrics import Metrics
    from fairway.io.dns.world import RealWorld, fast_tables, merge_fast

    world = RealWorld(path, port)
    metrics = Metrics()
    agent = DnsAgent(world, [metrics])
    pages = StatusPages(agent, metrics, world)
    tables = FastTables()
    agent.started.append(lambda generation: tables.begin(generation, fast_tables(agent.listeners)))
    pages.collectors.append(lambda counted: merge_fast(agent.listeners, counted))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    starting = asyncio.ensure_future(agent.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await agent.close()
        return 0
    try:
        starting.result()
        await pages.start()
        loop.add_signal_handler(signal.SIGUSR1, lambda: loop.create_task(agent.reload()))
        following = asyncio.ensure_future(agent.follow_file())
        if not is_quiet:
            _say_started(agent.generation.settings)
        return await _until_stopped(agent, stop, pages, following)
    finally:
        stopping.cancel()
        await pages.close()
        await agent.close()


async def _until_stopped(agent: DnsAgent, stop: asyncio.Event, pages: object, following: asyncio.Future[None]) -> int:
    from fairway.agents.dns_status import StatusPages

    assert isinstance(pages, StatusPages)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((stopping, agent.failure), return_when=asyncio.FIRST_COMPLETED)
    following.cancel()
    if agent.failure.done():
        sys.stderr.write(f"fairway dns: {agent.failure.result()}\n")
        return 1
    # Lame duck: not ready any more, but still answering, until clients have learnt of it.
    await pages.lame_duck()
    return 0


def _say_started(settings: CorefileSettings) -> None:
    from fairway.values.domain import to_text

    for server in settings.servers:
        for key in server.keys:
            sys.stdout.write(f"{to_text(key.zone)}:{key.port}\n")
    sys.stdout.flush()
