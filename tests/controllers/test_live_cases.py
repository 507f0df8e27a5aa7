"""A choice of the recorded cases through the whole: HTTPS, the embedded API server, reflectors, queues, writes.

`test_endpoint_cases` plays all of them on the cores alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from controllers.case_player import Player
from controllers.live_cluster import LiveCluster, live_cluster
from controllers.memory_api import RefusedError
from controllers.test_endpoint_cases import CASES, CONTROLLERS

NAMES = (*CONTROLLERS, "namespace-controller", "serviceaccount-controller")
NEEDS_REAL_TIME = ("deployment-progress-deadline", "deployment-min-ready-seconds", "replicaset-min-ready-seconds")
PLAYABLE = [
    case
    for case in CASES["cases"]
    if "quirk" not in case and "nodes" not in case and "slow" not in case and case["id"] not in NEEDS_REAL_TIME
]
CHOSEN = PLAYABLE[::6]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    with live_cluster(tmp_path_factory.mktemp("cluster"), NAMES) as made:
        yield made


@pytest.fixture
def namespace(cluster: LiveCluster) -> Iterator[None]:
    """Made anew for each case, and ended with everything in it by the controllers themselves."""
    cluster.api.handle("POST", "/api/v1/namespaces", {"metadata": {"name": "case"}})
    yield
    for path in ("/apis/apps/v1/namespaces/case/deployments", "/apis/apps/v1/namespaces/case/replicasets"):
        cluster.api.handle("DELETE", path, {"propagationPolicy": "Background"})
    cluster.settle()
    cluster.api.handle("DELETE", "/api/v1/namespaces/case/pods", {"gracePeriodSeconds": 0})
    cluster.api.handle("DELETE", "/api/v1/namespaces/case")
    cluster.until(lambda: is_gone(cluster))


def is_gone(cluster: LiveCluster) -> bool:
    try:
        cluster.api.handle("GET", "/api/v1/namespaces/case")
    except RefusedError as refused:
        return refused.code == 404
    return False


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case["id"])
def test_ends_as_the_real_controllers_do(cluster: LiveCluster, case: dict[str, Any]) -> None:
    assert Player(case, CASES["defaults"], cluster).play() == []
