"""Names, protocols and packets read as people write them."""

from __future__ import annotations

import pytest

from fairway.values.address import Address
from fairway.values.errors import InvalidValueError
from fairway.values.names import ObjectName, ServicePortName
from fairway.values.packet import Packet
from fairway.values.protocol import Protocol


def test_object_names() -> None:
    assert str(ObjectName("shop", "web")) == "shop/web"
    assert str(ObjectName("", "node-1")) == "node-1"


@pytest.mark.parametrize(("port", "expected"), [("http", "shop/web:http/tcp"), ("", "shop/web/tcp")])
def test_service_port_names(port: str, expected: str) -> None:
    assert str(ServicePortName(ObjectName("shop", "web"), port, Protocol.TCP)) == expected


@pytest.mark.parametrize(("text", "expected"), [("TCP", 6), ("udp", 17), ("Sctp", 132)])
def test_protocols_are_their_ip_numbers(text: str, expected: int) -> None:
    assert Protocol.parse(text) == expected
    assert str(Protocol.parse(text)) == text.lower()


@pytest.mark.parametrize("text", ["", "icmp", "6", "tcp "])
def test_other_protocols_are_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="TCP, UDP and SCTP are known"):
        Protocol.parse(text)


def test_a_packet_reads_as_a_question() -> None:
    packet = Packet(Address.parse("10.0.0.1"), Address.parse("fd00::1"), Protocol.UDP, 53)
    assert str(packet) == "10.0.0.1 -> [fd00::1]:53/udp"
