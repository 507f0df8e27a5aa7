"""What a cache keeps is given as by the plugin, whichever way a question goes."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest

from dns_cases import query_bytes
from dns_kept import AnsweringUpstream, KeptServer
from dns_world import namespace, service
from fairway.io.dns.fast import load
from fairway.values.domain import from_text
from fairway.values.rrtypes import AD, CD, QR, RA, RD, Rcode, RRType
from fairway.wire.dns_message import Message, Record, read_message, soa_rdata, txt_rdata

pytestmark = pytest.mark.skipif(load() is None, reason="the C part was not built: no compiler")
both_paths = pytest.mark.parametrize("path", ["fast", "plugins"])
SOA = Record(from_text("test."), RRType.SOA, 300, soa_rdata(from_text("a."), from_text("b."), (1, 2, 3, 4, 20)))


def address(query: Message, last: int = 1, ttl: int = 60) -> Record:
    assert query.question is not None
    return Record(query.question.name, RRType.A, ttl, bytes((192, 0, 2, last)))


def reply(query: Message, answer: list[Record], flags: int = 0, **more: list[Record]) -> Message:
    return Message(query.id, QR | RA | query.flags & (RD | CD) | flags, query.question, answer, **more)


def always(answer: Callable[[Message], Message], plugins: str, path: str) -> KeptServer:
    return KeptServer(plugins, AnsweringUpstream(answer), path)


def ttl_of(message: dns.message.Message) -> int:
    return int((message.answer or message.authority)[0].ttl)


@both_paths
def test_an_answer_counts_its_time_down_and_is_fetched_anew_at_its_end(path: str) -> None:
    server = always(lambda q: reply(q, [address(q)]), "cache 30", path)
    server.warm("www.test")
    found = []
    for seconds in (0.4, 0.7, 10, 18.6, 0.5):
        server.world.time += seconds
        found.append(ttl_of(server.ask("www.test")))
    assert found == [30, 29, 19, 1, 30]
    assert len(server.upstream.asked) == 2
    assert server.from_table == (4 if server.is_fast else 0)


@both_paths
def test_the_time_that_is_shown_stays_where_the_file_says_so(path: str) -> None:
    server = always(lambda q: reply(q, [address(q)]), "cache 30 {\nkeepttl\n}", path)
    server.warm("www.test")
    server.world.time += 29
    assert ttl_of(server.ask("www.test")) == 30


@both_paths
@pytest.mark.parametrize("code", [Rcode.NXDOMAIN, Rcode.NOERROR])
def test_a_denial_is_given_as_long_as_its_soa_record_says(path: str, code: int) -> None:
    server = always(lambda q: reply(q, [], code, authority=[SOA._replace(ttl=20)]), "cache 300", path)
    server.warm("no.test")
    server.world.time += 15
    got = server.ask("no.test")
    assert (got.rcode(), ttl_of(got), len(got.answer)) == (code, 5, 0)
    server.world.time += 5
    server.ask("no.test")
    assert len(server.upstream.asked) == 2
    assert server.from_table == (1 if server.is_fast else 0)


@both_paths
def test_a_failure_is_given_for_five_seconds(path: str) -> None:
    server = always(lambda q: reply(q, [], Rcode.SERVFAIL), "cache", path)
    server.warm("bad.test")
    server.world.time += 4
    assert server.ask("bad.test").rcode() == dns.rcode.SERVFAIL
    assert len(server.upstream.asked) == 1
    server.world.time += 1
    server.ask("bad.test")
    assert len(server.upstream.asked) == 2


@both_paths
def test_answers_with_and_without_dnssec_and_checking_are_kept_apart(path: str) -> None:
    server = always(lambda q: reply(q, [address(q)], AD), "cache", path)
    for edns in (None, {"udp_size": 1232}, {"udp_size": 1232, "do": True}):
        for flags in (0x0100, 0, 0x0110, 0x0120, 0x0130):
            query = bytearray(query_bytes({"qname": "www.test", "qtype": "A"} | ({"edns": edns} if edns else {})))
            query[2:4] = flags.to_bytes(2, "big")
            for _ in range(2):
                got = dns.message.from_wire(server.ask_bytes(bytes(query)))
                assert got.flags & 0x0110 == flags & 0x0110
                assert bool(got.flags & dns.flags.AD) == bool(flags & dns.flags.AD or (edns and edns.get("do")))
                assert got.id == int.from_bytes(query[:2], "big")
                assert (got.edns, bool(got.ednsflags & 0x8000)) == (0 if edns else -1, bool(edns and edns.get("do")))
    assert len(server.upstream.asked) == 4


@both_paths
def test_a_question_comes_back_as_it_was_spelt(path: str) -> None:
    server = always(lambda q: reply(q, [address(q)]), "cache", path)
    for name in ("wWw.TeSt.", "www.test.", "wWw.TeSt.", "WWW.test.", "www.test."):
        query = dns.message.make_query(dns.name.from_text(name), "A").to_wire()
        assert server.ask_bytes(query)[12:26] == query[12:26]
        got = dns.message.from_wire(server.ask_bytes(query))
        assert str(got.answer[0].name) == "wWw.TeSt."  # as the first who asked, like CoreDNS
    assert len(server.upstream.asked) == 1


@both_paths
def test_what_is_asked_for_often_is_fetched_ahead_of_its_end(path: str) -> None:
    server = always(
        lambda q: reply(q, [address(q, len(server.upstream.asked))]), "cache 30 {\nprefetch 3 10s 20%\n}", path
    )
    server.warm("www.test")
    server.world.time += 23.5
    for _ in range(5):
        server.ask("www.test")  # often, but too early
    assert len(server.upstream.asked) == 1
    server.world.time += 1
    assert str(server.ask("www.test").answer[0][0]) == "192.0.2.1"  # nobody waits for the fresh one
    assert len(server.upstream.asked) == 2
    got = server.ask("www.test")
    assert (str(got.answer[0][0]), got.answer[0].ttl) == ("192.0.2.2", 30)
    server.world.time += 40
    server.ask("www.test")
    server.world.time += 26  # seldom: the count began anew
    server.ask("www.test")
    assert len(server.upstream.asked) == 3


@both_paths
def test_a_stale_answer_is_given_at_once_and_a_fresh_one_fetched(path: str) -> None:
    plugins = "cache 30 {\nserve_stale 1h immediate 7s\n}"
    server = always(lambda q: reply(q, [address(q, len(server.upstream.asked))]), plugins, path)
    server.warm("www.test")
    server.upstream.is_dead = True
    server.world.time += 1000
    for _ in range(2):
        got = server.ask("www.test")
        assert (str(got.answer[0][0]), got.answer[0].ttl) == ("192.0.2.1", 7)
        server.world.time += 2
    server.upstream.is_dead = False
    assert ttl_of(server.ask("www.test")) == 7
    got = server.ask("www.test")
    assert (str(got.answer[0][0]), got.answer[0].ttl) == (f"192.0.2.{len(server.upstream.asked)}", 30)
    server.world.time += 3700
    assert ttl_of(server.ask("www.test")) == 30


@both_paths
def test_a_stale_answer_is_only_given_when_upstream_fails_where_the_file_says_so(path: str) -> None:
    server = always(
        lambda q: reply(q, [address(q, len(server.upstream.asked))]), "cache 30 {\nserve_stale 1h verify\n}", path
    )
    server.warm("www.test")
    server.world.time += 31
    assert str(server.ask("www.test").answer[0][0]) == "192.0.2.2"
    server.world.time += 31
    server.upstream.is_dead = True
    got = server.ask("www.test")
    assert (str(got.answer[0][0]), got.answer[0].ttl) == ("192.0.2.2", 0)


@both_paths
def test_a_name_that_appears_while_its_stale_denial_is_given_is_answered(path: str) -> None:
    there: list[Record] = []

    def answer(query: Message) -> Message:
        return reply(query, there) if there else reply(query, [], Rcode.NXDOMAIN, authority=[SOA])

    server = always(answer, "cache 30 {\nserve_stale\n}", path)
    server.warm("new.test")
    there.append(Record(from_text("new.test."), RRType.A, 60, bytes((192, 0, 2, 9))))
    server.world.time += 100
    assert server.ask("new.test").rcode() == dns.rcode.NXDOMAIN
    assert str(server.ask("new.test").answer[0][0]) == "192.0.2.9"


@both_paths
def test_kept_answers_outlive_their_upstream_until_their_end(path: str) -> None:
    server = always(lambda q: reply(q, [address(q)]), "errors\ncache 30", path)
    server.warm("www.test")
    server.upstream.is_dead = True
    server.world.time += 29
    assert ttl_of(server.ask("www.test")) == 1
    server.world.time += 1
    assert server.ask("www.test").rcode() == dns.rcode.SERVFAIL


@both_paths
def test_an_answer_too_large_for_its_client_is_cut_and_says_so(path: str) -> None:
    server = always(lambda q: reply(q, [Record(q.question.name, 16, 60, txt_rdata(b"x" * 700))]), "cache", path)  # type: ignore[union-attr]
    for edns in (None, {"udp_size": 1232}, {"udp_size": 600}):
        for _ in range(3):
            got = server.ask("big.test", "TXT", **({"edns": edns} if edns else {}))
            fits = bool(edns and edns["udp_size"] == 1232)
            assert (bool(got.flags & dns.flags.TC), len(got.answer)) == (not fits, int(fits))


@pytest.mark.parametrize("name", ["www.test.", "wWw.Test."])
@pytest.mark.parametrize("has_alias", [True, False])
def test_addresses_are_shuffled_behind_their_alias_where_the_file_says_so(name: str, *, has_alias: bool) -> None:
    def answer(query: Message) -> Message:
        assert query.question is not None
        target = from_text("web.test.") if has_alias else query.question.name.lower()
        alias = [Record(query.question.name, RRType.CNAME, 60, target)] if has_alias else []
        return reply(query, [*alias, *(Record(target, RRType.A, 60, bytes((192, 0, 2, i))) for i in range(1, 9))])

    server = always(answer, "loadbalance\ncache", "fast")
    query, orders = dns.message.make_query(dns.name.from_text(name), "A").to_wire(), set()
    for _ in range(2):
        server.ask_bytes(query)
    for seed in range(40):
        got = dns.message.from_wire(server.table.answer(query, seed * 7919, server.world.time), one_rr_per_rrset=True)
        kinds = [r.rdtype for r in got.answer]
        assert kinds == [dns.rdatatype.CNAME] * has_alias + [dns.rdatatype.A] * 8
        assert {r.name.to_text() for r in got.answer[has_alias:]} == {"web.test." if has_alias else "www.test."}
        order = tuple(str(r[0]) for r in got.answer[has_alias:])
        assert sorted(order) == [f"192.0.2.{i}" for i in range(1, 9)]
        orders.add(order)
    assert len(orders) > 20


def test_addresses_that_cannot_change_places_are_left_to_the_plugins() -> None:
    def answer(query: Message) -> Message:
        return reply(query, [Record(b"\0", RRType.A, 60, bytes((192, 0, 2, i))) for i in range(3)])

    server = always(answer, "loadbalance\ncache", "fast")
    server.warm(".")
    assert server.table.kept == 0


@pytest.mark.parametrize(
    "front",
    [
        "log",
        "acl {\nblock type MX\n}",
        "dns64",
        "rewrite type AAAA A",
        "loadbalance round_robin {\nprefer 10.0.0.0/8\n}",
    ],
)
def test_behind_a_plugin_that_must_see_every_question_nothing_is_handed_over(front: str) -> None:
    server = always(lambda q: reply(q, [address(q)]), f"{front}\ncache", "fast")
    server.warm("www.test")
    assert server.kept is None
    assert server.table.kept == 0


CLUSTER = """kubernetes cluster.local
cache {
    disable success cluster.local
    disable denial cluster.local
    success 1024
    denial 1024
}"""


def test_a_flood_of_names_evicts_no_name_of_the_cluster_and_never_gets_into_the_table() -> None:
    upstream = AnsweringUpstream(lambda q: reply(q, [address(q)]))
    server = KeptServer(CLUSTER, upstream, objects=[namespace("default"), service("web")])
    before = len(server.table)
    server.warm("www.test")
    for number in range(3000):
        server.ask(f"x{number}.flood.test")
    assert server.table.kept == 0  # what was kept before it went with the plugin's own
    assert len(server.server.chains[0].caches[0].items["success"]) == 1024
    assert len(server.table) == before
    assert server.table.answer(query_bytes({"qname": "web.default.svc.cluster.local", "qtype": "A"}))


def test_the_table_holds_what_the_cache_holds_and_no_more_bytes_than_it_may() -> None:
    server = KeptServer(CLUSTER, AnsweringUpstream(lambda q: reply(q, [address(q)])), objects=[namespace("default")])
    for number in range(2000):
        server.warm(f"x{number}.test")
    assert server.table.kept == 1024
    small = KeptServer("cache", AnsweringUpstream(lambda q: reply(q, [address(q)])), max_bytes=20_000)
    for number in range(2000):
        small.warm(f"x{number}.test")
    assert small.kept is not None
    assert 100 < small.table.kept < 250
    assert small.kept.size <= 20_000
    small.ask("x0.test")  # what had to go comes back when it is asked for
    assert small.table.answer(query_bytes({"qname": "x0.test", "qtype": "A"}), 1, small.world.time)


TYPES = (1, 28, 5, 15, 16, 33, 12, 2, 6, 257, 65, 35, 99, 65280)


def random_name(dice: random.Random, asked: bytes) -> bytes:
    return dice.choice([
        asked, b"\3sub" + asked, asked[asked[0] + 1 :], from_text("web.example.org."), from_text("Caps.Example.ORG."),
        from_text("example.org."), b"\0", bytes((63,)) + b"x" * 63 + b"\3org\0", b"\4a\0.b" + asked[asked[0] + 1 :],
    ])  # fmt: skip


def random_record(dice: random.Random, asked: bytes) -> Record:
    kind, ttl = dice.choice(TYPES), dice.choice((0, 1, 5, 30, 77, 4000, 2**31 - 1))
    name, target = random_name(dice, asked), random_name(dice, asked)
    match kind:
        case 1 | 28:
            rdata = dice.randbytes(4 if kind == 1 else 16)
        case 5 | 2 | 12:
            rdata = target
        case 15:
            rdata = dice.randbytes(2) + target
        case 33:
            rdata = dice.randbytes(6) + target
        case 6:
            rdata = target + random_name(dice, asked) + struct.pack("!5I", 1, 2, 3, 4, 20)
        case 16:
            rdata = txt_rdata(dice.randbytes(dice.randrange(600)))
        case _:
            rdata = dice.randbytes(dice.randrange(80))
    return Record(name, kind, ttl, rdata)


def random_reply(dice: random.Random, query: Message) -> Message:
    assert query.question is not None
    asked = query.question.name

    def some(most: int) -> list[Record]:
        return [random_record(dice, asked) for _ in range(dice.randrange(most))]

    answer = some(5)
    if dice.random() < 0.7:
        kind = query.question.type
        answer = [Record(asked, 5, 60, from_text("web.example.org."))] if dice.random() < 0.3 else []
        owner = from_text("web.example.org.") if answer else asked
        size = {1: 4, 28: 16}.get(kind, 9)
        answer += [
            Record(owner, kind, 60, dice.randbytes(size)) for _ in range(dice.randrange(1, 40)) if kind in {1, 28}
        ]
    code = dice.choice([0, 0, 0, 0, 2, 3, 4, 5])
    authority = [SOA] if dice.random() < 0.4 else some(3)
    return reply(
        query, [] if code else answer, code | dice.choice([0, AD, 0x400]), authority=authority, additional=some(3)
    )


def shown(wire: bytes) -> tuple[bytes, list[tuple[object, ...]]]:
    """Header, question and records, with every letter as it is; not how names were compressed."""
    message = read_message(wire)
    sections = [[tuple(r) for r in s] for s in (message.answer, message.authority, message.additional)]
    return wire[:12], [tuple(message.question or ()), tuple(message.edns or ()), *map(tuple, sections)]


@pytest.mark.parametrize("seed", range(4))
def test_kept_answers_are_byte_for_byte_what_the_plugins_say(seed: int) -> None:
    dice = random.Random(seed)
    plugins = dice.choice(
        ["cache 30", "cache 3600 {\nprefetch 2 1m 50%\n}", "cache 30 {\nserve_stale 30s\n}", "bufsize 1400\ncache"]
    )
    server = always(lambda q: random_reply(dice, q), f"errors\n{plugins}", "fast")
    # What only the plugins say; the same upstream, so a question goes to it once and then to neither.
    compared = 0
    for number in range(400):
        kind = dice.choice(("A", "AAAA", "CNAME", "MX", "TXT", "SRV", "NS", "SOA", "TYPE65280"))
        edns = dice.choice([None, {"udp_size": 4096}, {"udp_size": 1232, "do": True}, {"udp_size": 100}])
        name = dice.choice([f"n{number}.example.org", f"N{number}.Example.org", f"{'y' * 63}.{'z' * 63}.n{number}.org"])
        query = query_bytes({"qname": name, "qtype": kind} | ({"edns": edns} if edns else {}))
        first = dice.choice((name, name.title(), name.lower()))
        server.ask_bytes(query_bytes({"qname": first, "qtype": kind} | ({"edns": edns} if edns else {})))
        server.ask_bytes(query)
        for _ in range(3):
            server.world.time += dice.choice((0, 0.3, 1, 4.9, 12, 31))
            asked = bytearray(query)
            asked[2:4] = dice.choice((0x0100, 0, 0x0120)).to_bytes(2, "big")
            fast, _refresh = server.table.answer_and_refresh(bytes(asked), 1, server.world.time)
            before = len(server.upstream.asked)
            slow = server.server.ask(bytes(asked))[0]
            while server.world.background:
                server.world.background.pop().close()
            if fast and name.islower():
                assert fast.hex() == slow.hex()
            elif fast:
                assert shown(fast) == shown(slow)
            if fast:
                assert len(server.upstream.asked) == before, "given although its time is over"
                compared += 1
    assert compared > 250


def test_the_table_refuses_answers_that_do_not_keep_to_their_length() -> None:
    server = always(lambda q: reply(q, [address(q), address(q, 2)]), "cache", "fast")
    taken: list[bytes] = []
    assert server.kept is not None
    keep = server.table.keep
    server.table.keep = lambda packed: taken.append(packed) or keep(packed)  # type: ignore[method-assign, func-returns-value]
    server.warm("www.test")
    good = taken[0]
    server.table.forget(from_text("www.test."), 1, 0)
    refused = 0
    for at in range(len(good)):
        for value in (0, 0x7F, 0xFF):
            broken = good[:at] + bytes((value,)) + good[at + 1 :]
            try:
                keep(broken)
            except MemoryError:
                refused += 1
            server.table.answer(query_bytes({"qname": "www.test", "qtype": "A"}), 1, server.world.time)
    for size in range(len(good)):
        with pytest.raises(MemoryError):
            keep(good[:size])
    assert refused > 20
