from __future__ import annotations

from fairway.cluster.health import STARTS_AGAIN, UP_MENDS, ClusterFacts, PartFacts, Trouble, troubles

NAMES = ("supervisor", "control-plane", "node-1")


def facts(*down: str, nodes: dict[str, str] | None = None, missing: tuple[str, ...] = ()) -> ClusterFacts:
    parts = tuple(PartFacts(name, 0 if name in down else 7, name not in down, 2, "signal 9") for name in NAMES)
    return ClusterFacts(parts, missing, nodes if nodes is not None else {"node-1": ""})


def test_a_cluster_that_is_well_has_no_troubles() -> None:
    assert troubles(facts()) == []


def test_what_died_is_started_by_the_supervisor_or_else_by_up() -> None:
    assert troubles(facts("node-1")) == [Trouble("node-1 does not run (signal 9)", STARTS_AGAIN)]
    assert troubles(facts("supervisor")) == [Trouble("supervisor does not run (signal 9)", UP_MENDS)]
    assert {one.remedy for one in troubles(facts("supervisor", "node-1"))} == {UP_MENDS}


def test_a_node_that_the_api_has_not_for_ready_is_named_with_the_reason() -> None:
    assert troubles(facts(nodes={"node-1": "NodeStatusUnknown: silent"})) == [
        Trouble("node node-1 is not ready: NodeStatusUnknown: silent", "its process tells the API when it is")
    ]
    assert [one.what for one in troubles(facts(nodes={}))] == ["node node-1 is not ready: it has not registered yet"]


def test_an_api_that_does_not_answer_is_told_once() -> None:
    silent = facts()._replace(nodes=None, api_error="refused")
    assert [one.what for one in troubles(silent)] == ["the API server does not answer: refused"]
    dead = facts("control-plane")._replace(nodes=None, api_error="refused")
    assert [one.what for one in troubles(dead)] == ["control-plane does not run (signal 9)"]


def test_a_process_that_starts_and_a_part_of_the_host_that_went_are_named() -> None:
    starting = PartFacts("node-1", 9, False, 5, "exit code 1")
    found = facts()._replace(parts=(*facts().parts[:2], starting), missing=("the interface fw-underlay",))
    assert [one.what for one in troubles(found)] == ["node-1 is not ready yet", "the interface fw-underlay is gone"]
