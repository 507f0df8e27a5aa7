"""The client against real servers on loopback: requests, refusals, TLS, rotation, proxies, connections that break."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certificates import Authority, Pair
from fairway.agents.pager import read_list
from fairway.io.kube import client as client_module
from fairway.io.kube.client import STRATEGIC_PATCH, ApiClient, object_path
from fairway.io.kube.connection import BearerToken, Connection, ExecPlugin, Pem, TlsSettings, TokenFile
from fairway.io.kube.proxies import proxy_from_environment
from fairway.io.kube.ratelimit import TokenBucket
from fairway.kube.status import (
    AlreadyExistsError,
    ApiStatusError,
    ApiUnreachableError,
    ConflictError,
    CorruptAnswerError,
    ForbiddenError,
    GoneError,
    InvalidError,
    NotFoundError,
    ServerError,
    TooManyRequestsError,
    UnauthorizedError,
)
from fake_api import FakeApi
from fake_storage import CONFIG_MAPS, SERVICES

decode = msgspec.json.decode


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(inside())


def talking_to(api: FakeApi, **more: Any) -> ApiClient:
    return ApiClient(Connection(api.url, **more), qps=-1)


def config_map(name: str, **data: str) -> bytes:
    return json.dumps({"metadata": {"name": name}, "data": data}).encode()


# -- requests


def test_an_object_through_its_life() -> None:
    async def scenario() -> None:
        async with talking_to(api) as client:
            folder = object_path(CONFIG_MAPS, "", "default")
            path = object_path(CONFIG_MAPS, "a", "default")
            made = decode(await client.create(folder, config_map("a", x="1")))
            assert made["metadata"]["uid"]
            assert decode(await client.get(path))["data"] == {"x": "1"}
            changed = decode(await client.patch(path, b'{"data":{"y":"2"}}'))
            assert changed["data"] == {"x": "1", "y": "2"}
            await client.patch(path, b'{"data":{"y":null}}', STRATEGIC_PATCH)
            with pytest.raises(ConflictError):
                await client.update(path, json.dumps(made).encode())
            assert decode(await client.update(path, config_map("a", z="3")))["data"] == {"z": "3"}
            await client.delete(path)
            with pytest.raises(NotFoundError, match=r'GET .*/configmaps/a: configmaps "a" not found'):
                await client.get(path)

    with FakeApi() as api:
        run(scenario)


def test_connection_is_used_again() -> None:
    async def scenario() -> None:
        async with talking_to(api) as client:
            for _ in range(5):
                await client.get("/version")
            assert len(client._session.connector._conns) == 1  # type: ignore[union-attr]

    with FakeApi() as api:
        run(scenario)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (401, "Unauthorized", UnauthorizedError),
        (403, "Forbidden", ForbiddenError),
        (404, "NotFound", NotFoundError),
        (409, "Conflict", ConflictError),
        (409, "AlreadyExists", AlreadyExistsError),
        (410, "Expired", GoneError),
        (410, "Gone", GoneError),
        (500, "Expired", GoneError),
        (422, "Invalid", InvalidError),
        (429, "TooManyRequests", TooManyRequestsError),
        (500, "InternalError", ServerError),
        (503, "ServiceUnavailable", ServerError),
        (418, "Teapot", ApiStatusError),
    ],
)
def test_refusal_is_the_error_of_its_reason(code: int, reason: str, kind: type[ApiStatusError]) -> None:
    async def scenario() -> None:
        api.fail(SERVICES, code, reason, retry_after=3)
        async with talking_to(api) as client:
            with pytest.raises(kind) as caught:
                await client.get(SERVICES)
            assert type(caught.value) is kind
            assert (caught.value.code, caught.value.reason, caught.value.retry_after) == (code, reason, 3)
            assert str(caught.value) == f"GET {SERVICES}: {reason} (HTTP {code} {reason})"

    with FakeApi() as api:
        run(scenario)


@contextlib.asynccontextmanager
async def raw_server(answer: bytes, *, is_cut: bool = False) -> AsyncIterator[str]:
    """A server that gives one answer to whatever is asked."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if is_cut:
            writer.transport.abort()
        else:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http(body: bytes, head: str = "200 OK", length: int | None = None) -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def test_refusal_without_a_status_object_is_told_by_its_code() -> None:
    async def scenario() -> None:
        async with raw_server(http(b"<html>sorry</html>", "502 Bad Gateway")) as url, ApiClient(Connection(url)) as c:
            with pytest.raises(ServerError, match="<html>sorry</html>") as caught:
                await c.get("/x")
            assert caught.value.code == 502

    run(scenario)


@pytest.mark.parametrize(
    "answer",
    [b"", b"garbage\r\n\r\n", http(b"{}", length=50), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ids=["nothing", "no HTTP", "cut", "bad chunk"],
)
def test_broken_answer_counts_as_unreachable(answer: bytes) -> None:
    async def scenario() -> None:
        async with raw_server(answer) as url, ApiClient(Connection(url)) as client:
            with pytest.raises(ApiUnreachableError, match=rf"{url}: GET /x: "):
                await client.get("/x")

    run(scenario)


def test_half_a_list_is_an_error() -> None:
    async def scenario() -> None:
        body = b'{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a"}},'
        async with raw_server(http(body)) as url, ApiClient(Connection(url)) as client:
            with pytest.raises(CorruptAnswerError):
                await read_list(client, "/x", {}, lambda _: None, lambda: None)

    run(scenario)


def test_server_that_is_not_there_is_named() -> None:
    async def scenario() -> None:
        async with ApiClient(Connection("http://127.0.0.1:1")) as client:
            with pytest.raises(ApiUnreachableError, match=r"http://127.0.0.1:1: GET /x: .*refused"):
                await client.get("/x")
        async with ApiClient(Connection("http://no.such.host.invalid")) as client:
            with pytest.raises(ApiUnreachableError, match=r"no.such.host.invalid"):
                await client.get("/x")

    run(scenario)


def test_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module._Exchange, "__init__", _impatient(client_module._Exchange.__init__))

    async def scenario() -> None:
        api.hold_lists()
        async with talking_to(api) as client:
            with pytest.raises(ApiUnreachableError, match="no answer in time"):
                await client.get(SERVICES)

    with FakeApi() as api:
        run(scenario)


def _impatient(original: Any) -> Any:
    def made(*args: Any, **kwargs: Any) -> None:
        original(*args, **{**kwargs, "wait": 0.05})

    return made


def test_an_error_of_whoever_reads_a_watch_stays_theirs() -> None:
    """A sink's OSError or TimeoutError must not look like a server out of reach, and be retried for ever."""

    async def fail_with(client: ApiClient, error: Exception) -> None:
        async with client.open_watch(SERVICES, {}) as stream:
            await anext(stream)
            raise error

    async def scenario() -> None:
        api.put(SERVICES, {"metadata": {"name": "a"}})
        async with talking_to(api) as client:
            for error in (OSError("disk"), TimeoutError("mine")):
                with pytest.raises(type(error), match=str(error)):
                    await fail_with(client, error)

    with FakeApi() as api:
        run(scenario)


def test_paths_quote_names() -> None:
    assert object_path(SERVICES, "a", "ns") == "/api/v1/namespaces/ns/services/a"
    assert (
        object_path(SERVICES, "a/../b?c", "n s", "status") == "/api/v1/namespaces/n%20s/services/a%2F..%2Fb%3Fc/status"
    )
    assert object_path("/api/v1/nodes", "n", subresource="proxy") == "/api/v1/nodes/n/proxy"
    assert object_path(SERVICES, "", "ns") == "/api/v1/namespaces/ns/services"


def test_query_and_headers_arrive_as_they_should() -> None:
    async def scenario() -> None:
        acting = (("Impersonate-User", "jane"), ("Impersonate-Group", "a"))
        async with talking_to(api, identity=BearerToken("t"), impersonate=acting) as client:
            await client.get(SERVICES, {"labelSelector": "!a,b in (c,d)", "fieldSelector": "metadata.name=x"})
        (request,) = api.asked(SERVICES)
        assert request.query == {"labelSelector": "!a,b in (c,d)", "fieldSelector": "metadata.name=x"}
        assert request.headers["Authorization"] == "Bearer t"
        assert request.headers["Impersonate-User"] == "jane"
        assert request.headers["User-Agent"].startswith("fairway/")

    with FakeApi() as api:
        run(scenario)


def test_request_that_cannot_be_written_is_an_error_of_ours() -> None:
    async def scenario() -> None:
        for url, token in (("http://127.0.0.1:1", "a\nb"), (f"http://{'x' * 70}.example", "t")):
            async with ApiClient(Connection(url, identity=BearerToken(token))) as client:
                with pytest.raises(ApiUnreachableError, match=url):
                    await client.get("/x")

    run(scenario)


# -- who we are


def test_token_that_was_rotated_is_used_from_the_next_request_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "token"
        path.write_text("one")
        api.tokens = {"one"}
        async with talking_to(api, identity=TokenFile(path, "kc")) as client:
            await client.get("/version")
            api.tokens = {"two"}
            with pytest.raises(UnauthorizedError):
                await client.get("/version")
            path.write_text("two")
            await client.get("/version")

    with FakeApi() as api:
        run(scenario)


def test_plugin_is_asked_again_within_the_request_when_its_token_is_refused(tmp_path: Path) -> None:
    command = tmp_path / "login"
    said = '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}'
    command.write_text(f"#!/bin/sh\nprintf '{said}' \"$(cat {tmp_path}/current)\"\n")
    command.chmod(0o755)

    async def scenario() -> None:
        (tmp_path / "current").write_text("one")
        api.tokens = {"one"}
        identity = ExecPlugin("kc", "client.authentication.k8s.io/v1", str(command), interactive_mode="Never")
        async with talking_to(api, identity=identity) as client:
            await client.get("/version")
            (tmp_path / "current").write_text("two")
            api.tokens = {"two"}
            await client.get("/version")
            api.tokens = {"three"}
            with pytest.raises(UnauthorizedError):
                await client.get("/version")
        assert [r.status for r in api.requests] == [200, 401, 200, 401, 401]

    with FakeApi() as api:
        run(scenario)


# -- TLS


def server_context(pair: Pair, tmp_path: Path, clients: Authority | None = None) -> ssl.SSLContext:
    (tmp_path / "server.pem").write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.pem.decode())
    return context


def get_version(api: FakeApi, tls: TlsSettings) -> None:
    async def scenario() -> None:
        async with talking_to(api, tls=tls) as client:
            await client.get("/version")

    run(scenario)


def test_server_is_trusted_by_its_authority_and_its_name(tmp_path: Path) -> None:
    ours, other = Authority(), Authority("other")
    authorities = Pem("ca", data=ours.pem)
    with FakeApi(tls=server_context(ours.server("127.0.0.1"), tmp_path)) as api:
        get_version(api, TlsSettings(authorities))
        get_version(api, TlsSettings(is_insecure=True))
        with pytest.raises(ApiUnreachableError, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
            get_version(api, TlsSettings(Pem("ca", data=other.pem)))
        with pytest.raises(ApiUnreachableError, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
            get_version(api, TlsSettings())
    with FakeApi(tls=server_context(ours.server("kubernetes.default"), tmp_path)) as api:
        get_version(api, TlsSettings(authorities, server_name="kubernetes.default"))
        with pytest.raises(ApiUnreachableError, match="not valid for"):
            get_version(api, TlsSettings(authorities))


def test_plain_http_to_a_tls_port_and_the_reverse_are_told() -> None:
    with FakeApi() as api:
        wrong = Connection(api.url.replace("http:", "https:"))

        async def scenario() -> None:
            async with ApiClient(wrong) as client:
                with pytest.raises(ApiUnreachableError, match=re.escape(wrong.server)):
                    await client.get("/version")

        run(scenario)


def test_client_certificate_from_files_is_used_and_followed_when_it_is_rotated(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    server = Authority("server authority")
    certificate, key, ca = tmp_path / "c.pem", tmp_path / "k.pem", tmp_path / "ca.pem"

    def install(pair: Pair) -> None:
        for path, data in ((certificate, pair.certificate), (key, pair.key)):
            path.with_suffix(".new").write_bytes(data)
            path.with_suffix(".new").rename(path)

    install(old.client("me"))
    ca.write_bytes(server.pem)
    tls = TlsSettings(Pem("ca", path=ca), Pem("cert", path=certificate), Pem("key", path=key))
    context = server_context(server.server("127.0.0.1"), tmp_path, clients=old)
    context.load_verify_locations(cadata=new.pem.decode())

    async def scenario() -> None:
        async with talking_to(api, tls=tls) as client:
            await client.get("/version")
            first = client._tls.context(await client._credentials.proof())  # type: ignore[union-attr]
            # In the middle of a rotation, the certificate is new and the key still old: the last pair serves.
            pair = new.client("me")
            certificate.write_bytes(pair.certificate)
            await client.get("/version")
            assert client._tls.context(await client._credentials.proof()) is first  # type: ignore[union-attr]
            install(pair)
            await client.get("/version")
            assert client._tls.context(await client._credentials.proof()) is not first  # type: ignore[union-attr]

    with FakeApi(tls=context) as api:
        run(scenario)


def test_certificate_of_a_plugin_is_shown(tmp_path: Path) -> None:
    clients, server = Authority("clients"), Authority("server authority")
    pair = clients.client("me")
    status = {"clientCertificateData": pair.certificate.decode(), "clientKeyData": pair.key.decode()}
    said = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    (tmp_path / "said").write_text(json.dumps(said))
    identity = ExecPlugin("kc", said["apiVersion"], "cat", (f"{tmp_path}/said",), interactive_mode="Never")  # type: ignore[arg-type]

    async def scenario() -> None:
        tls = TlsSettings(Pem("ca", data=server.pem))
        async with talking_to(api, tls=tls, identity=identity) as client:
            await client.get("/version")
        async with talking_to(api, tls=tls) as client:
            with pytest.raises(ApiUnreachableError):
                await client.get("/version")

    with FakeApi(tls=server_context(server.server("127.0.0.1"), tmp_path, clients)) as api:
        run(scenario)


@pytest.mark.parametrize(
    ("tls", "error"),
    [
        (TlsSettings(Pem("kc: ca", data=b"no")), "kc: ca: no PEM certificates"),
        (TlsSettings(Pem("kc: ca", path=Path("/none"))), "kc: ca: /none: No such file or directory"),
        (
            TlsSettings(certificate=Pem("kc: cert", data=b"x"), key=Pem("kc: key", data=b"x")),
            "kc: cert: certificate and key cannot be used together",
        ),
    ],
)
def test_useless_tls_material_is_named(tls: TlsSettings, error: str) -> None:
    async def scenario() -> None:
        async with ApiClient(Connection("https://127.0.0.1:1", tls)) as client:
            with pytest.raises(ApiUnreachableError, match=re.escape(error)):
                await client.get("/version")

    run(scenario)


# -- proxies and limits


def test_proxy_is_asked_for_the_server() -> None:
    seen: list[bytes] = []

    async def scenario() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n"))
            writer.write(http(b"{}"))
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, ApiClient(Connection("http://api.invalid:8080", proxy_url=proxy)) as client:
            await client.get("/version")

    run(scenario)
    assert seen == [b"GET http://api.invalid:8080/version HTTP/1.1\r\n"]


ENVIRON = {"HTTPS_PROXY": "p:3128", "http_proxy": "http://q"}


@pytest.mark.parametrize(
    ("server", "no_proxy", "proxy"),
    [
        ("https://api:6443", "", "http://p:3128"),
        ("http://api", "", "http://q"),
        ("https://127.0.0.1:6443", "", ""),
        ("https://localhost:6443", "", ""),
        ("https://[::1]:6443", "", ""),
        ("https://10.96.0.1", "10.96.0.0/12", ""),
        ("https://10.112.0.1", "10.96.0.0/12", "http://p:3128"),
        ("https://10.96.0.1", "a, 10.96.0.1", ""),
        ("https://[fd00::1]", "fd00::/8", ""),
        ("https://api.example", "example", ""),
        ("https://api.example", ".example", ""),
        ("https://api.example", "*.example", ""),
        ("https://notexample", "example", "http://p:3128"),
        ("https://api.example:6443", "api.example:443", "http://p:3128"),
        ("https://api.example:6443", "api.example:6443", ""),
        ("https://api", "*", ""),
    ],
)
def test_proxy_of_the_environment_is_chosen_as_go_does(server: str, no_proxy: str, proxy: str) -> None:
    assert proxy_from_environment(server, {**ENVIRON, "NO_PROXY": no_proxy}) == proxy


def test_rate_limit_lets_a_burst_through_then_so_many_a_second() -> None:
    now = 0.0
    bucket = TokenBucket(2, 3, lambda: now)
    assert [bucket.take() for _ in range(5)] == [0, 0, 0, 0.5, 1.0]
    now = 10
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]
    assert [TokenBucket(-1, 1, lambda: now).take() for _ in range(3)] == [0, 0, 0]
    unset = TokenBucket(0, 0, lambda: now)
    assert [unset.take() for _ in range(11)] == [0] * 10 + [pytest.approx(0.2)]


def test_rate_limit_holds_for_requests() -> None:
    async def scenario() -> None:
        async with ApiClient(Connection(api.url), qps=50, burst=2) as client:
            begin = time.monotonic()
            await asyncio.gather(*(client.get("/version") for _ in range(7)))
            assert time.monotonic() - begin >= 0.1

    with FakeApi() as api:
        run(scenario)


# -- watches


def test_closing_a_watch_ends_its_connection() -> None:
    async def scenario() -> None:
        async with talking_to(api) as client:
            async with client.open_watch(SERVICES, {"resourceVersion": "1"}):
                await api.until(lambda: api.watch_count == 1)
            await api.until(lambda: api.watch_count == 0)

    with FakeApi() as api:
        run(scenario)


def test_silent_watch_is_taken_for_dead_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "WATCH_GRACE", -0.95)
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def watch(client: ApiClient) -> None:
        async with client.open_watch("/x", {"timeoutSeconds": "1"}) as stream:
            await anext(stream)

    async def scenario() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, ApiClient(Connection(url)) as client:
            with pytest.raises(ApiUnreachableError, match="no answer in time"):
                await watch(client)

    run(scenario)


def test_connections_notice_a_peer_that_vanished() -> None:
    made = client_module._socket((2, 1, 6, "", ("127.0.0.1", 1)))
    import socket

    with made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
