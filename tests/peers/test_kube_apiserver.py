"""Client and reflector against the real kube-apiserver: its promises, and following it through its failures."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from api_contract import PROMISES, Subject, forgets
from fairway.agents.feed import Feed
from fairway.agents.reflector import Reflector
from fairway.io.host.clock import SystemClock
from fairway.io.kube.client import ApiClient
from fairway.kube.decode import SERVICE
from fairway.kube.service import Service
from feeds import RecordingSink
from kube_apiserver import KubeApiserver, kube_apiserver
from peer import peer

pytestmark = pytest.mark.peers
peer("kube-apiserver")
peer("etcd")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApiserver]:
    with kube_apiserver(tmp_path_factory.mktemp("kube-apiserver")) as one:
        yield one


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with asyncio.timeout(200):
            await scenario()

    asyncio.run(inside())


@pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)
def test_promise_is_kept(server: KubeApiserver, promise: Callable[[Subject], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with ApiClient(server.connection, qps=-1) as client:
            await promise(Subject(client, promise.__name__.replace("_", "")[:40]))

    run(scenario)


def service(name: str, port: int = 80) -> bytes:
    meta = f'{{"name":"{name}","namespace":"default"}}'
    return f'{{"metadata":{meta},"spec":{{"ports":[{{"port":{port}}}],"selector":{{"a":"b"}}}}}}'.encode()


FOLDER = "/api/v1/namespaces/default/services"


@contextlib.asynccontextmanager
async def following(
    client: ApiClient, *, streams: bool
) -> AsyncIterator[tuple[Reflector[Service], RecordingSink[Service]]]:
    sink: RecordingSink[Service] = RecordingSink(lambda s: s.name)
    reflector = Reflector(client, Feed(SERVICE, sink), SystemClock(), lambda: 0.5, streams=streams)
    task = asyncio.create_task(reflector.run())
    try:
        await reflector.wait_synced()
        yield reflector, sink
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("streams", [False, True])
def test_services_are_followed_through_a_few_hundred_changes(
    server: KubeApiserver, streams: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        prefix = f"f{int(streams)}-"
        async with ApiClient(server.connection, qps=-1) as client, following(client, streams=streams) as (_, sink):
            assert "default/kubernetes" in sink.names
            await asyncio.gather(*(client.create(FOLDER, service(f"{prefix}{i}")) for i in range(100)))
            await asyncio.gather(
                *(client.patch(f"{FOLDER}/{prefix}{i}", b'{"spec":{"ports":[{"port":81}]}}') for i in range(100))
            )
            await asyncio.gather(*(client.delete(f"{FOLDER}/{prefix}{i}") for i in range(50)))
            wanted = sorted(f"default/{prefix}{i}" for i in range(50, 100))
            ours = f"default/{prefix}"
            await sink.until(lambda: [n for n in sink.names if n.startswith(ours)] == wanted)
            ports = {s.ports[0].port for n, s in sink.objects.items() if str(n).startswith(ours)}
            assert ports == {81}
            assert len(sink.calls_of("replace")) == 1
            await asyncio.gather(*(client.delete(f"{FOLDER}/{prefix}{i}") for i in range(50, 100)))

    with caplog.at_level(logging.INFO):
        run(scenario)
    assert not [r for r in caplog.records if "next=" in r.getMessage()]  # the streamed list was not refused


def test_a_crash_an_expired_watch_and_lost_data_are_survived(tmp_path: Path) -> None:
    async def scenario(server: KubeApiserver) -> None:
        async with (
            ApiClient(server.connection, qps=-1) as client,
            following(client, streams=True) as (streamed, one),
            following(client, streams=False) as (listed, two),
        ):
            for i in range(30):
                await client.create(FOLDER, service(f"s{i}"))

            async def both_see(names: list[str]) -> None:
                for sink in (one, two):
                    await sink.until(lambda sink=sink: sink.names == sorted(names), timeout=90)  # type: ignore[misc]

            names = [f"default/s{i}" for i in range(30)] + ["default/kubernetes"]
            await both_see(names)

            # A crash: everything stays, and what happened meanwhile is told by the resumed watch.
            await asyncio.to_thread(server.kill)
            await both_see(names)
            await asyncio.to_thread(server.start)
            await client.delete(f"{FOLDER}/s0")
            await both_see([n for n in names if n != "default/s0"])
            assert len(one.calls_of("replace")) == len(two.calls_of("replace")) == 1

            # An expired watch: etcd has forgotten, the server is another one.
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.compact)
            await asyncio.to_thread(server.start)
            await client.delete(f"{FOLDER}/s1")
            await both_see([n for n in names if n not in ("default/s0", "default/s1")])

            # Lost data: the versions begin anew, far behind the one that a watch would resume from.
            before = int(streamed.resource_version)
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.lose_data)
            await asyncio.to_thread(server.start)
            await client.create(FOLDER, service("new"))
            await both_see(["default/kubernetes", "default/new"])
            assert int(streamed.resource_version) < before
            assert streamed.stale_since is None
            assert listed.stale_since is None

    with kube_apiserver(tmp_path) as server:
        run(lambda: scenario(server))


def test_forgotten_versions_and_tokens_are_refused(server: KubeApiserver) -> None:
    async def forget() -> None:
        await asyncio.to_thread(server.compact)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

    async def scenario() -> None:
        async with ApiClient(server.connection, qps=-1) as client:
            await forgets(Subject(client, "forgets"), forget)

    run(scenario)
