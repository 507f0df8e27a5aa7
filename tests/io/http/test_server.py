"""The small HTTP server over real loopback connections, under both event loops."""

import asyncio
import contextlib
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.io.http import server as module
from fairway.io.http.message import Answer, Request, by_path
from fairway.io.http.server import HttpServer, ListenError, open_socket, serve
from fairway.values.address import Address
from http_client import LOOPS, ask, send, until

LOOPBACK = Address.parse("127.0.0.1")
ANY4, ANY6 = Address(bytes(4)), Address(bytes(16))


@pytest.fixture(params=LOOPS)
def runner(request):
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as made:
        yield made


def echo(request: Request) -> Answer:
    return Answer.text(200, f"{request.method} {request.path} {dict(request.query)} {request.local[1]}")


@contextlib.asynccontextmanager
async def running(handler=echo, address=LOOPBACK, **options):
    server = HttpServer(handler)
    try:
        _, port = await server.listen(address, 0, **options)
        yield server, port
    finally:
        server.close_all()


def test_a_request_is_answered_with_the_usual_headers(runner):
    async def go():
        async with running() as (_, port):
            return await ask(port, "/a?x=1&x=2"), port

    reply, port = runner.run(go())
    assert (reply.status, reply.text) == (200, f"GET /a {{'x': '2'}} {port}")
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    assert headers.items() <= dict(reply.headers).items()
    assert "Date" in reply.headers


def test_the_first_line_has_the_reason_that_simple_checkers_read(runner):
    async def go():
        async with running(lambda _: Answer.text(503, "no")) as (_, port):
            return await send(port, b"GET / HTTP/1.0\r\n\r\n")

    assert runner.run(go()).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")


def test_head_has_the_length_and_no_body(runner):
    async def go():
        async with running() as (_, port):
            return await ask(port, "/", method="HEAD")

    reply = runner.run(go())
    assert reply.body == b""
    assert int(reply.headers["Content-Length"]) > 0


def test_a_body_is_read_and_thrown_away(runner):
    async def go():
        async with running() as (_, port):
            post = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
            return await send(port, post + b"GET /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    got = runner.run(go())
    assert b"POST /x" in got
    assert b"GET /y" in got


def test_requests_sent_ahead_are_answered_in_order_on_one_connection(runner):
    async def slow(request: Request) -> Answer:
        await asyncio.sleep(0.02 if request.path == "/0" else 0)
        return Answer.text(200, f"<{request.path}>")

    async def go():
        async with running(slow) as (_, port):
            requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(3))
            return await send(port, requests + b"GET /last HTTP/1.0\r\n\r\n")

    got = runner.run(go())
    order = [got.index(f"<{path}>".encode()) for path in ("/0", "/1", "/2", "/last")]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20000, b"431"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + b"z" * 2000000, b"413"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(runner, sent, status):
    async def go():
        async with running() as (_, port):
            first = await send(port, sent)
            return first, await ask(port, "/")

    first, after = runner.run(go())
    assert first.startswith(b"HTTP/1.1 " + status) or (status == b"413" and first == b"")  # reset while still sending
    assert after.status == 200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda b: b"GET /" + b + b" HTTP/1.1\r\nHost: a\r\n\r\n"))
def test_any_bytes_leave_the_server_serving(data):
    async def go():
        async with running() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            writer.write_eof()
            with contextlib.suppress(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return await ask(port, "/")

    assert asyncio.run(go()).status == 200


def test_a_client_that_sends_half_a_request_is_dropped_in_time(runner, monkeypatch):
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.1)

    async def go():
        async with running() as (_, port):
            return await send(port, b"GET / HTTP/1.1\r\nHost")

    assert runner.run(go()) == b""


def test_an_idle_connection_is_dropped_in_time(runner, monkeypatch):
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.1)

    async def go():
        async with running() as (_, port):
            return await send(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    assert runner.run(go()).startswith(b"HTTP/1.1 200")


def test_a_client_that_never_reads_is_dropped_in_time_and_read_no_more(runner, monkeypatch):
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.2)
    answered = []

    def large(request: Request) -> Answer:
        answered.append(request.path)
        return Answer(200, bytes(8_000_000))

    async def go():
        async with running(large) as (server, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.transport.pause_reading()
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
            await until(lambda: bool(answered))
            await until(lambda: not server._connections)
            writer.transport.abort()

    runner.run(go())
    assert len(answered) <= 2


def test_connections_beyond_the_limit_are_closed_at_once_and_those_inside_it_served(runner, monkeypatch):
    monkeypatch.setattr(module, "CONNECTION_LIMIT", 2)

    async def go():
        async with running() as (_, port):
            kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for reader, writer in kept:
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
            refused = await send(port, b"")
            for _, writer in kept:
                writer.close()

            async def is_free() -> bool:
                try:
                    return (await ask(port, "/")).status == 200
                except OSError:
                    return False

            await until(is_free)
            return refused

    assert runner.run(go()) == b""


def test_a_handler_that_breaks_is_500_and_the_next_request_is_served(runner):
    def broken(request: Request) -> Answer:
        if request.path == "/now":
            raise RuntimeError("now")
        return later() if request.path == "/later" else echo(request)

    async def later() -> Answer:
        raise RuntimeError("later")

    async def go():
        async with running(broken) as (_, port):
            return [(await ask(port, path)).status for path in ("/now", "/later", "/fine")]

    assert runner.run(go()) == [500, 500, 200]


def test_paths_go_to_their_handlers_and_others_nowhere():
    handler = by_path({"/a": echo, "/tree/": lambda _: Answer.text(200, "tree")})
    asked = {path: handler(Request.of("GET", path, {}, (LOOPBACK, 1))) for path in ("/a?q=1", "/tree/x", "/b")}
    assert [answer.status for answer in asked.values()] == [200, 200, 404]
    assert asked["/b"].body == b"404 page not found\n"


def test_the_unspecified_ipv6_address_takes_ipv4_as_well_when_asked_to(runner):
    async def go():
        async with running(address=ANY6, both_families=True) as (_, port):
            return [(await ask(port, "/", host=host)).status for host in ("127.0.0.1", "::1")]

    assert runner.run(go()) == [200, 200]


def test_each_family_listens_for_itself_otherwise(runner):
    async def go():
        async with running(address=ANY6) as (server, port):
            await server.listen(ANY4, port)
            return sorted(server.open)

    assert [address for address, _ in runner.run(go())] == [ANY4, ANY6]


def test_a_socket_that_is_closed_takes_its_connections_with_it(runner):
    async def go():
        async with running() as (server, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            server.close(LOOPBACK, port)
            with contextlib.suppress(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 5)
            writer.close()
            with pytest.raises(ConnectionRefusedError):
                await ask(port, "/")

    runner.run(go())


def taken_port() -> socket.socket:
    return open_socket(LOOPBACK, 0)


def test_a_port_that_is_taken_is_an_error_that_names_it():
    with (
        taken_port() as sock,
        pytest.raises(ListenError, match=r"listen tcp4 127\.0\.0\.1:\d+: Address already in use"),
    ):
        open_socket(LOOPBACK, sock.getsockname()[1])


def test_serve_tries_again_until_the_port_is_free(runner, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    errors = []

    async def go():
        with taken_port() as sock:
            port = sock.getsockname()[1]
            task = asyncio.create_task(serve(echo, LOOPBACK, port, report=errors.append))
            await until(lambda: len(errors) > 1)
        await until(lambda: _is_up(port))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        with pytest.raises(ConnectionRefusedError):
            await ask(port, "/")

    async def _is_up(port: int) -> bool:
        try:
            return (await ask(port, "/")).status == 200
        except ConnectionRefusedError:
            return False

    runner.run(go())


def test_serve_gives_up_at_once_when_asked_to_fail_hard(runner):
    async def go():
        with taken_port() as sock:
            await serve(echo, LOOPBACK, sock.getsockname()[1], is_hard=True)

    with pytest.raises(ListenError):
        runner.run(go())
