"""Finished answers equal what the plugins say, in any state and after any change."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import dns.message
import pytest

from dns_cases import query_bytes
from dns_world import MemoryServer, endpoint_slice, namespace, service
from fairway.agents.feed import Change
from fairway.config.corefile_settings import KubernetesSettings
from fairway.dns import rows
from fairway.dns.answers import FastAnswers
from fairway.dns.fast_rules import fast_rules
from fairway.io.dns.fast import NativeTable, load
from fairway.values.names import ObjectName

pytestmark = pytest.mark.skipif(load() is None, reason="the C part was not built: no compiler")

COREFILE = """.:53 {
    kubernetes cluster.local example.local in-addr.arpa ip6.arpa {
        pods insecure
        ttl 30
    }
}
"""
TYPES = ("A", "AAAA", "SRV", "PTR", "CNAME", "MX", "TXT", "NS", "SOA", "HTTPS", "ANY", "NAPTR", "CAA")
PORTS = (
    [{"name": "http", "protocol": "TCP", "port": 80}],
    [{"protocol": "UDP", "port": 53}],
    [{"name": "dns", "protocol": "UDP", "port": 53}, {"name": "dns", "protocol": "TCP", "port": 53}],
    [{"name": "a", "protocol": "TCP", "port": 1}, {"name": "b", "protocol": "TCP", "port": 2}],
    [],
)


def random_service(dice: random.Random, number: int) -> dict[str, Any]:
    name, space = f"svc-{number}", dice.choice(("default", "shop", "gone"))
    kind, ports = dice.randrange(5), dice.choice(PORTS)
    if kind == 0:
        return service(name, "", space, type="ExternalName", externalName="example.org", ports=ports)
    if kind == 1:
        return service(name, "None", space, ports=ports)
    addresses = [f"10.0.{dice.randrange(3)}.{number}"] + ([f"fd00::{number:x}"] if kind == 2 else [])
    return service(name, addresses[0], space, clusterIPs=addresses, ports=ports)


def random_slice(dice: random.Random, number: int) -> dict[str, Any]:
    owner = dice.randrange(12)
    prefix = dice.choice(("10.1.0.", "fd01::"))
    one = endpoint_slice(
        f"slice-{number}",
        f"svc-{owner}",
        [f"{prefix}{dice.randrange(1, 9)}" for _ in range(dice.randrange(7))],
        dice.choice(("default", "shop")),
        ports=dice.choice(PORTS),
    )
    for endpoint in one["endpoints"]:
        if dice.random() < 0.3:
            endpoint["hostname"] = f"host-{dice.randrange(3)}"
    return one


def random_names(dice: random.Random) -> list[str]:
    """Names near those that exist: Services, ports, endpoints, pods, search lists, reverse."""
    found = [
        "cluster.local",
        "svc.cluster.local",
        "pod.cluster.local",
        "ns.dns.cluster.local",
        "dns.cluster.local",
        "dns-version.cluster.local",
        "example.org",
        "local",
        "svc.svc.cluster.local",
        ".",
    ]
    for number in range(14):
        for space in ("default", "shop", "gone", "nowhere"):
            for zone in ("cluster.local", "example.local"):
                base = f"svc-{number}.{space}.svc.{zone}"
                found += [
                    base,
                    f"{space}.svc.{zone}",
                    f"_http._tcp.{base}",
                    f"_dns._udp.{base}",
                    f"http.tcp.{base}",
                    f"10-1-0-3.{base}",
                    f"host-1.{base}",
                    f"_a._tcp.{base}",
                    f"a.b.c.{base}",
                    f"x.{base}",
                    f"{base}.default.svc.{zone}",
                    f"{base.title()}",
                    f"1-2-3-4.{space}.pod.{zone}",
                ]
        found += [f"{number}.{third}.0.10.in-addr.arpa" for third in range(3)]
        found += [f"{number}.0.1.10.in-addr.arpa"]
    return dice.sample(found, 160)


def make(dice: random.Random) -> tuple[MemoryServer, FastAnswers]:
    objects = [namespace("default"), namespace("shop")]
    objects += [random_service(dice, i) for i in range(12)] + [random_slice(dice, i) for i in range(16)]
    server = MemoryServer(COREFILE, objects)
    rules = fast_rules(server.chains[0], ())
    assert rules is not None
    return server, FastAnswers(rules.plugin)


def filled(server: MemoryServer, answers: FastAnswers) -> NativeTable:
    library = load()
    assert library is not None
    table = NativeTable(library)
    table.put(answers.everything())
    set_zones(server, answers, table)
    return table


def set_zones(server: MemoryServer, answers: FastAnswers, table: NativeTable) -> None:
    for index, zone in enumerate(answers.zones):
        table.set_zone(index, zone, 1000 + server.state.modified)


def differences(dice: random.Random, server: MemoryServer, table: NativeTable) -> tuple[int, list[str]]:
    """How many queries the table answered, and where it differs from the plugins."""
    answered, wrong = 0, []
    for name in random_names(dice):
        edns = dice.choice((None, {"udp_size": 1232}, {"udp_size": 4096, "do": True}))
        asked = {"qname": name, "qtype": dice.choice(TYPES)} | ({"edns": edns} if edns else {})
        query = query_bytes(asked)
        fast = table.answer(query, seed=dice.getrandbits(60))
        if not fast:
            continue
        answered += 1
        slow = server.ask(query)[0]
        if shape(fast) != shape(slow):
            wrong.append(f"{asked}\n{dns.message.from_wire(fast)}\n--- not\n{dns.message.from_wire(slow)}")
    return answered, wrong


def shape(reply: bytes) -> SimpleNamespace:
    """Everything but the order within sections."""
    message = dns.message.from_wire(reply, one_rr_per_rrset=True)
    sections = [sorted(r.to_text() for r in section) for section in message.sections]
    return SimpleNamespace(
        flags=message.flags, sections=sections, edns=(message.edns, message.ednsflags, message.payload)
    )


@pytest.mark.parametrize("seed", range(12))
def test_the_table_says_what_the_plugins_say(seed: int) -> None:
    dice = random.Random(seed)
    server, answers = make(dice)
    answered, wrong = differences(dice, server, filled(server, answers))
    assert wrong == []
    assert answered > 40


@pytest.mark.parametrize("seed", range(8))
def test_a_mended_table_equals_one_made_anew(seed: int) -> None:
    dice = random.Random(seed)
    server, answers = make(dice)
    table = filled(server, answers)
    server.state.take_touched()
    for _ in range(30):
        change(dice, server)
        touched = server.state.take_touched()
        for space in touched.namespaces:
            table.delete(answers.namespace_keys(space))
            table.put(answers.namespace(space))
        for name in touched.services:
            nodes = list(answers.service(name))
            table.delete(answers.service_keys(name) if not nodes else ())
            table.put(nodes)
        for address in touched.addresses:
            nodes = list(answers.address(address))
            table.delete(answers.address_keys(address) if not nodes else ())
            table.put(nodes)
    set_zones(server, answers, table)
    fresh = filled(server, answers)
    assert (len(table), table.size) == (len(fresh), fresh.size)
    assert differences(dice, server, table)[1] == []


def change(dice: random.Random, server: MemoryServer) -> None:
    state, number = server.state, dice.randrange(12)
    match dice.randrange(4):
        case 0:
            row = rows.SERVICES.decode(random_service(dice, number))
            state.services.apply([Change(row.name, row)])
        case 1:
            name = ObjectName(dice.choice(("default", "shop")), f"svc-{number}")
            state.services.apply([Change(name, None)])
        case 2:
            row = rows.slices().decode(random_slice(dice, number))
            state.slices.apply([Change(row.name, row if dice.random() < 0.7 else None)])
        case 3:
            row = rows.NAMESPACES.decode(namespace(dice.choice(("shop", "gone"))))
            state.namespaces.apply([Change(row.name, row if dice.random() < 0.6 else None)])


def test_nothing_is_answered_before_the_first_zone() -> None:
    library = load()
    assert library is not None
    table = NativeTable(library)
    assert table.answer(query_bytes({"qname": "svc-1.default.svc.cluster.local", "qtype": "A"})) == b""


def test_shuffled_addresses_all_come_first_at_some_time() -> None:
    server = MemoryServer(
        COREFILE,
        [
            namespace("default"),
            service("web", "None"),
            endpoint_slice("web-1", "web", [f"10.1.0.{i}" for i in range(1, 5)]),
        ],
    )
    answers = FastAnswers(server.chains[0].kubernetes[0][1], shuffles=True)
    table = filled(server, answers)
    query = query_bytes({"qname": "web.default.svc.cluster.local", "qtype": "A"})
    dice = random.Random(1)
    replies = [table.answer(query, seed=dice.getrandbits(63)) for _ in range(80)]
    firsts = {str(dns.message.from_wire(reply).answer[0][0]) for reply in replies}
    assert firsts == {"10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"}


@pytest.mark.parametrize(
    ("plugins", "qualifies"),
    [
        (
            (
                "errors\nprometheus\nloadbalance\n"
                "cache 30 {\ndisable success cluster.local\ndisable denial cluster.local\n}"
            ),
            True,
        ),
        ("cache 30", False),
        ("log", False),
        ("rewrite name a b", False),
        ("acl {\nblock net 10.0.0.0/8\n}", False),
        ("autopath @kubernetes", False),
        ("hosts {\n1.2.3.4 a.example.org\n}", False),
        ("k8s_external example.org", True),
        ("dns64", False),
    ],
)
def test_only_blocks_whose_answers_are_fixed_qualify(plugins: str, qualifies: bool) -> None:
    server = MemoryServer(f".:53 {{\n{plugins}\nkubernetes cluster.local\n}}\n")
    assert (fast_rules(server.chains[0], ()) is not None) == qualifies


def test_a_block_without_a_cluster_does_not_qualify() -> None:
    assert fast_rules(MemoryServer(".:53 {\nhosts {\n10.0.0.1 a.test\n}\n}\n").chains[0], ()) is None


def test_a_block_inside_the_cluster_zone_is_not_passed_over() -> None:
    server = MemoryServer(".:53 {\nkubernetes cluster.local\n}\nteam.svc.cluster.local:53 {\nwhoami\n}\n")
    assert fast_rules(server.chains[0], server.chains[1].settings.zones) is None
    assert isinstance(server.chains[0].kubernetes[0][0], KubernetesSettings)
