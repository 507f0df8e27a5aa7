"""An API server, a node and a pod on loopback, for tests of streams; a stand-in plays the node's pods."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from api_world import World
from fairway.apiserver.store import Row
from fairway.io.http.apiserver import Committer, HttpServer
from fairway.io.http.certificates import kubelet_context, load_or_make, make_node, server_context
from fairway.io.http.kubelet import KubeletServer
from fairway.io.http.proxying import Proxy
from fairway.io.http.streams import LogOptions, Presence, Target, Terminal
from fairway.wire.websocket import Opcode
from peer import FOLDER

KUBECTLS = sorted({p for d in ("/usr/lib/google-cloud-sdk/bin", "/usr/bin") for p in Path(d).glob("kubectl.1.*")})
KUBECTL = str(KUBECTLS[-1]) if KUBECTLS else shutil.which("kubectl", path=f"{os.environ['PATH']}:{FOLDER}")
"""The newest on this machine; None when there is none."""
PODS = "/api/v1/namespaces/default/pods"


class Node:
    """The stand-in: commands are ordinary processes, ports are the machine's own."""

    def __init__(self) -> None:
        self.targets: list[Target] = []
        self.sizes: list[tuple[int, int]] = []
        self.cut = asyncio.Event()

    def presence(self, target: Target) -> Presence:
        known = {"gone": Presence.NO_POD, "ended": Presence.ENDED}
        return known.get(target.pod, Presence.RUNNING)

    async def log(self, target: Target, options: LogOptions) -> AsyncIterator[bytes]:
        if target.container == "broken":
            raise OSError("container is waiting to start")
        lines = [b"one\n", b"two\n", b"three\n"]
        for line in lines[-options.tail_lines :] if options.tail_lines else lines:
            yield line

    async def run(self, target: Target, command: tuple[str, ...], terminal: Terminal, *, tty: bool) -> int:
        self.targets.append(target)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*(command or ("cat",)), stdin=pipe, stdout=pipe, stderr=pipe)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None

        async def feed(writer: asyncio.StreamWriter) -> None:
            while data := await terminal.read():
                writer.write(data)
            writer.close()

        async def copy(reader: asyncio.StreamReader, stderr: bool) -> None:
            while data := await reader.read(4096):
                await terminal.write(data, stderr=stderr)

        feeding = asyncio.ensure_future(feed(process.stdin))
        try:
            await asyncio.gather(copy(process.stdout, False), copy(process.stderr, True))
            return await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            self.cut.set()
            raise
        finally:
            feeding.cancel()

    async def dial(self, target: Target, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)


class Nowhere:
    """A journal that forgets: these tests are not about it."""

    def append(self, rows: list[Row], forgotten: list[int], compacted: int) -> None:
        pass


def pod(name: str, *containers: str) -> dict[str, Any]:
    made = [{"name": c, "image": "i"} for c in containers]
    return {"metadata": {"name": name}, "spec": {"nodeName": "n", "containers": made}}


class Cluster:
    """An API server, one node and one pod on loopback ports, and ways to talk to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node = Node()
        self.world = World()
        self.authority = load_or_make(folder / "pki", ("127.0.0.1",))
        self.kubelet = KubeletServer(self.node, lambda: [{"metadata": {"name": "p"}}])
        opener = Proxy(kubelet_context(self.authority))
        self.http = HttpServer(self.world.api, Committer(self.world.store, Nowhere()), opener)
        self.port = self.node_port = 0

    async def start(self) -> None:
        make_node(self.folder / "node", self.authority.ca, "n", ("127.0.0.1",))
        self.node_port = await self.kubelet.listen("127.0.0.1", 0, server_context(self.folder / "node"))
        self._make_objects()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        await self.http.start(listener, server_context(self.folder / "pki"))
        (self.folder / "kubeconfig").write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\n"
            "contexts: [{name: x, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: secret}}]\n"
            f"clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{self.port}', "
            f"certificate-authority: '{self.folder}/pki/ca.crt'}}}}]\n"
        )

    def _make_objects(self) -> None:
        merge = {"content-type": "application/merge-patch+json"}
        self.world.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
        where: dict[str, Any] = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
        where["daemonEndpoints"] = {"kubeletEndpoint": {"Port": self.node_port}}
        self.world.ok("PATCH", "/api/v1/nodes/n/status", {"status": where}, headers=merge)
        self.world.ok("POST", PODS, pod("p", "c"))
        self.world.ok("PATCH", f"{PODS}/p/status", {"status": {"phase": "Running"}}, headers=merge)

    async def stop(self) -> None:
        await self.http.stop()
        await self.kubelet.close()

    async def ask(self, path: str, method: str = "GET") -> tuple[int, str, str]:
        """One plain request to the API server: code, head, body."""
        reader, writer = await self.connect()
        lines = [f"{method} {path} HTTP/1.1", "Host: api.example", "Authorization: Bearer secret", "Connection: close"]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head, _, body = (await asyncio.wait_for(reader.read(), 20)).decode().partition("\r\n\r\n")
        writer.close()
        if "transfer-encoding: chunked" in head.lower():
            body = "".join(body.split("\r\n")[1::2])
        return int(head.split(" ")[1]), head, body

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        trusted = ssl.create_default_context(cafile=str(self.folder / "pki" / "ca.crt"))
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=trusted)

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.folder / "kubeconfig"), "HOME": str(self.folder), **more}

    async def kubectl(self, *arguments: str, stdin: bytes = b"", **environment: str) -> tuple[int, str, str]:
        pipe = asyncio.subprocess.PIPE
        assert KUBECTL is not None
        process = await asyncio.create_subprocess_exec(
            KUBECTL, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment(**environment)
        )
        out, err = await asyncio.wait_for(process.communicate(stdin), 40)
        return process.returncode or 0, out.decode(), err.decode()


def on_cluster(folder: Path, test: Callable[[Cluster], Awaitable[None]]) -> None:
    async def main() -> None:
        cluster = Cluster(folder)
        await cluster.start()
        try:
            await test(cluster)
        finally:
            await cluster.stop()

    asyncio.run(main())


@asynccontextmanager
async def site(page: bytes, *headers: str) -> AsyncIterator[int]:
    """A web server on loopback that answers every request with one page; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(page)}", "Connection: close", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + page)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def put_pod(cluster: Cluster, name: str, port: int) -> None:
    """A pod on loopback: validity of addresses is not these tests' concern."""
    made = pod(name, "c")
    made["spec"]["containers"][0]["ports"] = [{"containerPort": port, "name": "web"}]
    cluster.world.ok("POST", PODS, made)
    stored = cluster.world.server.read("pods", f"default/{name}")
    assert stored is not None
    stored["status"]["podIP"] = "127.0.0.1"
    cluster.world.server.write("pods", f"default/{name}", stored, 0.0)
    cluster.world.commit()


def handshake(path: str, protocol: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: x",
        "Authorization: Bearer secret",
        "Connection: Upgrade",
        "Upgrade: websocket",
    ]
    lines += [
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Sec-WebSocket-Protocol: {protocol}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def frames(reader: asyncio.StreamReader, until: Opcode = Opcode.CONTINUATION) -> AsyncIterator[tuple[int, bytes]]:
    """Unmasked frames of a server, opcode and payload, up to one that ends them."""
    while True:
        first, size = await reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        opcode, payload = first & 0x0F, await reader.readexactly(size)
        if opcode == until:
            return
        yield opcode, payload
