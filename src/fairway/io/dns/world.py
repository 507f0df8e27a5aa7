"""The real world behind `fairway.agents.dns.DnsWorld`: clock, files, sockets, and the API server."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import hashlib
import ipaddress
import logging
import os
import random
import socket
import ssl
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairway.agents.dns import Endpoint, Listener
from fairway.agents.dns_kept import Rows
from fairway.agents.feed import Feed, Source
from fairway.agents.reflector import Reflector
from fairway.config import corefile_settings as config
from fairway.config.corefile import ReadFiles
from fairway.config.corefile_reader import split_key
from fairway.config.corefile_servers import read_corefile
from fairway.dns.forward import UpstreamError
from fairway.dns.metrics import Metrics
from fairway.dns.server import Server
from fairway.io.dns.addresses import ListenAddress, known_addresses, listen_hosts
from fairway.io.dns.fast import FastListener, NativeTable, new_table
from fairway.io.dns.http import Page, SmallHttpServer
from fairway.io.dns.tcp import StreamListener, tls_context
from fairway.io.dns.udp import UdpListener
from fairway.io.dns.upstream import NetworkUpstream
from fairway.io.host.clock import SystemClock
from fairway.io.kube.client import ApiClient
from fairway.io.kube.connection import Connection, Pem, TlsSettings
from fairway.io.kube.kubeconfig import Kubeconfig, load_connection
from fairway.values.domain import Name, from_text
from fairway.values.errors import ConfigError, InvalidValueError
from fairway.values.rrtypes import AA, CLASS_IN, Opcode, RRType, rcode_text
from fairway.wire.dns_message import Message, Question

log = logging.getLogger(__name__)


class BothListeners:
    """UDP and TCP (or TLS) at one address."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts

    @property
    def fast(self) -> FastListener | None:
        """The part that answers in C, if there is one."""
        return next((part for part in self._parts if isinstance(part, FastListener)), None)

    @property
    def server(self) -> Server:
        found: Server = self._parts[0].server
        return found

    @server.setter
    def server(self, server: Server) -> None:
        for part in self._parts:
            part.server = server

    async def start(self) -> None:
        for part in self._parts:
            started = part.start()
            if started is not None:
                await started

    async def close(self) -> None:
        for part in self._parts:
            closed = part.close()
            if closed is not None:
                await closed


class RealWorld:
    """Effects of the DNS server on this machine. `ports` replaces port 53 (for `-dns.port`)."""

    def __init__(self, corefile: Path, default_port: int = 53) -> None:
        self._corefile = corefile
        self._default_port = default_port
        self._tasks: set[asyncio.Task[object]] = set()
        self._clock = SystemClock()

    # -- time and chance

    def now(self) -> float:
        return time.monotonic()

    def wall_clock(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random(self) -> float:
        return random.random()  # noqa: S311 - order of addresses and upstreams, no secret

    def spawn(self, work: Coroutine[Any, Any, object]) -> object:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait_for(self, work: Coroutine[Any, Any, Any], seconds: float) -> Any:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        done, _ = await asyncio.ensure_future(asyncio.wait((task,), timeout=seconds))
        return task.result() if done else None

    @property
    def hostname(self) -> str:
        return socket.gethostname()

    def write_log(self, line: str) -> None:
        sys.stdout.write(f"[INFO] {line}\n")

    def write_error(self, line: str, level: str) -> None:
        del level
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    # -- files

    def read_settings(self) -> tuple[str, config.CorefileSettings]:
        """The Corefile and all it imports, with a hash of their text. Raises ConfigError."""
        text = _read(self._corefile)
        digest = hashlib.sha256(text.encode())
        settings = read_corefile(text, str(self._corefile), os.environ, self._imported(digest))
        return digest.hexdigest(), settings

    def _imported(self, digest: hashlib._Hash) -> ReadFiles:
        """Reads what a Corefile imports, and adds it to the hash."""

        def read(pattern: str) -> list[tuple[str, str]]:
            found = sorted(glob.glob(str(self._corefile.parent / pattern)))  # noqa: PTH207 - absolute patterns too
            texts = [(path, _read(Path(path))) for path in found]
            for _, text in texts:
                digest.update(text.encode())
            return texts

        return read

    def read_file(self, path: str, root: str) -> str:
        return (Path(root) / path).read_text(encoding="utf-8", errors="replace")

    def search_list(self, path: str) -> tuple[Name, ...]:
        return tuple(from_text(word).lower() for word in _resolv_conf(Path(path), "search"))

    # -- the API server

    def sources(
        self, settings: config.KubernetesSettings, feeds: Sequence[Feed[Any]]
    ) -> tuple[list[Source], Callable[[], Any]]:
        client = ApiClient(_connection(settings), user_agent="fairway-dns")
        return [Reflector(client, feed, self._clock, self.random) for feed in feeds], client.close

    # -- listening

    def endpoints(self, settings: config.ServerSettings) -> list[tuple[config.ServerKey, Endpoint]]:
        hosts = listen_hosts(settings.bind, settings.place)
        found = []
        for key in settings.keys:
            port = self._default_port if key.port == 53 and not key.is_tls else key.port
            found += [(key, Endpoint(host, port, key.is_tls)) for host in hosts]
        return found

    def own_addresses(self, settings: config.ServerSettings) -> tuple[bytes, ...]:
        return known_addresses(settings.bind, settings.place)

    def listen(self, endpoint: Endpoint, server: Server, tls: config.TlsSettings | None, sockets: int = 0) -> Listener:
        address = ListenAddress(*endpoint)
        if endpoint.is_tls:
            assert tls is not None
            return BothListeners([StreamListener(address, server, tls_context(tls))])
        loop, table = asyncio.get_running_loop(), new_table()
        udp: UdpListener | FastListener
        if table is None:
            udp = UdpListener(address, server, loop)
        else:
            count = sockets if sockets > 0 else len(os.sched_getaffinity(0))
            udp = FastListener(address, server, loop, table, sockets=count)
        return BothListeners([udp, StreamListener(address, server)])

    async def notify(self, zone: Name, to: tuple[str, int], source: str) -> None:
        settings = config.ForwardSettings(zone, to[:1], source=source)
        query = Message(0, Opcode.NOTIFY << 11 | AA, Question(zone, RRType.SOA, CLASS_IN))
        upstream = NetworkUpstream(config.UpstreamAddress(*to), settings)
        try:
            reply = await upstream.exchange(query, stream=False, seconds=2.0)
        finally:
            upstream.close()
        if reply.flags & 15:
            raise UpstreamError(f"answered {rcode_text(reply.flags & 15)}")

    def http(self, address: str, pages: dict[str, Page]) -> SmallHttpServer:
        return SmallHttpServer(address, pages)

    # -- upstreams

    def upstreams(self, settings: config.ForwardSettings) -> list[NetworkUpstream]:
        context = _client_context(settings)
        addresses = dict.fromkeys(a for text in settings.to for a in _upstream_addresses(text, settings))
        if not addresses:
            raise ConfigError(f"{settings.place}: forward: {' '.join(settings.to)}: no server to forward to")
        return [NetworkUpstream(address, settings, context) for address in addresses]


def fast_tables(listeners: Mapping[Endpoint, Listener]) -> dict[Endpoint, NativeTable]:
    """The tables of the listeners that have one."""
    found = ((endpoint, one.fast) for endpoint, one in listeners.items() if isinstance(one, BothListeners))
    return {endpoint: fast.table for endpoint, fast in found if fast is not None}


def merge_fast(listeners: Mapping[Endpoint, Listener], rows: Rows, metrics: Metrics) -> None:
    """Bring what the fast path has counted into the metrics."""
    for endpoint, one in listeners.items():
        if not isinstance(one, BothListeners) or one.fast is None:
            continue
        metrics.lost[(("server", str(one.fast.address)),)] = one.fast.lost
        for number, counts in enumerate(one.fast.counted()):
            if counts.total:
                row = rows.row(number)
                rows.add_hits(one.fast, number, counts)
                metrics.set_fast((endpoint, number), (str(one.fast.address), row.zone), row.plugin, counts)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _connection(settings: config.KubernetesSettings) -> Connection:
    if settings.kubeconfig:
        return Kubeconfig.read([Path(settings.kubeconfig)]).connection(settings.context)
    if settings.endpoint:
        server = settings.endpoint.rstrip("/")
        if "://" not in server:
            server = f"http://{server}"
        tls = TlsSettings()
        if settings.tls is not None:
            certificate, key, authority = (Pem("kubernetes: tls", path=Path(name)) for name in settings.tls)
            tls = TlsSettings(authorities=authority, certificate=certificate, key=key)
        return Connection(server=server, tls=tls, origin="the Corefile's endpoint")
    return load_connection()


def _resolv_conf(path: Path, keyword: str) -> list[str]:
    """Raises OSError."""
    lines = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    found = [words[1:] for words in lines if len(words) > 1 and words[0] == keyword]
    return [w for words in found for w in words] if keyword == "nameserver" else (found[-1] if found else [])


def _upstream_addresses(text: str, settings: config.ForwardSettings) -> list[config.UpstreamAddress]:
    if "://" not in text and Path(text).is_file():
        return [config.UpstreamAddress(host, 53) for host in _resolv_conf(Path(text), "nameserver")]
    bare, percent, name = text.partition("%")
    if percent:
        name, colon, port = name.partition(":")
        bare += colon + port
    try:
        scheme, host, port = split_key(bare)
        hosts = _host_addresses(host, settings.resolvers)
    except (InvalidValueError, OSError) as error:
        problem = f"{text!r} is neither an address, a host nor a file that names some: {error}"
        raise ConfigError(f"{settings.place}: forward: {problem}") from None
    is_tls = scheme == "tls"
    number = int(port) if port else 853 if is_tls else 53
    return [config.UpstreamAddress(one, number, is_tls, settings.tls_server_name or name) for one in hosts]


def _host_addresses(host: str, resolvers: Sequence[tuple[str, int]]) -> list[str]:
    """An address as it is; of a host name what the machine, or the first resolver that answers, knows: once, now.

    Raises OSError.
    """
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    if not resolvers:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        return list(dict.fromkeys(str(one[4][0]) for one in found))
    return _asked_for(host, resolvers)


def _asked_for(host: str, resolvers: Sequence[tuple[str, int]]) -> list[str]:
    import dns.exception
    import dns.nameserver
    import dns.resolver

    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [dns.nameserver.Do53Nameserver(at, port) for at, port in resolvers]
    try:
        return list(resolver.resolve_name(host, lifetime=4.0).addresses())
    except dns.exception.DNSException as error:
        raise OSError(str(error)) from None


def _client_context(settings: config.ForwardSettings) -> ssl.SSLContext | None:
    if not any(text.startswith("tls://") for text in settings.to):
        return None
    files = settings.tls_files
    try:
        context = ssl.create_default_context(cafile=files[-1] if len(files) in {1, 3} else None)
        if len(files) >= 2:
            context.load_cert_chain(files[0], files[1])
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"forward: tls {' '.join(files)}: {error}") from None
    return context
