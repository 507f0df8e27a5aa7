"""What the plugins of a Corefile need done beside answering, for as long as that reading of the Corefile is in force.

Files are read again, upstreams that failed are asked until they answer, forwarding loops are looked for, and who may
transfer a zone is told when it has changed (RFC 1996).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import NamedTuple, Protocol

from fairway.config import corefile_settings as config
from fairway.dns.chain import Chain
from fairway.dns.forward import Forward, Health, UpstreamError
from fairway.dns.hosts import Hosts
from fairway.dns.loadbalance import Loadbalance
from fairway.dns.loop import Loop
from fairway.dns.model import Request, Transport
from fairway.dns.transfer import Transfer
from fairway.dns.zonefile import Zone, ZoneFile, read_zone
from fairway.values.domain import Name, to_text
from fairway.values.errors import ConfigError
from fairway.values.rrtypes import RRType

log = logging.getLogger(__name__)

PROBES = 10
"""How often the loop plugin's question is sent until an upstream answers it."""
QUIET = 1.0
"""Seconds from a change to its notification: what changes in between is told at once, and a serial counts seconds."""
TRIES = 3
"""Of a notification."""


class UpkeepWorld(Protocol):
    """What of the outside is needed."""

    def wall_clock(self) -> float:
        """Seconds since 1970."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def read_file(self, path: str, root: str) -> str:
        """Raises OSError."""
        ...

    async def notify(self, zone: Name, to: tuple[str, int], source: str) -> None:
        """Tell a server that a zone has changed. Raises UpstreamError unless it says that it has heard."""
        ...


class Changing(Protocol):
    """Rows that change: who is in the list is called then."""

    listeners: list[Callable[[], None]]

    @property
    def has_synced(self) -> bool: ...


class _File(NamedTuple):
    """A file that a plugin knows the text of."""

    path: str
    root: str
    reload: float
    """Seconds after which it is read again; 0 for never."""
    take: Callable[[str], None]
    """Raises ConfigError."""
    is_optional: bool = False


class Upkeep:
    """The tasks of all chains. `failed` is called with the reason why the server cannot go on."""

    def __init__(self, world: UpkeepWorld, failed: Callable[[str], None]) -> None:
        self._world = world
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End all of them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def begin(self, chain: Chain) -> None:
        """Read the files of a chain for the first time and follow them. Raises ConfigError for a bad one."""
        root = chain.settings.root
        for forward in chain.forwards:
            forward.wake_checker = lambda host, f=forward: self._wake_checker(f, host)  # type: ignore[misc]
        for hosts in chain.hosts:
            self._follow_hosts(hosts, root)
        for balance in chain.balances:
            self._follow_weights(balance, root)
        for settings, plugin in chain.files:
            self._follow_zone(settings, plugin, chain, root)

    def serve(self, chain: Chain, clusters: Iterable[Changing]) -> None:
        """Do what needs open listeners: look for loops, and tell of the zones."""
        for loop in chain.loops:
            self._spawn(self._probe_loop(loop, chain))
        for settings, _ in chain.files:
            self._tell(chain, settings.zones)
        zones = [z for _, plugin in chain.kubernetes for z in plugin.options.zones]
        zones += [z for external in chain.external for z in external.options.zones]
        if any(rule.to for transfer in chain.transfers for rule in transfer.rules) and zones:
            for cluster in clusters:
                self._spawn(self._tell_changes(chain, cluster, zones))

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- files

    def _follow_hosts(self, hosts: Hosts, root: str) -> None:
        settings = hosts.settings

        def take(text: str) -> None:
            hosts.load(text)
            hosts.loaded_at = self._world.wall_clock()

        if settings.file:
            # As CoreDNS: it may come, or stay away.
            self._follow(_File(settings.file, root, settings.reload, take, is_optional=True))

    def _follow_weights(self, balance: Loadbalance, root: str) -> None:
        settings = balance.settings
        if settings.weights:
            self._follow(_File(settings.weights, root, settings.reload, balance.load))

    def _follow_zone(self, settings: config.FileSettings, plugin: ZoneFile, chain: Chain, root: str) -> None:
        is_first = True

        def take(text: str) -> None:
            nonlocal is_first
            plugin.zones |= {zone: read_zone(text, zone, settings.file) for zone in settings.zones}
            if not is_first:
                self._tell(chain, settings.zones)
            is_first = False

        plugin.zones |= {zone: Zone(zone, ()) for zone in settings.zones}
        self._follow(_File(settings.file, root, settings.reload, take))

    def _follow(self, file: _File) -> None:
        """Read it now, and again and again. Raises ConfigError if it is bad, or missing for good."""
        text: str | None = None
        try:
            text = self._world.read_file(file.path, file.root)
            file.take(text)
        except OSError as error:
            if not file.reload and not file.is_optional:
                raise ConfigError(f"{file.path}: {error.strerror}") from None
            log.warning("file=%s error='%s'", file.path, error.strerror)
        if file.reload:
            self._spawn(self._read_again(file, text))

    async def _read_again(self, file: _File, last: str | None) -> None:
        """A bad one changes nothing."""
        while True:
            await self._world.sleep(file.reload)
            try:
                text = self._world.read_file(file.path, file.root)
                if text != last:
                    last = text
                    file.take(text)
            except (OSError, ConfigError) as error:
                if not file.is_optional:
                    log.error("file=%s msg='it was not taken, the old one stays' error='%s'", file.path, error)

    # -- upstreams

    def _wake_checker(self, forward: Forward, host: Health) -> None:
        if not host.is_checking:
            host.is_checking = True
            self._spawn(self._check(forward, host))

    async def _check(self, forward: Forward, host: Health) -> None:
        """Ask until the upstream answers again."""
        settings = forward.settings
        try:
            while True:
                try:
                    await host.upstream.exchange(forward.check_query(), stream=settings.force_tcp, seconds=1.0)
                except UpstreamError:
                    forward.checked(host, is_alive=False)
                else:
                    forward.checked(host, is_alive=True)
                    return
                await self._world.sleep(settings.health_interval or 0.5)
        finally:
            host.is_checking = False

    # -- loops

    async def _probe_loop(self, loop: Loop, chain: Chain) -> None:
        """Send the loop plugin's question through the chain; if it comes back, end."""

        def detected(request: Request) -> None:
            zone = to_text(chain.settings.zones[0])
            self._failed(
                f"Loop ({request.client.hex()} -> :{chain.settings.keys[0].port}) detected for zone {zone!r}: what"
                f" is forwarded comes back to this server. Query: HINFO {to_text(loop.name)}"
            )

        loop.detected = detected
        question = Request(loop.name, loop.name, RRType.HINFO, transport=Transport.UDP, flags=0x0100)
        for _ in range(PROBES):
            loop.seen = 0
            reply = await chain.first.serve(question)
            if not reply.is_refusal:
                break
            await self._world.sleep(2.0)
        loop.is_active = False

    # -- secondaries

    async def _tell_changes(self, chain: Chain, cluster: Changing, zones: list[Name]) -> None:
        """Of a cluster's zones: at first, and after each change."""
        changed = asyncio.Event()
        changed.set()
        cluster.listeners.append(changed.set)
        try:
            while True:
                await changed.wait()
                await self._world.sleep(QUIET)
                changed.clear()
                if cluster.has_synced:
                    self._tell(chain, zones)
        finally:
            cluster.listeners.remove(changed.set)

    def _tell(self, chain: Chain, zones: Iterable[Name]) -> None:
        for transfer in chain.transfers:
            for zone in zones:
                self._tell_secondaries(transfer, zone)

    def _tell_secondaries(self, transfer: Transfer, zone: Name) -> None:
        rule = transfer.rule(zone)
        for to in rule.to if rule is not None else ():
            assert rule is not None
            self._spawn(self._notify(zone, to, rule.source))

    async def _notify(self, zone: Name, to: tuple[str, int], source: str) -> None:
        problem = ""
        for _ in range(TRIES):
            try:
                await self._world.notify(zone, to, source)
            except UpstreamError as error:
                problem = str(error)
            else:
                return
        log.warning("zone=%s to=%s:%d error='%s' msg='the notification was not heard'", to_text(zone), *to, problem)
