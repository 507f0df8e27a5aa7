"""Every recorded query gets the recorded answer: from the plugins, and from finished answers wherever there is one."""

from __future__ import annotations

import dns.message
import pytest

from dns_cases import CASES, Case, faults, peer_of, query_bytes, server_of
from fairway.dns.answers import FastAnswers
from fairway.dns.fast_rules import fast_rules
from fairway.io.dns.fast import NativeTable, load


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_recorded_answers(case: Case) -> None:
    server, wrong = server_of(case), []
    for query in case["queries"]:
        server.world.time += query.get("after_s", 0)
        serial = None
        if query.get("ixfr_serial") == "current":
            soa = dns.message.from_wire(server.ask(query_bytes({"qname": query["qname"], "qtype": "SOA"}))[0])
            serial = soa.answer[0][0].serial
        replies = server.ask(query_bytes(query, serial), peer_of(case, query))
        wrong += [f"{query['qname']} {query['qtype']}: {fault}" for fault in faults(case, query, replies)]
    assert wrong == []


@pytest.mark.skipif(load() is None, reason="the C part was not built: no compiler")
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_recorded_answers_from_the_table(case: Case) -> None:
    server, wrong = server_of(case), []
    rules = fast_rules(server.chains[0], ())
    library = load()
    if rules is None or not case["config"].get("synced", True):
        return
    assert library is not None
    table, answers = NativeTable(library), FastAnswers(rules.plugin)
    table.put(answers.everything())
    for index, zone in enumerate(answers.zones):
        table.set_zone(index, zone, 1000)
    for query in case["queries"]:
        if query.get("transport") == "tcp" or query.get("ignored"):
            continue
        reply = table.answer(query_bytes(query))
        if reply:
            wrong += [f"{query['qname']} {query['qtype']}: {fault}" for fault in faults(case, query, [reply])]
    assert wrong == []
