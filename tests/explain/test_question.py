"""Questions as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.explain.question import parse_question
from fairway.values.address import Address
from fairway.values.errors import InvalidValueError
from fairway.values.names import ObjectName
from fairway.values.protocol import Protocol

POD, DUAL = Address.parse("10.0.0.2"), (Address.parse("172.30.0.1"), Address.parse("fd00:96::1"))
NODE = Address.parse("192.168.0.2")


class Names:
    """One pod, one node, one dual-stack Service with a named port."""

    def pod(self, name: ObjectName) -> tuple[Address, ...]:
        return (POD,) if name == ("shop", "web") else ()

    def node(self, name: str) -> tuple[Address, ...]:
        return (NODE,) if name == "node-1" else ()

    def service(self, name: ObjectName) -> tuple[Address, ...]:
        return DUAL if name == ("shop", "cart") else ()

    def service_port(self, name: ObjectName, port: str, protocol: Protocol) -> int | None:
        return 8080 if (name, port, protocol) == (("shop", "cart"), "http", Protocol.TCP) else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.9 -> 172.30.0.1:80", "10.0.0.9 -> 172.30.0.1:80/tcp"),
        ("10.0.0.9->172.30.0.1:80/UDP", "10.0.0.9 -> 172.30.0.1:80/udp"),
        ("fd00::9 -> [fd00:96::1]:53/udp", "fd00::9 -> [fd00:96::1]:53/udp"),
        ("fd00::9 -> fd00:96::1:53/udp", "fd00::9 -> [fd00:96::1]:53/udp"),
        ("pod/shop/web -> svc/shop/cart:http", "10.0.0.2 -> 172.30.0.1:8080/tcp"),
        ("node/node-1 -> service/shop/cart:443/sctp", "192.168.0.2 -> 172.30.0.1:443/sctp"),
        ("fd00::9 -> svc/shop/cart:80", "fd00::9 -> [fd00:96::1]:80/tcp"),
        ("  10.0.0.9 -> node/node-1:30000/tcp  ", "10.0.0.9 -> 192.168.0.2:30000/tcp"),
    ],
)
def test_questions(text: str, expected: str) -> None:
    assert str(parse_question(text, Names()).packet) == expected


def test_the_interface_may_be_named() -> None:
    assert parse_question("10.0.0.9 -> 172.30.0.1:80/tcp via cbr0", Names()).packet.interface == "cbr0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected 'SOURCE -> TARGET:PORT/tcp'"),
        ("10.0.0.9 172.30.0.1:80", "expected 'SOURCE -> TARGET:PORT/tcp'"),
        ("10.0.0.9 -> 172.30.0.1", "expected 'SOURCE -> TARGET:PORT/tcp'"),
        ("10.0.0.9 -> 172.30.0.1:0", "0 is not a port (1 to 65535)"),
        ("10.0.0.9 -> 172.30.0.1:99999", "99999 is not a port (1 to 65535)"),
        ("10.0.0.9 -> 172.30.0.1:http", "a port's name needs a Service"),
        ("10.0.0.9 -> svc/shop/cart:grpc", "has no tcp port named 'grpc'"),
        ("10.0.0.9 -> 172.30.0.1:80/icmp", "'icmp' is not a protocol"),
        ("10.0.0.9 -> svc/shop/none:80", "svc/shop/none: not found, or without an address"),
        ("pod/none/web -> 172.30.0.1:80", "pod/none/web: not found, or without an address"),
        ("job/shop/web -> 172.30.0.1:80", "is neither an address nor"),
        ("web -> 172.30.0.1:80", "'web' is not an IP address"),
        ("10.0.0.9 -> fd00::1:80", "no IP family in common: IPv4 against IPv6"),
    ],
)
def test_what_is_wrong_is_said(text: str, expected: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_question(text, Names())
    assert expected in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_question_or_refused(text: str) -> None:
    for question in (text, f"10.0.0.9 -> {text}", f"{text} -> 172.30.0.1:80", f"10.0.0.9 -> 1.2.3.4:{text}"):
        try:
            found = parse_question(question, Names())
        except InvalidValueError:
            continue
        assert 1 <= found.packet.port <= 65535
