"""A proxy that stays: the loop with its sources, its servers and its upkeep, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairway import __version__
from fairway.agents.drift import compare_for_ever, mend_foreign_changes
from fairway.agents.health import ProxyHealth
from fairway.agents.metrics import ProxyMetrics
from fairway.agents.node_view import NodeViews
from fairway.agents.observer import CountedFlows, MetricsObserver
from fairway.agents.proxy import ProxyAgent, ProxyParts
from fairway.agents.stale_flows import StaleFlowCleaner
from fairway.cli.logs import apply_logging
from fairway.cli.servers import Servers, Subjects
from fairway.cli.sources import Sources, proxy_feeds, proxy_sources
from fairway.cli.wiring import NftablesFamily, host_name, load_settings, make_families, uniform
from fairway.config.proxy import (
    ProxySettings,
    detect_families,
    difference,
    health_check_addresses,
    node_name,
    serves_localhost,
)
from fairway.config.proxy.sysctls import wanted_sysctls
from fairway.io.host.clock import SystemClock
from fairway.io.host.sysctl import apply_sysctls, available_families, online_cpus, set_niceness, set_oom_score_adj
from fairway.io.host.systemd import Systemd
from fairway.io.host.tree import FileWatcher
from fairway.io.http.service_health import ServiceHealthServers
from fairway.io.netlink.addresses import AddressWatch, Links
from fairway.io.netlink.conntrack import Conntrack
from fairway.io.netlink.nftables_probe import find_listing_fault
from fairway.state.tables import State, Writer
from fairway.values.address import Address, Family
from fairway.values.errors import ConfigError, UnavailableError
from fairway.values.names import ObjectName

if TYPE_CHECKING:
    from fairway.io.kube.client import ApiClient

log = logging.getLogger("fairway.proxy")

Work = Coroutine[Any, Any, None]

NICENESS = -10
"""A change is a millisecond's work that connections wait for; on a busy node it goes first."""


class Proxy:
    """Everything of one `fairway proxy`, put together."""

    def __init__(self, settings: ProxySettings, flags: Mapping[str, str], api: ApiClient | None = None) -> None:
        """`api`: a client that others in this process use, too, and close."""
        self.settings = settings
        self.flags = flags
        self._warned: set[str] = set()
        self.clock = SystemClock()
        self.systemd = Systemd()
        self.state = State()
        self.name = node_name(settings, host_name())
        with Links() as links:
            self.views = NodeViews(settings, self.name, self.state, links.usable_addresses())
        self.kernels = {family: NftablesFamily(family, settings) for family in Family}
        self.families = make_families(self.state, self.views, self.kernels)
        self.metrics = ProxyMetrics(settings.mode, Family, __version__)
        self.observer = MetricsObserver(self.metrics, time.time)
        flows = CountedFlows(Conntrack(), self.metrics)
        self.cleaner = StaleFlowCleaner(
            flows, lambda: self.views.addresses, self.clock, uniform, cleaned=self.observer.cleaned
        )
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
        feeds = proxy_feeds(writer, self._came_in, self.name, mirrors="manifests" in flags)
        self.sources: Sources = proxy_sources(feeds, settings, flags, api)
        self.health = ProxyHealth(
            self.agent.status,
            Family,
            lambda: 2 * self.settings.sync_period,
            self._is_node_eligible,
            () if flags.get("manifests") else self.sources.all,
        )
        subjects = Subjects(self.health, self.metrics, flags, self._before_scrape)
        self.servers = Servers(subjects, lambda: self.settings)

    async def run(self, *, once: bool) -> int:
        """Serve until told to stop, or only until the kernel holds the plan."""
        gc.disable()  # hundreds of thousands of rows come to stay: looking for cycles among them costs seconds
        work = self.work(once=once)
        if not once:
            set_niceness(NICENESS)
        try:
            return await _until(self._programmed_once() if once else self._told_to_stop(), work)
        finally:
            await self.sources.close()

    def work(self, *, once: bool = False) -> list[Work]:
        """All that a proxy does until it is cancelled; the end of one of them is a defect."""
        self.set_parameters()
        return [self.agent.run(self.sources.all), *(() if once else self._upkeep())]

    def set_parameters(self) -> None:
        """Kernel parameters as kube-proxy sets them; one that is refused is a warning.

        route_localnet only once the kernel has the rules that guard 127.0.0.0/8 (CVE-2020-8558).
        """
        primary = self.views.view(Family.IPV4).primary
        localhost = self.agent.status.is_filled and serves_localhost(self.settings, primary)
        outcome = apply_sysctls(wanted_sysctls(self.settings, online_cpus(), localhost=localhost))
        for change in outcome.changed:
            log.info("sysctl name=%s before=%d after=%d", *change)
        refused = set_oom_score_adj(self.settings.oom_score_adj)
        self._warn(*outcome.warnings, *((refused,) if refused else ()))

    def _warn(self, *warnings: str) -> None:
        """Once each."""
        for warning in warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                log.warning("%s", warning)

    async def filled(self) -> None:
        """Return when the kernel holds the plan."""
        await self.agent.wait_filled()
        self.set_parameters()
        node_ips = [view.primary for view in map(self.views.view, Family) if view.primary is not None]
        try:
            self._warn(*detect_families(self.settings, node_ips, available_families()).warnings)
        except UnavailableError as error:
            self._warn(str(error))

    async def _try_listing(self) -> None:
        """Whether the machine's own nft can list our tables: an operator should hear it before he tries."""
        fault = await asyncio.to_thread(find_listing_fault)
        if fault is not None:
            self._warn(fault)

    def _upkeep(self) -> list[Work]:
        own_ports = [kernel.port for kernel in self.kernels.values()]
        events = {family: partial(kernel.events, own_ports) for family, kernel in self.kernels.items()}
        return [
            self.cleaner.run(),
            self._follow_addresses(),
            self._follow_config(),
            mend_foreign_changes(self.agent, events),
            compare_for_ever(self.agent, tuple(Family), self.clock, lambda: self.settings.sync_period),
            self.service_health.run(),
            self.servers.run(),
        ]

    def _before_scrape(self) -> None:
        self.observer.before_scrape(self.families)
        api = self.health.assess(self.clock.now()).api
        if api is not None:
            at = 0.0 if api.last_contact is None else time.time() - (self.clock.now() - api.last_contact)
            self.metrics.set_api_contact(at, is_stale=api.is_stale)
        self.metrics.set_objects("Service", self.state.service_count)
        self.metrics.set_objects("EndpointSlice", self.state.slice_count)
        states = {"open": len(self.service_health.open), "failed": len(self.service_health.failed)}
        self.metrics.set_health_check_ports(states)

    def _came_in(self, kind: str, count: int) -> None:
        self.observer.came_in(kind, count)
        self.agent.changed()

    def _is_node_eligible(self) -> bool:
        """A cluster's node must have been seen, as kube-proxy has it; a plain machine needs no Node object."""
        node = self.state.node(self.name)
        return "manifests" in self.flags if node is None else not node.is_leaving

    def _is_healthy(self) -> bool:
        return self.health.assess(self.clock.now()).is_healthy

    async def _follow_addresses(self) -> None:
        """The node's addresses decide where node ports are served, and who counts as the node."""
        with AddressWatch() as watch:
            async for addresses in watch.usable_addresses():
                if addresses != self.views.addresses:
                    self.views.addresses = addresses
                    self.agent.node_changed()
                self.service_health.set_addresses(self._health_check_addresses())

    def _health_check_addresses(self) -> Sequence[Address]:
        """Where health check node ports listen: by nodePortAddresses, as node ports do (rule 19)."""
        views = [self.views.view(family) for family in Family]
        return [
            address
            for view in views
            for address in health_check_addresses(self.settings, view.family, view.addresses, view.primary)
        ]

    async def _follow_config(self) -> None:
        """A changed configuration file is applied at once, or refused whole and the old one kept."""
        path = self.flags.get("config")
        if not path:
            await asyncio.get_running_loop().create_future()
            return
        watcher = FileWatcher(Path(path))
        try:
            self._take_config()  # it may have changed since it was read
            while True:
                await watcher.changed()
                self._take_config()
        finally:
            watcher.close()

    def _take_config(self) -> None:
        try:
            new = load_settings(self.flags).settings
        except ConfigError as error:
            self.metrics.reloaded("refused")
            log.warning("config refused error=%r", str(error))
            return
        found = difference(self.settings, new)
        if not found.is_applicable:
            self.metrics.reloaded("refused")
            fields = ", ".join(str(change) for change in found.refused)
            log.warning("config refused restart_needed_for=%r", fields)
            return
        if not (found.live or found.idle):
            return
        self.settings = self.views.settings = new
        apply_logging(new.logging)
        for kernel in self.kernels.values():
            kernel.settings = new
        self.agent.node_changed(even_if_equal=True)
        self.set_parameters()
        self.servers.settings_changed()
        self.service_health.set_addresses(self._health_check_addresses())
        self.metrics.reloaded("applied")
        log.info("config applied changes=%r", ", ".join(str(change) for change in found.live))

    async def _programmed_once(self) -> None:
        """The kernel holds the plan, and remembers no UDP flow that contradicts it."""
        await self.filled()
        await self.cleaner.clean()

    async def _told_to_stop(self) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        filled, stopped = asyncio.ensure_future(self.filled()), asyncio.ensure_future(stop.wait())
        await asyncio.wait((filled, stopped), return_when=asyncio.FIRST_COMPLETED)
        if filled.done():
            gc.freeze()
            gc.enable()
            self.systemd.ready(f"{self.state.service_count} Services programmed")
        filled.cancel()
        tried = asyncio.ensure_future(self._try_listing())
        await stopped
        tried.cancel()
        self.systemd.stopping()


def _report(service: ObjectName, reason: str, message: str) -> None:
    log.warning("event service=%s reason=%s message=%r", service, reason, message)


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
