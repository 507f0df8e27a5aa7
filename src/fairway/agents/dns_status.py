"""What the DNS server says of itself over HTTP: health, readiness, metrics, under CoreDNS' names and ports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from fairway import __version__
from fairway.agents.dns import DnsAgent, DnsWorld, HttpServer
from fairway.config import corefile_settings as config
from fairway.dns.chain import Chain
from fairway.dns.metrics import PROGRAMMING, Exposition, Histogram, Labels, Metrics
from fairway.dns.plugin_metrics import server_labels, write_plugins
from fairway.values.errors import ConfigError

log = logging.getLogger(__name__)

Page = Callable[[], tuple[int, str, bytes]]
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class StatusPages:
    """The HTTP servers that the Corefile asks for."""

    def __init__(self, agent: DnsAgent, metrics: Metrics, world: DnsWorld) -> None:
        self._agent = agent
        self._metrics = metrics
        self._world = world
        self._servers: dict[str, HttpServer] = {}
        self._renewal: asyncio.Future[None] | None = None
        self._was_ready = False
        self.is_lame = False
        self.collectors: list[Callable[[Metrics], None]] = []
        """Bring counts from elsewhere up to date before they are shown."""

    async def start(self) -> None:
        """Serve what the present Corefile asks for; after a reload again. Raises ConfigError for an address that cannot
        be had."""
        pages: dict[str, dict[str, Page]] = {}
        for settings in self._plugins():
            match settings:
                case config.HealthSettings():
                    pages.setdefault(settings.address, {})["/health"] = self.health
                case config.ReadySettings():
                    pages.setdefault(settings.address, {})["/ready"] = self.ready
                case config.PrometheusSettings():
                    pages.setdefault(settings.address, {})["/metrics"] = self.metrics
        for address in [address for address in self._servers if address not in pages]:
            with suppress(Exception):
                await self._servers.pop(address).close()
        for address, found in pages.items():
            if address in self._servers:
                self._servers[address].pages = found
                continue
            server = self._world.http(address, found)
            await server.start()
            self._servers[address] = server

    def renew(self, _generation: object) -> None:
        """`start` after a reload, soon: what cannot be had is said, and the rest is served."""
        self._renewal = asyncio.ensure_future(self._renewed())

    async def _renewed(self) -> None:
        try:
            await self.start()
        except ConfigError as error:
            log.error("msg='a page is not served' error='%s'", error)

    async def close(self) -> None:
        for server in self._servers.values():
            with suppress(Exception):
                await server.close()

    async def lame_duck(self) -> None:
        """Say that this server is going, and go on answering for as long as the Corefile says."""
        self.is_lame = True
        seconds = max((s.lameduck for s in self._plugins() if isinstance(s, config.HealthSettings)), default=0.0)
        if seconds:
            await self._world.sleep(seconds)

    def _plugins(self) -> list[object]:
        return [p for server in self._agent.generation.settings.servers for p in server.plugins]

    # -- pages

    def health(self) -> tuple[int, str, bytes]:
        return 200, "text/plain", b"OK"

    def ready(self) -> tuple[int, str, bytes]:
        """Ready once every watch has listed; stays so, unless it shall be watched, until the server goes."""
        settings = [s for s in self._plugins() if isinstance(s, config.ReadySettings)]
        is_ready = self._agent.is_ready
        self._was_ready = is_ready or (self._was_ready and not any(s.is_continuous for s in settings))
        if self._was_ready and not self.is_lame:
            return 200, "text/plain", b"OK"
        return 503, "text/plain", b"kubernetes" if not self._was_ready else b"shutting down"

    def metrics(self) -> tuple[int, str, bytes]:
        """Everything that is counted."""
        for collect in self.collectors:
            collect(self._metrics)
        out = Exposition()
        self._metrics.total().write(out)
        generation = self._agent.generation
        out.simple("coredns_build_info", "gauge", "A metric with a constant '1' value labeled by version.",
                   {(("version", f"fairway-{__version__}"), ("revision", ""), ("goversion", "")): 1})  # fmt: skip
        out.simple("coredns_panics_total", "counter", "A metrics that counts the number of panics.",
                   {(): self._agent.faults})  # fmt: skip
        out.simple("coredns_reload_version_info", "gauge", "A constant '1' with the hash of the Corefile in force.",
                   {(("hash", "sha256"), ("value", self._agent.version)): 1})  # fmt: skip
        out.simple("coredns_reload_failed_total", "counter", "Counter of the number of failed reload attempts.",
                   {(): self._agent.reload_failures})  # fmt: skip
        enabled: dict[Labels, float] = {}
        for chain in generation.chains:
            for label, plugin in _named(chain):
                enabled[(*label, ("name", plugin))] = 1
        out.simple("coredns_plugin_enabled", "gauge", "A metric that indicates whether a plugin is enabled.", enabled)
        write_plugins(out, generation.chains)
        programming: dict[Labels, Histogram] = {}
        for cluster in generation.clusters.values():
            for kind, one in cluster.programming.items():
                labels = (("service_kind", kind),)
                programming.setdefault(labels, Histogram(PROGRAMMING)).merge(one.counts, one.total)
        if programming:
            text = "Histogram of the time (in seconds) it took to program a dns instance."
            out.histograms("coredns_kubernetes_dns_programming_duration_seconds", text, programming)
        return 200, METRICS_TYPE, out.text().encode()


def _named(chain: Chain) -> list[tuple[Labels, str]]:
    names = (type(p).__name__.removesuffix("Settings").lower() for p in chain.settings.plugins)
    return [(server_labels(chain), {"external": "k8s_external"}.get(name, name)) for name in names]
