"""exec, attach, logs, port-forward and proxies: client → API server → node's API; a stand-in plays the node's pods."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api_world import World
from fairway.apiserver.store import Row
from fairway.io.http.apiserver import Committer, HttpServer
from fairway.io.http.certificates import issue, kubelet_context, load_or_make, make_node, server_context
from fairway.io.http.kubelet import KubeletServer
from fairway.io.http.proxying import Proxy
from fairway.io.http.streams import LogOptions, Presence, Target, Terminal
from fairway.wire.websocket import Opcode, encode_masked

KUBECTLS = sorted({p for d in ("/usr/lib/google-cloud-sdk/bin", "/usr/bin") for p in Path(d).glob("kubectl.1.*")})
NEWEST = str(KUBECTLS[-1]) if KUBECTLS else shutil.which("kubectl")
PODS = "/api/v1/namespaces/default/pods"
SERVICE = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
needs_kubectl = pytest.mark.skipif(NEWEST is None, reason="no kubectl on this machine")


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
        assert NEWEST is not None
        process = await asyncio.create_subprocess_exec(
            NEWEST, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment(**environment)
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


SPDY_ONLY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
both_protocols = pytest.mark.parametrize("environment", [{}, SPDY_ONLY], ids=["websocket", "spdy"])


def test_request_without_token_gets_no_stream(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        reader, writer = await cluster.connect()
        writer.write(b"GET /api/v1/namespaces/default/pods/p/exec?command=id&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"401" in await reader.readline()
        writer.close()

    on_cluster(tmp_path, check)


@needs_kubectl
@both_protocols
def test_exec_carries_output_and_exit_code(tmp_path: Path, environment: dict[str, str]) -> None:
    async def check(cluster: Cluster) -> None:
        found = await cluster.kubectl("exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 7", **environment)
        assert (found[0], found[1]) == (7, "out\n")
        assert "err\n" in found[2]
        assert "exit code 7" in found[2]
        assert cluster.node.targets[0].container == "c"

    on_cluster(tmp_path, check)


@needs_kubectl
@both_protocols
def test_exec_carries_input_and_its_end(tmp_path: Path, environment: dict[str, str]) -> None:
    data = b"line\n" * 20_000

    async def check(cluster: Cluster) -> None:
        code, out, _ = await cluster.kubectl("exec", "-i", "p", "--", "cat", stdin=data, **environment)
        assert (code, out) == (0, data.decode())

    on_cluster(tmp_path, check)


@needs_kubectl
def test_logs_are_shown_with_their_options(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        assert (await cluster.kubectl("logs", "p"))[1] == "one\ntwo\nthree\n"
        assert (await cluster.kubectl("logs", "p", "--tail=1"))[1] == "three\n"

    on_cluster(tmp_path, check)


@needs_kubectl
def test_log_of_a_container_that_waits_is_a_bad_request(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        cluster.world.ok("POST", "/api/v1/namespaces/default/pods", pod("two", "broken", "fine"))
        code, _, err = await cluster.kubectl("logs", "two", "-c", "broken")
        assert (code, err) == (1, "Error from server (BadRequest): container is waiting to start\n")

    on_cluster(tmp_path, check)


@needs_kubectl
@both_protocols
def test_port_forward_carries_connections(tmp_path: Path, environment: dict[str, str]) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello " + await reader.readline())
        writer.close()

    async def check(cluster: Cluster) -> None:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert NEWEST is not None
        process = await asyncio.create_subprocess_exec(
            NEWEST,
            "port-forward",
            "p",
            f":{port}",
            stdout=asyncio.subprocess.PIPE,
            env=cluster.environment(**environment),
        )
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        local = int(line.split("127.0.0.1:")[1].split(" ")[0])
        for name in (b"a", b"b"):
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            writer.write(name + b"\n")
            assert await asyncio.wait_for(reader.read(), 20) == b"hello " + name + b"\n"
            writer.close()
        process.kill()
        await process.wait()
        server.close()

    on_cluster(tmp_path, check)


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


def test_port_forward_with_channels_as_the_python_client_does(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        writer.close()

    async def check(cluster: Cluster) -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await cluster.connect()
        path = f"/api/v1/namespaces/default/pods/p/portforward?ports={port}"
        writer.write(handshake(path, "v4.channel.k8s.io") + encode_masked(Opcode.BINARY, b"\x00ping", b"abcd"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"101" in head
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        received = frames(reader)
        got = [await anext(received) for _ in range(3)]
        number = port.to_bytes(2, "little")
        assert got == [(2, b"\x00" + number), (2, b"\x01" + number), (2, b"\x00ping")]
        writer.close()
        server.close()

    on_cluster(tmp_path, check)


def test_service_proxy_reaches_a_ready_endpoint(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        line = request.split(b"\r\n")[0]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(line), line))
        writer.close()

    async def check(cluster: Cluster) -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        world = cluster.world
        world.ok(
            "POST",
            "/api/v1/namespaces/default/services",
            {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}},
        )
        labels = {"kubernetes.io/service-name": "s"}
        made = {"metadata": {"name": "s-1", "labels": labels}, "addressType": "IPv4", "ports": [{"port": port}]}
        slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        world.ok("POST", slices, {**made, "endpoints": [{"addresses": ["192.0.2.1"]}]})
        # The validity of addresses is not this test's concern: loopback is what a test may connect to.
        stored = world.server.read("endpointslices.discovery.k8s.io", "default/s-1")
        assert stored is not None
        stored["endpoints"][0]["addresses"] = ["127.0.0.1"]
        world.server.write("endpointslices.discovery.k8s.io", "default/s-1", stored, 0.0)
        world.commit()
        reader, writer = await cluster.connect()
        path = "/api/v1/namespaces/default/services/s:80/proxy/some/path?x=1"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.endswith(b"GET /some/path?x=1 HTTP/1.1")
        writer.close()
        server.close()

    on_cluster(tmp_path, check)


def test_service_without_endpoints_is_503(tmp_path: Path) -> None:
    world = World()
    world.ok(
        "POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    )

    code, answer = world.call("GET", "/api/v1/namespaces/default/services/s:80/proxy/")

    assert (code, answer["message"]) == (503, 'no endpoints available for service "s:80"')


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


def test_log_is_fetched_from_the_node(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        code, head, body = await cluster.ask(f"{PODS}/p/log?tailLines=2")
        assert (code, body) == (200, "two\nthree\n")
        assert "Content-Type: text/plain" in head

    on_cluster(tmp_path, check)


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("container=broken", 400, "container is waiting to start"),
        ("container=missing", 400, "container missing is not valid for pod many"),
        (
            "container=fine&tailLines=-1",
            422,
            'PodLogOptions "many" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
        ),
    ],
)
def test_log_that_cannot_be_had_is_refused(tmp_path: Path, query: str, code: int, message: str) -> None:
    async def check(cluster: Cluster) -> None:
        cluster.world.ok("POST", PODS, pod("many", "broken", "fine"))
        found, _, body = await cluster.ask(f"{PODS}/many/log?{query}")
        assert (found, json.loads(body)["message"]) == (code, message)

    on_cluster(tmp_path, check)


def test_log_of_a_pod_without_a_node_is_empty(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        made = pod("unscheduled", "c")
        del made["spec"]["nodeName"]
        cluster.world.ok("POST", PODS, made)
        code, _, body = await cluster.ask(f"{PODS}/unscheduled/log")
        assert (code, body) == (204, "")

    on_cluster(tmp_path, check)


def test_log_of_a_pod_that_the_node_does_not_have_is_not_found(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        cluster.world.ok("POST", PODS, pod("gone", "c"))
        code, _, body = await cluster.ask(f"{PODS}/gone/log")
        words = "the server could not find the requested resource ( pods/log gone)"
        assert (code, json.loads(body)["message"]) == (404, words)

    on_cluster(tmp_path, check)


def test_node_that_is_down_is_named_in_kube_apiservers_words(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        await cluster.kubelet.close()
        at = f"127.0.0.1:{cluster.node_port}"
        refused = f"dial tcp {at}: connect: connection refused"
        _, _, body = await cluster.ask(f"{PODS}/p/log")
        assert json.loads(body)["message"] == f'Get "https://{at}/containerLogs/default/p/c": {refused}'
        _, _, body = await cluster.ask(f"{PODS}/p/exec?command=id&stdout=1", "POST")
        assert json.loads(body)["message"] == f"error dialing backend: {refused}"
        code, _, body = await cluster.ask("/api/v1/nodes/n/proxy/healthz")
        assert (code, json.loads(body)["message"]) == (503, f"error trying to reach service: {refused}")

    on_cluster(tmp_path, check)


def test_node_proxy_reaches_the_nodes_own_pages(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        assert (await cluster.ask("/api/v1/nodes/n/proxy/healthz"))[::2] == (200, "ok")
        _, _, body = await cluster.ask(f"/api/v1/nodes/n:{cluster.node_port}/proxy/pods")
        assert json.loads(body)["items"] == [{"metadata": {"name": "p"}}]
        _, _, body = await cluster.ask("/api/v1/nodes/n/proxy/metrics")
        assert "kubelet_running_pods 1" in body.splitlines()
        code, _, body = await cluster.ask("/api/v1/nodes/n/proxy/run/default/p/c?cmd=echo+hello", "POST")
        assert (code, body) == (200, "hello\n")
        assert (await cluster.ask("/api/v1/nodes/missing/proxy/healthz"))[0] == 404

    on_cluster(tmp_path, check)


async def ask_node(cluster: Cluster, context: ssl.SSLContext, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.node_port, ssl=context)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def test_node_answers_nobody_without_the_clusters_certificate(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        context = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.crt"))
        answer = await ask_node(cluster, context, "/containerLogs/default/p/c")
        assert answer.startswith(b"HTTP/1.1 401 ")

    on_cluster(tmp_path, check)


def test_node_answers_no_other_node(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        other = issue(cluster.authority.ca, ("system:node:other", "system:nodes"), (), datetime.now(UTC))
        (tmp_path / "other.pem").write_text(other.certificate + other.key)
        context = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.crt"))
        context.load_cert_chain(tmp_path / "other.pem")
        answer = await ask_node(cluster, context, "/pods")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Forbidden (user=system:node:other, verb=get" in answer

    on_cluster(tmp_path, check)


def test_exec_in_a_container_that_does_not_run_is_refused(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        cluster.world.ok("POST", PODS, pod("ended", "c"))
        reader, writer = await cluster.connect()
        writer.write(handshake(f"{PODS}/ended/exec?command=id&stdout=1", "v5.channel.k8s.io"))
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert answer.endswith(b'container not found ("c")')
        writer.close()

    on_cluster(tmp_path, check)


def test_exec_by_websocket_ends_with_the_exit_code(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        reader, writer = await cluster.connect()
        query = "command=sh&command=-c&command=cat;exit+7&stdin=true&stdout=true"
        writer.write(handshake(f"{PODS}/p/exec?{query}", "v5.channel.k8s.io"))
        writer.write(encode_masked(Opcode.BINARY, b"\x00typed", b"abcd"))
        writer.write(encode_masked(Opcode.BINARY, b"\xff\x00", b"abcd"))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        got = [payload async for opcode, payload in frames(reader, until=Opcode.CLOSE) if payload[1:]]
        assert got[0] == b"\x01typed"
        assert json.loads(got[-1][1:])["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
        writer.close()

    on_cluster(tmp_path, check)


def test_proxied_page_has_its_links_lead_through_the_proxy(tmp_path: Path) -> None:
    page = b'<p>&amp <A HREF="/a?b=1">x</A> <a href="rel">y</a> <a href="http://other/z">z</a> <img src=/i.png /></p>'

    async def check(cluster: Cluster) -> None:
        async with site(page, "Content-Type: text/html; charset=utf-8") as port:
            put_pod(cluster, "web", port)
            _, head, body = await cluster.ask(f"{PODS}/web/proxy/")
        via = f"{PODS}/web/proxy"
        assert body == page.decode().replace('<A HREF="/a?b=1">', f'<a href="{via}/a?b=1">').replace(
            "<img src=/i.png />", f'<img src="{via}/i.png"/>'
        )
        assert f"Content-Length: {len(body)}" in head

    on_cluster(tmp_path, check)


def test_proxied_redirect_leads_through_the_proxy(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        async with site(b"", "Location: /next") as port:
            put_pod(cluster, "web", port)
            _, head, _ = await cluster.ask(f"{PODS}/http:web:web/proxy/there")
        assert f"Location: {PODS}/http:web:web/proxy/next" in head

    on_cluster(tmp_path, check)


def test_proxy_without_a_path_redirects_to_its_root(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        put_pod(cluster, "web", 9)
        code, head, _ = await cluster.ask(f"{PODS}/web/proxy?method=GET")
        assert code == 301
        assert f"Location: {PODS}/web/proxy/?method=GET" in head

    on_cluster(tmp_path, check)


def test_command_whose_client_goes_is_ended(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        reader, writer = await cluster.connect()
        writer.write(handshake(f"{PODS}/p/exec?command=sleep&command=60&stdout=true", "v5.channel.k8s.io"))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await asyncio.wait_for(cluster.node.cut.wait(), 10)

    on_cluster(tmp_path, check)
