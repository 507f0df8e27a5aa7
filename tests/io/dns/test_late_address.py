"""A node-local listener binds its address before anybody has made it, and answers there from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest

import netns
from dns_process import serving

pytestmark = pytest.mark.kernel
LATE = ["169.254.20.10", "fd00:53::10"]
PORT = 5300
COREFILE = f""".:{PORT} .:$PORT {{
    bind 127.0.0.1 {" ".join(LATE)}
    hosts {{
        10.0.0.1 web.test
    }}
}}
"""
ASK: dict[str, Callable[..., dns.message.Message]] = {"udp": dns.query.udp, "tcp": dns.query.tcp}


def answer(address: str, transport: str) -> str:
    """What the server says there; empty when it says nothing."""
    try:
        reply = ASK[transport](dns.message.make_query("web.test", "A"), address, timeout=15, port=PORT)
    except (OSError, dns.exception.Timeout):
        return ""
    return str(reply.answer[0][0])


def change(action: str) -> None:
    for address in LATE:
        length, more = (128, ["nodad"]) if ":" in address else (32, [])
        netns.run("ip", "address", action, f"{address}/{length}", "dev", "lo", *(more if action == "add" else []))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[None]:
    with netns.private(), serving(tmp_path, COREFILE):
        yield


@pytest.mark.usefixtures("server")
def test_an_address_that_comes_later_is_answered_at_from_the_moment_it_is_there() -> None:
    places = [(address, transport) for address in LATE for transport in ASK]
    assert [answer(*place) for place in places] == [""] * len(places)
    for _ in range(2):
        change("add")
        assert [answer(*place) for place in places] == ["10.0.0.1"] * len(places)
        change("del")
        assert [answer(*place) for place in places] == [""] * len(places)
