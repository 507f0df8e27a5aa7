"""Any three choices of a Service's fields together, on every kind of node: by the rules, and by real connections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import flow_oracle
from flow_compare import expected, fed, oracle_of, said, seen
from flow_driver import Driver, ask, run
from flow_matrix import BACKEND_PORT, CONFIGURATIONS, Matrix, is_sticky, matrices
from flow_scenarios import at_once, difference, node_addresses
from flow_world import World

NODES = range(len(CONFIGURATIONS))
SAMPLE = 61
"""One in so many flows of each node is a real connection; another set on each."""


@pytest.mark.parametrize("number", NODES)
def test_plan_and_items_agree_with_the_rules(number: int) -> None:
    matrix = matrices()[number]
    node = fed(matrix.cluster, matrix.cluster.objects)
    explainer, oracle = node.explainer(), oracle_of(node)
    for trees, question in matrix.questions:
        answer = ask(explainer, question)
        assert answer.agrees, (question, answer.disagreement)
        assert said(answer) == expected(flow_oracle.expect(trees, oracle, question)), (question, trees)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    ports = {question.port for number, matrix in enumerate(matrices()) for _, question in matrix.sample(number, SAMPLE)}
    with World(node_addresses(), ports | {BACKEND_PORT}) as made, made.entered():
        yield made


@pytest.mark.kernel
@pytest.mark.parametrize("number", NODES)
def test_real_connections_go_where_the_answer_says(number: int, world: World) -> None:
    run(_compare(matrices()[number], number, world))


async def _compare(matrix: Matrix, number: int, world: World) -> None:
    ranges = [tree for tree in matrix.cluster.objects if tree["kind"] == "ServiceCIDR"]
    others = [tree for tree in matrix.cluster.objects if tree["kind"] != "ServiceCIDR"]
    async with Driver(matrix.cluster.configuration, [matrix.cluster.node, *ranges]) as driver:
        await driver.feed(at_once(difference((), others)))
        held = driver.held()
        assert held == driver.wanted()
        explainer = driver.explainer(held)
        for trees, question in matrix.sample(number, SAMPLE):
            answer = ask(explainer, question)
            assert answer.agrees, (question, answer.disagreement)
            found = seen(world, question, answer)
            assert found == said(answer) or is_sticky(trees, found, said(answer)), (question, found, answer)
