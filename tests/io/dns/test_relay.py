"""Messages passed on to resolvers that nodes cannot reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.asyncquery
import dns.message
import pytest

import netns
from dns_resolver import ADDRESS, Resolver, answer_to
from fairway.io.dns.relay import Relay
from fairway.values.errors import ConfigError

pytestmark = pytest.mark.kernel
DEAD, GOOD = "127.0.0.2", "127.0.0.53"


async def serve_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    size = int.from_bytes(await reader.readexactly(2), "big")
    answer = answer_to(await reader.readexactly(size))
    writer.write(len(answer).to_bytes(2, "big") + answer)
    await writer.drain()
    writer.close()


@asynccontextmanager
async def relay_to(*resolvers: str) -> AsyncIterator[None]:
    udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(Resolver, local_addr=(GOOD, 53))
    tcp = await asyncio.start_server(serve_tcp, GOOD, 53)
    relay = Relay("127.0.0.9", resolvers)
    await relay.start()
    try:
        yield
    finally:
        await relay.close()
        udp.close()
        tcp.close()


@pytest.mark.parametrize("resolvers", [(GOOD,), (DEAD, GOOD)], ids=str)
def test_a_question_is_answered_by_the_first_resolver_that_does(resolvers: tuple[str, ...]) -> None:
    async def scenario() -> None:
        async with relay_to(*resolvers):
            question = dns.message.make_query("example.org", "A")
            for ask in (dns.asyncquery.udp, dns.asyncquery.tcp):
                answer = await ask(question, "127.0.0.9", timeout=10)
                assert [str(one) for rrset in answer.answer for one in rrset] == [ADDRESS]

    with netns.private():
        asyncio.run(scenario())


def test_an_address_that_is_taken_is_named() -> None:
    async def scenario() -> None:
        async with relay_to(GOOD):
            with pytest.raises(ConfigError, match=r"DNS relay on 127.0.0.53 port 53: .*in use"):
                await Relay(GOOD, ()).start()

    with netns.private():
        asyncio.run(scenario())
