"""The cluster's DNS as objects."""

from __future__ import annotations

import pytest

from controllers.memory_api import Tree
from controllers.simulation import Simulation
from fairway.config.corefile_servers import read_corefile
from fairway.controllers.clusterdns import ClusterDns, ClusterDnsController
from fairway.values.address import Address

CORE, SLICES = "/api/v1/namespaces/kube-system", "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"
MERGE = "application/merge-patch+json"


def new_simulation(*ips: str, before: Simulation | None = None) -> Simulation:
    addresses = tuple(Address.parse(ip) for ip in ips or ("10.96.0.10", "fd00:96::a"))
    return Simulation([ClusterDnsController(ClusterDns(addresses))], before.api if before is not None else None)


@pytest.fixture
def simulation() -> Simulation:
    made = new_simulation()
    node(made, "a", 1)
    node(made, "b", 2)
    made.settle()
    return made


def node(simulation: Simulation, name: str, number: int, ready: str = "True") -> None:
    labels = {"topology.kubernetes.io/zone": f"zone-{name}"}
    addresses = [{"type": "InternalIP", "address": f"{net}{number}"} for net in ("10.9.0.", "fd09::")]
    status = {"addresses": addresses, "conditions": [{"type": "Ready", "status": ready}]}
    path = "/api/v1/nodes"
    body = {"kind": "Node", "metadata": {"name": name, "labels": labels}}
    if not any(one["metadata"]["name"] == name for one in simulation.api.handle("GET", path)["items"]):
        simulation.api.handle("POST", path, body)
    simulation.api.handle("PATCH", f"{path}/{name}/status", {"status": status}, MERGE)
    simulation.settle()


def endpoints(simulation: Simulation, family: str = "ipv4") -> list[Tree]:
    found: list[Tree] = simulation.api.handle("GET", f"{SLICES}/kube-dns-{family}")["endpoints"]
    return found


def answering(simulation: Simulation, family: str = "ipv4") -> list[str]:
    return [one["addresses"][0] for one in endpoints(simulation, family)]


def test_the_service_has_the_addresses_that_pods_ask(simulation: Simulation) -> None:
    service = simulation.api.handle("GET", f"{CORE}/services/kube-dns")
    assert service["spec"]["clusterIPs"] == ["10.96.0.10", "fd00:96::a"]
    assert service["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
    assert [(one["port"], one["protocol"]) for one in service["spec"]["ports"]] == [
        (53, "UDP"),
        (53, "TCP"),
        (9153, "TCP"),
    ]


def test_every_ready_node_answers_its_own_pods(simulation: Simulation) -> None:
    first, second = endpoints(simulation)
    assert (first["addresses"], first["nodeName"], first["zone"]) == (["10.9.0.1"], "a", "zone-a")
    assert first["hints"]["forNodes"] == [{"name": "a"}]
    assert second["hints"]["forNodes"] == [{"name": "b"}]
    assert answering(simulation, "ipv6") == ["fd09::1", "fd09::2"]


def test_a_node_that_is_not_ready_does_not_answer(simulation: Simulation) -> None:
    node(simulation, "a", 1, ready="False")
    assert answering(simulation) == ["10.9.0.2"]
    node(simulation, "c", 3)
    assert answering(simulation) == ["10.9.0.2", "10.9.0.3"]


def test_a_cluster_of_one_family_has_one_slice() -> None:
    simulation = new_simulation("fd00:96::a")
    node(simulation, "a", 1)
    names = [one["metadata"]["name"] for one in simulation.api.handle("GET", SLICES)["items"]]
    assert names == ["kube-dns-ipv6"]


def test_the_corefile_is_kubeadms_and_can_be_read(simulation: Simulation) -> None:
    text = simulation.api.handle("GET", f"{CORE}/configmaps/coredns")["data"]["Corefile"]
    (server,) = read_corefile(text, "coredns", {}, lambda _: []).servers
    assert server.keys[0].port == 53


def test_what_an_administrator_wrote_stays(simulation: Simulation) -> None:
    simulation.api.handle("PATCH", f"{CORE}/configmaps/coredns", {"data": {"Corefile": "mine"}}, MERGE)
    simulation.api.listeners.clear()
    again = new_simulation(before=simulation)
    mine = {"metadata": {"labels": {"mine": "too"}}}
    again.api.handle("PATCH", f"{CORE}/services/kube-dns", mine, MERGE)
    again.api.handle("PATCH", f"{SLICES}/kube-dns-ipv4", mine, MERGE)
    for name, number in (("a", 1), ("b", 2), ("c", 3)):
        node(again, name, number, ready="False")
        node(again, name, number)
    assert again.api.handle("GET", f"{CORE}/configmaps/coredns")["data"]["Corefile"] == "mine"
    assert again.api.handle("GET", f"{CORE}/services/kube-dns")["metadata"]["labels"]["mine"] == "too"
    assert answering(again) == ["10.9.0.1", "10.9.0.2", "10.9.0.3"]


def test_a_deleted_service_and_a_deleted_slice_come_back(simulation: Simulation) -> None:
    simulation.api.handle("DELETE", f"{SLICES}/kube-dns-ipv4")
    simulation.settle()
    assert answering(simulation) == ["10.9.0.1", "10.9.0.2"]
    simulation.api.handle("DELETE", f"{CORE}/services/kube-dns")
    simulation.settle()
    assert simulation.api.handle("GET", f"{CORE}/services/kube-dns")["spec"]["clusterIP"] == "10.96.0.10"


def test_a_heartbeat_writes_nothing(simulation: Simulation) -> None:
    before = simulation.api.handle("GET", f"{SLICES}/kube-dns-ipv4")["metadata"]["resourceVersion"]
    node(simulation, "a", 1)
    assert simulation.api.handle("GET", f"{SLICES}/kube-dns-ipv4")["metadata"]["resourceVersion"] == before
