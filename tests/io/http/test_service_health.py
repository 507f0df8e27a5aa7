"""Health check node ports over real connections: appear, change, go, and come back when a taken port is freed."""

import asyncio
import contextlib

import pytest

import netns
from fairway.io.http import service_health
from fairway.io.http.server import open_socket
from fairway.io.http.service_health import FAILED, ServiceHealthServers, health_check_answer
from fairway.plan.model import HealthCheck
from fairway.reconcile.backoff import Backoff
from fairway.values.address import Address
from fairway.values.names import ObjectName
from http_client import LOOPS, ask, until

ONE, TWO = ObjectName("ns1", "lb"), ObjectName("ns2", "other")
LOOPBACK, SECOND = Address.parse("127.0.0.1"), Address.parse("127.0.0.2")
ANY4, ANY6 = Address(bytes(4)), Address(bytes(16))
PORT, OTHER = 30010, 30011


@pytest.fixture(params=LOOPS)
def runner(request):
    """A loop in a network namespace of its own: every port is free there."""
    with netns.private(), asyncio.Runner(loop_factory=LOOPS[request.param]) as made:
        yield made


class Node:
    """The servers of one node, with what they reported."""

    def __init__(self):
        self.is_healthy = True
        self.events = []
        self.servers = ServiceHealthServers("node-a", lambda: self.is_healthy, lambda *event: self.events.append(event))

    def want(self, service, port, count=1):
        self.servers.want(service, HealthCheck(service, port, count) if port else None)


@contextlib.asynccontextmanager
async def running(*addresses):
    node = Node()
    node.servers.set_addresses(addresses)
    task = asyncio.create_task(node.servers.run())
    try:
        yield node
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not node.servers.open


async def status(port, host="127.0.0.1"):
    """None: nobody listens."""
    try:
        return (await ask(port, "/healthz", host=host)).status
    except ConnectionRefusedError:
        return None


def test_the_answer_is_kube_proxys_to_the_byte():
    answer = health_check_answer(HealthCheck(ONE, PORT, 2), is_healthy=True)
    body = (
        b'{\n\t"service": {\n\t\t"namespace": "ns1",\n\t\t"name": "lb"\n\t},\n'
        b'\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
    )
    assert (answer.status, answer.body, answer.content_type) == (200, body, "application/json")
    assert len(answer.body) == 109
    assert answer.headers == (("X-Load-Balancing-Endpoint-Weight", "2"),)


@pytest.mark.parametrize(("count", "is_healthy", "expected"), [(1, True, 200), (0, True, 503), (1, False, 503)])
def test_it_is_200_only_with_local_endpoints_and_a_healthy_proxy(count, is_healthy, expected):
    assert health_check_answer(HealthCheck(ONE, PORT, count), is_healthy=is_healthy).status == expected


def test_a_port_opens_changes_its_answer_moves_and_closes(runner):
    async def go():
        async with running(ANY4) as node:
            seen = []
            for port, count in ((PORT, 2), (PORT, 0), (OTHER, 1), (0, 0)):
                node.want(ONE, port, count)
                await node.servers.settled()
                seen.append((await status(PORT), await status(OTHER)))
            return seen, node.events

    assert runner.run(go()) == ([(200, None), (503, None), (None, 200), (None, None)], [])


def test_a_change_of_count_keeps_connections(runner):
    async def go():
        async with running(ANY4) as node:
            node.want(ONE, PORT, 1)
            await node.servers.settled()
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            weights = []
            for count in (1, 7):
                node.want(ONE, PORT, count)
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                weights.append(head.partition(b"Weight: ")[2].partition(b"\r\n")[0])
                await reader.readuntil(b"\n}")
            writer.close()
            return weights

    assert runner.run(go()) == [b"1", b"7"]


def test_each_service_has_its_own_port_and_any_path_will_do(runner):
    async def go():
        async with running(ANY4) as node:
            node.want(ONE, PORT, 1)
            node.want(TWO, OTHER, 3)
            await node.servers.settled()
            replies = [await ask(PORT, "/"), await ask(OTHER, "/x/y?z", method="POST")]
            return [(reply.json["service"]["name"], reply.json["localEndpoints"]) for reply in replies]

    assert runner.run(go()) == [("lb", 1), ("other", 3)]


def test_ports_listen_on_the_addresses_chosen_and_follow_them(runner):
    async def go():
        async with running(LOOPBACK) as node:
            node.want(ONE, PORT)
            await node.servers.settled()
            before = [await status(PORT, str(address)) for address in (LOOPBACK, SECOND)]
            node.servers.set_addresses([SECOND])
            await node.servers.settled()
            after = [await status(PORT, str(address)) for address in (LOOPBACK, SECOND)]
            return before, after

    assert runner.run(go()) == ([200, None], [None, 200])


def test_both_families_of_a_service_listen_on_one_port(runner):
    async def go():
        async with running(ANY4) as four, running(ANY6) as six:
            four.want(ONE, PORT, 2)
            six.want(ONE, PORT, 0)
            await four.servers.settled()
            await six.servers.settled()
            return await status(PORT, "127.0.0.1"), await status(PORT, "::1")

    assert runner.run(go()) == (200, 503)


def test_a_port_that_is_taken_is_reported_once_harms_nobody_and_opens_when_it_is_free(runner, monkeypatch):
    monkeypatch.setattr(service_health, "Backoff", lambda **_: Backoff(first=0.01, most=0.02))

    async def go():
        async with running(ANY4) as node:
            with open_socket(ANY4, PORT):
                node.want(ONE, PORT)
                node.want(TWO, OTHER)
                await node.servers.settled()
                other = await status(OTHER)
                for _ in range(3):
                    node.servers._wake()
                    await node.servers.settled()
                failed = dict(node.servers.failed)
            await until(lambda: not node.servers.failed)
            return other, failed, await status(PORT), node.events

    other, failed, at_last, events = runner.run(go())
    assert (other, at_last) == (200, 200)
    assert list(failed) == [(ANY4, PORT)]
    why = f"listen tcp4 0.0.0.0:{PORT}: Address already in use"
    assert events == [(ONE, FAILED, f'node node-a failed to start healthcheck "ns1/lb" on port {PORT}: {why}')]


def test_an_address_that_comes_later_is_listened_on_then(runner, monkeypatch):
    monkeypatch.setattr(service_health, "Backoff", lambda **_: Backoff(first=0.01, most=0.02))
    late = Address.parse("192.0.2.7")

    async def go():
        async with running(LOOPBACK, late) as node:
            node.want(ONE, PORT)
            await node.servers.settled()
            first = await status(PORT), sorted(node.servers.failed)
            netns.run("ip", "address", "add", "192.0.2.7/32", "dev", "lo")
            await until(lambda: not node.servers.failed)
            return first, await status(PORT, "192.0.2.7")

    assert runner.run(go()) == ((200, [(late, PORT)]), 200)


def test_a_second_service_with_the_same_port_is_reported_and_takes_over_when_the_first_goes(runner):
    async def go():
        async with running(ANY4) as node:
            node.want(ONE, PORT)
            node.want(TWO, PORT)
            await node.servers.settled()
            first = (await ask(PORT, "/")).json["service"]["name"]
            node.want(ONE, 0)
            await node.servers.settled()
            return first, (await ask(PORT, "/")).json["service"]["name"], node.events

    first, second, events = runner.run(go())
    assert (first, second) == ("lb", "other")
    message = f'node node-a failed to start healthcheck "ns2/other" on port {PORT}: ns1/lb has this port'
    assert events == [(TWO, FAILED, message)]


def test_an_unhealthy_proxy_fails_all_ports(runner):
    async def go():
        async with running(ANY4) as node:
            node.want(ONE, PORT, 5)
            await node.servers.settled()
            node.is_healthy = False
            reply = await ask(PORT, "/")
            return reply.status, reply.json["serviceProxyHealthy"], reply.headers["X-Load-Balancing-Endpoint-Weight"]

    assert runner.run(go()) == (503, False, "5")
