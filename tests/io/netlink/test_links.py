"""Interfaces on the real kernel."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import netns
from fairway.io.netlink.links import Hop, LinkWriter, Peer
from fairway.values.address import Address, Prefix
from fairway.values.errors import KernelError

pytestmark = pytest.mark.kernel


@pytest.fixture
def links() -> Iterator[LinkWriter]:
    with netns.private(), LinkWriter() as made:
        yield made


def hardware_address(name: str) -> str:
    done = subprocess.run(["ip", "-j", "link", "show", name], check=True, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return str(found[0]["address"])


def test_a_bridge_keeps_its_hardware_address_when_ports_come_and_go(links: LinkWriter) -> None:
    """Else what its neighbours remember of it is wrong for as long as it takes them to notice: 10 s."""
    links.add_bridge("fw-test")
    before = hardware_address("fw-test")
    other = netns.create()
    for number in range(8):
        links.add_veth(f"fw-p{number}", Peer(f"e{number}", other))
        links.set_master(f"fw-p{number}", "fw-test")
        assert hardware_address("fw-test") == before
    for number in range(8):
        links.remove(f"fw-p{number}")
        assert hardware_address("fw-test") == before


def test_a_bridge_that_is_there_stays_as_it_is(links: LinkWriter) -> None:
    links.add_bridge("fw-test")
    before = hardware_address("fw-test")
    links.add_bridge("fw-test")
    assert hardware_address("fw-test") == before


def test_bridges_of_other_names_have_other_addresses(links: LinkWriter) -> None:
    links.add_bridge("fw-a")
    links.add_bridge("fw-b")
    assert hardware_address("fw-a") != hardware_address("fw-b")


def shown(*command: str) -> list[str]:
    done = subprocess.run(["ip", *command], check=True, capture_output=True, text=True)
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


def test_addresses_and_routes_may_be_asked_for_twice_and_taken_away_twice(links: LinkWriter) -> None:
    to, via = Prefix.parse("10.8.0.0/16"), Hop("fw-test", Address.parse("10.9.0.2"))
    to6, via6 = Prefix.parse("fd08::/64"), Hop("fw-test", Address.parse("fd09::2"))
    links.add_bridge("fw-test")
    for _ in range(2):
        links.add_address("fw-test", Address.parse("10.9.0.1"), 24)
        links.add_address("fw-test", Address.parse("fd09::1"), 64)
        links.add_route(to, via)
        links.add_route(to6, via6)
    assert "10.8.0.0/16 via 10.9.0.2 dev fw-test" in " ".join(shown("route"))
    assert "fd08::/64 via fd09::2 dev fw-test" in " ".join(shown("-6", "route"))
    assert "tentative" not in " ".join(shown("addr", "show", "fw-test", "scope", "global"))
    for _ in range(2):
        links.remove_route(to, via)
        links.remove_route(to6, via6)
        links.remove_address("fw-test", Address.parse("10.9.0.1"), 24)
    assert "10." not in " ".join(shown("route"))
    assert "fd08" not in " ".join(shown("-6", "route"))
    for _ in range(2):
        links.remove("fw-test")
    assert links.index("fw-test") == 0


def test_a_route_to_the_same_network_takes_the_place_of_the_one_before(links: LinkWriter) -> None:
    links.add_bridge("fw-test")
    links.add_address("fw-test", Address.parse("10.9.0.1"), 24)
    for last in (2, 3):
        links.add_route(Prefix.parse("0.0.0.0/0"), Hop("fw-test", Address.parse(f"10.9.0.{last}")))
    found = [line.split()[:5] for line in shown("route") if line.startswith("default")]
    assert found == [["default", "via", "10.9.0.3", "dev", "fw-test"]]


def test_what_is_not_there_is_named(links: LinkWriter) -> None:
    with pytest.raises(KernelError, match="there is no interface fw-none"):
        links.add_address("fw-none", Address.parse("10.9.0.1"), 24)
    links.add_bridge("fw-test")
    with pytest.raises(KernelError, match=r"route 10\.8\.0\.0/16: ENETUNREACH"):
        links.add_route(Prefix.parse("10.8.0.0/16"), Hop("fw-test", Address.parse("10.9.0.2")))


def test_ports_that_are_isolated_speak_with_their_bridge_alone(links: LinkWriter) -> None:
    links.add_bridge("fw-test")
    links.add_address("fw-test", Address.parse("10.9.0.1"), 24)
    spaces = [netns.create(), netns.create()]
    for number, space in enumerate(spaces):
        links.add_veth(f"fw-p{number}", Peer("eth0", space))
        links.set_master(f"fw-p{number}", "fw-test")
        links.isolate(f"fw-p{number}")
        with netns.entered(space), LinkWriter() as inside:
            inside.set_up("eth0")
            inside.add_address("eth0", Address.parse(f"10.9.0.{number + 2}"), 24)
    with netns.entered(spaces[0]):
        assert answer("10.9.0.1") == "refused"
        assert answer("10.9.0.3", seconds=0.5) == "nothing"


def answer(address: str, seconds: float = 10) -> str:
    """What a connection gets where nobody listens: who can be reached at all refuses it."""
    try:
        socket.create_connection((address, 9), seconds)
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "nothing"
    return "a connection"
