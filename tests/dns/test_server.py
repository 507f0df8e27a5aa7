"""Plugins do what their lines say."""

from __future__ import annotations

from typing import Any

import dns.message
import dns.rcode
import pytest

from dns_cases import query_bytes
from dns_world import MemoryServer, MemoryWorld, ScriptedUpstream, namespace, service
from fairway.dns.model import Transport
from fairway.dns.server import Peer

ANSWERS = [
    {"qname": "www.example.org.", "qtype": "A", "rcode": "NOERROR", "answer": [["www.example.org.", "A", "192.0.2.1"]]},
    {"qname": "v4.example.org.", "qtype": "A", "rcode": "NOERROR", "answer": [["v4.example.org.", "A", "192.0.2.9"]]},
]


def ask(server: MemoryServer, name: str, kind: str = "A", peer: Peer | None = None, **more: Any) -> dns.message.Message:
    replies = server.ask(query_bytes({"qname": name, "qtype": kind, **more}), peer)
    return dns.message.from_wire(replies[0])


def texts(reply: dns.message.Message) -> list[str]:
    return [f"{r.name} {dns.rdatatype.to_text(r.rdtype)} {d}" for r in reply.answer for d in r]


def server_of(plugins: str, upstream: ScriptedUpstream | None = None) -> MemoryServer:
    return MemoryServer(f".:53 {{\n{plugins}\n}}\n", (), MemoryWorld(upstream or ScriptedUpstream(ANSWERS)))


def test_rewritten_names_come_back_as_they_were_asked() -> None:
    server = server_of("rewrite name suffix .shop.test .example.org answer auto\nforward . 192.0.2.53")
    assert texts(ask(server, "www.shop.test")) == ["www.shop.test. A 192.0.2.1"]


def test_a_rewritten_type_asks_for_the_other_one() -> None:
    server = server_of("rewrite type AAAA A\nforward . 192.0.2.53")
    assert texts(ask(server, "www.example.org", "AAAA")) == ["www.example.org. A 192.0.2.1"]


def test_a_template_fills_groups_in() -> None:
    server = server_of(
        "template IN A example.test {\n"
        "match ^ip-(?P<a>[0-9]+)-(?P<b>[0-9]+)[.]example[.]test[.]$\n"
        'answer "{{ .Name }} 60 IN A 10.0.{{ .Group.a }}.{{ .Group.b }}"\n'
        "fallthrough\n}\nforward . 192.0.2.53"
    )
    assert texts(ask(server, "ip-3-4.example.test")) == ["ip-3-4.example.test. A 10.0.3.4"]
    assert ask(server, "other.example.test").rcode() == dns.rcode.NXDOMAIN


def test_hosts_answer_both_ways_and_pass_the_rest_on() -> None:
    server = server_of("hosts {\n10.9.9.9 db.test cache.test\nfallthrough\n}\nforward . 192.0.2.53")
    assert texts(ask(server, "db.test")) == ["db.test. A 10.9.9.9"]
    assert texts(ask(server, "9.9.9.10.in-addr.arpa", "PTR")) == [
        "9.9.9.10.in-addr.arpa. PTR db.test.",
        "9.9.9.10.in-addr.arpa. PTR cache.test.",
    ]
    assert texts(ask(server, "www.example.org")) == ["www.example.org. A 192.0.2.1"]


def test_an_access_list_blocks_filters_and_drops() -> None:
    server = server_of(
        "acl {\nallow net 10.0.0.1/32\nblock type A net 10.0.0.0/8\nfilter type MX net *\n"
        "drop net 192.168.0.0/16\n}\nforward . 192.0.2.53"
    )
    assert ask(server, "www.example.org", peer=Peer(client=bytes((10, 0, 0, 1)))).rcode() == dns.rcode.NOERROR
    assert ask(server, "www.example.org", peer=Peer(client=bytes((10, 0, 0, 2)))).rcode() == dns.rcode.REFUSED
    assert texts(ask(server, "www.example.org", "MX")) == []
    query = query_bytes({"qname": "www.example.org", "qtype": "A"})
    assert server.ask(query, Peer(client=bytes((192, 168, 0, 1)))) == []


def test_ipv6_clients_get_addresses_made_from_ipv4() -> None:
    server = server_of("dns64\nforward . 192.0.2.53")
    client = bytes.fromhex("fd00" + "00" * 13 + "01")
    reply = ask(server, "v4.example.org", "AAAA", Peer(client=client))
    assert texts(reply) == ["v4.example.org. AAAA 64:ff9b::c000:209"]
    assert texts(ask(server, "v4.example.org", "AAAA")) == []


def test_any_is_answered_with_one_record() -> None:
    assert [r.rdtype for r in ask(server_of("any\nforward . 192.0.2.53"), "www.example.org", "ANY").answer] == [13]


def test_nsid_is_given_to_whoever_asks() -> None:
    server = server_of("nsid dns-1\nforward . 192.0.2.53")
    reply = ask(server, "www.example.org", edns={"udp_size": 1232, "options": {"3": ""}})
    assert [(o.otype, o.to_wire()) for o in reply.options] == [(3, b"dns-1")]


def test_too_many_concurrent_queries_are_refused() -> None:
    server = server_of("errors\nforward . 192.0.2.53 {\nmax_concurrent 1\n}")
    server.chains[0].forwards[0].concurrent = 1
    assert ask(server, "www.example.org").rcode() == dns.rcode.REFUSED
    assert "concurrent queries exceeded maximum 1" in server.world.lines[0]


def test_a_dead_upstream_is_servfail_and_a_stale_answer_is_better() -> None:
    upstream = ScriptedUpstream(ANSWERS)
    server = server_of("cache 30 {\nserve_stale 1h\n}\nforward . 192.0.2.53", upstream)
    assert texts(ask(server, "www.example.org")) == ["www.example.org. A 192.0.2.1"]
    upstream.is_dead = True
    server.world.time += 100
    stale = ask(server, "www.example.org")
    assert (texts(stale), stale.answer[0].ttl) == (["www.example.org. A 192.0.2.1"], 0)
    server.world.run_background()
    assert ask(server, "v4.example.org").rcode() == dns.rcode.SERVFAIL


def test_popular_names_are_fetched_before_they_expire() -> None:
    upstream = ScriptedUpstream(ANSWERS)
    server = server_of("cache 30 {\nprefetch 2 1m 50%\n}\nforward . 192.0.2.53", upstream)
    for _ in range(4):
        ask(server, "www.example.org")
        server.world.time += 6
    server.world.run_background()
    server.world.time += 10
    assert ask(server, "www.example.org").answer[0].ttl > 15
    assert len(upstream.asked) == 2


def test_a_zone_is_transferred_whole_and_only_over_tcp() -> None:
    objects = [namespace("default"), *(service(f"s{i}", f"10.2.{i // 250}.{i % 250 + 1}") for i in range(900))]
    server = MemoryServer(".:53 {\ntransfer {\nto *\n}\nkubernetes cluster.local\n}\n", objects)
    query = query_bytes({"qname": "cluster.local", "qtype": "AXFR"})
    assert dns.message.from_wire(server.ask(query)[0]).rcode() == dns.rcode.REFUSED
    replies = server.ask(query, Peer(Transport.TCP))
    assert len(replies) > 1
    records = [r for data in replies for r in dns.message.from_wire(data, xfr=True, one_rr_per_rrset=True).answer]
    assert [records[0].rdtype, records[-1].rdtype] == [6, 6]
    assert sum(r.rdtype == 1 for r in records) == 900


def test_the_zone_nearest_to_the_name_hands_itself_over() -> None:
    objects = [namespace("default"), service("web", "10.2.0.1")]
    rules = "transfer . {\nto 10.0.0.1\n}\ntransfer cluster.local {\nto 10.0.0.2:54\n}\n"
    server = MemoryServer(f".:53 {{\n{rules}kubernetes cluster.local\n}}\n", objects)
    query = query_bytes({"qname": "cluster.local", "qtype": "AXFR"})
    codes = [
        dns.message.from_wire(server.ask(query, Peer(Transport.TCP, bytes([10, 0, 0, host])))[0], xfr=True).rcode()
        for host in (1, 2)
    ]
    assert codes == [dns.rcode.REFUSED, dns.rcode.NOERROR]


def test_the_zone_nearest_to_a_name_answers_whichever_file_comes_first() -> None:
    zone = "@ 60 SOA ns a 1 2 3 4 5\n@ 60 NS ns\nwww 60 A 10.0.0.{}\n*.sub 60 A 10.0.0.{}\n"
    server = MemoryServer(
        ".:53 {\nfile outer a.test\nfile inner sub.a.test\n}\n",
        zone_files={"outer": zone.format(1, 2), "inner": zone.format(3, 4)},
    )
    assert texts(ask(server, "www.a.test")) == ["www.a.test. A 10.0.0.1"]
    assert texts(ask(server, "www.sub.a.test")) == ["www.sub.a.test. A 10.0.0.3"]


def test_the_first_log_rule_of_a_zone_decides() -> None:
    server = server_of(
        'log a.test b.test "1 {name}" {\nclass error\n}\nlog . "2 {name}"\nhosts {\n10.0.0.1 www.b.test c.test\n}'
    )
    for name in ("www.b.test", "nothing.b.test", "c.test"):
        ask(server, name)
    assert server.world.lines == ["1 nothing.b.test.", "2 c.test."]


def test_who_answers_is_said_in_class_ch_alone() -> None:
    server = server_of("chaos v1 b a\nforward . 192.0.2.53")
    said = {
        name: sorted(texts(ask(server, name, "TXT", qclass="CH")))
        for name in ("version.bind", "hostname.bind", "authors.bind")
    }
    assert said == {
        "version.bind": ['version.bind. TXT "v1"'],
        "hostname.bind": ['hostname.bind. TXT "node-a"'],
        "authors.bind": ['authors.bind. TXT "a"', 'authors.bind. TXT "b"'],
    }
    assert ask(server, "version.bind", "TXT").rcode() == dns.rcode.NXDOMAIN


def test_hosts_know_wildcards_and_fail_for_what_is_not_listed() -> None:
    server = server_of("hosts {\n10.9.9.9 *.wild.test\nfd00::9 a.wild.test\n}")
    assert texts(ask(server, "x.wild.test")) == ["x.wild.test. A 10.9.9.9"]
    assert texts(ask(server, "a.wild.test")) == ["a.wild.test. A 10.9.9.9"]
    assert ask(server, "a.b.wild.test").rcode() == dns.rcode.SERVFAIL
    assert ask(server, "other.test").rcode() == dns.rcode.SERVFAIL


def test_a_stale_answer_has_the_ttl_that_the_corefile_gives_it() -> None:
    upstream = ScriptedUpstream(ANSWERS)
    server = server_of("cache 30 {\nserve_stale 1h immediate 9s 1m\n}\nforward . 192.0.2.53", upstream)
    ask(server, "www.example.org")
    upstream.is_dead = True
    server.world.time += 100
    assert ask(server, "www.example.org").answer[0].ttl == 9
    server.world.run_background()
    assert len(upstream.asked) == 3  # a failed refresh tries each upstream twice
    assert ask(server, "www.example.org").answer[0].ttl == 9
    assert not server.world.background  # and is not tried again within a minute


def test_an_old_answer_is_better_than_a_new_denial_if_so_configured() -> None:
    answers = list(ANSWERS)
    upstream = ScriptedUpstream(answers)
    server = server_of(
        "cache 30 {\nserve_stale 1h verify\nserve_stale_policy prefer_positive\n}\nforward . 192.0.2.53", upstream
    )
    ask(server, "www.example.org")
    answers.clear()
    server.world.time += 100
    assert texts(ask(server, "www.example.org")) == ["www.example.org. A 192.0.2.1"]


def test_a_failure_is_remembered_for_as_long_as_servfail_says() -> None:
    upstream = ScriptedUpstream(ANSWERS)
    upstream.is_dead = True
    server = server_of("cache {\nservfail 20s\n}\nforward . 192.0.2.53", upstream)
    assert ask(server, "www.example.org").rcode() == dns.rcode.SERVFAIL
    upstream.is_dead = False
    server.world.time += 19
    assert ask(server, "www.example.org").rcode() == dns.rcode.SERVFAIL
    server.world.time += 2
    assert texts(ask(server, "www.example.org")) == ["www.example.org. A 192.0.2.1"]


def test_only_options_that_a_plugin_knows_are_sent_back() -> None:
    edns = {"udp_size": 1232, "options": {"10": "0102030405060708", "65001": "00"}}
    plain, knowing = (
        server_of(""),
        server_of("rewrite edns0 local append 65001 x\nhosts {\n10.0.0.1 www.example.org\n}"),
    )
    assert ask(plain, "www.example.org", edns=edns).options == ()
    assert {int(o.otype) for o in ask(knowing, "www.example.org", edns=edns).options} == {65001}


ZONE = """@ 60 IN SOA ns admin 1 2 3 4 5
@ IN NS ns
ns IN A 10.7.0.1
www IN A 10.7.0.3
alias IN CNAME www
out IN CNAME www.example.org.
*.wild IN A 10.7.0.5
a.b.c IN A 10.7.0.7
child IN NS ns.child
ns.child IN A 10.7.1.1
moved IN DNAME target
www.target IN A 10.7.0.8
_sip._tcp IN SRV 1 2 5060 www
"""


@pytest.mark.parametrize(
    ("name", "kind", "expected", "authority"),
    [
        ("alias", "A", ["alias.zone.test. CNAME www.zone.test.", "www.zone.test. A 10.7.0.3"], "NS"),
        ("out", "A", ["out.zone.test. CNAME www.example.org.", "www.example.org. A 192.0.2.1"], "NS"),
        ("x.wild", "A", ["x.wild.zone.test. A 10.7.0.5"], "NS"),
        ("b.c", "A", ["NOERROR"], "SOA"),
        ("x.child", "A", ["NOERROR"], "NS"),
        ("www.moved", "A", ["moved.zone.test. DNAME target.zone.test.",
                            "www.moved.zone.test. CNAME www.target.zone.test.",
                            "www.target.zone.test. A 10.7.0.8"], "NS"),
        ("nothing", "A", ["NXDOMAIN"], "SOA"),
        ("_sip._tcp", "SRV", ["_sip._tcp.zone.test. SRV 1 2 5060 www.zone.test."], "NS"),
    ],
)  # fmt: skip
def test_a_zone_file_answers(name: str, kind: str, expected: list[str], authority: str) -> None:
    server = MemoryServer(
        ".:53 {\nfile db zone.test\nforward . 192.0.2.53\n}\n",
        (),
        MemoryWorld(ScriptedUpstream(ANSWERS)),
        zone_files={"db": ZONE},
    )
    reply = ask(server, f"{name}.zone.test", kind)
    assert (texts(reply) or [dns.rcode.to_text(reply.rcode())]) == expected
    assert {dns.rdatatype.to_text(r.rdtype) for r in reply.authority} == {authority}


def test_errors_that_match_are_said_once_a_period() -> None:
    upstream = ScriptedUpstream(ANSWERS)
    upstream.is_dead = True
    server = server_of("errors {\nconsolidate 1m .*answer warning show_first\n}\nforward . 192.0.2.53", upstream)
    for _ in range(3):
        ask(server, "www.example.org")
    assert [line.split()[0] for line in server.world.lines] == ["[WARNING]"]
    server.world.time += 61
    ask(server, "www.example.org")
    assert "4 errors like '.*answer' occurred in last 60s" in server.world.lines[-1]
