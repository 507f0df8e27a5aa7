"""Settings of a server block → its chain of plugins, last one first.

Decides which parts answer; what they need of the outside (clock, randomness, upstreams, files) comes in `Parts`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from fairway.config import corefile_settings as config
from fairway.dns.autopath import Autopath
from fairway.dns.cache import Cache
from fairway.dns.external import External, ExternalOptions
from fairway.dns.forward import Forward, Upstream
from fairway.dns.hosts import Hosts
from fairway.dns.kubernetes import Kubernetes, KubernetesOptions, Resolver
from fairway.dns.loadbalance import Loadbalance
from fairway.dns.logging import Errors, Log
from fairway.dns.lookup import LookupOptions, PodMode
from fairway.dns.loop import Loop
from fairway.dns.metrics import Counting
from fairway.dns.model import EndOfChain, Handler, Request
from fairway.dns.rewrite import Rewrite, known_options
from fairway.dns.small import (
    Acl,
    Bufsize,
    Chaos,
    Dns64,
    Local,
    Minimal,
    Nsid,
    Whoami,
    address_text,
)
from fairway.dns.small import (
    Any as AnyPlugin,
)
from fairway.dns.state import ClusterState
from fairway.dns.template import Template
from fairway.dns.transfer import Transfer, Transferable
from fairway.dns.zone_records import zone_records
from fairway.dns.zonefile import ZoneFile
from fairway.kube.selector import LabelSelector
from fairway.values.domain import Name, longest_zone
from fairway.values.errors import ConfigError, InvalidValueError
from fairway.wire.dns_message import Record


class World(Protocol):
    """What plugins need of the outside."""

    def now(self) -> float:
        """Seconds since some point in the past."""
        ...

    def random(self) -> float:
        """In [0, 1)."""
        ...

    def spawn(self, work: Coroutine[Any, Any, object]) -> object:
        """Run something in the background."""
        ...

    async def wait_for(self, work: Coroutine[Any, Any, Any], seconds: float) -> Any:
        """Run something in the background; its result, or None when it takes longer than that."""
        ...

    def upstreams(self, settings: config.ForwardSettings) -> Sequence[Upstream]:
        """The servers that a `forward` names."""
        ...

    def write_log(self, line: str) -> None:
        """One line of the query log."""
        ...

    def write_error(self, line: str, level: str) -> None:
        """One line about a failure."""
        ...

    @property
    def hostname(self) -> str: ...

    def search_list(self, path: str) -> tuple[Name, ...]:
        """Of a resolv.conf. Raises OSError."""
        ...


class Resolving(Protocol):
    """Follows names: needs the server, which exists only later."""

    resolve: Resolver


@dataclass(slots=True)
class Chain:
    """A server block's plugins, and those that somebody outside must feed or watch."""

    first: Handler
    settings: config.ServerSettings
    kubernetes: list[tuple[config.KubernetesSettings, Kubernetes]] = field(default_factory=list)
    caches: list[Cache] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    hosts: list[Hosts] = field(default_factory=list)
    files: list[tuple[config.FileSettings, ZoneFile]] = field(default_factory=list)
    balances: list[Loadbalance] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    errors: list[Errors] = field(default_factory=list)
    external: list[External] = field(default_factory=list)
    resolving: list[Resolving] = field(default_factory=list)
    """Plugins that ask the whole server about names elsewhere."""
    loops: list[Loop] = field(default_factory=list)
    counting: list[Counting] = field(default_factory=list)

    @property
    def takes_classes(self) -> bool:
        """Questions of other classes than IN reach the plugins."""
        return bool(self.forwards) or any(isinstance(p, config.ChaosSettings) for p in self.settings.plugins)

    @property
    def options(self) -> frozenset[int]:
        """EDNS options that may be sent back as they came."""
        rewrites = (p for p in self.settings.plugins if isinstance(p, config.RewriteSettings))
        return frozenset(known for one in rewrites for known in known_options(one))


R = TypeVar("R", bound="_ResolvingHandler")


class _ResolvingHandler(Handler, Resolving, Protocol):
    """A plugin that follows names."""


class _Transferable:
    """A plugin's zone for the `transfer` plugin."""

    def __init__(self, cluster: Kubernetes, zones: tuple[Name, ...], soa: Callable[[Name], Record],
                 records: Callable[[Name], Iterable[Record]], *, is_exact: bool = False) -> None:  # fmt: skip
        self._cluster, self._zones, self._soa, self._records = cluster, zones, soa, records
        self._is_exact = is_exact
        """Only whole zones; else what is below one is handed over as if it were one, as CoreDNS' `kubernetes` does."""

    def transfer(self, zone: Name) -> tuple[Record, Iterable[Record]] | None:
        if longest_zone(zone, self._zones) is None or (self._is_exact and zone not in self._zones):
            return None
        self._cluster.on_transfer()
        return self._soa(zone), self._records(zone)


class _Builder:
    def __init__(self, settings: config.ServerSettings, world: World, state: Callable[[object], ClusterState]) -> None:
        self.world = world
        self.state = state
        self.chain = Chain(EndOfChain(), settings)

    def build(self) -> Chain:
        for settings in reversed(self.chain.settings.plugins):
            handler = self._one(settings, self.chain.first)
            plugin: object = handler
            if isinstance(plugin, Counting):
                self.chain.counting.append(plugin)
            if handler is not None:
                self.chain.first = handler
        return self.chain

    def _one(self, settings: object, following: Handler) -> Handler | None:
        """A plugin that somebody outside must feed or watch."""
        chain, world = self.chain, self.world
        match settings:
            case config.KubernetesSettings():
                return self._kubernetes(settings, following)
            case config.ExternalSettings():
                return self._external(settings, following)
            case config.CacheSettings():
                chain.caches.append(Cache(settings, following, world.now, world.spawn, world.wait_for))
                return chain.caches[-1]
            case config.ForwardSettings():
                upstreams = world.upstreams(settings)
                chain.forwards.append(Forward(settings, upstreams, following, world.now, world.random))
                return chain.forwards[-1]
            case config.TransferSettings():
                return self._transfer(settings, following)
            case config.AutopathSettings():
                return self._autopath(settings, following)
            case config.RewriteSettings():
                return self._resolving(Rewrite(settings, following))
            case config.TemplateSettings():
                return self._resolving(Template(settings, following))
            case config.ErrorsSettings():
                chain.errors.append(Errors(settings, world.write_error, world.now, following))
                return chain.errors[-1]
            case config.LoopSettings():
                chain.loops.append(Loop(chain.settings.zones[0], world.random, following))
                return chain.loops[-1]
        return self._with_file(settings, following)

    def _with_file(self, settings: object, following: Handler) -> Handler | None:
        """A plugin that knows what a file says."""
        match settings:
            case config.FileSettings():
                return self._file(settings, following)
            case config.HostsSettings():
                self.chain.hosts.append(Hosts(settings, following))
                return self.chain.hosts[-1]
            case config.LoadbalanceSettings():
                self.chain.balances.append(Loadbalance(settings, self.world.random, following))
                return self.chain.balances[-1]
        return self._plain(settings, following)

    def _plain(self, settings: object, following: Handler) -> Handler | None:
        """A plugin that stands by itself; None for what is no plugin here."""
        match settings:
            case config.AclSettings():
                return Acl([settings], following)
            case config.AnySettings():
                return AnyPlugin(following)
            case config.BufsizeSettings():
                return Bufsize(settings.size, following)
            case config.ChaosSettings():
                return Chaos(settings, self.world, following)
            case config.NsidSettings():
                return Nsid((settings.data or self.world.hostname).encode(), following)
            case config.MinimalSettings():
                return Minimal(following)
            case config.LocalSettings():
                return Local(settings, following)
            case config.Dns64Settings():
                return Dns64(settings, following)
            case config.LogSettings():
                return Log(settings, self.world.write_log, self.world.now, following)
            case config.WhoamiSettings():
                return Whoami()
        return None

    def _resolving(self, plugin: R) -> R:
        self.chain.resolving.append(plugin)
        return plugin

    def _kubernetes(self, settings: config.KubernetesSettings, following: Handler) -> Handler:
        for option, text in (("labels", settings.labels), ("namespace_labels", settings.namespace_labels)):
            try:
                LabelSelector.parse(text)
            except InvalidValueError as error:
                raise ConfigError(f"{settings.place}: kubernetes: {option}: {error}") from None
        options = KubernetesOptions(
            settings.zones,
            settings.ttl,
            LookupOptions(
                PodMode(settings.pods),
                settings.namespaces,
                settings.endpoint_pod_names,
                settings.ignore_empty_service,
                settings.zonal,
            ),
            settings.multicluster,
            settings.fallthrough,
        )
        plugin = Kubernetes(options, self.state(settings), following)
        self.chain.kubernetes.append((settings, plugin))
        return self._resolving(plugin)

    def _file(self, settings: config.FileSettings, following: Handler) -> Handler | None:
        """All files are one plugin: the zone that is nearest to a name decides, wherever it stands."""
        files = self.chain.files
        plugin = files[0][1] if files else self._resolving(ZoneFile({}, (), following))
        plugin.fallthrough = (*plugin.fallthrough, *settings.fallthrough)
        files.append((settings, plugin))
        return plugin if len(files) == 1 else None

    def _cluster(self, needed_by: str) -> Kubernetes:
        if not self.chain.kubernetes:
            raise ConfigError(f"{self.chain.settings.place}: {needed_by} needs the kubernetes plugin in its block")
        return self.chain.kubernetes[-1][1]

    def _external(self, settings: config.ExternalSettings, following: Handler) -> Handler:
        options = ExternalOptions(
            settings.zones, settings.apex.encode(), settings.ttl, settings.headless, settings.fallthrough
        )
        plugin = External(options, self._cluster("k8s_external"), following)
        self.chain.external.append(plugin)
        return plugin

    def _transfer(self, settings: config.TransferSettings, following: Handler) -> Handler:
        sources: list[Transferable] = [
            _Transferable(external.cluster, external.options.zones, external.soa, external.zone_records, is_exact=True)
            for external in self.chain.external
        ]
        sources += [
            _Transferable(cluster, cluster.options.zones, cluster.soa, partial(zone_records, cluster))
            for _, cluster in self.chain.kubernetes
        ]
        sources += [zone_file for _, zone_file in self.chain.files[:1]]
        self.chain.transfers.append(Transfer(settings, sources, following))
        return self.chain.transfers[-1]

    def _autopath(self, settings: config.AutopathSettings, following: Handler) -> Handler:
        if settings.source != "@kubernetes":
            try:
                listed = self.world.search_list(settings.source)
            except OSError as error:
                raise ConfigError(f"{settings.place}: autopath: {settings.source}: {error.strerror}") from None
            return Autopath(settings.zones, lambda _request: listed, following)
        cluster, further = self._cluster("autopath @kubernetes"), _own_search_list(self.world)

        def search(request: Request) -> Sequence[Name]:
            own = cluster.search_path(request, address_text(request.client))
            return [*own, *further] if own else ()

        return Autopath(settings.zones, search, following)


def _own_search_list(world: World) -> tuple[Name, ...]:
    """The machine's, if it has one."""
    try:
        return world.search_list(config.RESOLV_CONF)
    except OSError:
        return ()


def build_chain(settings: config.ServerSettings, world: World, state: Callable[[object], ClusterState]) -> Chain:
    """The chain of one server block; `state` gives the rows that a `kubernetes` plugin reads. Raises ConfigError."""
    return _Builder(settings, world, state).build()
