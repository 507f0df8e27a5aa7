"""What `rewrite` lines do to questions and answers, as the real CoreDNS does it (tests/peers/test_coredns.py)."""

from __future__ import annotations

from typing import Any

import dns.message
import dns.rcode
import pytest

from dns_cases import query_bytes
from dns_world import MemoryServer, MemoryWorld, ScriptedUpstream
from fairway.config.corefile_servers import read_corefile
from fairway.values.errors import ConfigError

ANSWERS = [
    {"qname": "www.up.test.", "qtype": "A", "rcode": "NOERROR", "answer": [["www.up.test.", "A", "192.0.2.1"]]},
    {"qname": "v4.up.test.", "qtype": "A", "rcode": "NOERROR", "answer": [["v4.up.test.", "A", "192.0.2.9"]]},
    {
        "qname": "alias.up.test.",
        "qtype": "A",
        "rcode": "NOERROR",
        "answer": [["alias.up.test.", "CNAME", "www.up.test."], ["www.up.test.", "A", "192.0.2.1"]],
    },
    {
        "qname": "mail.up.test.",
        "qtype": "MX",
        "rcode": "NOERROR",
        "answer": [["mail.up.test.", "MX", "10", "mx.up.test."]],
    },
    {"qname": "fails.up.test.", "qtype": "A", "rcode": "SERVFAIL", "answer": []},
]


def answers(rules: str, name: str, kind: str = "A", **more: Any) -> list[str]:
    """What is answered: `owner ttl type data`, or the code when nothing is."""
    lines = "\n".join(f"rewrite {rule}" for rule in rules.split(" ; "))
    world = MemoryWorld(ScriptedUpstream(ANSWERS))
    server = MemoryServer(f".:53 {{\n{lines}\nforward . 192.0.2.53\n}}\n", (), world)
    reply = dns.message.from_wire(server.ask(query_bytes({"qname": name, "qtype": kind, **more}))[0])
    assert str(reply.question[0].name).lower() == f"{name.lower()}."
    found = [f"{r.name} {r.ttl} {dns.rdatatype.to_text(r.rdtype)} {d}" for r in reply.answer for d in r]
    return found or [dns.rcode.to_text(reply.rcode())]


@pytest.mark.parametrize(
    ("rules", "name", "kind", "expected"),
    [
        ("name www.shop.test www.up.test", "www.shop.test", "A", ["www.shop.test. 60 A 192.0.2.1"]),
        ("name www.shop.test www.up.test", "WWW.Shop.Test", "A", ["www.shop.test. 60 A 192.0.2.1"]),
        ("name suffix .shop.test .up.test", "www.shop.test", "A", ["www.up.test. 60 A 192.0.2.1"]),
        ("name suffix .shop.test .up.test answer auto", "www.shop.test", "A", ["www.shop.test. 60 A 192.0.2.1"]),
        (
            "name suffix .shop.test .up.test answer auto",
            "mail.shop.test",
            "MX",
            ["mail.shop.test. 60 MX 10 mx.shop.test."],
        ),
        (
            "name suffix .shop.test .up.test answer auto",
            "alias.shop.test",
            "A",
            ["alias.shop.test. 60 CNAME www.shop.test.", "www.shop.test. 60 A 192.0.2.1"],
        ),
        (
            r"name regex (.*)\.shop\.test {1}.up.test answer name (.*)\.up\.test {1}.shop.test",
            "www.shop.test",
            "A",
            ["www.shop.test. 60 A 192.0.2.1"],
        ),
        ("name substring shop up answer auto", "www.shop.test", "A", ["www.shop.test. 60 A 192.0.2.1"]),
        ("name prefix my. www. answer auto", "my.up.test", "A", ["my.up.test. 60 A 192.0.2.1"]),
        (
            "continue name suffix .shop.test .mid.test answer auto ; name suffix .mid.test .up.test answer auto",
            "www.shop.test",
            "A",
            ["www.shop.test. 60 A 192.0.2.1"],
        ),
        ("stop name a.test www.up.test ; name www.up.test v4.up.test", "a.test", "A", ["a.test. 60 A 192.0.2.1"]),
        ("ttl www.up.test 7", "www.up.test", "A", ["www.up.test. 7 A 192.0.2.1"]),
        ("ttl suffix up.test 100-", "www.up.test", "A", ["www.up.test. 100 A 192.0.2.1"]),
        ("ttl regex ^www -30", "www.up.test", "A", ["www.up.test. 30 A 192.0.2.1"]),
        ("ttl other.test 7", "www.up.test", "A", ["www.up.test. 60 A 192.0.2.1"]),
        ("rcode fails.up.test SERVFAIL NXDOMAIN", "fails.up.test", "A", ["NXDOMAIN"]),
        ("rcode regex .* 2 5", "fails.up.test", "A", ["REFUSED"]),
        (
            "cname exact www.up.test v4.up.test",
            "alias.up.test",
            "A",
            ["alias.up.test. 60 CNAME v4.up.test.", "v4.up.test. 60 A 192.0.2.9"],
        ),
        ("type AAAA A", "www.up.test", "AAAA", ["www.up.test. 60 A 192.0.2.1"]),
    ],
)
def test_rules(rules: str, name: str, kind: str, expected: list[str]) -> None:
    assert answers(rules, name, kind) == expected


class Spy(ScriptedUpstream):
    """Remembers the EDNS options that it was asked with."""

    options: tuple[tuple[int, bytes], ...] = ()

    async def exchange(self, query: Any, *, stream: bool, seconds: float) -> Any:
        self.options = query.edns.options if query.edns is not None else ()
        return await super().exchange(query, stream=stream, seconds=seconds)


@pytest.mark.parametrize(
    ("rule", "sent"),
    [
        ("local set 0xffee 0x6162", ((3, b""), (0xFFEE, b"ab"))),
        ("local append 0xffee ab", ((3, b""), (0xFFEE, b"ab"))),
        ("local replace 0xffee ab", ((3, b""),)),
        ("local unset 3", ()),
        ("nsid unset", ()),
        ("local set 0xffee {qname}", ((3, b""), (0xFFEE, b"www.up.test."))),
        ("local set 0xffee {client_ip}", ((3, b""), (0xFFEE, b"\x7f\0\0\1"))),
        ("subnet set 20 56", ((3, b""), (8, b"\0\1\x14\0\x7f\0\0"))),
    ],
)
def test_edns_options_reach_the_upstream(rule: str, sent: tuple[tuple[int, bytes], ...]) -> None:
    spy = Spy(ANSWERS)
    server = MemoryServer(f".:53 {{\nrewrite edns0 {rule}\nforward . 192.0.2.53\n}}\n", (), MemoryWorld(spy))
    server.ask(query_bytes({"qname": "www.up.test", "qtype": "A", "edns": {"options": {"3": ""}}}))
    assert spy.options == sent


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("name regex ( x", "is not a regular expression"),
        ("name regex ^a {1}", "uses 1 groups"),
        ("name exact a b answer auto answer name x y", "'answer auto' cannot stand beside 'answer name'"),
        ("ttl a.test 9-3", "is not a TTL or a range"),
        ("rcode a.test NOPE NOERROR", "is not one of"),
        ("edns0 local set 0x1ffff x", "is not in the range"),
        ("edns0 subnet set 33 1", "is not in the range"),
        ("edns0 local set 1 {nonsense}", "is not one of"),
        ("nothing a b", "unknown field 'nothing'"),
    ],
)
def test_a_broken_rule_is_named_with_its_line(rule: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"Corefile:2: rewrite: .*{problem}"):
        read_corefile(f".:53 {{\n rewrite {rule}\n}}\n", "Corefile", {})
