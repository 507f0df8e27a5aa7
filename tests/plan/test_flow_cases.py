"""Every shown flow, answered by the plan and by a walk through the items, without a kernel."""

from __future__ import annotations

import pytest

import flow_cases
from flow_cases import Case, Flow, Round
from planned import Node

CASES = flow_cases.cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_plan_and_items_send_every_flow_where_the_case_says(case: Case) -> None:
    for number, one in enumerate(case.rounds):
        node = Node.of(flow_cases.state_of(one.objects), case.view())
        for flow in flow_cases.nftables_flows(case, one):
            judge(f"round {number}, {flow.name}", case, flow, node)


def judge(label: str, case: Case, flow: Flow, node: Node) -> None:
    answer = node.answer(flow.packet)
    assert answer.agrees, (label, answer.disagreement)
    verdict = "to" if answer.verdict.value == "forward" else answer.verdict.value
    if flow_cases.is_guarded(case, flow):
        assert verdict in ("untouched", "reject", "drop"), label
        return
    assert verdict == flow.verdict, (label, answer.steps)
    targets = {f"[{b.address}]:{b.port}" if ":" in b.address else f"{b.address}:{b.port}" for b in answer.backends}
    assert targets == flow.targets, label
    assert {b.masquerade for b in answer.backends} <= {flow.masquerade}, label
    assert len({b.probability for b in answer.backends}) <= 1, label


def test_no_case_is_empty() -> None:
    flows = sum(len(list(flow_cases.nftables_flows(c, r))) for c in CASES for r in c.rounds)
    assert flows >= 290, flows


def test_a_round_replaces_all_objects() -> None:
    """The same planner, fed only what changed between rounds, ends where a fresh one starts."""
    for case in CASES:
        node = Node.of(flow_cases.state_of(case.rounds[0].objects), case.view())
        before: Round = case.rounds[0]
        for after in case.rounds[1:]:
            node.replace(before.objects, after.objects)
            fresh = Node.of(flow_cases.state_of(after.objects), case.view())
            assert node.plan() == fresh.plan(), case.name
            before = after
