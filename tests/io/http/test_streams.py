"""exec, attach, logs and port-forward: client → API server → node's API; a stand-in plays the node's pods."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from fairway.wire.websocket import Opcode, encode_masked
from stream_world import KUBECTL, PODS, Cluster, frames, handshake, on_cluster, pod

needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="no kubectl on this machine")
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
        assert KUBECTL is not None
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
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


@pytest.mark.parametrize(("script", "errors"), [("echo+out", []), ("exit+7", [b"exit status 7"])])
def test_the_first_protocol_of_channels_has_words_for_failure_alone(
    tmp_path: Path, script: str, errors: list[bytes]
) -> None:
    async def check(cluster: Cluster) -> None:
        reader, writer = await cluster.connect()
        query = f"command=sh&command=-c&command={script}&stdout=true"
        writer.write(handshake(f"{PODS}/p/exec?{query}", "channel.k8s.io"))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        got = [payload async for _, payload in frames(reader, until=Opcode.CLOSE)]
        said = [payload[1:] for payload in got if payload[0] == 3]
        assert len(said) == len(errors)
        assert all(words in text for words, text in zip(errors, said, strict=True))
        writer.close()

    on_cluster(tmp_path, check)


@pytest.mark.parametrize(
    ("protocol", "first"),
    [("binary.k8s.io", (Opcode.BINARY, b"one\n")), ("base64.binary.k8s.io", (Opcode.TEXT, b"b25lCg=="))],
)
def test_logs_come_by_websocket_too(tmp_path: Path, protocol: str, first: tuple[Opcode, bytes]) -> None:
    async def check(cluster: Cluster) -> None:
        reader, writer = await cluster.connect()
        writer.write(handshake(f"{PODS}/p/log", protocol))
        opened = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in opened
        assert f"Sec-WebSocket-Protocol: {protocol}\r\n".encode() in opened
        got = [frame async for frame in frames(reader, until=Opcode.CLOSE)]
        assert got[0] == first
        assert len(got) == 3
        writer.close()

    on_cluster(tmp_path, check)


def test_command_whose_client_goes_is_ended(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        reader, writer = await cluster.connect()
        writer.write(handshake(f"{PODS}/p/exec?command=sleep&command=60&stdout=true", "v5.channel.k8s.io"))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await asyncio.wait_for(cluster.node.cut.wait(), 10)

    on_cluster(tmp_path, check)
