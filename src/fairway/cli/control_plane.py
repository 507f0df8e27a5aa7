"""`fairway control-plane`: the API server and the controllers of an embedded cluster, in one process on the host.

What else works beside the controllers, on what they know, is a function of `PARTS`: it is handed the control plane and
gives back what runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fairway.values.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from fairway.agents.controllers.manager import Manager
    from fairway.cluster.kubeconfig import Access
    from fairway.cluster.settings import ClusterSettings
    from fairway.io.host.statefolder import StateFolder
    from fairway.io.http.certificates import Authority

LOCALHOST = "127.0.0.1"
Work = Coroutine[Any, Any, None]


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """What the parts beside the controllers are handed, before the controllers have listed anything."""

    settings: ClusterSettings
    manager: Manager
    """Its `view` has the caches; `has_started` is set when they have been filled once."""


def host_part(plane: ControlPlane) -> list[Work]:
    """The host's ways to Services, the cluster's way out, and a relay for resolvers on the host's loopback."""
    from fairway.cli.host_side import keep_way_out, keep_ways_in, relay_names

    return [keep_way_out(plane.settings), keep_ways_in(plane.settings, plane.manager), relay_names(plane.settings)]


PARTS: tuple[Callable[[ControlPlane], list[Work]], ...] = (host_part,)
"""Whoever adds a part to the control plane adds a function here. None of what it gives back may end."""


def run(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    from fairway.io.host.statefolder import ROOT, StateFolder

    parser = argparse.ArgumentParser(prog="fairway control-plane", description=__doc__)
    parser.add_argument("--state", type=Path, default=ROOT / "fairway", help="the cluster's state folder")
    return serve(StateFolder(parser.parse_args(arguments).state))


def serve(folder: StateFolder) -> int:
    """Be the control plane until told to stop."""
    import uvloop

    from fairway.cli.logs import set_up_logging
    from fairway.io.host.statefolder import CONTROL_PLANE

    settings = folder.settings()
    folder.take(CONTROL_PLANE)
    set_up_logging()
    gc.set_threshold(50_000, 20, 20)  # long-lived objects are many and cycles few
    uvloop.run(_serve(folder, settings))
    return 0


async def _serve(folder: StateFolder, settings: ClusterSettings) -> None:
    from fairway.io.host.statefolder import CONTROL_PLANE

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = _foreign_server if settings.api else _own_server
    async with server(folder, settings) as authority, _controllers(folder, settings, authority) as works:
        folder.ready(CONTROL_PLANE)
        tasks = [asyncio.ensure_future(one) for one in works]
        try:
            done, _ = await asyncio.wait(
                (asyncio.ensure_future(stop.wait()), *tasks), return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


# -- the API server


@contextlib.asynccontextmanager
async def _own_server(folder: StateFolder, settings: ClusterSettings) -> AsyncIterator[Authority]:
    """The embedded API, on the host's loopback and on the underlay."""
    from fairway.apiserver.context import Settings
    from fairway.cli.apiserver import access, build
    from fairway.io.http.certificates import server_context
    from fairway.io.storage.journal import Durability, SqliteJournal

    underlay = [str(one) for one in settings.topology.host_addresses]
    data = folder.control_plane
    journal = SqliteJournal(data / "fairway.db", Durability.PROCESS)
    served = Settings(settings.service_cidr, advertise=(underlay[0], settings.api_port), require_accounts=True)
    http, authority = build(data, served, journal)
    tls = server_context(data / "pki")
    for host in (LOCALHOST, *underlay):
        await http.start(_listener(host, settings.api_port), tls)
    own = access(LOCALHOST, settings.api_port, authority)
    _hand_out(folder, settings, authority, (own, access(underlay[0], settings.api_port, authority)))
    try:
        yield authority
    finally:
        await http.stop()
        journal.close()


@contextlib.asynccontextmanager
async def _foreign_server(folder: StateFolder, settings: ClusterSettings) -> AsyncIterator[Authority]:
    """Somebody else's API server: the nodes reach it through a port on the underlay, under its own name."""
    from fairway.cluster.kubeconfig import access_of, anchored
    from fairway.io.http.certificates import load_or_make
    from fairway.io.kube import userconfig
    from fairway.io.kube.relay import Relay

    found = anchored(access_of(userconfig.read(Path(settings.api))), str(Path(settings.api).parent))
    server = urlsplit(str(found.cluster.get("server", "")))
    if server.scheme != "https" or not server.hostname:
        raise ConfigError(f"--api: {settings.api}: server: {found.cluster.get('server')!r} is no https address")
    authority = load_or_make(folder.control_plane / "pki", (LOCALHOST,))
    underlay = str(settings.topology.host_addresses[0])
    relay = Relay(server.hostname, server.port or 443)
    await relay.start(_listener(underlay, settings.api_port))
    name = found.cluster.get("tls-server-name") or server.hostname
    shown = f"[{underlay}]" if ":" in underlay else underlay
    near = {**found.cluster, "server": f"https://{shown}:{settings.api_port}", "tls-server-name": name}
    _hand_out(folder, settings, authority, (found, found._replace(cluster=near)))
    try:
        yield authority
    finally:
        await relay.stop()


def _hand_out(
    folder: StateFolder, settings: ClusterSettings, authority: Authority, both: tuple[Access, Access]
) -> None:
    """Kubeconfigs for the host and for the nodes, and the nodes' certificates; the nodes wait for them."""
    from fairway.cluster.kubeconfig import single
    from fairway.io.http.certificates import make_node
    from fairway.io.kube import userconfig

    for node in settings.topology.nodes:
        make_node(folder.node(node.name) / "pki", authority.ca, node.name, tuple(str(one) for one in node.addresses))
    for path, access in zip((folder.kubeconfig, folder.node_kubeconfig), both, strict=True):
        userconfig.write(path, single(settings.name, access))


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise UnavailableError(f"the API server cannot listen on {host} port {port}: {error.strerror}") from None


# -- the controllers and what works beside them


@contextlib.asynccontextmanager
async def _controllers(
    folder: StateFolder, settings: ClusterSettings, authority: Authority
) -> AsyncIterator[list[Work]]:
    """All controllers that are asked for, as clients of the API server."""
    from fairway.cli.controllers import running_controllers
    from fairway.controllers.clusterdns import ClusterDns
    from fairway.controllers.registry import Settings, select_controllers
    from fairway.io.kube.kubeconfig import Kubeconfig

    connection = Kubeconfig.read([folder.kubeconfig]).connection()
    root = "" if settings.api else authority.ca.certificate
    told = Settings(
        root_ca=root,
        node_grace_seconds=settings.node_grace,
        balancer_ranges=settings.balancer_ranges,
        balancer_reserved=settings.client_addresses,
        cluster_dns=ClusterDns(settings.dns_addresses),
    )
    async with running_controllers(select_controllers(settings.controllers), connection, told) as running:
        plane = ControlPlane(settings, running.manager)
        works = [work for make in PARTS for work in make(plane)]
        await running.wait_started()
        yield works
