"""Judges a node by its flows: what plan, items and the dumped kernel say of a packet, and where real packets go."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairway.explain.model import Answer, Verdict
from fairway.values.address import Address
from flow_driver import Driver, ask
from flow_scenarios import Check, Scenario, health_check_ports, node_addresses
from flow_world import Outcome, Place, Seen, World

_MISS = 1e-9
"""How likely it may be that one of several backends was just never drawn."""
_AFFINITY_TRIES = 6
_GUARDED = {Seen.UNTOUCHED, Seen.REJECTED, Seen.DROPPED}


class Tally:
    """What went through the kernel in this test run; printed at its end."""

    flows = 0
    connections = 0


def judge(label: str, checks: Sequence[Check], driver: Driver, world: World) -> None:
    """Every flow goes where it should, by everyone's word and in fact."""
    held = driver.held()
    assert held == driver.wanted(), f"{label}: the kernel does not hold what is wanted"
    explainer = driver.explainer(held)
    for check in checks:
        where = f"{label}: {check.flow.name}: {check.flow.packet}"
        answer = ask(explainer, check.flow.packet)
        assert answer.agrees, (where, answer.disagreement)
        seen = observe(check, world)
        arrived = {(outcome.seen.value, outcome.target) for outcome in seen}
        assert arrived == said(answer) or is_sticky(check, seen), (where, seen, answer)
        assert_expected(where, check, seen)


def said(answer: Answer) -> set[tuple[str, str]]:
    """The answer in the words of outcomes. Backends are equally likely."""
    if answer.verdict is not Verdict.FORWARD:
        return {(answer.verdict.value, "")}
    assert len({round(b.probability, 9) for b in answer.backends}) == 1, answer
    return {(Seen.FORWARDED.value, Address.parse(b.address).with_port(b.port)) for b in answer.backends}


def is_sticky(check: Check, seen: set[Outcome]) -> bool:
    """A client with affinity sees one of the backends only."""
    return "affinity" in check.flow.raw and len(seen) == 1


def observe(check: Check, world: World) -> set[Outcome]:
    """Real connections, as many as it takes to see each backend that there should be."""
    flow, before = check.flow, world.connections
    tries = draws(len(flow.targets))
    if "affinity" in flow.raw:
        tries = _AFFINITY_TRIES
    seen: set[Outcome] = set()
    for _ in range(tries):
        seen.add(world.attempt(flow.packet))
        if "affinity" not in flow.raw and {outcome.target for outcome in seen} >= flow.targets:
            break
    Tally.flows += 1
    Tally.connections += world.connections - before
    return seen


def world_of(stories: Sequence[Scenario]) -> World:
    """A world for all of them, where the proxy itself listens at health check node ports."""
    ports = set().union(*(scenario.ports for scenario in stories))
    return World(node_addresses(), ports, {(Place.NODE, port) for port in health_check_ports(stories)})


def draws(backends: int) -> int:
    """Draws after which each of so many backends was drawn, but for _MISS: n · (1 - 1/n)^tries < _MISS."""
    if backends < 2:
        return 1
    return math.ceil(math.log(_MISS / backends) / math.log(1 - 1 / backends))


def assert_expected(where: str, check: Check, seen: set[Outcome]) -> None:
    """As the case says."""
    flow = check.flow
    if check.is_guarded:
        assert {outcome.seen for outcome in seen} <= _GUARDED, (where, seen)
        return
    assert {outcome.seen.value for outcome in seen} == {flow.verdict}, (where, seen)
    if flow.verdict != "to":
        return
    targets = {outcome.target for outcome in seen}
    if "affinity" in flow.raw:
        assert targets <= flow.targets, (where, seen)
        assert len(targets) == 1, (where, seen)
    else:
        assert targets == flow.targets, (where, seen)
    assert {outcome.masqueraded for outcome in seen} == {flow.masquerade}, (where, seen)
