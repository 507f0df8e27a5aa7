"""The real CoreDNS beside Fairway: the same Corefile, objects and questions, answers compared record for record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import netns
from dns_beside import Beside, Scenario
from dns_scenarios import IMPORTS, OBJECTS, SCENARIOS
from dns_upstream import upstream
from fake_api import FakeApi
from peer import peer

pytestmark = [pytest.mark.peers, pytest.mark.kernel]
COREDNS = peer("coredns")


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    """An API server and two upstreams in a namespace of their own."""
    folder: Path = tmp_path_factory.mktemp("coredns")
    with netns.private(), upstream() as first, upstream(tag="192.0.2.251") as second, FakeApi() as api:
        for collection, objects in OBJECTS.items():
            api.put_many(collection, objects)
        api.serve(IMPORTS, "multicluster.x-k8s.io/v1alpha1", "ServiceImport")
        yield Beside(folder, COREDNS, api.url, [first, second])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[s.name.replace(" ", "-") for s in SCENARIOS])
def test_answers_are_those_of_coredns(beside: Beside, scenario: Scenario) -> None:
    assert beside.differences(scenario) == []
