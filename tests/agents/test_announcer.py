"""From Services, slices and nodes to routes."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from agents.test_upkeep import CountedClock
from fairway.agents.announcer import Announcer
from fairway.agents.upkeep import Timing, Upkeep
from fairway.announce.routes import CONTAINERS, GROUPS, ROUTES, Ranges
from fairway.controllers.view import View
from fairway.kube.objects import ENDPOINT_SLICE, NODE, SERVICE
from fairway.reconcile.items import Action, Item, Operation
from fairway.values.address import Prefix
from fairway.values.names import ObjectName

RANGES = Ranges((), (Prefix.parse("192.0.2.0/24"),))


class Told(NamedTuple):
    name: ObjectName
    object: Any


class FakeRoutes:
    def __init__(self) -> None:
        self.held: dict[str, dict[Any, Any]] = {one.name: {} for one in CONTAINERS}
        self.written: list[Operation] = []

    def read(self) -> dict[str, dict[Any, Any]]:
        return {name: dict(held) for name, held in self.held.items()}

    def apply(self, operations: Any) -> None:
        for action, (container, key, value) in operations:
            self.written.append(Operation(action, Item(container, key, value)))
            if action is Action.REMOVE:
                del self.held[container][key]
            else:
                self.held[container][key] = value


class World:
    """Objects in the caches, and the routes that follow from them."""

    def __init__(self) -> None:
        self.view = View()
        self.routes = FakeRoutes()
        self._version = 0
        self.upkeep = Upkeep("routes", CONTAINERS, self.routes, Timing(CountedClock(), lambda: 0.5))
        self.announcer = Announcer(self.view, RANGES, self.upkeep)

    def open(self) -> None:
        self.announcer.open()
        assert self.upkeep.look() == ""

    def put(self, kind: Any, name: str, **rest: Any) -> None:
        self._version += 1
        metadata = {"name": name, "uid": name, "resourceVersion": str(self._version), **rest.pop("metadata", {})}
        if kind.is_namespaced:
            metadata["namespace"] = "shop"
        one = kind.decode({"metadata": metadata, **rest})
        self.view.cache(kind).apply([Told(one.metadata.object_name, one)])

    def remove(self, kind: Any, name: str) -> None:
        self.view.cache(kind).apply([Told(ObjectName("shop" if kind.is_namespaced else "", name), None)])

    def node(self, name: str, number: int, *, ready: str = "True", **metadata: Any) -> None:
        addresses = [{"type": "InternalIP", "address": f"10.9.0.{number}"}]
        status = {"addresses": addresses, "conditions": [{"type": "Ready", "status": ready}]}
        self.put(NODE, name, status=status, metadata=metadata)

    def service(self, name: str, ip: str, policy: str = "Cluster", type_: str = "LoadBalancer") -> None:
        spec = {"type": type_, "externalTrafficPolicy": policy, "ports": [{"port": 80}]}
        status = {"loadBalancer": {"ingress": [{"ip": ip}] if ip else []}}
        self.put(SERVICE, name, spec=spec, status=status)

    def endpoints(self, service: str, **nodes: dict[str, bool]) -> None:
        endpoints = [
            {"addresses": [f"10.244.0.{n}"], "nodeName": node, "conditions": conditions}
            for n, (node, conditions) in enumerate(nodes.items(), 1)
        ]
        labels = {"kubernetes.io/service-name": service}
        self.put(ENDPOINT_SLICE, f"{service}-1", metadata={"labels": labels}, addressType="IPv4", endpoints=endpoints)

    def way(self, ip: str) -> list[str] | None:
        """The nodes' addresses that lead to an address; None without a route of its own."""
        group = self.routes.held[ROUTES].get(Prefix.parse(f"{ip}/32"))
        return None if group is None else [str(one) for one in self.routes.held[GROUPS][group]]

    def range_way(self) -> list[str] | None:
        """The nodes' addresses that lead to the whole range; None when it is unreachable."""
        group = self.routes.held[ROUTES][RANGES.balancers[0]]
        return [str(one) for one in self.routes.held[GROUPS][group]] if group else None


READY = {"ready": True, "serving": True, "terminating": False}
ENDING = {"ready": False, "serving": True, "terminating": True}


@pytest.fixture
def world() -> World:
    made = World()
    made.node("a", 2)
    made.node("b", 3)
    made.open()
    return made


def test_what_was_there_before_the_start_is_reached() -> None:
    world = World()
    world.service("web", "192.0.2.1", "Local")
    world.endpoints("web", a=READY)
    world.node("a", 2)
    assert world.routes.written == []
    world.open()
    assert world.way("192.0.2.1") == ["10.9.0.2"]


def test_an_address_that_is_given_later_and_taken_away_is_followed(world: World) -> None:
    world.endpoints("web", b=READY)
    world.service("web", "", "Local")
    assert world.way("192.0.2.1") is None
    world.service("web", "192.0.2.1", "Local")
    assert world.way("192.0.2.1") == ["10.9.0.3"]
    world.service("web", "192.0.2.1", "Cluster")
    assert world.way("192.0.2.1") is None
    world.service("web", "192.0.2.1", "Local")
    world.service("web", "", "Local", type_="ClusterIP")
    assert world.way("192.0.2.1") is None


def test_a_local_service_follows_its_endpoints(world: World) -> None:
    world.service("web", "192.0.2.1", "Local")
    assert world.way("192.0.2.1") is None
    world.endpoints("web", b=READY)
    assert world.way("192.0.2.1") == ["10.9.0.3"]
    world.endpoints("web", a=READY, b=ENDING)
    assert world.way("192.0.2.1") == ["10.9.0.2"]
    world.endpoints("web", a=ENDING, b=ENDING)
    assert world.way("192.0.2.1") == ["10.9.0.2", "10.9.0.3"]
    world.remove(ENDPOINT_SLICE, "web-1")
    assert world.way("192.0.2.1") is None


@pytest.mark.parametrize(
    "change",
    [
        {"ready": "Unknown"},
        {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
    ],
)
def test_a_node_that_should_get_no_traffic_gets_none(world: World, change: dict[str, Any]) -> None:
    world.service("near", "192.0.2.2", "Local")
    world.endpoints("near", a=READY, b=READY)
    world.node("b", 3, **change)
    assert world.way("192.0.2.2") == world.range_way() == ["10.9.0.2"]
    world.remove(NODE, "a")
    assert world.way("192.0.2.2") is world.range_way() is None


def test_services_with_the_policy_cluster_and_heartbeats_write_nothing(world: World) -> None:
    world.routes.written.clear()
    world.service("web", "192.0.2.1")
    world.endpoints("web", a=READY)
    world.node("a", 2, annotations={"heard": "again"})
    assert world.routes.written == []
    assert world.range_way() == ["10.9.0.2", "10.9.0.3"]


def test_a_node_that_leaves_costs_one_write_for_all_others(world: World) -> None:
    for number in range(1, 51):
        world.service(f"web-{number}", f"192.0.2.{number}", "Local")
        world.endpoints(f"web-{number}", a=READY)
    world.routes.written.clear()
    world.node("b", 3, ready="False")
    assert len(world.routes.written) == 2  # the group, and the next hop that nobody uses any more
