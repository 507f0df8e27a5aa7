"""Every case by the running command: `fairway proxy` follows an API server, real packets follow the kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_api import FakeApi
from flow_command import Command
from flow_judge import assert_expected, observe
from flow_scenarios import Check, Scenario, health_check_ports, node_addresses, widest_scenarios
from flow_world import Place, World

pytestmark = pytest.mark.kernel


def _groups() -> dict[str, list[Scenario]]:
    """Scenarios that one process can play one after another: those with the same configuration."""
    groups: dict[str, list[Scenario]] = {}
    for scenario in widest_scenarios():
        groups.setdefault(json.dumps(scenario.configuration, sort_keys=True), []).append(scenario)
    return {rows[0].name: rows for rows in groups.values()}


GROUPS = _groups()
HEALTH_CHECKS = health_check_ports(widest_scenarios())


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    rows = [scenario for group in GROUPS.values() for scenario in group]
    ports = set().union(*(scenario.ports for scenario in rows))
    taken = {(Place.NODE, port) for port in HEALTH_CHECKS}  # the proxy listens there
    with World(node_addresses(), ports, taken) as made, made.entered():
        yield made


@pytest.mark.parametrize("name", GROUPS)
def test_flows_follow_the_api(name: str, world: World, tmp_path: Path) -> None:
    with FakeApi() as api, Command(api, GROUPS[name][0].configuration, tmp_path) as command:
        for scenario in GROUPS[name]:
            for number, stage in enumerate(scenario.stages):
                command.replace([*scenario.node, *stage.objects])
                for check in stage.checks:
                    if check.flow.packet.port not in HEALTH_CHECKS:  # those answer themselves, and have their own tests
                        judge_soon(f"{scenario.name}, stage {number}: {check.flow.name}", check, world, command)


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
