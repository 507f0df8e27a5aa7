"""Every case, in IPv4, IPv6 and dual stack, fed in every way: plan = items = kernel = where real packets go."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from flow_cases import Tree
from flow_driver import Driver, run
from flow_judge import judge
from flow_scenarios import (
    EXPANDERS,
    Expander,
    Scenario,
    at_once,
    difference,
    node_addresses,
    scenarios,
    widest_scenarios,
)
from flow_world import World

SCENARIOS = scenarios()
pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def world():
    ports = set().union(*(scenario.ports for scenario in SCENARIOS))
    with World(node_addresses(), ports) as made:
        yield made


async def play(scenario: Scenario, expander: Expander, world: World) -> None:
    async with Driver(scenario.configuration, scenario.node) as driver:
        before: Sequence[Tree] = ()
        for number, stage in enumerate(scenario.stages):
            await driver.feed(expander(difference(before, stage.objects)))
            judge(f"stage {number}", stage.checks, driver, world)
            before = stage.objects


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_flows_go_where_they_should(scenario: Scenario, world: World) -> None:
    with world.entered():
        run(play(scenario, at_once, world))


@pytest.mark.parametrize("expander", [name for name, made in EXPANDERS.items() if made is not at_once])
@pytest.mark.parametrize("scenario", widest_scenarios(), ids=lambda scenario: scenario.name)
def test_flows_depend_on_the_present_objects_only(scenario: Scenario, expander: str, world: World) -> None:
    with world.entered():
        run(play(scenario, EXPANDERS[expander], world))
