"""A node's own API behind the real kube-apiserver, with the real kubectl: logs, exec, attach, cp, port-forward."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairway.io.http.certificates import Authority, load_or_make, make_node, server_context
from fairway.io.http.kubelet import KubeletServer
from fairway.io.kube.client import ApiClient
from kube_apiserver import KubeApiserver, kube_apiserver
from peer import peer
from stream_world import PODS, Node, pod, site

pytestmark = pytest.mark.peers
KUBECTL = peer("kubectl")
peer("kube-apiserver")
SPDY_ONLY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
both_protocols = pytest.mark.parametrize("environment", [{}, SPDY_ONLY], ids=["websocket", "spdy"])
MERGE = "application/merge-patch+json"


class Real:
    """The real server, its authority and one node of ours."""

    def __init__(self, server: KubeApiserver, authority: Authority, folder: Path) -> None:
        self.server, self.authority, self.folder = server, authority, folder
        (folder / "kubeconfig").write_text(server.kubeconfig)
        make_node(folder / "node", authority.ca, "n", ("127.0.0.1",))

    async def kubectl(self, *arguments: str, stdin: bytes = b"", **environment: str) -> tuple[int, str, str]:
        pipe = asyncio.subprocess.PIPE
        env = {**os.environ, "KUBECONFIG": str(self.folder / "kubeconfig"), "HOME": str(self.folder), **environment}
        process = await asyncio.create_subprocess_exec(
            KUBECTL, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=env
        )
        out, err = await asyncio.wait_for(process.communicate(stdin), 40)
        return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    folder = tmp_path_factory.mktemp("kubelet")
    authority = load_or_make(folder / "pki", ("127.0.0.1",))
    flags: dict[str, Any] = {
        "kubelet_client_certificate": folder / "pki" / "kubelet-client.crt",
        "kubelet_client_key": folder / "pki" / "kubelet-client.key",
        "kubelet_certificate_authority": folder / "pki" / "ca.crt",
        "kubelet_preferred_address_types": "InternalIP",
    }
    with kube_apiserver(folder, **flags) as server:
        yield Real(server, authority, folder)


def on_node(real: Real, test: Callable[[], Awaitable[None]]) -> None:
    """Run a test while the node serves; its pod is there anew."""

    async def main() -> None:
        kubelet = KubeletServer(Node(), list)
        port = await kubelet.listen("127.0.0.1", 0, server_context(real.folder / "node"))
        async with ApiClient(real.server.connection, qps=-1) as client:

            async def patch(path: str, body: dict[str, Any]) -> None:
                await client.request("PATCH", path, body=json.dumps(body).encode(), content_type=MERGE)

            async def make(path: str, body: dict[str, Any]) -> None:
                await client.request("POST", path, body=json.dumps(body).encode())

            await make("/api/v1/nodes", {"metadata": {"name": "n"}})
            where: dict[str, Any] = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
            where["daemonEndpoints"] = {"kubeletEndpoint": {"Port": port}}
            await patch("/api/v1/nodes/n/status", {"status": where})
            await make(PODS, pod("p", "c"))
            await patch(f"{PODS}/p/status", {"status": {"phase": "Running"}})
            try:
                await test()
            finally:
                await client.request("DELETE", f"{PODS}/p", {"gracePeriodSeconds": "0"})
                await client.request("DELETE", "/api/v1/nodes/n")
                await kubelet.close()

    asyncio.run(main())


@both_protocols
def test_exec_carries_input_output_and_exit_code(real: Real, environment: dict[str, str]) -> None:
    async def check() -> None:
        script = "cat; echo err >&2; exit 7"
        data = b"line\n" * 10_000
        code, out, err = await real.kubectl("exec", "-i", "p", "--", "sh", "-c", script, stdin=data, **environment)
        assert (code, out) == (7, data.decode())
        assert "err\n" in err
        assert "exit code 7" in err

    on_node(real, check)


@both_protocols
def test_attach_ends_with_what_runs(real: Real, environment: dict[str, str]) -> None:
    async def check() -> None:
        code, out, _ = await real.kubectl("attach", "-i", "p", stdin=b"typed\n", **environment)
        assert (code, out) == (0, "typed\n")

    on_node(real, check)


def test_files_are_copied_both_ways(real: Real, tmp_path: Path) -> None:
    async def check() -> None:
        (tmp_path / "here").write_bytes(os.urandom(100_000))
        assert (await real.kubectl("cp", str(tmp_path / "here"), f"p:{tmp_path}/there"))[0] == 0
        assert (await real.kubectl("cp", f"p:{tmp_path}/there", str(tmp_path / "back")))[0] == 0
        assert (tmp_path / "back").read_bytes() == (tmp_path / "here").read_bytes()

    on_node(real, check)


def test_logs_are_shown(real: Real) -> None:
    async def check() -> None:
        assert (await real.kubectl("logs", "p", "--tail=2"))[:2] == (0, "two\nthree\n")

    on_node(real, check)


@both_protocols
def test_port_forward_carries_connections(real: Real, environment: dict[str, str]) -> None:
    async def check() -> None:
        async with site(b"hello") as port:
            env = {**os.environ, "KUBECONFIG": str(real.folder / "kubeconfig"), **environment}
            process = await asyncio.create_subprocess_exec(
                KUBECTL, "port-forward", "p", f":{port}", stdout=asyncio.subprocess.PIPE, env=env
            )
            assert process.stdout is not None
            line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
            reader, writer = await asyncio.open_connection("127.0.0.1", int(line.split("127.0.0.1:")[1].split(" ")[0]))
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await asyncio.wait_for(reader.read(), 20)).endswith(b"hello")
            writer.close()
            process.kill()
            await process.wait()

    on_node(real, check)
