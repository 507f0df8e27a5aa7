"""Questions upstream: one for all who ask the same at the same time; sockets that are used again, but not for long, and
never while an answer may still come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from dns_upstream import free_port
from fairway.config.corefile_settings import ForwardSettings, UpstreamAddress
from fairway.dns.forward import UpstreamError
from fairway.io.dns.upstream import NetworkUpstream
from fairway.io.dns.upstream_udp import MAX_USES, UdpSockets
from fairway.values.domain import ROOT, from_text
from fairway.values.rrtypes import RD, RRType
from fairway.wire.dns_message import Message, Question


class Echo(asyncio.DatagramProtocol):
    """Sends back what it gets, when told so, with the mark of an answer if that is one; and notes the ports."""

    def __init__(self) -> None:
        self.is_dns = False
        self.ports: list[int] = []
        self.held: list[Callable[[], None]] = []
        self.holds = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)
        self.port = int(transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.ports.append(address[1])
        reply = data[:2] + bytes((data[2] | 0x80,)) + data[3:] if self.is_dns else data
        self.held.append(lambda: self.transport.sendto(reply, address))
        if not self.holds:
            self.let_go()

    def let_go(self) -> None:
        while self.held:
            self.held.pop(0)()


def same(query: bytes) -> Callable[[bytes], bytes | None]:
    return lambda data: data if data == query else None


async def echo() -> Echo:
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Echo, ("127.0.0.1", 0))
    assert isinstance(protocol, Echo)
    return protocol


async def ask(sockets: UdpSockets[bytes], query: bytes, seconds: float = 5.0) -> bytes:
    return await sockets.ask(query, same(query), seconds)


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.005)


def sockets_to(port: int, max_age: float = 10.0) -> UdpSockets[bytes]:
    return UdpSockets(("127.0.0.1", port), "", f"127.0.0.1:{port}", max_age)


def test_a_port_asks_a_few_questions_and_then_another_one_does() -> None:
    async def run() -> None:
        up = await echo()
        sockets = sockets_to(up.port)
        for number in range(3 * MAX_USES):
            assert await ask(sockets, b"%d" % number) == b"%d" % number
        assert [len(set(up.ports[i : i + MAX_USES])) for i in range(0, 3 * MAX_USES, MAX_USES)] == [1, 1, 1]
        assert len(set(up.ports)) == 3
        sockets.close()

    asyncio.run(run())


def test_questions_at_the_same_time_have_ports_of_their_own() -> None:
    async def run() -> None:
        up = await echo()
        up.holds = True
        sockets = sockets_to(up.port)
        asked = [asyncio.ensure_future(ask(sockets, b"%d" % number)) for number in range(50)]
        await until(lambda: len(up.held) == 50)
        up.let_go()
        assert await asyncio.gather(*asked) == [b"%d" % number for number in range(50)]
        assert len(set(up.ports)) == 50
        sockets.close()

    asyncio.run(run())


def test_an_answer_that_comes_too_late_answers_nobody_else() -> None:
    async def run() -> None:
        up = await echo()
        up.holds = True
        sockets = sockets_to(up.port)
        with pytest.raises(UpstreamError, match=r"no answer in 0.05 s"):
            await ask(sockets, b"first", 0.05)
        again = asyncio.ensure_future(ask(sockets, b"second"))
        await until(lambda: len(up.held) == 2)
        up.let_go()
        assert await again == b"second"
        assert len(set(up.ports)) == 2
        sockets.close()

    asyncio.run(run())


def test_what_is_no_answer_to_the_question_is_passed_over() -> None:
    async def run() -> None:
        up = await echo()
        up.holds = True
        sockets = sockets_to(up.port)
        answer = asyncio.ensure_future(ask(sockets, b"question"))
        await until(lambda: bool(up.held))
        up.transport.sendto(b"something else", ("127.0.0.1", up.ports[0]))
        up.let_go()
        assert await answer == b"question"
        sockets.close()

    asyncio.run(run())


def test_a_port_that_refuses_is_known_at_once() -> None:
    async def run() -> None:
        sockets = sockets_to(free_port())
        for _ in range(3):
            with pytest.raises(UpstreamError, match="refused"):
                await ask(sockets, b"x", 30.0)
        assert len(sockets) == 0

    asyncio.run(run())


def test_sockets_that_wait_long_are_closed() -> None:
    async def run() -> None:
        up = await echo()
        sockets = sockets_to(up.port, 0.03)
        await asyncio.gather(*(ask(sockets, b"%d" % number) for number in range(5)))
        assert len(sockets) == 5
        await until(lambda: len(sockets) == 0)
        assert await ask(sockets, b"after") == b"after"
        sockets.close()

    asyncio.run(run())


def question(name: str, kind: RRType = RRType.A) -> Message:
    return Message(0, RD, Question(from_text(name), kind))


def asking(up: Echo) -> NetworkUpstream:
    up.is_dns = up.holds = True
    return NetworkUpstream(UpstreamAddress("127.0.0.1", up.port), ForwardSettings(ROOT, ()))


def exchanges(upstream: NetworkUpstream, names: list[str], seconds: float = 5.0) -> list[asyncio.Task[Message]]:
    return [asyncio.create_task(upstream.exchange(question(n), stream=False, seconds=seconds)) for n in names]


def test_the_same_question_is_asked_once_for_all_who_ask_it_meanwhile() -> None:
    async def run() -> None:
        up = await echo()
        upstream = asking(up)
        names = ["www.test."] * 20 + ["WWW.test."]  # another spelling is another question: it has to come back so
        asked = exchanges(upstream, names)
        await until(lambda: len(up.held) == 2)
        asked[3].cancel()
        up.let_go()
        found = await asyncio.gather(*asked, return_exceptions=True)
        answers = [one for one in found if isinstance(one, Message)]
        assert [type(found[3]), len(answers)] == [asyncio.CancelledError, 20]
        assert [one.question.name for one in answers if one.question][-2:] == [from_text(name) for name in names[-2:]]
        assert len({id(one.answer) for one in answers}) == len(answers)
        assert len(up.ports) == 2
        later = exchanges(upstream, ["www.test."])
        await until(lambda: len(up.held) == 1)
        up.let_go()
        await asyncio.gather(*later)
        assert len(up.ports) == 3
        upstream.close()

    asyncio.run(run())


def test_who_waits_for_the_answer_to_another_s_question_hears_of_its_failure() -> None:
    async def run() -> None:
        up = await echo()
        upstream = asking(up)
        found = await asyncio.gather(*exchanges(upstream, ["www.test."] * 3, 0.05), return_exceptions=True)
        assert [str(one) for one in found] == [f"127.0.0.1:{up.port}: no answer in 0.05 s"] * 3
        asked = exchanges(upstream, ["www.test."] * 3)
        await until(lambda: len(up.held) == 2)
        asked[0].cancel()  # who asked has gone: the others ask again
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(one) for one in found] == [asyncio.CancelledError, UpstreamError, UpstreamError]
        upstream.close()

    asyncio.run(run())


def test_the_question_that_finds_forwarding_loops_is_sent_each_time() -> None:
    async def run() -> None:
        up = await echo()
        upstream = asking(up)
        probe = question("1234.5678.", RRType.HINFO)
        asked = [asyncio.create_task(upstream.exchange(probe, stream=False, seconds=5.0)) for _ in range(3)]
        await until(lambda: len(up.held) == 3)
        up.let_go()
        await asyncio.gather(*asked)
        upstream.close()

    asyncio.run(run())
