"""`fairway control-plane`: the API server and the controllers of an embedded cluster, in one process on the host."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from fairway.values.errors import UnavailableError

if TYPE_CHECKING:
    from fairway.cluster.settings import ClusterSettings
    from fairway.io.host.statefolder import StateFolder
    from fairway.io.http.certificates import Authority

LOCALHOST = "127.0.0.1"


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
    lock = folder.take(CONTROL_PLANE)
    set_up_logging()
    gc.set_threshold(50_000, 20, 20)  # long-lived objects are many and cycles few
    try:
        uvloop.run(_serve(folder, settings))
    finally:
        os.close(lock)
    return 0


async def _serve(folder: StateFolder, settings: ClusterSettings) -> None:
    from fairway.io.host.statefolder import CONTROL_PLANE

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _api_server(folder, settings) as authority, _controllers(settings, authority):
        folder.ready(CONTROL_PLANE)
        await stop.wait()


@contextlib.asynccontextmanager
async def _api_server(folder: StateFolder, settings: ClusterSettings) -> AsyncIterator[Authority]:
    """The embedded API, on the host's loopback and on the underlay; kubeconfigs and certificates for all."""
    from fairway.apiserver.context import Settings
    from fairway.cli.apiserver import build, write_kubeconfig
    from fairway.io.http.certificates import make_node, server_context
    from fairway.io.storage.journal import Durability, SqliteJournal

    topology = settings.topology
    underlay = str(topology.host_addresses[0])
    data = folder.path / CONTROL_PLANE_DATA
    journal = SqliteJournal(data / "fairway.db", Durability.PROCESS)
    served = Settings(settings.service_cidr, advertise=(underlay, settings.api_port), require_accounts=True)
    http, authority = build(data, served, journal)
    tls = server_context(data / "pki")
    for host in (LOCALHOST, underlay):
        await http.start(_listener(host, settings.api_port), tls)
    for node in topology.nodes:
        make_node(folder.node(node.name) / "pki", authority.ca, node.name, tuple(str(one) for one in node.addresses))
    write_kubeconfig(folder.kubeconfig, LOCALHOST, settings.api_port, authority)
    write_kubeconfig(folder.node_kubeconfig, underlay, settings.api_port, authority)
    try:
        yield authority
    finally:
        await http.stop()
        journal.close()


CONTROL_PLANE_DATA = "control-plane"


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise UnavailableError(f"the API server cannot listen on {host} port {port}: {error.strerror}") from None


@contextlib.asynccontextmanager
async def _controllers(settings: ClusterSettings, authority: Authority) -> AsyncIterator[None]:
    """All controllers, as clients of the API server beside them."""
    from fairway.cli.controllers import running_controllers
    from fairway.controllers.registry import Settings, select_controllers
    from fairway.io.kube.connection import BearerToken, Connection, Pem, TlsSettings

    root = Pem("the server's own authority", authority.ca.certificate.encode())
    server = f"https://{LOCALHOST}:{settings.api_port}"
    connection = Connection(server, TlsSettings(root), BearerToken(authority.token))
    told = Settings(root_ca=authority.ca.certificate, balancer_ranges=settings.balancer_ranges)
    async with running_controllers(select_controllers("*"), connection, told) as running:
        await running.wait_started()
        yield
