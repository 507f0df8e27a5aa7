"""Ranges and addresses of Services."""

from __future__ import annotations

import pytest

from controllers.kubelet import CORE
from controllers.memory_api import RefusedError, Tree
from controllers.simulation import Simulation
from fairway.controllers.registry import Settings, make_controllers

NETWORKING = "/apis/networking.k8s.io/v1"


@pytest.fixture
def simulation() -> Simulation:
    names = ("service-cidr-controller", "ipaddress-repair-controller")
    made = Simulation(make_controllers(names, Settings()))
    make_cidr(made, "kubernetes", "10.96.0.0/16")
    made.settle()
    return made


def make_cidr(simulation: Simulation, name: str, *cidrs: str) -> None:
    body = {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}}
    simulation.api.handle("POST", f"{NETWORKING}/servicecidrs", body)


def make_service(simulation: Simulation, name: str, *ips: str) -> None:
    spec = {"clusterIP": ips[0], "clusterIPs": list(ips), "ports": [{"port": 80}]}
    simulation.api.handle("POST", f"{CORE}/services", {"metadata": {"name": name}, "spec": spec})
    simulation.settle()


def addresses(simulation: Simulation) -> list[str]:
    return [one["metadata"]["name"] for one in simulation.api.handle("GET", f"{NETWORKING}/ipaddresses")["items"]]


def cidr(simulation: Simulation, name: str = "kubernetes") -> Tree:
    return simulation.api.handle("GET", f"{NETWORKING}/servicecidrs/{name}")


def test_a_range_is_protected_and_ready(simulation: Simulation) -> None:
    found = cidr(simulation)
    assert found["metadata"]["finalizers"] == ["networking.k8s.io/service-cidr-finalizer"]
    (condition,) = found["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "True")


def test_a_range_stays_as_long_as_an_address_needs_it(simulation: Simulation) -> None:
    make_service(simulation, "web", "10.96.0.7")
    simulation.api.handle("DELETE", f"{NETWORKING}/servicecidrs/kubernetes")
    simulation.pass_time(60)
    (condition,) = cidr(simulation)["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "Terminating")
    simulation.api.handle("DELETE", f"{CORE}/services/web")
    simulation.pass_time(120)
    with pytest.raises(RefusedError, match="404"):
        cidr(simulation)


def test_a_range_within_another_goes(simulation: Simulation) -> None:
    make_cidr(simulation, "more", "10.96.8.0/24")
    make_service(simulation, "web", "10.96.8.7")
    simulation.api.handle("DELETE", f"{NETWORKING}/servicecidrs/more")
    simulation.pass_time(5)
    assert cidr(simulation, "more")["metadata"]["deletionTimestamp"]
    simulation.pass_time(10)
    with pytest.raises(RefusedError, match="404"):
        cidr(simulation, "more")


def test_a_cluster_ip_without_its_address_gets_one(simulation: Simulation) -> None:
    make_service(simulation, "web", "10.96.0.7", "fd00::7")
    assert addresses(simulation) == ["10.96.0.7", "fd00::7"]
    simulation.api.handle("DELETE", f"{NETWORKING}/ipaddresses/10.96.0.7")
    simulation.settle()
    found = simulation.api.handle("GET", f"{NETWORKING}/ipaddresses/10.96.0.7")
    assert found["spec"]["parentRef"]["name"] == "web"
    assert [one.reason for one in simulation.events] == ["ClusterIPNotAllocated"] * 3


def test_an_address_without_its_service_goes_after_a_while(simulation: Simulation) -> None:
    make_service(simulation, "web", "10.96.0.7")
    simulation.api.handle("DELETE", f"{CORE}/services/web")
    simulation.pass_time(50)
    assert addresses(simulation) == ["10.96.0.7"]
    simulation.pass_time(20)
    assert addresses(simulation) == []


def test_addresses_of_others_are_left_alone(simulation: Simulation) -> None:
    body = {"metadata": {"name": "10.96.0.9"}, "spec": {"parentRef": {"resource": "things", "name": "x"}}}
    simulation.api.handle("POST", f"{NETWORKING}/ipaddresses", body)
    simulation.pass_time(200)
    assert addresses(simulation) == ["10.96.0.9"]


def test_two_services_with_one_address_are_told_of(simulation: Simulation) -> None:
    make_service(simulation, "a", "10.96.0.7")
    make_service(simulation, "b", "10.96.0.7")
    assert "ClusterIPAlreadyAllocated" in [one.reason for one in simulation.events]
    assert addresses(simulation) == ["10.96.0.7"]
