"""A resolver of the world: every name has the same address."""

from __future__ import annotations

import asyncio
from typing import cast

import dns.message
import dns.rrset

ADDRESS = "192.0.2.99"


class Resolver(asyncio.DatagramProtocol):
    """Over UDP."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.transport.sendto(answer_to(data), address)


def answer_to(data: bytes) -> bytes:
    question = dns.message.from_wire(data)
    answer = dns.message.make_response(question, recursion_available=True)
    answer.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "A", ADDRESS))
    return answer.to_wire()
