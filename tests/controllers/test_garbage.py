"""Garbage collection and the end of namespaces."""

from __future__ import annotations

import pytest

from controllers.kubelet import APPS, CORE, make_set, pods, settle
from controllers.memory_api import RefusedError, Tree
from controllers.simulation import Simulation
from fairway.controllers.registry import Settings, make_controllers


def simulate(*names: str) -> Simulation:
    return Simulation(make_controllers([*names, "garbage-collector-controller"], Settings(root_ca="PEM")))


@pytest.fixture
def simulation() -> Simulation:
    return simulate()


def make(simulation: Simulation, name: str, *owners: Tree, finalizers: list[str] | None = None) -> Tree:
    metadata: Tree = {"name": name}
    if owners:
        refs = [reference(owner) if "metadata" in owner else owner for owner in owners]
        metadata["ownerReferences"] = refs
    if finalizers:
        metadata["finalizers"] = finalizers
    return simulation.api.handle("POST", f"{CORE}/configmaps", {"metadata": metadata})


def reference(owner: Tree, *, blocks: bool = False) -> Tree:
    meta = owner["metadata"]
    ref = {"apiVersion": "v1", "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    return {**ref, "blockOwnerDeletion": True} if blocks else ref


def delete(simulation: Simulation, name: str, propagation: str = "Background") -> None:
    simulation.api.handle("DELETE", f"{CORE}/configmaps/{name}", {"propagationPolicy": propagation})
    simulation.settle()


def left(simulation: Simulation) -> list[str]:
    return [one["metadata"]["name"] for one in simulation.api.handle("GET", f"{CORE}/configmaps")["items"]]


def test_dependents_go_after_their_owner(simulation: Simulation) -> None:
    owner = make(simulation, "owner")
    child = make(simulation, "child", owner)
    make(simulation, "grandchild", child)
    make(simulation, "stranger")
    delete(simulation, "owner")
    assert left(simulation) == ["stranger"]


def test_one_owner_that_is_left_keeps_it_and_the_other_is_taken_out(simulation: Simulation) -> None:
    one, two = make(simulation, "one"), make(simulation, "two")
    make(simulation, "child", one, two)
    delete(simulation, "one")
    assert left(simulation) == ["child", "two"]
    child = simulation.api.handle("GET", f"{CORE}/configmaps/child")
    assert [ref["name"] for ref in child["metadata"]["ownerReferences"]] == ["two"]


def test_orphans_stay_without_their_owner(simulation: Simulation) -> None:
    owner = make(simulation, "owner")
    make(simulation, "child", owner)
    delete(simulation, "owner", "Orphan")
    assert left(simulation) == ["child"]
    assert "ownerReferences" not in simulation.api.handle("GET", f"{CORE}/configmaps/child")["metadata"]


def test_in_the_foreground_the_owner_waits_for_what_blocks_it(simulation: Simulation) -> None:
    owner = make(simulation, "owner")
    make(simulation, "child", reference(owner, blocks=True), finalizers=["mine/hold"])
    delete(simulation, "owner", "Foreground")
    assert left(simulation) == ["child", "owner"]
    patch = {"metadata": {"finalizers": None}}
    simulation.api.handle("PATCH", f"{CORE}/configmaps/child", patch, "application/merge-patch+json")
    simulation.settle()
    assert left(simulation) == []


def test_in_the_foreground_what_does_not_block_is_not_waited_for(simulation: Simulation) -> None:
    owner = make(simulation, "owner")
    make(simulation, "child", owner, finalizers=["mine/hold"])
    delete(simulation, "owner", "Foreground")
    assert left(simulation) == ["child"]


def test_two_that_own_each_other_do_not_wait_for_ever(simulation: Simulation) -> None:
    one = make(simulation, "one")
    two = make(simulation, "two", reference(one, blocks=True))
    patch = {"metadata": {"ownerReferences": [reference(two, blocks=True)]}}
    simulation.api.handle("PATCH", f"{CORE}/configmaps/one", patch, "application/merge-patch+json")
    delete(simulation, "one", "Foreground")
    simulation.pass_time(10)
    assert left(simulation) == []


def test_an_owner_that_is_only_not_known_yet_is_asked_for(simulation: Simulation) -> None:
    simulation.delays = {"configmaps"}
    owner = make(simulation, "owner")
    simulation.delays = set()
    make(simulation, "child", owner)
    simulation.settle()
    assert left(simulation) == ["child", "owner"]


def test_an_owner_that_never_was_is_no_owner(simulation: Simulation) -> None:
    make(simulation, "child", {"apiVersion": "v1", "kind": "ConfigMap", "name": "ghost", "uid": "ghost-uid"})
    simulation.settle()
    assert left(simulation) == []


def test_an_owner_in_another_namespace_is_no_owner(simulation: Simulation) -> None:
    owner = make(simulation, "owner")
    for namespace in ("shop", "away"):
        metadata = {"name": "child", "ownerReferences": [reference(owner)]}
        simulation.api.handle("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": metadata})
    simulation.settle()
    assert left(simulation) == ["child", "owner"]
    assert simulation.api.handle("GET", "/api/v1/namespaces/away/configmaps")["items"] == []
    assert [one.reason for one in simulation.events] == ["OwnerRefInvalidNamespace"]


def test_an_owner_of_the_cluster_has_no_owner_in_a_namespace_and_stays(simulation: Simulation) -> None:
    owner = make(simulation, "owner")
    metadata = {"name": "n", "ownerReferences": [reference(owner)]}
    simulation.api.handle("POST", "/api/v1/nodes", {"metadata": metadata})
    simulation.api.handle("DELETE", f"{CORE}/configmaps/owner")
    simulation.settle()
    assert len(simulation.api.handle("GET", "/api/v1/nodes")["items"]) == 1


def test_a_uid_under_another_name_is_no_owner(simulation: Simulation) -> None:
    owner = make(simulation, "owner")
    make(simulation, "child", {**reference(owner), "name": "somebody"})
    simulation.settle()
    assert left(simulation) == ["owner"]


def test_an_owner_of_an_unknown_kind_keeps_what_it_has(simulation: Simulation) -> None:
    make(simulation, "child", {"apiVersion": "x.example/v1", "kind": "Thing", "name": "t", "uid": "t-uid"})
    simulation.settle()
    assert left(simulation) == ["child"]


def test_a_new_object_of_the_owners_name_is_not_the_owner(simulation: Simulation) -> None:
    owner = make(simulation, "owner")
    make(simulation, "child", owner)
    simulation.delays = {"configmaps"}
    simulation.api.handle("DELETE", f"{CORE}/configmaps/owner")
    make(simulation, "owner")
    simulation.delays = set()
    simulation.deliver()
    simulation.settle()
    assert left(simulation) == ["owner"]


def test_a_deployment_takes_its_sets_and_pods_along() -> None:
    simulation = simulate("deployment-controller", "replicaset-controller")
    make_set(simulation, "deployments", replicas=3)
    settle(simulation)
    assert len(pods(simulation)) == 3
    simulation.api.handle("DELETE", f"{APPS}/deployments/web", {"propagationPolicy": "Background"})
    settle(simulation)
    assert pods(simulation) == []
    assert simulation.api.handle("GET", f"{APPS}/replicasets")["items"] == []


# -- namespaces


def namespaced() -> Simulation:
    simulation = simulate(
        "namespace-controller", "serviceaccount-controller", "root-ca-certificate-publisher-controller"
    )
    body = {"metadata": {"name": "shop"}, "spec": {"finalizers": ["kubernetes"]}}
    simulation.api.handle("POST", "/api/v1/namespaces", body)
    simulation.settle()
    return simulation


def end_namespace(simulation: Simulation) -> None:
    """As the API server does it: being deleted until its own finalizer is gone."""
    place = next(at for at in simulation.api.objects if at.plural == "namespaces")
    tree = simulation.api.objects[place]
    tree["metadata"]["deletionTimestamp"] = simulation.api.stamp()
    simulation.api.touch(place)
    simulation.settle()


def test_a_namespace_has_an_account_and_the_root_certificate() -> None:
    simulation = namespaced()
    assert simulation.api.handle("GET", f"{CORE}/serviceaccounts/default")["kind"] == "ServiceAccount"
    assert simulation.api.handle("GET", f"{CORE}/configmaps/kube-root-ca.crt")["data"] == {"ca.crt": "PEM"}


def test_both_come_again_when_they_are_deleted_or_changed() -> None:
    simulation = namespaced()
    simulation.api.handle("DELETE", f"{CORE}/serviceaccounts/default")
    path = f"{CORE}/configmaps/kube-root-ca.crt"
    simulation.api.handle("PATCH", path, {"data": {"ca.crt": "forged", "x": "y"}}, "application/merge-patch+json")
    simulation.settle()
    assert simulation.api.handle("GET", f"{CORE}/serviceaccounts/default")["kind"] == "ServiceAccount"
    assert simulation.api.handle("GET", path)["data"] == {"ca.crt": "PEM"}


def test_a_namespace_ends_with_everything_in_it() -> None:
    simulation = namespaced()
    make(simulation, "a")
    end_namespace(simulation)
    simulation.pass_time(5)
    assert left(simulation) == []
    with pytest.raises(RefusedError):
        simulation.api.handle("GET", "/api/v1/namespaces/shop")


def test_what_holds_a_namespace_is_said() -> None:
    simulation = namespaced()
    make(simulation, "held", finalizers=["mine/hold"])
    end_namespace(simulation)
    found = simulation.api.handle("GET", "/api/v1/namespaces/shop")
    said = {one["type"]: one["message"] for one in found["status"]["conditions"] if one["status"] == "True"}
    assert said == {
        "NamespaceContentRemaining": "Some resources are remaining: configmaps. has 1 resource instances",
        "NamespaceFinalizersRemaining": (
            "Some content in the namespace has finalizers remaining: mine/hold in 1 resource instances"
        ),
    }


def test_a_namespaces_pods_end_before_all_else() -> None:
    simulation = namespaced()
    pod = {"metadata": {"name": "p", "finalizers": ["mine/hold"]}, "spec": {"containers": []}}
    simulation.api.handle("POST", f"{CORE}/pods", pod)
    make(simulation, "needed")
    end_namespace(simulation)
    simulation.pass_time(5)
    assert left(simulation) == ["kube-root-ca.crt", "needed"]
    patch = {"metadata": {"finalizers": None}}
    simulation.api.handle("PATCH", f"{CORE}/pods/p", patch, "application/merge-patch+json")
    simulation.pass_time(30)
    assert left(simulation) == []
