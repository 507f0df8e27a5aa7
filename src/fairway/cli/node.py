"""`fairway node`: one node of the embedded cluster: its proxy, its pods and its own API in one event loop.

Speaks the Kubernetes API with the control plane and nothing else. Works in the node's network namespace from its first
moment on. What a part of the node is, is one function of `PARTS`: it is handed the node and gives back what runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import platform
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairway.values.errors import ConfigError

if TYPE_CHECKING:
    from fairway.agents.hostports import HostPorts
    from fairway.agents.pods import PodAgent
    from fairway.cli.node_dns import NodeDns
    from fairway.cli.serve import Proxy
    from fairway.cluster.settings import ClusterSettings
    from fairway.cluster.topology import ClusterNode, Machine
    from fairway.io.containers.hostports import HostPortNetwork
    from fairway.io.containers.machine import PodMachine
    from fairway.io.containers.network import BridgeNetwork
    from fairway.io.host.statefolder import StateFolder
    from fairway.io.kube.client import ApiClient

log = logging.getLogger("fairway.node")
Work = Coroutine[Any, Any, None]

DOMAIN = "cluster.local"
UNLIMITED = -1.0
MEND_SECONDS = 10.0


def run(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    from fairway.io.host.statefolder import ROOT, StateFolder

    if arguments[:1] == ["exec"]:
        return _exec(arguments[1:])
    description = "One node of the embedded cluster; `fairway node exec NAME -- CMD` runs a command on one."
    parser = argparse.ArgumentParser(prog="fairway node", description=description)
    parser.add_argument("--state", type=Path, default=ROOT / "fairway", help="the cluster's state folder")
    parser.add_argument("--name", required=True, help="the node: node-1, node-2 …")
    options = parser.parse_args(arguments)
    return serve(StateFolder(options.state), options.name)


def _exec(arguments: list[str]) -> int:
    """`fairway node exec NAME -- CMD`: in the node's network, on this machine's files; replaced by the command."""
    from fairway.cli.clusters import find, make_parser
    from fairway.cli.on_node import node_of
    from fairway.io.host import netns

    parser = make_parser("node exec", "Run a command in a node's network namespace.", has_output=False)
    parser.add_argument("node", help="node-1, node-2 …")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="and its arguments; after --")
    options = parser.parse_args(arguments)
    folder = find("node exec", options.name)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise ConfigError("no command; try: fairway node exec node-1 -- ip route")
    node = node_of(folder.settings(), options.node)
    netns.enter(node.namespace)
    environment = {**os.environ, "KUBECONFIG": str(folder.node_kubeconfig)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    try:
        os.execvpe(command[0], command, {**environment, "PATH": path})  # noqa: S606 - the command as it was given
    except OSError as error:
        raise ConfigError(f"{command[0]}: {error.strerror}") from None


def serve(folder: StateFolder, name: str) -> int:
    """Be this node until told to stop."""
    import uvloop

    from fairway.cli.logs import set_up_logging
    from fairway.cli.on_node import node_of
    from fairway.io.host import netns

    settings = folder.settings()
    node = node_of(settings, name)
    folder.take(name)
    set_up_logging()
    gc.set_threshold(50_000, 20, 20)  # long-lived objects are many and cycles few
    netns.enter(node.namespace)
    _wait_for(folder.node_kubeconfig, folder.node(name) / "pki" / "serving.hosts")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(folder, settings, node))


class NodeParts:
    """One node put together. What is made here is shared by all parts: one client, one state, one network."""

    def __init__(self, folder: StateFolder, settings: ClusterSettings, node: ClusterNode, api: ApiClient) -> None:
        from fairway.agents.pods import Effects, PodAgent
        from fairway.cli.host_side import node_resolvers
        from fairway.cli.images import image_table
        from fairway.cli.node_network import make_dns, make_host_ports
        from fairway.io.containers.hostports import HostPortNetwork
        from fairway.io.containers.machine import Offer, PodMachine
        from fairway.io.containers.network import BridgeNetwork
        from fairway.io.host.clock import SystemClock
        from fairway.io.kube.podobjects import PodObjects
        from fairway.pods.environment import NodeFacts
        from fairway.pods.files import Resolver, read_resolv_conf

        self.folder, self.settings, self.node, self.api = folder, settings, node, api
        self.place = folder.node(node.name)
        self.clock = SystemClock()
        self.addresses = tuple(str(one) for one in node.addresses)
        self.network: BridgeNetwork = BridgeNetwork(settings.topology, node, self.place)
        self.network.ensure()
        self._open = contextlib.ExitStack()
        self._open.callback(self.network.close)
        self.host_ports: HostPorts = make_host_ports(settings, self._open)
        self.pod_network: HostPortNetwork = HostPortNetwork(self.network, self.host_ports)
        self.dns: NodeDns = make_dns(settings, node, api)
        self.proxy: Proxy = self._make_proxy()
        facts = NodeFacts(node.name, self.addresses, cpus=os.cpu_count() or 1, memory=memory())
        searches: tuple[str, ...] = ()
        options: tuple[str, ...] = ()
        with contextlib.suppress(OSError):
            _, searches, options = read_resolv_conf(Path("/etc/resolv.conf").read_text(encoding="utf-8"))
        dns = tuple(str(one) for one in settings.dns_addresses)
        resolver = Resolver(dns, DOMAIN, node_resolvers(settings).servers, searches, options)
        objects = PodObjects(api, self.proxy.state)
        images = image_table(f"{name}={path}" for name, path in sorted(settings.images.items()))
        self.machine: PodMachine = PodMachine(self.place, facts, Offer(resolver, images), self.pod_network, objects)
        effects = Effects(api, self.machine, self.clock, time.time, random.random)
        self.pods: PodAgent = PodAgent(node.name, self.addresses, effects)

    def close(self) -> None:
        """Links and rules stay: the process that comes next finds them."""
        self._open.close()

    def _make_proxy(self) -> Proxy:
        from fairway.cli.serve import Proxy
        from fairway.cli.wiring import load_settings
        from fairway.config.proxy import load, write_config

        path = self.folder.proxy_config(self.node.name)
        if not path.exists():
            path.write_text(write_config(load(None, self._proxy_flags()).settings), encoding="utf-8")
        flags = {"config": str(path)}
        return Proxy(load_settings(flags).settings, flags, self.api)

    def _proxy_flags(self) -> dict[str, str]:
        """What the node's KubeProxyConfiguration says at first; whoever changes the file changes the proxy."""
        return {
            "hostname-override": self.node.name,
            "kubeconfig": str(self.folder.node_kubeconfig),
            "proxy-mode": self.settings.mode,
            "detect-local-mode": "NodeCIDR",
            "nodeport-addresses": "primary,localhost",
            # One number for the whole machine: the host's to set.
            "conntrack-max-per-core": "0",
            # The pods' processes inherit it; it stays as it is.
            "oom-score-adj": Path("/proc/self/oom_score_adj").read_text(encoding="ascii").strip(),
        }


# -- parts


def proxy_part(node: NodeParts) -> list[Work]:
    """Service rules."""
    return node.proxy.work()


def pod_part(node: NodeParts) -> list[Work]:
    """Pods."""

    async def sweep() -> None:
        await node.pods.reflector.wait_synced()
        await node.pod_network.keep({pod.metadata.uid for pod in node.pods.present()})
        await node.machine.keep({pod.metadata.uid for pod in node.pods.pods()})
        await asyncio.get_running_loop().create_future()

    return [node.pods.run(), sweep(), node.host_ports.run()]


def dns_part(node: NodeParts) -> list[Work]:
    """The node's DNS server, and the small tables around it."""
    from fairway.cli.node_network import keep_node_tables

    return [node.dns.work(), keep_node_tables(node.settings)]


def registration_part(node: NodeParts) -> list[Work]:
    """The Node object and its Lease."""
    from fairway.agents.heartbeat import Heartbeat
    from fairway.apiserver.versions import VERSION
    from fairway.cluster.topology import node_object

    tree = node_object(node.node, this_machine(), str(VERSION["gitVersion"]))
    return [Heartbeat(tree, node.api, node.clock, time.time).run()]


def link_part(node: NodeParts) -> list[Work]:
    """Links, addresses and routes, made again when they went: with a link that goes down, its routes go."""
    from fairway.io.containers.network import BRIDGE
    from fairway.io.host.underlay import NODE_LINK
    from fairway.io.netlink.addresses import LinkWatch
    from fairway.values.errors import KernelError

    async def mend() -> None:
        async for _ in LinkWatch((NODE_LINK, BRIDGE)).changes(MEND_SECONDS):
            try:
                node.network.ensure()
            except KernelError as error:
                log.warning("node=%s msg='its links are not as they should be' error='%s'", node.node.name, error)

    return [mend()]


def kubelet_part(node: NodeParts) -> list[Work]:
    """The node's own API: logs, exec, attach, port-forward."""
    from fairway.cluster.topology import KUBELET_PORT
    from fairway.io.http.certificates import server_context
    from fairway.io.http.kubelet import KubeletServer

    async def serve_pods() -> None:
        server = KubeletServer(node.machine.streams, node.pods.pods)
        context = server_context(node.place / "pki")
        for address in node.addresses:
            await server.listen(address, KUBELET_PORT, context)
        await asyncio.get_running_loop().create_future()

    return [serve_pods()]


PARTS: tuple[Callable[[NodeParts], list[Work]], ...] = (
    proxy_part,
    registration_part,
    pod_part,
    kubelet_part,
    link_part,
    dns_part,
)
"""Whoever adds a part to the nodes adds a function here."""


async def _serve(folder: StateFolder, settings: ClusterSettings, node: ClusterNode) -> int:
    from fairway.io.kube.client import ApiClient
    from fairway.io.kube.kubeconfig import Kubeconfig

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    connection = Kubeconfig.read([folder.node_kubeconfig]).connection()
    async with ApiClient(connection, qps=UNLIMITED, user_agent=f"fairway-node/{node.name}") as api:
        parts = NodeParts(folder, settings, node, api)
        await parts.machine.open()
        try:
            await _work(parts, stop)
        finally:
            await parts.machine.close()
            parts.close()
    return 0


async def _work(parts: NodeParts, stop: asyncio.Event) -> None:
    """All parts, until told to stop or one of them ends, which none should."""
    works = [work for make in PARTS for work in make(parts)]
    tasks = [asyncio.ensure_future(one) for one in (*works, _tell_ready(parts))]
    stopped = asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait((stopped, *tasks), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (stopped, *tasks):
            task.cancel()
        await asyncio.gather(stopped, *tasks, return_exceptions=True)


async def _tell_ready(parts: NodeParts) -> None:
    await parts.proxy.filled()
    await parts.dns.has_started.wait()
    await parts.pods.reflector.wait_synced()
    parts.folder.ready(parts.node.name)
    log.info("node=%s msg=ready", parts.node.name)
    await asyncio.get_running_loop().create_future()


def _wait_for(*paths: Path) -> None:
    """The control plane, which starts together with the nodes, writes these."""
    while not all(path.exists() for path in paths):
        time.sleep(0.02)


def this_machine() -> Machine:
    """What a node's status says of the machine."""
    from fairway.cluster.topology import Machine

    words = {"x86_64": "amd64", "aarch64": "arm64"}
    arch = words.get(platform.machine(), platform.machine())
    system, ident, boot = "", "", ""
    with contextlib.suppress(OSError):
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        ident = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    return Machine(os.cpu_count() or 1, memory(), arch, platform.release(), system, ident, boot)


def memory() -> int:
    """Of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
