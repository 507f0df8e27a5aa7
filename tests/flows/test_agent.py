"""Every case by the command itself: `fairway proxy` that follows an API server, and `fairway proxy --once`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import netns
from fake_api import FakeApi
from flow_command import PROGRAM, Command
from flow_judge import assert_expected, observe, world_of
from flow_scenarios import Check, Scenario, Stage, groups, health_check_ports, widest_scenarios
from flow_world import World

pytestmark = pytest.mark.kernel


GROUPS = groups()
HEALTH_CHECKS = health_check_ports(widest_scenarios())


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with world_of([scenario for group in GROUPS.values() for scenario in group]) as made, made.entered():
        yield made


@pytest.mark.parametrize("name", GROUPS)
def test_flows_follow_the_api(name: str, world: World, tmp_path: Path) -> None:
    with FakeApi() as api, Command(api, GROUPS[name][0].configuration, tmp_path) as command:
        for scenario in GROUPS[name]:
            for number, stage in enumerate(scenario.stages):
                command.replace([*scenario.node, *stage.objects])
                for check in checks_of(stage):
                    judge_soon(f"{scenario.name}, stage {number}: {check.flow.name}", check, world, command)


@pytest.mark.parametrize("scenario", widest_scenarios(), ids=lambda scenario: scenario.name)
def test_flows_by_single_runs(scenario: Scenario, world: World, tmp_path: Path) -> None:
    """`--once`, from a folder of manifests: each run mends what the one before, or another story, has left."""
    (tmp_path / "config.json").write_text(json.dumps(scenario.configuration))
    for number, stage in enumerate(scenario.stages):
        folder = tmp_path / str(number)
        folder.mkdir()
        for place, tree in enumerate([*scenario.node, *stage.objects]):
            (folder / f"{place:03}.json").write_text(json.dumps(tree))
        netns.run(PROGRAM, "proxy", "--config", str(tmp_path / "config.json"), "--manifests", str(folder), "--once")
        for check in checks_of(stage):
            assert_expected(f"stage {number}: {check.flow.name}", check, observe(check, world))


def checks_of(stage: Stage) -> list[Check]:
    """All but those of health check node ports: the proxy itself answers there, which has tests of its own."""
    return [check for check in stage.checks if check.flow.packet.port not in HEALTH_CHECKS]


def judge_soon(label: str, check: Check, world: World, command: Command) -> None:
    """Node and ServiceCIDR come by watches of their own, which may lag: what goes elsewhere is tried for a while."""
    last: list[AssertionError] = []

    def holds() -> bool:
        try:
            assert_expected(label, check, observe(check, world))
        except AssertionError as error:
            last[:] = [error]
            return False
        return True

    try:
        command.until(holds)
    except AssertionError as error:
        raise AssertionError(f"{last}; {error}") from error
