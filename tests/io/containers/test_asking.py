"""Probes against servers on loopback that say what is wanted."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fairway.io.containers.asking import Asked, ask_grpc, ask_http, ask_tcp
from fairway.io.http.certificates import make_ca, make_node, server_context
from fairway.kube.podspec import GrpcAction, HttpGetAction, HttpHeader, TcpSocketAction
from pod_objects import container, pod

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HOST = "127.0.0.1"


def asked(**fields: Any) -> Asked:
    one = pod(container(**fields))
    return Asked(one, one.spec.containers[0], HOST, "")


@asynccontextmanager
async def server(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    made = await asyncio.start_server(talk, HOST, 0, ssl=tls)
    async with made:
        yield made.sockets[0].getsockname()[1]


def saying(*answers: bytes, heard: list[bytes] | None = None) -> Talk:
    """One answer for each connection, in turn."""
    left = list(answers)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(request)
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        writer.close()

    return talk


def http(answer: Talk, seconds: float = 5, *, is_hook: bool = False, **fields: Any) -> tuple[str, int]:
    async def go() -> tuple[str, int]:
        async with server(answer) as port:
            action = HttpGetAction(port, **fields)
            return await ask_http(asked(), action, seconds, is_hook=is_hook), port

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"200 OK", ""),
        (b"399 Odd", ""),
        (b"404 Not Found", "HTTP probe failed with statuscode: 404"),
        (b"500 Oh", "HTTP probe failed with statuscode: 500"),
    ],
)
def test_the_status_decides(line: bytes, words: str) -> None:
    assert http(saying(b"HTTP/1.1 " + line + b"\r\n\r\n"))[0] == words


def test_a_hook_is_content_with_any_answer() -> None:
    assert http(saying(b"HTTP/1.1 500 Oh\r\n\r\n"), is_hook=True)[0] == ""


def test_own_headers_go_before_the_usual_ones() -> None:
    heard: list[bytes] = []
    own = (HttpHeader("Host", "web.example"), HttpHeader("X-A", "1"))
    http(saying(b"HTTP/1.1 200 OK\r\n\r\n", heard=heard), path="/p?q=1", http_headers=own)
    lines = heard[0].decode().split("\r\n")
    assert lines[0] == "GET /p?q=1 HTTP/1.1"
    assert [line for line in lines if line.startswith("Host:")] == ["Host: web.example"]
    assert "X-A: 1" in lines
    assert "User-Agent: kube-probe/1.36" in lines


def test_a_redirect_on_the_same_host_is_followed_and_one_away_is_success() -> None:
    to_bad = b"HTTP/1.1 302 Found\r\nLocation: /other\r\n\r\n"
    assert http(saying(to_bad, b"HTTP/1.1 503 No\r\n\r\n"))[0] == "HTTP probe failed with statuscode: 503"
    away = b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n"
    assert http(saying(away, b"HTTP/1.1 503 No\r\n\r\n"))[0] == ""
    words, port = http(saying(to_bad))
    assert words == f'Get "http://{HOST}:{port}/": stopped after 10 redirects'


def test_what_is_no_http_is_named() -> None:
    words, port = http(saying(b"SSH-2.0-x\r\n"))
    assert words == f'Get "http://{HOST}:{port}/": malformed HTTP response'


def test_a_line_break_cannot_add_a_header() -> None:
    heard: list[bytes] = []
    good = saying(b"HTTP/1.1 200 OK\r\n\r\n", heard=heard)
    http(good, path="/x HTTP/1.1\r\nEvil: 1")
    assert b"\r\nEvil" not in heard[0]
    words, _ = http(good, http_headers=(HttpHeader("A", "1\r\nEvil: 1"),))
    assert words.endswith("a line break in path or headers")


def test_a_server_that_does_not_answer_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    words, port = http(silent, 0.05)
    assert words.startswith(f'Get "http://{HOST}:{port}/": context deadline exceeded')


def test_https_takes_any_certificate(tmp_path: Path) -> None:
    authority, _, _ = make_ca(datetime.now(UTC))
    make_node(tmp_path, authority, "node-a", ("192.0.2.9",))

    async def go() -> str:
        async with server(
            saying(b"HTTP/1.1 200 OK\r\n\r\n"),
            server_context(tmp_path),
        ) as port:
            return await ask_http(asked(), HttpGetAction(port, scheme="HTTPS"), 5)

    assert asyncio.run(go()) == ""


async def closed_port() -> int:
    async with server(saying(b"")) as port:
        pass
    return port


def test_tcp_asks_whether_somebody_listens() -> None:
    async def go() -> tuple[str, str, int]:
        async with server(saying(b"")) as port:
            good = await ask_tcp(asked(), TcpSocketAction(port), 5)
        return good, await ask_tcp(asked(), TcpSocketAction(port), 5), port

    good, bad, port = asyncio.run(go())
    assert good == ""
    assert bad == f"dial tcp {HOST}:{port}: connect: connection refused"


def test_a_port_may_be_named_and_an_unknown_name_is_said() -> None:
    async def go() -> tuple[str, str]:
        async with server(saying(b"")) as port:
            one = asked(ports=[{"name": "web", "containerPort": port}])
            return await ask_tcp(one, TcpSocketAction("web"), 5), await ask_tcp(one, TcpSocketAction("none"), 5)

    assert asyncio.run(go()) == ("", "couldn't find port: 'none' in container main")


def frame(kind: int, flags: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + (1).to_bytes(4, "big") + payload


def grpc(*frames: bytes) -> str:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\x00\x00\x00\x00\x00")  # the preface and the first frame's head
        writer.write(b"".join(frames))
        await writer.drain()
        writer.write_eof()

    async def go() -> str:
        async with server(talk) as port:
            return await ask_grpc(asked(), GrpcAction(port, "shop"), 5)

    return asyncio.run(go())


SETTINGS, PING = frame(4, 0, b""), frame(6, 0, bytes(8))
SERVING = frame(0, 0, b"\0\0\0\0\x02\x08\x01")
TRAILERS = frame(1, 5, b"\x88")


def test_grpc_serving_is_good_and_all_else_is_named() -> None:
    assert grpc(SETTINGS, frame(1, 4, b"\x88"), PING, SERVING, TRAILERS) == ""
    not_serving = frame(0, 0, b"\0\0\0\0\x02\x08\x02")
    assert grpc(SETTINGS, not_serving, TRAILERS) == 'service unhealthy (responded with "NOT_SERVING")'
    assert grpc(SETTINGS, TRAILERS) == 'service unhealthy (responded with "REFUSED")'
    assert "closed the connection" in grpc(SETTINGS)
    assert "does not speak HTTP/2" in grpc(b"HTTP/1.1 400 Bad Request\r\n\r\n")
