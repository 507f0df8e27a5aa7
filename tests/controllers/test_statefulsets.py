"""StatefulSets in counted time."""

from __future__ import annotations

import json

import pytest

from controllers.kubelet import (
    APPS,
    make_node,
    make_set,
    names,
    patch,
    pods,
    run_pods,
    settle,
    status,
    template,
)
from controllers.simulation import Simulation
from fairway.controllers.registry import Settings, make_controllers


@pytest.fixture
def simulation() -> Simulation:
    made = Simulation(make_controllers(["statefulset-controller", "scheduler"], Settings()))
    make_node(made, "node-a")
    return made


def images(simulation: Simulation) -> list[str]:
    return [one["spec"]["containers"][0]["image"] for one in pods(simulation)]


def test_pods_come_one_after_another(simulation: Simulation) -> None:
    make_set(simulation, "statefulsets", replicas=3, serviceName="web")
    simulation.settle()
    assert names(pods(simulation)) == ["web-0"]
    run_pods(simulation)
    simulation.settle()
    assert names(pods(simulation)) == ["web-0", "web-1"]
    settle(simulation)
    assert names(pods(simulation)) == ["web-0", "web-1", "web-2"]


def test_parallel_pods_come_together(simulation: Simulation) -> None:
    make_set(simulation, "statefulsets", replicas=3, podManagementPolicy="Parallel")
    simulation.settle()
    assert names(pods(simulation)) == ["web-0", "web-1", "web-2"]


def test_a_pod_has_its_name_number_and_domain(simulation: Simulation) -> None:
    make_set(simulation, "statefulsets", replicas=1, serviceName="db", ordinals={"start": 5})
    settle(simulation)
    (pod,) = pods(simulation)
    revision = status(simulation, "statefulsets")["updateRevision"]
    assert pod["metadata"]["generateName"] == "web-"
    assert pod["metadata"]["labels"] == {
        "app": "web",
        "statefulset.kubernetes.io/pod-name": "web-5",
        "apps.kubernetes.io/pod-index": "5",
        "controller-revision-hash": revision,
    }
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("web-5", "db")


def test_pods_go_from_the_highest_number_down(simulation: Simulation) -> None:
    make_set(simulation, "statefulsets", replicas=3)
    settle(simulation)
    patch(simulation, "statefulsets", "web", replicas=1)
    simulation.settle()
    assert [one["metadata"]["name"] for one in pods(simulation) if "deletionTimestamp" in one["metadata"]] == ["web-2"]
    settle(simulation)
    assert names(pods(simulation)) == ["web-0"]


def test_an_update_replaces_one_pod_at_a_time_from_the_top(simulation: Simulation) -> None:
    make_set(simulation, "statefulsets", replicas=3)
    settle(simulation)
    patch(simulation, "statefulsets", "web", template=template("v2"))
    simulation.settle()
    assert [one["metadata"]["name"] for one in pods(simulation) if "deletionTimestamp" in one["metadata"]] == ["web-2"]
    settle(simulation)
    assert images(simulation) == ["v2", "v2", "v2"]
    done = status(simulation, "statefulsets")
    assert done["currentRevision"] == done["updateRevision"]
    assert (done["updatedReplicas"], done["readyReplicas"]) == (3, 3)


def test_a_partition_holds_the_lower_numbers_back(simulation: Simulation) -> None:
    make_set(
        simulation,
        "statefulsets",
        replicas=3,
        updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
    )
    settle(simulation)
    patch(simulation, "statefulsets", "web", template=template("v2"))
    settle(simulation)
    assert images(simulation) == ["v1", "v1", "v2"]
    simulation.api.handle("DELETE", "/api/v1/namespaces/shop/pods/web-0", {"gracePeriodSeconds": 0})
    settle(simulation)
    assert images(simulation) == ["v1", "v1", "v2"]


def test_on_delete_waits_for_the_pods_to_be_deleted(simulation: Simulation) -> None:
    make_set(simulation, "statefulsets", replicas=2, updateStrategy={"type": "OnDelete"})
    settle(simulation)
    patch(simulation, "statefulsets", "web", template=template("v2"))
    settle(simulation)
    assert images(simulation) == ["v1", "v1"]
    simulation.api.handle("DELETE", "/api/v1/namespaces/shop/pods/web-1", {"gracePeriodSeconds": 0})
    settle(simulation)
    assert images(simulation) == ["v1", "v2"]


def test_a_broken_update_stops_at_the_first_pod(simulation: Simulation) -> None:
    make_set(simulation, "statefulsets", replicas=3)
    settle(simulation)
    patch(simulation, "statefulsets", "web", template=template("broken"))
    settle(simulation, broken="broken")
    assert images(simulation) == ["v1", "v1", "broken"]


def test_an_update_does_not_wait_for_pods_below_it(simulation: Simulation) -> None:
    make_set(simulation, "statefulsets", replicas=3, podManagementPolicy="Parallel")
    simulation.settle()
    patch(simulation, "statefulsets", "web", template=template("v2"))
    simulation.settle()
    assert leaving(simulation) == ["web-2"]


def test_with_a_number_that_may_be_missing_every_missing_pod_counts(simulation: Simulation) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 2}}
    make_set(simulation, "statefulsets", replicas=3, podManagementPolicy="Parallel", updateStrategy=strategy)
    simulation.settle()
    patch(simulation, "statefulsets", "web", template=template("v2"))
    simulation.settle()
    assert leaving(simulation) == []
    run_pods(simulation)
    simulation.settle()
    assert leaving(simulation) == ["web-1", "web-2"]


ROLLING = {"type": "RollingUpdate"}


def leaving(simulation: Simulation) -> list[str]:
    return [one["metadata"]["name"] for one in pods(simulation) if one["metadata"].get("deletionTimestamp")]


@pytest.mark.parametrize(("strategy", "image"), [({}, "v1"), ({"rollingUpdate": {"partition": 0}}, "v2")])
def test_without_a_partition_a_pod_that_was_lost_comes_back_as_it_was(
    simulation: Simulation, strategy: dict[str, object], image: str
) -> None:
    make_set(simulation, "statefulsets", replicas=3, updateStrategy={"type": "RollingUpdate", **strategy})
    settle(simulation)
    patch(simulation, "statefulsets", "web", template=template("v2"))
    simulation.settle()
    simulation.api.handle("DELETE", "/api/v1/namespaces/shop/pods/web-0", {"gracePeriodSeconds": 0})
    simulation.settle()
    assert images(simulation)[0] == image


def test_without_a_partition_a_pod_that_the_update_took_comes_back_new(simulation: Simulation) -> None:
    make_set(simulation, "statefulsets", replicas=2, podManagementPolicy="Parallel", updateStrategy=ROLLING)
    simulation.settle()
    patch(simulation, "statefulsets", "web", template=template("v2"))
    simulation.settle()
    simulation.api.handle("DELETE", "/api/v1/namespaces/shop/pods/web-1", {"gracePeriodSeconds": 0})
    simulation.settle()
    assert images(simulation) == ["v1", "v2"]


def test_a_former_template_gets_its_revision_back_with_a_new_number(simulation: Simulation) -> None:
    make_set(simulation, "statefulsets", replicas=1)
    settle(simulation)
    first = status(simulation, "statefulsets")["updateRevision"]
    patch(simulation, "statefulsets", "web", template=template("v2"))
    settle(simulation)
    patch(simulation, "statefulsets", "web", template=template("v1"))
    settle(simulation)
    assert status(simulation, "statefulsets")["updateRevision"] == first
    revisions = simulation.api.handle("GET", f"{APPS}/controllerrevisions")["items"]
    assert {one["metadata"]["name"]: one["revision"] for one in revisions}[first] == 3
    assert len(revisions) == 2


def test_history_is_cut_at_its_limit(simulation: Simulation) -> None:
    make_set(simulation, "statefulsets", replicas=1, revisionHistoryLimit=1)
    for number in range(2, 6):
        settle(simulation)
        patch(simulation, "statefulsets", "web", template=template(f"v{number}"))
    settle(simulation)
    revisions = simulation.api.handle("GET", f"{APPS}/controllerrevisions")["items"]
    assert sorted(one["revision"] for one in revisions) == [4, 5]


def test_a_revision_is_written_as_go_writes_it(simulation: Simulation) -> None:
    """Clients of Kubernetes find it by its bytes: keys in order."""
    make_set(simulation, "statefulsets", replicas=1)
    settle(simulation)
    (revision,) = simulation.api.handle("GET", f"{APPS}/controllerrevisions")["items"]
    found = json.dumps(revision["data"])
    assert found == json.dumps(revision["data"], sort_keys=True)
    assert found.startswith('{"spec": {"template": {"$patch": "replace", "metadata"')


def test_a_failed_pod_is_made_anew(simulation: Simulation) -> None:
    make_set(simulation, "statefulsets", replicas=1)
    settle(simulation)
    (pod,) = pods(simulation)
    simulation.api.handle("PUT", "/api/v1/namespaces/shop/pods/web-0/status", {**pod, "status": {"phase": "Failed"}})
    settle(simulation)
    (again,) = pods(simulation)
    assert again["metadata"]["uid"] != pod["metadata"]["uid"]


def test_late_news_makes_no_pod_twice(simulation: Simulation) -> None:
    simulation.delays = {"pods"}
    make_set(simulation, "statefulsets", replicas=2, podManagementPolicy="Parallel")
    simulation.settle()
    simulation.pass_time(10)
    assert simulation.failures == []
    assert names(pods(simulation)) == ["web-0", "web-1"]
