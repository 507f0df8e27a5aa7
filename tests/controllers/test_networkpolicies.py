"""NetworkPolicies are not enforced, and that is said at each of them."""

from __future__ import annotations

from controllers.memory_api import Tree
from controllers.simulation import Simulation
from fairway.controllers.registry import Settings, make_controllers

POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"


def policy(name: str) -> Tree:
    return {"metadata": {"name": name}, "spec": {"podSelector": {}}}


def test_each_new_policy_gets_one_warning() -> None:
    simulation = Simulation(make_controllers(["networkpolicy-notice-controller"], Settings()))
    simulation.api.handle("POST", POLICIES, policy("deny"))
    simulation.settle()
    simulation.api.handle("PATCH", f"{POLICIES}/deny", {"metadata": {"labels": {"a": "b"}}})
    simulation.settle()
    simulation.api.handle("POST", POLICIES, policy("other"))
    simulation.settle()

    said = [(one.regarding.kind, one.regarding.name, one.type.value, one.reason) for one in simulation.events]
    assert said == [("NetworkPolicy", name, "Warning", "NotEnforced") for name in ("deny", "other")]


def test_a_policy_that_went_at_once_is_not_spoken_of() -> None:
    simulation = Simulation(make_controllers(["networkpolicy-notice-controller"], Settings()))
    simulation.api.handle("POST", POLICIES, policy("deny"))
    simulation.api.handle("DELETE", f"{POLICIES}/deny")
    simulation.settle()
    assert simulation.events == []
