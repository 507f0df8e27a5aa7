"""Answers: steps with the object, field and rule that decided; the first place where layers differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from fairway.dataplanes.nftables import layout
from fairway.explain.answer import Explainer
from fairway.explain.model import Answer, Disagreement, Layer, Verdict
from fairway.explain.question import Question
from fairway.values.address import Address, Family
from fairway.values.packet import Packet
from objects import CLUSTER_IP, EXTERNAL_IP, HERE, OUTSIDE, POD, THERE, a_node, endpoint, packet, service, slice_of
from planned import Node

TWO = slice_of(endpoint("10.0.1.1", HERE), endpoint("10.0.1.2", THERE))
TO_WEB = packet(POD, CLUSTER_IP, 80)


class Tables:
    """What is wanted, and a kernel that the test may tamper with."""

    def __init__(self, node: Node) -> None:
        self.wanted: Mapping[str, Mapping[Any, Any]] = node.wanted
        self.kernel = {name: dict(content) for name, content in node.wanted.items()}

    def remembered(self, *_: object) -> None: ...

    def tampered(self, *_: object) -> Sequence[Disagreement]:
        return ()


def live(node: Node, tables: Tables, one: Packet = TO_WEB) -> Answer:
    explainer = Explainer(node.state, {Family.IPV4: node.planner}, {Family.IPV4: tables})
    return explainer.answer(Question(str(one), one))


def rules(answer: Answer) -> list[int]:
    return [step.source.rule for step in answer.steps if step.layer is Layer.PLAN]


def test_each_step_names_object_field_and_rule() -> None:
    answer = a_node(service(), TWO).answer(TO_WEB)
    plan = [step.source for step in answer.steps if step.layer is Layer.PLAN]
    assert [(s.object, s.field, s.rule) for s in plan] == [
        ("Service ns/web", "spec.clusterIPs", 17),
        ("KubeProxyConfiguration", "detectLocalMode", 10),
        ("Service ns/web", "spec.internalTrafficPolicy", 7),
        ("KubeProxyConfiguration", "detectLocalMode", 8),
        ("EndpointSlice of Service ns/web", "endpoints[].conditions.ready", 4),
    ]
    assert answer.service_port == "ns/web:http/tcp"
    assert [(b.endpoint, b.node) for b in answer.backends] == [
        ("EndpointSlice ns/web-1", HERE),
        ("EndpointSlice ns/web-1", THERE),
    ]


def test_a_loser_is_told_who_won() -> None:
    old = service("old", externalIPs=[EXTERNAL_IP], cluster_ips=["172.30.0.9"], created="2020-01-01T00:00:00Z")
    answer = a_node(old, service(externalIPs=[EXTERNAL_IP]), TWO).answer(TO_WEB)
    texts = [step.text for step in answer.steps]
    assert f"this service port also claims {EXTERNAL_IP}:80/tcp, which ns/old:http/tcp holds" in texts


@pytest.mark.parametrize(
    ("one", "verdict", "rule", "reply"),
    [
        (packet(OUTSIDE, CLUSTER_IP, 81), Verdict.REJECT, 17, "the client is told at once: port unreachable"),
        (packet(OUTSIDE, "8.8.8.8", 53), Verdict.UNTOUCHED, 17, ""),
    ],
)
def test_what_is_no_frontend(one: Packet, verdict: Verdict, rule: int, reply: str) -> None:
    answer = a_node(service(), TWO).answer(one)
    assert (answer.verdict, rules(answer)) == (verdict, [rule])
    assert [s.text for s in answer.steps if s.layer is Layer.REPLY] == ([reply] if reply else [])


def test_an_untouched_kernel_agrees() -> None:
    node = a_node(service(), TWO)
    answer = live(node, Tables(node))
    assert answer.agrees
    assert answer.layers == (Layer.PLAN, Layer.ITEMS, Layer.KERNEL)


def test_a_deleted_element_is_named() -> None:
    node = a_node(service(), TWO)
    tables = Tables(node)
    tables.kernel[layout.FRONTENDS].clear()
    answer = live(node, tables)
    assert not answer.agrees
    assert answer.verdict is Verdict.FORWARD
    assert answer.disagreement is not None
    assert answer.disagreement.between == (Layer.ITEMS, Layer.KERNEL)
    assert answer.disagreement.what == f"frontends[{CLUSTER_IP} . tcp . 80]"
    assert answer.disagreement.found == "no element"


def test_a_redirected_backend_is_named() -> None:
    node = a_node(service(), TWO)
    tables = Tables(node)
    key = min(tables.kernel[layout.BACKENDS])
    tables.kernel[layout.BACKENDS][key] = layout.address_data(Address.parse("6.6.6.6"), 666)
    found = live(node, tables).disagreement
    assert found is not None
    assert (found.what, found.expected, found.found) == ("backends[0 . svc 2]", "10.0.1.1:8080", "6.6.6.6:666")


def test_a_frontend_added_behind_our_back_is_named() -> None:
    node = a_node(service(), TWO)
    tables = Tables(node)
    key = layout.frontend_key(*packet(OUTSIDE, "8.8.8.8", 53)[1:4])
    tables.kernel[layout.FRONTENDS][key] = layout.Dispatch(2, layout.Policy.PICK, 0).pack()
    answer = live(node, tables, packet(OUTSIDE, "8.8.8.8", 53))
    assert (answer.agrees, answer.verdict) == (False, Verdict.UNTOUCHED)


def test_a_missing_hairpin_is_a_difference_of_the_backend() -> None:
    node = a_node(service(), slice_of(endpoint(POD, HERE)))
    tables = Tables(node)
    tables.kernel[layout.HAIRPIN].clear()
    found = live(node, tables).disagreement
    assert found is not None
    assert (found.what, found.found) == (f"backend {POD} port 8080", "probability 1.000000, source kept")


def test_a_family_that_this_node_does_not_serve_is_untouched() -> None:
    answer = a_node(service(), TWO).answer(packet("fd00::1", "fd00:96::1", 80))
    assert (answer.verdict, answer.agrees, answer.backends) == (Verdict.UNTOUCHED, True, ())
    assert [step.text for step in answer.steps] == ["this node serves no IPv6: left to its routes"]


def test_an_answer_is_one_json_object_with_a_schema() -> None:
    answer = msgspec.to_builtins(a_node(service(), TWO).answer(TO_WEB))
    assert answer["schema"] == "fairway.explain/v1"
    assert {"verdict", "backends", "steps", "agrees"} <= answer.keys()
    assert {"address", "port", "probability", "masquerade"} <= answer["backends"][0].keys()
