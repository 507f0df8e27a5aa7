"""DNS of a node, with real sockets: names, changes, the Corefile as an object, upstreams, loops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import pytest

import netns
from dns_resolver import Resolver
from fairway.cli.node_dns import NodeDns
from fairway.io.dns.node import LOCAL_ADDRESS, NodePlace
from fairway.io.kube.client import ApiClient
from fairway.io.kube.connection import Connection
from fake_api import FakeApi

pytestmark = pytest.mark.kernel
NODE, UPSTREAM = "10.9.0.2", "10.9.0.53"
SERVICES, CONFIG_MAPS = "/api/v1/services", "/api/v1/configmaps"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with netns.private():
        for address in (NODE, UPSTREAM):
            netns.run("ip", "addr", "add", f"{address}/32", "dev", "lo")
        with FakeApi() as made:
            made.serve(CONFIG_MAPS, "v1", "ConfigMap")
            made.put("/api/v1/namespaces", {"metadata": {"name": "shop"}})
            put_service(made, "web", "10.96.0.7")
            yield made


def put_service(api: FakeApi, name: str, ip: str) -> None:
    spec = {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"name": "http", "port": 80}]}
    api.put(SERVICES, {"metadata": {"name": name, "namespace": "shop"}, "spec": spec})


def put_corefile(api: FakeApi, text: str) -> None:
    api.put(CONFIG_MAPS, {"metadata": {"name": "coredns", "namespace": "kube-system"}, "data": {"Corefile": text}})


@contextlib.asynccontextmanager
async def node_dns(api: FakeApi, *resolvers: str) -> AsyncIterator[None]:
    async with ApiClient(Connection(api.url), qps=-1) as client:
        made = NodeDns(NodePlace((NODE,), resolvers), client)
        work = asyncio.ensure_future(made.work())
        started = asyncio.ensure_future(made.has_started.wait())
        await asyncio.wait((work, started), return_when=asyncio.FIRST_COMPLETED, timeout=20)
        if work.done():
            work.result()
        try:
            yield
        finally:
            work.cancel()
            started.cancel()
            await asyncio.gather(work, started, return_exceptions=True)


async def ask(name: str, server: str = LOCAL_ADDRESS, kind: str = "A") -> dns.message.Message:
    return await dns.asyncquery.udp(dns.message.make_query(name, kind), server, timeout=10)


async def addresses(name: str, server: str = LOCAL_ADDRESS) -> list[str]:
    return [str(one) for rrset in (await ask(name, server)).answer for one in rrset]


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """What follows from a change a moment later: asked until it is so."""
    async with asyncio.timeout(20):
        while not await check():
            pass


def run(scenario: Callable[[], Any]) -> None:
    asyncio.run(scenario())


def test_a_node_answers_at_its_own_address_and_at_the_local_one(api: FakeApi) -> None:
    async def scenario() -> None:
        async with node_dns(api):
            for server in (NODE, LOCAL_ADDRESS):
                assert await addresses("web.shop.svc.cluster.local", server) == ["10.96.0.7"]
            missing = await ask("none.shop.svc.cluster.local")
            assert missing.rcode() == dns.rcode.NXDOMAIN
            put_service(api, "new", "10.96.0.8")

            async def is_known() -> bool:
                return await addresses("new.shop.svc.cluster.local") == ["10.96.0.8"]

            await until(is_known)

    run(scenario)


def test_names_of_the_world_are_asked_of_the_hosts_resolvers(api: FakeApi) -> None:
    async def scenario() -> None:
        udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(Resolver, local_addr=(UPSTREAM, 53))
        async with node_dns(api, UPSTREAM):
            assert await addresses("example.org") == ["192.0.2.99"]
        udp.close()

    run(scenario)


def test_without_a_resolver_the_clusters_names_are_answered_all_the_same(api: FakeApi) -> None:
    async def scenario() -> None:
        async with node_dns(api):
            assert await addresses("web.shop.svc.cluster.local") == ["10.96.0.7"]
            assert (await ask("example.org")).rcode() in (dns.rcode.SERVFAIL, dns.rcode.REFUSED)

    run(scenario)


def test_a_resolver_that_is_the_node_itself_is_noticed_and_not_asked_any_more(api: FakeApi) -> None:
    async def scenario() -> None:
        async with node_dns(api, NODE):

            async def is_refused_at_once() -> bool:
                with contextlib.suppress(dns.exception.Timeout):
                    answer = await dns.asyncquery.udp(dns.message.make_query("example.org", "A"), NODE, timeout=1)
                    return answer.rcode() in (dns.rcode.SERVFAIL, dns.rcode.REFUSED)
                return False

            await until(is_refused_at_once)
            assert await addresses("web.shop.svc.cluster.local") == ["10.96.0.7"]

    run(scenario)


def test_the_corefile_is_an_object_and_a_change_is_taken_at_once(api: FakeApi) -> None:
    corefile = ".:53 {{\n hosts {{\n  {} fixed.test\n  fallthrough\n }}\n kubernetes cluster.local\n}}\n"
    put_corefile(api, corefile.format("192.0.2.1"))

    async def scenario() -> None:
        async with node_dns(api):
            assert await addresses("fixed.test") == ["192.0.2.1"]
            put_corefile(api, corefile.format("192.0.2.2"))

            async def is_taken() -> bool:
                return await addresses("fixed.test") == ["192.0.2.2"]

            await until(is_taken)
            put_corefile(api, "nonsense {")
            api.delete(CONFIG_MAPS, "coredns", "kube-system")
            put_service(api, "later", "10.96.0.9")

            async def is_known() -> bool:
                return await addresses("later.shop.svc.cluster.local") == ["10.96.0.9"]

            await until(is_known)
            assert await addresses("fixed.test") == ["192.0.2.2"]

    run(scenario)


def test_with_a_bad_corefile_from_the_start_the_default_one_is_in_force(api: FakeApi) -> None:
    put_corefile(api, ".:53 {\n nonsense\n}\n")

    async def scenario() -> None:
        async with node_dns(api):
            assert await addresses("web.shop.svc.cluster.local") == ["10.96.0.7"]

    run(scenario)
