"""`fairway dns`: the cluster's DNS server, from a Corefile as it is."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairway.values.errors import ConfigError

if TYPE_CHECKING:
    from fairway.agents.corefile_feed import CorefileSink
    from fairway.agents.dns import DnsAgent
    from fairway.config.corefile_settings import CorefileSettings
    from fairway.explain.dns import NameAnswer, NameStep
    from fairway.io.dns.world import RealWorld

USAGE = """usage: fairway dns [--conf COREFILE | --configmap NAMESPACE/NAME] [--check] [--dns.port PORT] [--quiet]

  --conf COREFILE        the Corefile; default ./Corefile (CoreDNS' flag -conf is the same)
  --configmap NAMESPACE/NAME
                         the ConfigMap that has it under the key Corefile, followed through the API: a change is taken
                         as soon as it is written
  --kubeconfig FILE      where that API is; default as kubectl finds it, or the pod's service account
  --check                read the Corefile and the files that it names, say what is wrong with them, and end
  --dns.port PORT        instead of 53, for server blocks that name no port
  --quiet                no lines about starting
"""
_VALUED = frozenset({"conf", "configmap", "kubeconfig", "dns.port"})


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
        from fairway.agents.dns_check import check_corefile
        from fairway.io.dns.world import RealWorld

        check_corefile(RealWorld(path))
        sys.stdout.write(f"{path}: ok\n")
        return 0
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(path, flags))


EXPLAIN_USAGE = """usage: fairway explain dns [--conf COREFILE] [--from NAMESPACE] [--type TYPE] [--server ADDRESS]
                           [-o json] NAME

  NAME              as a program would ask for it; a dot at its end keeps the search list out
  --from NAMESPACE  of the pod that asks; default "default"
  --type TYPE       A, AAAA, SRV, PTR …; default A, or PTR for an address
  --server ADDRESS  a running server to ask the same: does it say so, and from its cache?
"""


def explain(arguments: Sequence[str]) -> int:
    """What a name is answered with and why; exit code 1 when it is not."""
    flags: dict[str, str] = {"conf": "Corefile", "from": "default", "type": "", "server": "", "output": "text"}
    names: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        key, equals, value = {"-o": "--output"}.get(word, word).removeprefix("--").partition("=")
        if word.startswith("-") and key in flags:
            if not equals and not words:
                raise ConfigError(f"fairway explain dns: {word} needs a value")
            flags[key] = value if equals else words.pop(0)
        elif word.startswith("-"):
            sys.stdout.write(EXPLAIN_USAGE)
            return 0 if word in {"-h", "--help"} else 2
        else:
            names.append(word)
    if not names:
        raise ConfigError(f"fairway explain dns: no name\n{EXPLAIN_USAGE}")
    logging.basicConfig(level=logging.WARNING)
    return asyncio.run(_explain(flags, names))


async def _explain(flags: dict[str, str], names: list[str]) -> int:
    import msgspec

    from fairway.agents.dns import DnsAgent
    from fairway.dns.rows import packed
    from fairway.explain.dns import Client, explain_name, pod_search
    from fairway.io.dns.world import RealWorld
    from fairway.values.domain import reverse_name, to_text
    from fairway.values.rrtypes import RRType

    kind = flags["type"].upper()
    if kind and kind not in RRType.__members__:
        raise ConfigError(f"--type: {flags['type']!r} is not one of {', '.join(RRType.__members__)}")
    agent = DnsAgent(RealWorld(Path(flags["conf"])))
    failed = False
    try:
        generation = await agent.look()
        zones = [to_text(k.primary_zone) for c in generation.chains for _, p in c.kubernetes for k in (p.options,)]
        client = Client(pod_search(flags["from"], zones[0])) if zones else Client()
        for name in names:
            address = packed(name)
            text = to_text(reverse_name(address)) if address is not None else name
            rtype = RRType[kind] if kind else RRType.PTR if address is not None else RRType.A
            answer = await explain_name(text, rtype, client, generation.chains)
            if flags["server"]:
                steps = [await _asked(step, flags["server"]) for step in answer.steps]
                answer = msgspec.structs.replace(answer, steps=tuple(steps))
            failed |= answer.verdict in {"missing", "failed"}
            is_json = flags["output"] == "json"
            sys.stdout.write(msgspec.json.encode(answer).decode() + "\n" if is_json else _as_text(answer))
    finally:
        await agent.close()
    return 1 if failed else 0


async def _asked(step: NameStep, server: str) -> NameStep:
    """A step with what a running server says to its question."""
    from fairway.config.corefile_reader import split_key
    from fairway.config.corefile_settings import ForwardSettings, UpstreamAddress
    from fairway.dns.forward import UpstreamError
    from fairway.explain.dns import served
    from fairway.io.dns.upstream import NetworkUpstream
    from fairway.values.domain import ROOT, from_text
    from fairway.values.rrtypes import CLASS_IN, RD, RRType
    from fairway.wire.dns_message import Message, Question

    _scheme, host, port = split_key(server)
    upstream = NetworkUpstream(UpstreamAddress(host, int(port or 53)), ForwardSettings(ROOT, (server,)))
    query = Message(0, RD, Question(from_text(step.name), RRType[step.type], CLASS_IN))
    try:
        answer = await upstream.exchange(query, stream=False, seconds=3.0)
    except UpstreamError:
        return served(step, server, None)
    finally:
        upstream.close()
    return served(step, server, answer)


def _as_text(answer: NameAnswer) -> str:
    lines = [f"{answer.question}: {answer.verdict}"]
    for number, step in enumerate(answer.steps, 1):
        where = f"  ({step.plugin} {step.zone} at {step.server})" if step.server else ""
        lines.append(f"  {number}. {step.name} {step.type}  {step.code}{where}")
        lines += [f"       {r.name} {r.ttl} {r.type} {r.value}" for r in step.records]
        lines += [f"       {source}" for source in step.sources]
        lines += [f"       cache: {step.cache}"] if step.cache else []
        lines += [f"       {step.served}"] if step.served else []
    return "\n".join(lines) + "\n"


def _flags(arguments: Sequence[str]) -> dict[str, str]:
    """`--conf F`, `-conf F`, `--conf=F`: CoreDNS' flags with one dash or two."""
    found: dict[str, str] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        name = {"h": "help", "p": "dns.port"}.get(name, name)
        if not word.startswith("-") or name not in _VALUED | {"check", "quiet", "help"}:
            raise ConfigError(f"fairway dns: {word}: not known\n{USAGE}")
        if name in _VALUED and not equals:
            if not words:
                raise ConfigError(f"fairway dns: {word} needs a value")
            value = words.pop(0)
        found[name] = value
    if not found.get("dns.port", "53").isdecimal():
        raise ConfigError(f"fairway dns: --dns.port: {found['dns.port']!r} is not a port")
    if "conf" in found and "configmap" in found:
        raise ConfigError("fairway dns: --conf and --configmap: one of them")
    if not all(found.get("configmap", "a/b").partition("/")):
        raise ConfigError(f"fairway dns: --configmap: {found['configmap']!r} is not NAMESPACE/NAME")
    return found


async def _run(path: Path, flags: dict[str, str]) -> int:
    from fairway.io.dns.world import RealWorld

    port, is_quiet = int(flags.get("dns.port", "53")), "quiet" in flags
    if "configmap" not in flags:
        return await _serve(RealWorld(path, port), None, is_quiet=is_quiet)
    async with _followed(flags["configmap"], flags.get("kubeconfig", ""), port) as (world, sink):
        return await _serve(world, sink, is_quiet=is_quiet)


@contextlib.asynccontextmanager
async def _followed(where: str, kubeconfig: str, port: int) -> AsyncIterator[tuple[RealWorld, CorefileSink]]:
    """A world whose Corefile is a ConfigMap's, once that has been looked for."""
    from fairway.agents.corefile_feed import CorefileSink
    from fairway.agents.reflector import Reflector
    from fairway.io.dns.configmap import ConfigMapWorld
    from fairway.io.host.clock import SystemClock
    from fairway.io.kube.client import ApiClient
    from fairway.io.kube.kubeconfig import load_connection
    from fairway.values.names import ObjectName

    namespace, _, name = where.partition("/")
    world = ConfigMapWorld(ObjectName(namespace, name), port)
    sink = CorefileSink(world.take, ObjectName(namespace, name))
    client = ApiClient(load_connection(kubeconfig), user_agent="fairway-dns")
    reflector = Reflector(client, sink.feed(), SystemClock(), world.random)
    following = asyncio.ensure_future(reflector.run())
    try:
        await reflector.wait_synced()
        yield world, sink
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await client.close()


async def _serve(world: RealWorld, sink: CorefileSink | None, *, is_quiet: bool) -> int:
    from fairway.agents.dns import DnsAgent
    from fairway.agents.dns_fast import FastTables
    from fairway.agents.dns_status import StatusPages
    from fairway.dns.metrics import Metrics
    from fairway.io.dns.world import fast_tables, merge_fast

    gc.set_threshold(50_000, 20, 20)  # long-lived objects are many and cycles few
    metrics = Metrics()
    agent = DnsAgent(world, [metrics])
    pages = StatusPages(agent, metrics, world)
    tables = FastTables()
    agent.started.append(lambda generation: tables.begin(generation, fast_tables(agent.listeners)))
    pages.collectors.append(lambda counted: merge_fast(agent.listeners, tables.rows, counted))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Future[bool]] = set()

    def reload() -> None:
        """From the first moment on: it waits for the start."""
        reloads.add(future := asyncio.ensure_future(agent.reload()))
        future.add_done_callback(reloads.discard)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    starting = asyncio.ensure_future(agent.start())
    loop.add_signal_handler(signal.SIGUSR1, reload)
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
        agent.started.append(pages.renew)
        following = asyncio.ensure_future(sink.reload_for_ever(agent) if sink else agent.follow_file())
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
