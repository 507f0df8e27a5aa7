"""A proxy that stays: the loop with its sources, its servers and its upkeep, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from fairway import __version__
from fairway.agents.drift import compare_for_ever, mend_foreign_changes
from fairway.agents.feed import Source
from fairway.agents.health import Health, HealthTracker
from fairway.agents.metrics import ProxyMetrics
from fairway.agents.node_view import NodeViews
from fairway.agents.observer import MetricsObserver
from fairway.agents.proxy import ProxyAgent, ProxyParts
from fairway.agents.stale_flows import StaleFlowCleaner
from fairway.cli.sources import Sources, proxy_feeds, proxy_sources
from fairway.cli.wiring import NftablesFamily, host_name, make_families, uniform
from fairway.config.proxy import ProxySettings, SocketAddress, configz, node_name, serves_localhost
from fairway.config.proxy.sysctls import wanted_sysctls
from fairway.io.host.clock import SystemClock
from fairway.io.host.sysctl import apply_sysctls, online_cpus, set_oom_score_adj
from fairway.io.host.systemd import Systemd
from fairway.io.http.health import Clock, health_handler
from fairway.io.http.message import Handler
from fairway.io.http.metrics import Facts, add_process_metrics, metrics_handler
from fairway.io.http.server import ListenError, serve
from fairway.io.http.service_health import ServiceHealthServers
from fairway.io.netlink.addresses import AddressWatch, Links
from fairway.io.netlink.conntrack import Conntrack
from fairway.state.tables import State, Writer
from fairway.values.address import Address, Family
from fairway.values.names import ObjectName

log = logging.getLogger("fairway.proxy")

Work = Coroutine[Any, Any, None]


class Proxy:
    """Everything of one `fairway proxy`, put together."""

    def __init__(self, settings: ProxySettings, flags: Mapping[str, str]) -> None:
        self.settings = settings
        self.flags = flags
        self.clock = SystemClock()
        self.systemd = Systemd()
        self.state = State()
        self.name = node_name(settings, host_name())
        with Links() as links:
            self.views = NodeViews(settings, self.name, self.state, links.usable_addresses())
        self.kernels = {family: NftablesFamily(family, settings) for family in Family}
        self.families = make_families(self.state, self.views, self.kernels)
        self.metrics = ProxyMetrics(settings.mode, Family, __version__)
        self.health = HealthTracker(2 * settings.sync_period, Family, is_node_eligible=True)
        self.observer = MetricsObserver(self.metrics, self.health, self.clock, time.time)
        self.cleaner = StaleFlowCleaner(Conntrack(), lambda: self.views.addresses, self.clock, uniform)
        self.service_health = ServiceHealthServers(self.name, self._is_healthy, _report)
        writer = Writer(self.state)
        self.agent = ProxyAgent(
            ProxyParts(
                state=self.state,
                writer=writer,
                families=self.families,
                views=self.views,
                clock=self.clock,
                random=uniform,
                cleaner=self.cleaner,
                health_checks=self.service_health,
                observer=self.observer,
            )
        )
        self.sources: Sources = proxy_sources(proxy_feeds(writer, self._came_in, self.name), settings, flags)

    async def run(self, *, once: bool) -> int:
        """Serve until told to stop, or only until the kernel holds the plan."""
        gc.disable()  # hundreds of thousands of rows come to stay: looking for cycles among them costs seconds
        self.set_parameters()
        work: list[Work] = [self.agent.run(self.sources.all)]
        if not once:
            work += self._upkeep()
        try:
            return await _until(self.agent.wait_filled() if once else self._told_to_stop(), work)
        finally:
            await self.sources.close()

    def set_parameters(self) -> None:
        """Kernel parameters as kube-proxy sets them; one that is refused is a warning."""
        localhost = serves_localhost(self.settings, self.views.view(Family.IPV4).primary)
        outcome = apply_sysctls(wanted_sysctls(self.settings, online_cpus(), localhost=localhost))
        for change in outcome.changed:
            log.info("sysctl name=%s before=%d after=%d", *change)
        refused = set_oom_score_adj(self.settings.oom_score_adj)
        for warning in (*outcome.warnings, *((refused,) if refused else ())):
            log.warning("%s", warning)

    def _upkeep(self) -> list[Work]:
        settings, families = self.settings, tuple(Family)
        events = {family: kernel.events() for family, kernel in self.kernels.items()}
        return [
            self.cleaner.run(),
            self._follow_addresses(),
            mend_foreign_changes(self.agent, events),
            compare_for_ever(self.agent, families, self.clock, settings.sync_period),
            self.service_health.run(),
            *self._server(settings.healthz_bind_address, self._health_handler()),
            *self._server(settings.metrics_bind_address, self._metrics_handler()),
        ]

    def _server(self, place: SocketAddress, handler: Handler) -> Sequence[Work]:
        """Port 0 means none."""
        if not place.port:
            return ()
        is_hard = self.settings.bind_address_hard_fail
        return (serve(handler, place.address, place.port, is_hard=is_hard, report=_report_listen),)

    def _health_handler(self) -> Handler:
        return health_handler(
            self._assess,
            lambda: Clock(self.clock.now(), time.time()),
            healthz=self.metrics.healthz,
            livez=self.metrics.livez,
        )

    def _metrics_handler(self) -> Handler:
        add_process_metrics(self.metrics.registry)
        facts = Facts(
            registry=self.metrics.registry,
            mode=lambda: self.settings.mode.value,
            configz=lambda: configz(self.settings),
            flags=lambda: self.flags,
            version=__version__,
            before_scrape=self._before_scrape,
        )
        return metrics_handler(facts, with_profiling=self.settings.enable_profiling)

    def _before_scrape(self) -> None:
        self.observer.before_scrape(self.families)
        self.metrics.set_objects("Service", self.state.service_count)
        self.metrics.set_objects("EndpointSlice", self.state.slice_count)
        states = {"open": len(self.service_health.open), "failed": len(self.service_health.failed)}
        self.metrics.set_health_check_ports(states)

    def _came_in(self, kind: str, count: int) -> None:
        self.observer.came_in(kind, count)
        if kind == "Node":
            node = self.state.node(self.name)
            self.health.set_node_eligible(node is None or not node.is_leaving)
        self.agent.changed()

    def _is_healthy(self) -> bool:
        return self._assess(self.clock.now()).is_healthy

    def _assess(self, now: float) -> Health:
        if not self.flags.get("manifests"):
            for source in self.sources.all:
                self._note_contact(source, now)
        return self.health.assess(now)

    def _note_contact(self, source: Source, now: float) -> None:
        """A watch that nothing happens on is silent for good reason: only a failed one is stale."""
        name = getattr(source, "kind_name", type(source).__name__)
        if source.stale_since is None and source.last_contact is not None:
            self.health.contacted(name, now)
        elif source.last_contact is not None:
            self.health.contacted(name, source.last_contact)

    async def _follow_addresses(self) -> None:
        """The node's addresses decide where node ports are served, and who counts as the node."""
        with AddressWatch() as watch:
            async for addresses in watch.usable_addresses():
                if addresses != self.views.addresses:
                    self.views.addresses = addresses
                    self.agent.node_changed()
                self.service_health.set_addresses(self._health_check_addresses())

    def _health_check_addresses(self) -> Sequence[Address]:
        """Where health check node ports listen: where node ports are served (rule 19)."""
        views = [self.views.view(family) for family in Family]
        return [address for view in views for address in view.node_port_addresses]

    async def _told_to_stop(self) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        filled = asyncio.ensure_future(self.agent.wait_filled())
        await asyncio.wait((filled, asyncio.ensure_future(stop.wait())), return_when=asyncio.FIRST_COMPLETED)
        if filled.done():
            gc.freeze()
            gc.enable()
            self.systemd.ready(f"{self.state.service_count} Services programmed")
        filled.cancel()
        await stop.wait()
        self.systemd.stopping()


def _report(service: ObjectName, reason: str, message: str) -> None:
    log.warning("event service=%s reason=%s message=%r", service, reason, message)


def _report_listen(error: ListenError) -> None:
    log.warning("listen error=%r", str(error))


async def _until(end: Work, work: Sequence[Work]) -> int:
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
