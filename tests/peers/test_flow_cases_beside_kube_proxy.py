"""Every flow case by the real kube-proxy in nftables mode, under the judge that ours is under (tests/flows).

A case that kube-proxy does not pass is a wrong case or a known difference; those are listed here, each with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flow_judge import assert_expected, observe, world_of
from flow_kube_proxy import DefaultingApi, KubeProxy
from flow_scenarios import Check, groups, health_check_ports, widest_scenarios
from flow_world import World

pytestmark = [pytest.mark.peers, pytest.mark.kernel, pytest.mark.timeout(600)]


def known_difference(check: Check) -> str:
    """Why kube-proxy may do otherwise with this flow; empty when it may not."""
    packet = check.flow.packet
    if packet.destination.is_loopback and check.flow.verdict == "to":
        return "kube-proxy has localhost node ports in iptables mode only"
    return ""


GROUPS = groups()
HEALTH_CHECKS = health_check_ports(widest_scenarios())


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with world_of([scenario for group in GROUPS.values() for scenario in group]) as made, made.entered():
        yield made


@pytest.mark.parametrize("name", GROUPS)
def test_kube_proxy_agrees_with_the_cases(name: str, world: World, tmp_path: Path) -> None:
    wrong = []
    with DefaultingApi() as api, KubeProxy(api, GROUPS[name][0].configuration, tmp_path) as proxy:
        for scenario in GROUPS[name]:
            for number, stage in enumerate(scenario.stages):
                proxy.replace([*scenario.node, *stage.objects])
                for check in stage.checks:
                    if check.flow.packet.port in HEALTH_CHECKS:
                        continue
                    label = f"{scenario.name}, stage {number}: {check.flow.name}"
                    found = difference(label, check, world)
                    if bool(found) != bool(known_difference(check)):
                        wrong.append(found or f"{label}: no longer a difference: {known_difference(check)}")
    assert not wrong, "\n".join(wrong)


def difference(label: str, check: Check, world: World) -> str:
    try:
        assert_expected(label, check, observe(check, world))
    except AssertionError as error:
        return f"{label}: {check.flow.packet}: {check.flow.verdict} expected, {str(error).splitlines()[0]}"
    return ""
