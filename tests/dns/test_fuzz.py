"""A million messages that nobody should send: each gets an answer that fits, or none, and never an exception."""

from __future__ import annotations

import random

import pytest

from dns_cases import query_bytes
from dns_world import MemoryServer, MemoryWorld, ScriptedUpstream, endpoint_slice, namespace, service
from fairway.dns.answers import FastAnswers
from fairway.dns.model import Transport
from fairway.dns.server import Peer
from fairway.io.dns.fast import NativeTable, load

MESSAGES = 1_000_000
COREFILE = """.:53 {
    errors
    any
    local
    acl {
        block type HINFO
    }
    rewrite continue name suffix .shop.test .default.svc.cluster.local answer auto
    cache 30
    hosts {
        10.9.9.9 db.test
        fallthrough
    }
    template IN A ip.test {
        match ^ip-([0-9]+)[.]
        answer "{{ .Name }} 60 IN A 10.0.0.{{ index .Match 1 }}"
        fallthrough
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
    }
    file zone zone.test
    forward . 192.0.2.53
}
"""
ZONE = "@ 60 IN SOA ns hostmaster 1 2 3 4 5\n@ IN NS ns\nns IN A 10.0.0.1\n* IN CNAME ns\nd IN DNAME other\n"
ANSWERS = [
    {"qname": "www.example.org.", "qtype": "A", "rcode": "NOERROR", "answer": [["www.example.org.", "A", "192.0.2.1"]]}
]
OBJECTS = [
    namespace("default"),
    service("web"),
    service("peers", "None"),
    endpoint_slice("p", "peers", [f"10.1.0.{i}" for i in range(1, 200)]),
]
NAMES = (
    "web.default.svc.cluster.local", "peers.default.svc.cluster.local", "_http._tcp.peers.default.svc.cluster.local",
    "web.shop.test", "ip-7.ip.test", "ip-x.ip.test", "a.zone.test", "x.d.zone.test", "db.test", "localhost",
    "www.example.org", "1.0.0.10.in-addr.arpa", "a" * 63 + ".test", ".".join(["abc"] * 60),
)  # fmt: skip
KINDS = ("A", "AAAA", "SRV", "PTR", "ANY", "TXT", "HINFO", "AXFR", "IXFR", "SOA", "DS")
EDNS = (
    {},
    {"edns": {"udp_size": 1232, "options": {"10": "0102030405060708"}}},
    {"edns": {"udp_size": 4096, "do": True}},
    {"edns": {"udp_size": 20}},
)


def mutated(dice: random.Random, seeds: list[bytes]) -> bytes:
    """A message with a few bytes changed, cut short, longer, or nothing but noise."""
    data = bytearray(dice.choice(seeds))
    for _ in range(dice.randrange(5)):
        data[dice.randrange(len(data))] = dice.choice((0, 1, 63, 64, 0xC0, 0xFF, dice.randrange(256)))
    match dice.randrange(12):
        case 0:
            del data[dice.randrange(len(data)) :]
        case 1:
            data += dice.randbytes(dice.randrange(40))
        case 2:
            return dice.randbytes(dice.randrange(600))
    return bytes(data)


def most(data: bytes) -> int:
    """Bytes that an answer over UDP may have at most: what any OPT record in the message could have allowed."""
    at = data.find(b"\x00\x00\x29", 12)
    sizes = [512]
    while at >= 0:
        sizes.append(int.from_bytes(data[at + 3 : at + 5], "big"))
        at = data.find(b"\x00\x00\x29", at + 1)
    return max(sizes)


def fuzz(count: int) -> int:
    """The number of answers."""
    dice = random.Random(count)
    server = MemoryServer(
        COREFILE, OBJECTS, MemoryWorld(ScriptedUpstream(ANSWERS)), zone_files={"zone": ZONE}, local=(b"\x0a\0\0\5",)
    )
    library = load()
    table = NativeTable(library) if library is not None else None
    if table is not None:
        answers = FastAnswers(server.chains[0].kubernetes[0][1])
        table.put(answers.everything())
        for index, zone in enumerate(answers.zones):
            table.set_zone(index, zone, 1)
    seeds = [
        query_bytes({"qname": f"{n}.", "qtype": k, "ixfr_serial": "other"} | e)
        for n in NAMES
        for k in KINDS
        for e in EDNS
    ]
    answered = 0
    for _ in range(count):
        data = mutated(dice, seeds)
        is_stream = dice.random() < 0.1
        replies = server.ask(data, Peer(Transport.TCP if is_stream else Transport.UDP))
        replies += [fast] if table is not None and not is_stream and (fast := table.answer(data)) else []
        for reply in replies:
            assert reply[:2] == data[:2], data.hex()
            assert reply[2] & 0x80, data.hex()
            assert len(reply) <= (65535 if is_stream else most(data)), data.hex()
        assert not (replies and len(data) >= 3 and data[2] & 0x80), f"an answer to an answer: {data.hex()}"
        answered += len(replies)
    assert not [line for line in server.world.lines if "fault" in line]
    return answered


def test_mutated_messages_get_an_answer_that_fits_or_none() -> None:
    assert fuzz(20_000) > 5_000


@pytest.mark.slow
def test_a_million_of_them() -> None:
    assert fuzz(MESSAGES) > MESSAGES / 4
