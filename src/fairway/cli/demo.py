"""The demonstration that `fairway up` builds: a node between its pods and a client outside, and requests through it.

Every endpoint of the manifests becomes a pod: a network namespace with a server that answers with the pod's name and
the address that it saw. Namespaces are named `fw-…`; nothing outside them is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from rich.table import Table

from fairway.cli.screen import screen
from fairway.cli.sources import gather, manifest_sources, proxy_feeds
from fairway.io.host import netns
from fairway.kube.cluster import Node
from fairway.state.tables import State, Writer
from fairway.values.address import Address, Family
from fairway.values.errors import ConfigError, FairwayError
from fairway.values.names import ObjectName

NODE, CLIENT, POD = "fw-node", "fw-client", "fw-pod-"
CLIENT_HOST = 2
ANSWERED = "pod "
TIMEOUT = 3.0
"""Longer than the second after which TCP asks again: the kernel limits how often it says that a port is closed."""
REQUESTS = 6
"""To each Service, so that its backends show; a single one where none can answer."""


class Pod(NamedTuple):
    """One endpoint as a pod."""

    name: str
    namespace: str
    address: Address
    ports: tuple[int, ...]


class Town:
    """The namespaces, the servers in the pods, and the proxy on the node. Use as an async context manager."""

    def __init__(self, manifests: Path, state: State) -> None:
        self.manifests = manifests
        self.state = state
        self.node = _only_node(state)
        self.address = next(a for a in self.node.addresses if a.family is Family.IPV4)
        self.client = Address(self.address[:3] + bytes([CLIENT_HOST]))
        self.pods = tuple(_pods(self.state))
        self._servers: list[asyncio.Server] = []
        self._proxy: asyncio.subprocess.Process | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="fairway-")

    @classmethod
    async def plan(cls, manifests: Path) -> Self:
        """Read the manifests; nothing is built yet."""
        state = State()
        feeds = proxy_feeds(Writer(state), _ignore, "", mirrors=True)
        await gather(manifest_sources(feeds, manifests))
        return cls(manifests, state)

    async def __aenter__(self) -> Self:
        try:
            clear()
            self._build()
            for pod in self.pods:
                await self._serve(pod)
            await self._start_proxy()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    def _build(self) -> None:
        for name in (NODE, CLIENT):
            netns.add(name)
        netns.set_sysctl(NODE, "net.ipv4.ip_forward", "1")
        netns.ip(["-n", NODE, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", CLIENT])
        for name, address in ((NODE, self.address), (CLIENT, self.client)):
            netns.ip(["-n", name, "addr", "add", f"{address}/24", "dev", "eth0"])
            netns.ip(["-n", name, "link", "set", "eth0", "up"])
        netns.ip(["-n", CLIENT, "route", "add", "default", "via", str(self.address)])
        netns.ip(["-n", NODE, "route", "add", "default", "via", str(self.client)])
        for index, pod in enumerate(self.pods):
            self._add_pod(pod, f"pod{index}")

    def _add_pod(self, pod: Pod, device: str) -> None:
        """A routed pod, as many CNI plugins make it: packets between pods pass the node, and so its Services."""
        gateway = str(self.address)
        netns.add(pod.namespace)
        netns.ip(["-n", NODE, "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", pod.namespace])
        netns.ip(["-n", NODE, "addr", "add", f"{gateway}/32", "dev", device])
        netns.ip(["-n", NODE, "link", "set", device, "up"])
        netns.ip(["-n", NODE, "route", "add", f"{pod.address}/32", "dev", device])
        netns.ip(["-n", pod.namespace, "addr", "add", f"{pod.address}/32", "dev", "eth0"])
        netns.ip(["-n", pod.namespace, "link", "set", "eth0", "up"])
        netns.ip(["-n", pod.namespace, "route", "add", gateway, "dev", "eth0"])
        netns.ip(["-n", pod.namespace, "route", "add", "default", "via", gateway])

    async def _serve(self, pod: Pod) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await reader.readuntil(b"\r\n\r\n")
                peer = writer.get_extra_info("peername")[0]
                body = f"{ANSWERED}{pod.name} (source {peer})\n".encode()
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
            writer.close()

        for port in pod.ports:
            with netns.entered(pod.namespace):
                listener = socket.create_server((str(pod.address), port), backlog=64)
            self._servers.append(await asyncio.start_server(answer, sock=listener))

    async def _start_proxy(self) -> None:
        """Start `fairway proxy` on the node and wait until it says that it is ready."""
        ready = Path(self._folder.name, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener:
            listener.bind(str(ready))
            log = Path(self._folder.name, "proxy.log")
            with log.open("wb") as out:  # noqa: ASYNC230 - a few bytes, at start
                self._proxy = await asyncio.create_subprocess_exec(
                    *self.on_node("proxy", "--manifests", str(self.manifests), *self._flags()),
                    env={**os.environ, "NOTIFY_SOCKET": str(ready)},
                    stdout=out,
                    stderr=out,
                )
            ended = asyncio.ensure_future(self._proxy.wait())
            told = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(listener, 256))
            await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED, timeout=30)
            told.cancel()
            if ended.done() or not told.done() or told.cancelled():
                said = log.read_text(encoding="utf-8")  # noqa: ASYNC240 - the end of the command
                raise FairwayError(f"the proxy did not start:\n{said}")

    def _flags(self) -> list[str]:
        pods = ",".join(str(prefix) for prefix in self.node.pod_cidrs)
        return ["--hostname-override", self.node.name, "--cluster-cidr", pods]

    def on_node(self, *arguments: str) -> list[str]:
        """The command line that runs a fairway command on the node."""
        return ["ip", "netns", "exec", NODE, sys.executable, "-m", "fairway.cli.main", *arguments]

    def explain(self, question: str) -> str:
        """What `fairway explain` says on the node."""
        arguments = self.on_node("explain", "--manifests", str(self.manifests), *self._flags(), question)
        return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout

    async def _end(self) -> None:
        if self._proxy is not None and self._proxy.returncode is None:
            self._proxy.terminate()
            await self._proxy.wait()
        for server in self._servers:
            server.close()
        clear()
        self._folder.cleanup()


def _ignore(kind: str, count: int) -> None: ...


def clear() -> None:
    """Remove the namespaces of this run, or of one that was killed."""
    for name in (*netns.names(POD), *netns.names(NODE), *netns.names(CLIENT)):
        netns.remove(name)


def _only_node(state: State) -> Node:
    nodes = list(state.nodes())
    if len(nodes) != 1 or not any(a.family is Family.IPV4 for a in nodes[0].addresses):
        raise ConfigError("the manifests need exactly one Node, with an IPv4 InternalIP")
    return nodes[0]


def _pods(state: State) -> Iterator[Pod]:
    for service in sorted(state.service_names()):
        for one in state.slices(service):
            for endpoint in one.endpoints:
                if endpoint.address.family is Family.IPV4:
                    name = f"{service.name}-{endpoint.address[3]}"
                    yield Pod(name, f"{POD}{name}", endpoint.address, tuple(p.port for p in one.ports))


class Visit(NamedTuple):
    """One request to make."""

    namespace: str
    who: str
    service: ObjectName
    kind: str
    target: Address
    port: int


def visits(town: Town) -> Iterator[Visit]:
    """Requests to every Service: from a pod to cluster IPs, from the client to what is open to the outside."""
    pod = town.pods[0]
    for name in sorted(town.state.service_names()):
        service = town.state.service(name)
        if service is None:
            continue
        for port in service.ports:
            yield Visit(pod.namespace, f"pod {pod.name}", name, "cluster IP", service.cluster_ips[0], port.port)
            for address in service.load_balancer_ips:
                yield Visit(CLIENT, "client outside", name, "load balancer", address, port.port)
            if port.node_port:
                yield Visit(CLIENT, "client outside", name, "node port", town.address, port.node_port)


async def visit(town: Town) -> bool:
    """Make all requests, show where each went, explain one. Whether all went as planned."""
    console = screen()
    console.print(f"node [b]{town.node.name}[/b] at {town.address}, {len(town.pods)} pods, a client at {town.client}\n")
    table = Table("from", "to", "Service", "answered by", box=None, header_style="bold")
    good = True
    for one in visits(town):
        has_backends = bool(_backends(town.state, one.service))
        answers = [await _ask(one) for _ in range(REQUESTS if has_backends else 1)]
        good = good and all(answer.startswith(ANSWERED) == has_backends for answer in answers)
        target = f"{one.target.with_port(one.port)} ({one.kind})"
        table.add_row(one.who, target, str(one.service), _summary(answers))
    console.print(table)
    question = _question(town)
    console.print(f"\n[b]fairway explain '{question}'[/b]\n")
    console.print(await asyncio.to_thread(town.explain, question), markup=False, end="")
    return good


def _question(town: Town) -> str:
    """One whose source is no backend of its target: hairpin would be told beside the usual."""
    pod = town.pods[0]
    asked = [one for one in visits(town) if one.namespace == pod.namespace]
    plain = [one for one in asked if _backends(town.state, one.service) - {pod.address}]
    one = next((one for one in plain if pod.address not in _backends(town.state, one.service)), asked[0])
    return f"{pod.address} -> {one.target.with_port(one.port)}/tcp"


def _backends(state: State, service: ObjectName) -> set[Address]:
    return {endpoint.address for one in state.slices(service) for endpoint in one.endpoints}


def _summary(answers: list[str]) -> str:
    counts: dict[str, int] = {}
    for answer in answers:
        counts[answer] = counts.get(answer, 0) + 1
    return ", ".join(f"{count}× {answer}" for answer, count in sorted(counts.items()))


async def _ask(one: Visit) -> str:
    loop = asyncio.get_running_loop()
    with netns.entered(one.namespace):
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.setblocking(False)
    try:
        async with asyncio.timeout(TIMEOUT):
            await loop.sock_connect(client, (str(one.target), one.port))
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
            answer = b""
            while piece := await loop.sock_recv(client, 4096):
                answer += piece
    except TimeoutError:
        return "no answer"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return os.strerror(error.errno or 0)
    finally:
        client.close()
    return answer.rpartition(b"\r\n\r\n")[2].decode().strip()


def how_to_try(town: Town) -> str:
    """What to do while it is up."""
    service = next(iter(visits(town)))
    curl = "curl" if shutil.which("curl") else "wget -qO-"
    return (
        f"\nUp until Ctrl-C. Try, in another terminal:\n"
        f"  ip netns exec {town.pods[0].namespace} {curl} -s http://{service.target}:{service.port}/\n"
        f"  ip netns exec {NODE} nft list map ip fairway frontends\n"
        f"  edit {town.manifests}/*.yaml and ask again: the change is in the kernel before your editor is closed\n"
    )
