"""`fairway apiserver`: the embedded Kubernetes API alone."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import ipaddress
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fairway.values.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fairway.apiserver.context import Settings
    from fairway.cluster.kubeconfig import Access
    from fairway.io.http.apiserver import HttpServer
    from fairway.io.http.certificates import Authority
    from fairway.io.storage.journal import Durability, SqliteJournal


class SystemEnvironment:
    """The machine's clock and randomness."""

    def now(self) -> float:
        return time.time()

    def random(self, count: int) -> bytes:
        return os.urandom(count)


def run(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    from fairway.apiserver.context import Settings
    from fairway.controllers.registry import select_controllers
    from fairway.io.storage.journal import Durability

    flags = _parser().parse_args(arguments)
    host, port = _address(flags.listen)
    try:
        level = Durability(flags.durability)
    except ValueError:
        raise ConfigError(f"--durability: {flags.durability!r} is neither `process` nor `full`") from None
    controllers = select_controllers(flags.controllers)
    settings = Settings(
        _cidrs(flags.service_cidr),
        _ports(flags.node_ports),
        (_advertised(host), port),
        require_accounts="serviceaccount-controller" in controllers,
    )
    _run(Options(flags.data, (host, port), level, flags.kubeconfig, controllers), settings)
    return 0


class Options(NamedTuple):
    """Where the server keeps its things and listens."""

    data: Path
    listen: tuple[str, int]
    durability: Durability
    kubeconfig: Path | None
    controllers: tuple[str, ...] = ()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "fairway apiserver", description="The Kubernetes API from one process and one file."
    )
    parser.add_argument(
        "--data", type=Path, default=Path("fairway-data"), help="folder of database, keys, certificates"
    )
    parser.add_argument("--listen", default="127.0.0.1:6443", help="ADDRESS:PORT of HTTPS; port 0 takes a free one")
    parser.add_argument("--service-cidr", default="10.96.0.0/16", help="service ranges, the primary family first")
    parser.add_argument("--kubeconfig", type=Path, help="written, with a token, when the server is ready")
    parser.add_argument("--controllers", default="*", help="as kube-controller-manager's; `none` for none")
    parser.add_argument("--durability", default="process", help="what a write survives: `process` (a kill) or `full`")
    parser.add_argument("--node-ports", default="30000-32767", help="range of node ports")
    return parser


def _run(options: Options, settings: Settings) -> None:
    import gc

    import uvloop

    # Long-lived objects are many and cycles few: full collections are rare.
    gc.set_threshold(50_000, 20, 20)
    uvloop.run(serve(options, settings))


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--listen: {text!r} is not ADDRESS:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - all addresses, as asked for


def _cidrs(text: str) -> tuple[str, ...]:
    out = tuple(c.strip() for c in text.split(","))
    for cidr in out:
        try:
            ipaddress.ip_network(cidr)
        except ValueError as error:
            raise ConfigError(f"--service-cidr: {cidr!r}: {error}") from None
    if len(out) > 2 or len({":" in c for c in out}) != len(out):
        raise ConfigError(f"--service-cidr: {text!r}: at most one range of each family")
    return out


def _ports(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    if not low.isdigit() or not high.isdigit() or not 0 < int(low) <= int(high) <= 65535:
        raise ConfigError(f"--node-ports: {text!r} is not LOW-HIGH")
    return int(low), int(high)


def _advertised(host: str) -> str:
    """The address that clients are told: the machine's own when all are listened on."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104
        return host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("2001:db8::1" if ":" in host else "192.0.2.1", 9))
        except OSError:
            return "::1" if ":" in host else "127.0.0.1"
        return str(probe.getsockname()[0])


async def serve(options: Options, settings: Settings) -> None:
    """Run until a signal says stop."""
    from fairway.io.http.certificates import server_context
    from fairway.io.storage.journal import SqliteJournal

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listener = socket.create_server(options.listen, family=_family(options.listen[0]), backlog=512)
    bound = int(listener.getsockname()[1])
    settings = settings._replace(advertise=(settings.advertise[0], bound))
    journal = SqliteJournal(options.data / "fairway.db", options.durability)
    http, authority = build(options.data, settings, journal)
    await http.start(listener, server_context(options.data / "pki"))
    if options.kubeconfig is not None:
        write_kubeconfig(options.kubeconfig, settings.advertise[0], bound, authority)
    sys.stderr.write(f"serving on https://{settings.advertise[0]}:{bound}\n")
    async with _controllers(options.controllers, options.listen[0], bound, authority):
        await stop.wait()
    await http.stop()
    journal.close()


@contextlib.asynccontextmanager
async def _controllers(names: tuple[str, ...], host: str, port: int, authority: Authority) -> AsyncIterator[None]:
    """The controllers, as clients of this very server."""
    if not names:
        yield
        return
    from fairway.cli.controllers import running_controllers
    from fairway.controllers.registry import Settings as ControllerSettings
    from fairway.io.kube.connection import BearerToken, Connection, Pem, TlsSettings

    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
    shown = f"[{reached}]" if ":" in reached else reached
    root = Pem("the server's own authority", authority.ca.certificate.encode())
    connection = Connection(f"https://{shown}:{port}", TlsSettings(root), BearerToken(authority.token))
    async with running_controllers(names, connection, ControllerSettings(root_ca=authority.ca.certificate)):
        yield


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def build(data: Path, settings: Settings, journal: SqliteJournal) -> tuple[HttpServer, Authority]:
    """Wire the pure server to its disk and its sockets."""
    from fairway.apiserver.api import Api
    from fairway.apiserver.bootstrap import bootstrap
    from fairway.apiserver.context import Server
    from fairway.apiserver.kinds.registry import Registry
    from fairway.apiserver.store import Store
    from fairway.apiserver.tokens import ADMIN, Authenticator, StaticToken, TokenSigner
    from fairway.io.http.apiserver import Committer, HttpServer
    from fairway.io.http.certificates import kubelet_context, load_or_make
    from fairway.io.http.proxying import Proxy

    names = (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    )
    first = str(ipaddress.ip_network(settings.service_cidrs[0])[1])
    hosts = tuple(dict.fromkeys((*names, "127.0.0.1", "::1", settings.advertise[0], first)))
    authority = load_or_make(data / "pki", hosts)
    store = Store()
    store.restore(journal.rows(), journal.compacted())
    signer = TokenSigner(authority.signing_key, settings.issuer)
    server = Server(store, SystemEnvironment(), settings._replace(ca=authority.ca.certificate), Registry(), signer)
    bootstrap(server)
    committer = Committer(store, journal)
    committer.flush()
    api = Api(server, Authenticator(signer, (StaticToken(authority.token, ADMIN),), store))
    return HttpServer(api, committer, Proxy(kubelet_context(authority))), authority


def write_kubeconfig(path: Path, host: str, port: int, authority: Authority) -> None:
    """A kubeconfig with a token; put in place at once, so that nobody reads half of it."""
    from fairway.cluster.kubeconfig import single
    from fairway.io.kube import userconfig

    userconfig.write(path, single("fairway", access(host, port, authority)))


def access(host: str, port: int, authority: Authority) -> Access:
    """How an admin reaches the server at an address."""
    from fairway.cluster.kubeconfig import Access

    shown = f"[{host}]" if ":" in host else host
    ca = base64.b64encode(authority.ca.certificate.encode()).decode()
    server = {"server": f"https://{shown}:{port}", "certificate-authority-data": ca}
    return Access(server, {"token": authority.token})
