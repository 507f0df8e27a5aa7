"""The DNS server's loop: a Corefile, the objects it needs, listeners; and all of it anew when the file changes.

Decides when to start answering (synced, or the start-up time-out has passed), what survives a reload (listeners of the
same address, rows of the same API server) and what a bad file does (nothing but a line in the log). Answers are
`fairway.dns`' business; sockets, files and the API come in through `DnsWorld`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from fairway.agents.dns_upkeep import Upkeep, UpkeepWorld
from fairway.agents.feed import Feed, Source
from fairway.config import corefile_settings as config
from fairway.dns import rows
from fairway.dns.chain import Chain, World, build_chain
from fairway.dns.metrics import PROGRAMMING, Histogram
from fairway.dns.model import Request
from fairway.dns.server import Block, Observer, Server
from fairway.dns.state import ClusterState
from fairway.values.domain import to_text
from fairway.values.errors import ConfigError, FairwayError

log = logging.getLogger(__name__)

LIVE_PODS = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"


class Endpoint(NamedTuple):
    """Where to listen; `::` stands for every address."""

    host: str
    port: int
    is_tls: bool


class Listener(Protocol):
    """Answers what comes to one address by `server`."""

    server: Server

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class HttpServer(Protocol):
    """Serves a few pages by their paths."""

    pages: dict[str, Callable[[], tuple[int, str, bytes]]]

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class DnsWorld(World, UpkeepWorld, Protocol):
    """Everything outside that the loop needs."""

    def read_settings(self) -> tuple[str, config.CorefileSettings]:
        """Read the Corefile: something that changes with its text, and what it says. Raises ConfigError."""
        ...

    def sources(
        self, settings: config.KubernetesSettings, feeds: Sequence[Feed[Any]]
    ) -> tuple[list[Source], Callable[[], Any]]:
        """What feeds the sinks, and how to end it; the second gives an awaitable. Raises ConfigError."""
        ...

    def endpoints(self, settings: config.ServerSettings) -> list[tuple[config.ServerKey, Endpoint]]:
        """Where a server block listens. Raises ConfigError."""
        ...

    def own_addresses(self, settings: config.ServerSettings) -> tuple[bytes, ...]:
        """Addresses that others know the server by."""
        ...

    def listen(self, endpoint: Endpoint, server: Server, tls: config.TlsSettings | None, sockets: int = 0) -> Listener:
        """With so many sockets, 0 for one a core. Raises ConfigError."""
        ...

    def http(self, address: str, pages: dict[str, Callable[[], tuple[int, str, bytes]]]) -> HttpServer:
        """Raises ConfigError when it is started and the address cannot be had."""
        ...


def _say_why(task: asyncio.Task[None]) -> None:
    """A kind that is not followed any more must not go unnoticed."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("msg='objects are not followed any more'", exc_info=error)


class Cluster:
    """One API server's rows, and what keeps them up to date."""

    def __init__(self, settings: config.KubernetesSettings, world: DnsWorld) -> None:
        self.state = ClusterState(self._changed)
        self.listeners: list[Callable[[], None]] = []
        self._world = world
        self.serial = int(world.wall_clock())
        self._is_handed_over = False
        self._started = world.wall_clock()
        self.programming: dict[str, Histogram] = {}
        """By kind of Service: seconds from a change of its endpoints to the answers that tell of it."""
        self._sources, self._close = world.sources(settings, self._feeds(settings))
        self._tasks = [asyncio.create_task(source.run()) for source in self._sources]
        self._tasks.append(asyncio.create_task(self._announce()))
        for task in self._tasks:
            task.add_done_callback(_say_why)

    def _feeds(self, settings: config.KubernetesSettings) -> list[Feed[Any]]:
        state, labels = self.state, settings.labels
        feeds: list[Feed[Any]] = [
            Feed(rows.NAMESPACES, state.namespaces, labels=settings.namespace_labels),
            Feed(rows.SERVICES, state.services, labels=labels),
        ]
        if settings.has_endpoints:
            kind = rows.slices(pod_names=settings.endpoint_pod_names, zones=settings.zonal)
            feeds.append(Feed(kind, state.slices, labels=labels))
        if settings.pods == "verified":
            feeds.append(Feed(rows.PODS, state.pods, labels=labels, fields=LIVE_PODS))
        if settings.multicluster:
            feeds.append(Feed(rows.IMPORTS, state.imports, is_optional=True))
        return feeds

    @property
    def has_synced(self) -> bool:
        return all(source.has_synced for source in self._sources)

    @property
    def is_current(self) -> bool:
        """Synced, and everything can be followed."""
        return self.has_synced and all(source.stale_since is None for source in self._sources)

    def note_transfer(self) -> None:
        """Somebody has a zone with this serial: the next change must not have it, too."""
        self._is_handed_over = True

    def _changed(self) -> None:
        self.serial = max(int(self._world.wall_clock()), self.serial + self._is_handed_over)
        self._is_handed_over = False
        triggers = self.state.take_triggers()
        if not self.has_synced:
            return
        for listener in self.listeners:
            listener()
        now = self._world.wall_clock()
        for kind, when in triggers:
            # What happened before there was a server was not programmed late.
            if when >= self._started:
                self.programming.setdefault(kind, Histogram(PROGRAMMING)).add(now - when)

    async def _announce(self) -> None:
        """The last kind to be listed is known to be only after its sink was called: tell once more."""
        while not self.has_synced:
            await self._world.sleep(0.01)
        for listener in self.listeners:
            listener()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._close()


class Generation:
    """All that one reading of the Corefile brought to life, but the listeners."""

    def __init__(self, settings: config.CorefileSettings, upkeep: Upkeep) -> None:
        self.settings = settings
        self.chains: list[Chain] = []
        self.servers: dict[Endpoint, Server] = {}
        self.endpoints: dict[int, list[Endpoint]] = {}
        """Of each chain, by its identity."""
        self.tls: dict[Endpoint, config.TlsSettings | None] = {}
        self.sockets: dict[Endpoint, int] = {}
        self.clusters: dict[object, Cluster] = {}
        self.upkeep = upkeep


class DnsAgent:
    """Runs servers as the Corefile says, until stopped."""

    def __init__(self, world: DnsWorld, observers: Sequence[Observer] = ()) -> None:
        self._world = world
        self._observers = observers
        self._generation: Generation | None = None
        self._clusters: dict[object, Cluster] = {}
        self._listeners: dict[Endpoint, Listener] = {}
        self._version = ""
        self._reloading = asyncio.Lock()
        self.failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Set when the server cannot go on (a forwarding loop)."""
        self.reload_failures = 0
        self.faults = 0
        """Questions that made a plugin fail in a way it should not."""
        self.started: list[Callable[[Generation], None]] = []
        """Called with each new generation when its listeners are open."""

    @property
    def generation(self) -> Generation:
        assert self._generation is not None
        return self._generation

    @property
    def is_ready(self) -> bool:
        """Every watch of the present Corefile has listed once."""
        return self._generation is not None and all(c.has_synced for c in self._generation.clusters.values())

    @property
    def version(self) -> str:
        """A hash of the Corefile that is in force."""
        return self._version

    @property
    def listeners(self) -> dict[Endpoint, Listener]:
        return dict(self._listeners)

    # -- start, reload, stop

    async def start(self) -> None:
        """Read the Corefile and answer. Raises ConfigError."""
        async with self._reloading:
            self._version, settings = self._world.read_settings()
            await self._install(settings)

    async def look(self) -> Generation:
        """Read the Corefile and what it needs of the API server, without listening: for explain. Raises ConfigError."""
        self._version, settings = self._world.read_settings()
        self._generation = self._build(settings)
        await self._wait_synced(self._generation)
        return self._generation

    async def reload(self) -> bool:
        """Read the Corefile again, if it has changed; a bad one changes nothing. True when it was taken.

        One reading after the other: a second that overtakes the first would be undone by it.
        """
        async with self._reloading:
            return await self._reload()

    async def _reload(self) -> bool:
        try:
            version, settings = self._world.read_settings()
            if version == self._version:
                return False
            self._version = version
            await self._install(settings)
        except (FairwayError, OSError) as error:
            self.reload_failures += 1
            log.error("msg='the Corefile was not taken, the old one stays' error='%s'", error)
            return False
        log.info("msg='the Corefile has changed and was taken'")
        return True

    async def follow_file(self) -> None:
        """Reload when the file changes, as the `reload` plugin asks; returns when nobody asks."""
        while (wanted := self._reload_settings()) is not None and wanted.interval:
            await self._world.sleep(wanted.interval + self._world.random() * wanted.jitter)
            await self.reload()

    def _reload_settings(self) -> config.ReloadSettings | None:
        found = [p for s in self.generation.settings.servers for p in s.plugins if isinstance(p, config.ReloadSettings)]
        return found[0] if found else None

    async def close(self) -> None:
        """Stop answering and following."""
        await asyncio.gather(*(listener.close() for listener in self._listeners.values()), return_exceptions=True)
        if self._generation is not None:
            await self._generation.upkeep.close()
        await asyncio.gather(*(cluster.close() for cluster in self._clusters.values()), return_exceptions=True)

    # -- generations

    async def _install(self, settings: config.CorefileSettings) -> None:
        generation = self._build(settings)
        try:
            await self._wait_synced(generation)
            await self._take_over(generation)
        except BaseException:
            await generation.upkeep.close()
            await self._drop_clusters(self._generation)
            raise
        old, self._generation = self._generation, generation
        if old is not None:
            await old.upkeep.close()
        await self._drop_clusters(generation)
        for chain in generation.chains:
            wanted = [config.cluster_key(one) for one, _ in chain.kubernetes]
            generation.upkeep.serve(chain, [generation.clusters[key] for key in dict.fromkeys(wanted)])

    def _build(self, settings: config.CorefileSettings) -> Generation:
        generation = Generation(settings, Upkeep(self._world, self._fail))

        def state(wanted: object) -> ClusterState:
            return self._cluster(wanted, generation).state

        blocks: dict[Endpoint, list[Block]] = {}
        options: set[int] = set()
        for one in settings.servers:
            chain = build_chain(one, self._world, state)
            generation.chains.append(chain)
            options |= chain.options
            where = self._world.endpoints(one)
            generation.endpoints[id(chain)] = [endpoint for _, endpoint in where]
            for key, endpoint in where:
                block = Block(key.zone, chain.first if one.plugins else None, to_text(key.zone), chain.takes_classes)
                blocks.setdefault(endpoint, []).append(block)
                generation.tls[endpoint] = one.tls
                generation.sockets[endpoint] = max(one.sockets, generation.sockets.get(endpoint, 0))
                if key.is_tls and one.tls is None:
                    raise ConfigError(f"{one.place}: tls:// needs a line 'tls CERTIFICATE KEY'")
        for endpoint, found in blocks.items():
            server = Server(_label(endpoint), found, self._observers, self._world.now, frozenset(options))
            server.report = self._report
            generation.servers[endpoint] = server
        for chain in generation.chains:
            self._connect(chain, generation)
        return generation

    def _cluster(self, settings: object, generation: Generation) -> Cluster:
        assert isinstance(settings, config.KubernetesSettings)
        key = config.cluster_key(settings)
        if key not in self._clusters:
            self._clusters[key] = Cluster(settings, self._world)
        return generation.clusters.setdefault(key, self._clusters[key])

    def _connect(self, chain: Chain, generation: Generation) -> None:
        """Give the plugins what only exists now: servers, addresses, clusters, and tasks that feed them."""
        endpoints = generation.endpoints[id(chain)]
        server = generation.servers[endpoints[0]] if endpoints else None
        own = self._world.own_addresses(chain.settings)
        for settings, plugin in chain.kubernetes:
            cluster = generation.clusters[config.cluster_key(settings)]
            plugin.local = own
            plugin.has_synced = lambda c=cluster: c.has_synced  # type: ignore[misc]
            plugin.serial = lambda _count, c=cluster: c.serial  # type: ignore[misc]
            plugin.on_transfer = cluster.note_transfer
        for resolving in chain.resolving if server is not None else ():
            assert server is not None
            resolving.resolve = server.resolve
        generation.upkeep.begin(chain)

    async def _wait_synced(self, generation: Generation) -> None:
        wanted = [s for chain in generation.chains for s, _ in chain.kubernetes]
        if not wanted:
            return
        deadline = self._world.now() + max(s.startup_timeout for s in wanted)
        said = False
        while not all(c.has_synced for c in generation.clusters.values()):
            if self._world.now() >= deadline:
                log.warning("msg='starting server with unsynced Kubernetes API'")
                return
            if not said and deadline - self._world.now() < max(s.startup_timeout for s in wanted) - 0.5:
                log.info("msg='waiting for Kubernetes API before starting server'")
                said = True
            await self._world.sleep(0.005)

    async def _take_over(self, generation: Generation) -> None:
        """Open what is new before anything old is closed; what stays only learns of its new server."""
        opened: dict[Endpoint, Listener] = {}
        try:
            for endpoint, server in generation.servers.items():
                if endpoint not in self._listeners:
                    opened[endpoint] = self._world.listen(
                        endpoint, server, generation.tls[endpoint], generation.sockets[endpoint]
                    )
                    await opened[endpoint].start()
        except BaseException:
            await asyncio.gather(*(listener.close() for listener in opened.values()), return_exceptions=True)
            raise
        for endpoint, listener in self._listeners.items():
            if endpoint in generation.servers:
                listener.server = generation.servers[endpoint]
        gone = [endpoint for endpoint in self._listeners if endpoint not in generation.servers]
        await asyncio.gather(*(self._listeners.pop(endpoint).close() for endpoint in gone), return_exceptions=True)
        self._listeners |= opened
        for hook in self.started:
            hook(generation)

    async def _drop_clusters(self, generation: Generation | None) -> None:
        kept = generation.clusters if generation is not None else {}
        for key in [key for key in self._clusters if key not in kept]:
            await self._clusters.pop(key).close()

    def _fail(self, reason: str) -> None:
        if not self.failure.done():
            self.failure.set_result(reason)

    def _report(self, request: Request, error: Exception) -> None:
        name = to_text(request.name)
        self.faults += 1
        log.error("name=%s type=%d msg='a fault while answering'", name, request.type, exc_info=error)


def _label(endpoint: Endpoint) -> str:
    host = "" if endpoint.host == "::" else f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{'tls' if endpoint.is_tls else 'dns'}://{host}:{endpoint.port}"
