"""EndpointSlices: what their version of the API has for reading only."""

from __future__ import annotations

from typing import Any

from api_world import World

FOLDER = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
OLD = {"addresses": ["10.0.0.1"], "deprecatedTopology": {"kubernetes.io/hostname": "node-a", "x": "y"}}


def made(world: World, *endpoints: dict[str, Any]) -> dict[str, Any]:
    body = {"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": list(endpoints)}
    return dict(world.ok("POST", FOLDER, body))


def test_the_old_topology_is_not_taken() -> None:
    world = World()
    slice_ = made(world, OLD)
    assert slice_["endpoints"] == [{"addresses": ["10.0.0.1"], "conditions": {}}]
    changed = world.ok("PUT", f"{FOLDER}/s", {**slice_, "endpoints": [{**OLD, "zone": "z1"}]})
    assert changed["endpoints"] == [{"addresses": ["10.0.0.1"], "conditions": {}, "zone": "z1"}]
