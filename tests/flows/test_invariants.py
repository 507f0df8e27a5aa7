"""What holds for any Services, slices and node: by plan and items alone, and on the kernel with real connections."""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import flow_oracle
from fairway.explain.model import Answer
from fairway.state.tables import State
from fairway.values.packet import Packet
from flow_compare import expected, fed, oracle_of, said, seen, view_of
from flow_driver import Driver, ask, run
from flow_random import BACKEND_PORTS, NODE_PORTS, PORTS, SOURCES, Cluster, clusters
from flow_scenarios import EXPANDERS, Put, difference, node_addresses
from flow_world import World
from planned import Node, packet


def questions(node: Node) -> Iterator[Packet]:
    """Every frontend from every source that could reach it, and its neighbour port."""
    keys = {frontend.key for planned in node.plan().values() for port in planned.ports for frontend in port.frontends}
    for address, protocol, port in sorted(keys):
        for source in ("127.0.0.1",) if address.is_loopback else SOURCES:
            yield packet(source, str(address), port, str(protocol))
            yield packet(source, str(address), port + 1, str(protocol))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(clusters())
def test_plan_and_items_agree_with_the_rules_and_shares_are_equal(cluster: Cluster) -> None:
    node = fed(cluster, cluster.objects)
    oracle = oracle_of(node)
    for question in questions(node):
        answer = node.answer(question)
        assert answer.agrees, (question, answer.disagreement)
        expectation = flow_oracle.expect(cluster.objects, oracle, question)
        assert said(answer) == expected(expectation), (question, answer)
        assert all(isclose(b.probability, 1 / len(answer.backends)) for b in answer.backends), question


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(clusters(), clusters(), st.randoms(use_true_random=False))
def test_the_order_and_history_of_events_do_not_matter(cluster: Cluster, past: Cluster, random) -> None:
    """After another cluster's objects, in any order, with syncs between or not, the plan is that of a fresh start."""
    fresh = fed(cluster, cluster.objects)
    node = Node(State(), view_of(cluster))
    node.replace([], past.objects)
    events = difference(past.objects, cluster.objects)
    random.shuffle(events)
    for event in events:
        if isinstance(event, Put):
            node.replace([], [event.tree])
        else:
            node.replace([event.tree], [])
    assert node.plan() == fresh.plan()
    for question in questions(fresh):
        assert _essence(node.answer(question)) == _essence(fresh.answer(question)), question


def _essence(answer: Answer) -> tuple[object, ...]:
    return answer.verdict, answer.backends, answer.agrees, answer.service_port


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    numbers = {*PORTS, *BACKEND_PORTS, *NODE_PORTS} - {0}
    with World(node_addresses(), {*numbers, *(number + 1 for number in numbers)}) as made, made.entered():
        yield made


@pytest.mark.kernel
@settings(
    deadline=None,
    max_examples=25,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes on a kernel: try the pure tests
    suppress_health_check=[HealthCheck.too_slow],
)
@given(clusters(), st.sampled_from(sorted(EXPANDERS)), st.randoms(use_true_random=False))
def test_real_connections_go_where_the_answer_says(world: World, cluster: Cluster, expander: str, random) -> None:
    run(_compare(world, cluster, expander, random))


async def _compare(world: World, cluster: Cluster, expander: str, random) -> None:
    pure = fed(cluster, cluster.objects)
    asked = list(questions(pure))
    async with Driver(cluster.configuration, [cluster.node]) as driver:
        await driver.feed(EXPANDERS[expander](difference((), cluster.objects)))
        held = driver.held()
        assert held == driver.wanted()
        explainer = driver.explainer(held)
        for question in random.sample(asked, min(len(asked), 12)):
            answer = ask(explainer, question)
            assert answer.agrees, (question, answer.disagreement)
            assert seen(world, question, answer) == said(answer), (question, answer)
