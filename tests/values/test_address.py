"""Addresses and prefixes: read as Kubernetes reads them, equal and ordered as bytes."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.values.address import Address, Family, Prefix
from fairway.values.errors import InvalidValueError

IPS = st.ip_addresses()


@given(IPS)
def test_addresses_are_read_and_shown_as_the_standard_library_does(ip: ipaddress.IPv4Address) -> None:
    one = Address.parse(str(ip))
    assert one == ip.packed
    assert ipaddress.ip_address(str(one)) == ip
    assert one.family == Family(ip.version)
    assert len(one) == one.family.width
    assert one.is_loopback == ip.is_loopback
    assert one.is_link_local == ip.is_link_local


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("010.000.020.001", "10.0.20.1"),
        ("08.9.010.00000001", "8.9.10.1"),
        ("FD00::0001", "fd00::1"),
        ("::ffff:010.0.0.1", "::ffff:10.0.0.1"),
    ],
)
def test_leading_zeros_are_decimal(text: str, expected: str) -> None:
    assert str(Address.parse(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.-4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4/32", "::g", ":",
        "1::2::3", "fe80::1%eth0", "1.2.3.٤", "1.2.3.4\x00", "localhost", "0x7f.0.0.1", "::1.2.3", "000000001.2.3.4",
    ],
)  # fmt: skip
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="is not an IP address"):
        Address.parse(text)


@given(st.text(max_size=20))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for kind in (Address, Prefix):
        try:
            kind.parse(text)
        except InvalidValueError as error:
            shown = str(error)
        else:
            shown = ""
        assert not shown or "is not a" in shown


@pytest.mark.parametrize(("text", "expected"), [("10.0.0.1", "10.0.0.1:80"), ("fd00::1", "[fd00::1]:80")])
def test_an_address_with_its_port(text: str, expected: str) -> None:
    assert Address.parse(text).with_port(80) == expected


@given(IPS, st.integers(0, 128), IPS)
def test_prefixes_are_those_of_the_standard_library(
    ip: ipaddress.IPv4Address, length: int, other: ipaddress.IPv4Address
) -> None:
    length = min(length, ip.max_prefixlen)
    network = ipaddress.ip_network((ip, length), strict=False)
    prefix = Prefix.parse(f"{ip}/{length}")
    assert prefix == Prefix.of(Address(ip.packed), length)
    assert prefix.address == network.network_address.packed
    assert prefix.last == network.broadcast_address.packed
    assert prefix.family == Family(ip.version)
    assert (Address(ip.packed) in prefix) is True
    assert (Address(other.packed) in prefix) == (other.version == ip.version and other in network)
    assert Prefix.parse(str(prefix)) == prefix


@pytest.mark.parametrize(
    "text",
    ["10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "fd00::/129", "10.0.0.0/-1", "10.0.0.0/8 ", "/8", "10.0.0.0/x", "1/8"],
)
def test_text_that_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError):
        Prefix.parse(text)


def test_nothing_but_an_address_is_in_a_prefix() -> None:
    prefix = Prefix.parse("10.0.0.0/8")
    assert b"\x0a\x00\x00\x01" not in prefix
    assert "10.0.0.1" not in prefix
