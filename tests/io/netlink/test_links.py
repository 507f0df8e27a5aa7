"""Interfaces on the real kernel."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import netns
from fairway.io.netlink.links import LinkWriter, Peer

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
