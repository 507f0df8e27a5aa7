"""Addresses of Services of type LoadBalancer."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from controllers.kubelet import CORE
from controllers.memory_api import RefusedError, Tree
from controllers.simulation import Simulation
from fairway.controllers.addresspool import AddressPool
from fairway.controllers.loadbalancers import CLASS, FINALIZER, LoadBalancerController
from fairway.values.address import Address, Family, Prefix

MERGE = "application/merge-patch+json"


def new_simulation(*ranges: str, before: Simulation | None = None) -> Simulation:
    pool = AddressPool(Prefix.parse(one) for one in ranges or ("192.0.2.0/29", "2001:db8::/64"))
    return Simulation([LoadBalancerController(pool)], before.api if before is not None else None)


@pytest.fixture
def simulation() -> Simulation:
    return new_simulation()


def make(simulation: Simulation, name: str, *families: str, **spec: Any) -> None:
    policy = "RequireDualStack" if len(families) > 1 else "SingleStack"
    own = {"type": "LoadBalancer", "ipFamilies": list(families or ("IPv4",)), "ipFamilyPolicy": policy}
    body = {"metadata": {"name": name}, "spec": {**own, "ports": [{"port": 80}], **spec}}
    simulation.api.handle("POST", f"{CORE}/services", body)
    simulation.settle()


def change(simulation: Simulation, name: str, sub: str = "", **body: Any) -> None:
    simulation.api.handle("PATCH", f"{CORE}/services/{name}{sub}", body, MERGE)
    simulation.settle()


def service(simulation: Simulation, name: str) -> Tree:
    return simulation.api.handle("GET", f"{CORE}/services/{name}")


def addresses(simulation: Simulation, name: str) -> list[str]:
    status = service(simulation, name).get("status") or {}
    return [one["ip"] for one in (status.get("loadBalancer") or {}).get("ingress") or []]


def reasons(simulation: Simulation) -> list[str]:
    return [one.reason for one in simulation.events]


def test_a_service_gets_an_address_a_finalizer_and_events(simulation: Simulation) -> None:
    make(simulation, "web")
    found = service(simulation, "web")
    assert found["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}]
    assert found["metadata"]["finalizers"] == [FINALIZER]
    assert reasons(simulation) == ["EnsuringLoadBalancer", "EnsuredLoadBalancer"]


def test_each_family_of_the_service_gets_one_in_its_order(simulation: Simulation) -> None:
    make(simulation, "web", "IPv6", "IPv4")
    assert addresses(simulation, "web") == ["2001:db8::1", "192.0.2.1"]


def test_a_family_that_is_added_later_gets_one_and_the_first_stays(simulation: Simulation) -> None:
    make(simulation, "web")
    change(simulation, "web", spec={"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]})
    assert addresses(simulation, "web") == ["192.0.2.1", "2001:db8::1"]
    change(simulation, "web", spec={"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]})
    assert addresses(simulation, "web") == ["192.0.2.1"]


def test_no_two_services_get_the_same_though_the_watch_is_behind(simulation: Simulation) -> None:
    for name in ("a", "b", "c"):
        make(simulation, name)
    assert len({*addresses(simulation, "a"), *addresses(simulation, "b"), *addresses(simulation, "c")}) == 3


def test_an_address_that_was_given_out_but_not_written_is_not_given_twice() -> None:
    pool = AddressPool([Prefix.parse("192.0.2.0/30")])
    first = pool.take(Family.IPV4, "a", lambda _: True)
    second = pool.take(Family.IPV4, "b", lambda _: True)
    assert [str(first), str(second)] == ["192.0.2.1", "192.0.2.2"]
    assert pool.take(Family.IPV4, "c", lambda _: True) is None
    pool.settle("a")
    assert pool.take(Family.IPV4, "c", lambda _: True) == first


def test_a_reserved_address_is_given_to_nobody() -> None:
    network = Prefix.parse("192.0.2.0/30")
    pool = AddressPool([network], [Address.parse("192.0.2.2")])
    assert pool.take(Family.IPV4, "a", lambda _: True) == Address.parse("192.0.2.1")
    assert pool.take(Family.IPV4, "b", lambda _: True) is None
    assert Address.parse("192.0.2.2") not in pool


def test_a_deleted_service_gives_its_address_back_before_it_goes(simulation: Simulation) -> None:
    make(simulation, "web")
    simulation.api.handle("DELETE", f"{CORE}/services/web")
    simulation.settle()
    with pytest.raises(RefusedError, match="404"):
        service(simulation, "web")
    assert reasons(simulation)[-2:] == ["DeletingLoadBalancer", "DeletedLoadBalancer"]


def test_another_type_gives_the_address_back_and_the_finalizer_comes_and_goes(simulation: Simulation) -> None:
    make(simulation, "web")
    change(simulation, "web", spec={"type": "ClusterIP"})
    assert addresses(simulation, "web") == []
    assert FINALIZER not in service(simulation, "web")["metadata"].get("finalizers", [])
    change(simulation, "web", spec={"type": "LoadBalancer"})
    assert addresses(simulation, "web") == ["192.0.2.2"]
    assert FINALIZER in service(simulation, "web")["metadata"]["finalizers"]


def test_foreign_finalizers_stay(simulation: Simulation) -> None:
    make(simulation, "web")
    change(simulation, "web", metadata={"finalizers": [FINALIZER, "example.com/mine"]})
    change(simulation, "web", spec={"type": "ClusterIP"})
    assert service(simulation, "web")["metadata"]["finalizers"] == ["example.com/mine"]


def test_an_address_survives_a_restart_of_the_controller(simulation: Simulation) -> None:
    make(simulation, "a")
    make(simulation, "b")
    simulation.api.handle("DELETE", f"{CORE}/services/a")
    simulation.settle()
    simulation.api.listeners.clear()
    again = new_simulation(before=simulation)
    change(again, "b", metadata={"labels": {"seen": "again"}})
    make(again, "c")
    assert addresses(again, "b") == ["192.0.2.2"]
    assert addresses(again, "c") == ["192.0.2.1"]
    make(again, "d")
    assert addresses(again, "d") == ["192.0.2.3"]


def test_an_asked_address_is_given(simulation: Simulation) -> None:
    make(simulation, "web", "IPv4", "IPv6", loadBalancerIP="192.0.2.5")
    assert addresses(simulation, "web") == ["192.0.2.5", "2001:db8::1"]
    change(simulation, "web", spec={"loadBalancerIP": "192.0.2.6"})
    assert addresses(simulation, "web") == ["192.0.2.6", "2001:db8::1"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("198.51.100.1", r"spec.loadBalancerIP 198.51.100.1 is not in the pool \(192.0.2.0/29, 2001:db8::/64\)"),
        ("nonsense", "spec.loadBalancerIP nonsense is not in the pool"),
        ("192.0.2.1", "spec.loadBalancerIP 192.0.2.1 is in use by another Service"),
        ("2001:db8::5", "spec.loadBalancerIP 2001:db8::5 is of no family that spec.ipFamilies names"),
    ],
)
def test_an_asked_address_that_cannot_be_given_is_told(simulation: Simulation, asked: str, why: str) -> None:
    make(simulation, "first")
    make(simulation, "web", loadBalancerIP=asked)
    assert addresses(simulation, "web") == []
    (failed,) = [one for one in simulation.events if one.reason == "SyncLoadBalancerFailed"]
    assert failed.message.startswith("Error syncing load balancer: ")
    assert re.search(why, failed.message)


def test_when_the_pool_is_empty_a_service_waits_for_the_next_address() -> None:
    simulation = new_simulation("192.0.2.8/32")
    make(simulation, "first")
    make(simulation, "second")
    assert addresses(simulation, "second") == []
    said = [one.message for one in simulation.events if one.reason == "SyncLoadBalancerFailed"]
    assert said == ["Error syncing load balancer: no IPv4 address is left in the pool (192.0.2.8/32)"]
    simulation.api.handle("DELETE", f"{CORE}/services/first")
    simulation.settle()
    assert addresses(simulation, "second") == ["192.0.2.8"]


def test_a_family_that_the_pool_lacks_is_told() -> None:
    simulation = new_simulation("192.0.2.8/32")
    make(simulation, "web", "IPv6")
    (failed,) = [one.message for one in simulation.events if one.reason == "SyncLoadBalancerFailed"]
    assert failed.endswith("no IPv6 address is left in the pool (it has no IPv6)")


@pytest.mark.parametrize(("class_name", "is_ours"), [(CLASS, True), ("example.com/theirs", False)])
def test_the_class_says_whose_service_it_is(simulation: Simulation, class_name: str, is_ours: bool) -> None:
    make(simulation, "web", loadBalancerClass=class_name)
    assert bool(addresses(simulation, "web")) is is_ours
    assert (FINALIZER in service(simulation, "web")["metadata"].get("finalizers", [])) is is_ours


def test_of_two_that_were_given_one_address_the_older_keeps_it(simulation: Simulation) -> None:
    make(simulation, "a")
    simulation.api.now += timedelta(seconds=1)
    make(simulation, "b")
    change(simulation, "b", "/status", status={"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})
    assert addresses(simulation, "a") == ["192.0.2.1"]
    assert addresses(simulation, "b") not in ([], ["192.0.2.1"])
