"""`loadbalance weighted`: an address stands first as often as its weight says."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from fairway.config.corefile_settings import LoadbalanceSettings
from fairway.dns.loadbalance import Loadbalance, read_weights
from fairway.dns.model import Reply, Request
from fairway.values.domain import from_text
from fairway.values.errors import ConfigError
from fairway.values.rrtypes import RRType
from fairway.wire.dns_message import Record, a_or_aaaa

from dns_world import drive  # isort: skip

WWW = from_text("www.example.org")
WEIGHTS = "# of the zone\n\nWWW.example.org\n10.0.0.1 3\n10.0.0.2 1\nfd00::1 4\nother.example.org.\n10.0.0.3 255\n"
ADDRESSES = [b"\x0a\0\0\1", b"\x0a\0\0\2", b"\x0a\0\0\3"]


class Fixed:
    """Answers with the same records, in the same order."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    async def serve(self, request: Request) -> Reply:
        return Reply(answer=list(self.records))


def balance(records: list[Record], *prefer: str) -> Loadbalance:
    dice = random.Random(7)
    plugin = Loadbalance(LoadbalanceSettings("weights", prefer=prefer), dice.random, Fixed(records))
    plugin.load(WEIGHTS)
    return plugin


def firsts(plugin: Loadbalance, rtype: int = RRType.A, times: int = 5000) -> dict[bytes, float]:
    """How often each address stands first."""
    question = Request(WWW, WWW, rtype)
    answers = [drive(plugin.serve(question)).answer for _ in range(times)]
    assert {len(answer) for answer in answers} == {len(answers[0])}
    found = Counter(next(r for r in answer if r.type != RRType.CNAME).rdata for answer in answers)
    return {address: count / times for address, count in found.items()}


def test_an_address_stands_first_as_often_as_its_weight_says() -> None:
    shares = firsts(balance([a_or_aaaa(WWW, address, 60) for address in ADDRESSES]))
    # The third is not listed for this name: it weighs 1.
    assert shares == pytest.approx({ADDRESSES[0]: 0.6, ADDRESSES[1]: 0.2, ADDRESSES[2]: 0.2}, abs=0.03)


def test_the_others_keep_their_places_and_an_alias_stands_in_front() -> None:
    alias = Record(from_text("a.org"), RRType.CNAME, 60, WWW)
    plugin = balance([a_or_aaaa(WWW, ADDRESSES[0], 60), alias])
    assert [r.type for r in drive(plugin.serve(Request(WWW, WWW, RRType.A))).answer] == [RRType.CNAME, RRType.A]


def test_other_types_are_left_alone() -> None:
    assert firsts(balance([a_or_aaaa(WWW, a, 60) for a in ADDRESSES]), RRType.MX, 20) == {ADDRESSES[0]: 1.0}


def test_a_preferred_network_comes_first_whatever_the_weights() -> None:
    plugin = balance([a_or_aaaa(WWW, a, 60) for a in ADDRESSES], "10.0.0.2/32")
    assert firsts(plugin, times=20) == {ADDRESSES[1]: 1.0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("10.0.0.1 3\n", "w:1: 10.0.0.1 stands before the first name"),
        ("a.org\n\n10.0.0.1\n", "w:3: 10.0.0.1 has no weight"),
        ("a.org\n10.0.0.1 0\n", "w:2: '0' is not a weight from 1 to 255"),
        ("a.org\n10.0.0.1 256\n", "w:2: '256' is not a weight from 1 to 255"),
        ("a.org\n10.0.0.1 x\n", "w:2: 'x' is not a weight from 1 to 255"),
        ("a.org\nb.org 1\n", "w:2: 'b.org' is not an address"),
        ("a.org\n10.0.0.1 1 2\n", "w:2: '10.0.0.1 1 2' is neither a name nor an address and a weight"),
        ("a..org\n", "w:1:"),
    ],
)
def test_a_bad_line_is_named_and_changes_nothing(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dict(read_weights(text, "w"))
    assert str(caught.value).startswith(problem)
