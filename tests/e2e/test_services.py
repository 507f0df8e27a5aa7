"""Each kind of Service against a whole cluster, in both families: quick versions of what the official suite asks."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from cluster_host import ClusterHost, until

pytestmark = pytest.mark.kernel
FAMILIES = ("IPv4", "IPv6")
both_families = pytest.mark.parametrize("family", FAMILIES)
ECHOES = {"echo-1", "echo-2"}


def make(cluster: ClusterHost, name: str, *families: str, **spec: Any) -> dict[str, Any]:
    """A Service in front of the echoes; as it is once it has everything it asked for."""
    policy = "RequireDualStack" if len(families) > 1 else "SingleStack"
    own = {"selector": {"app": "echo"}, "ipFamilies": [*families], "ipFamilyPolicy": policy, **spec}
    own.setdefault("ports", [{"name": "http", "port": 80, "targetPort": 8080}])
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": own})
    if own.get("type") == "LoadBalancer":
        until(lambda: balancer_ips(cluster.get("service", name)), f"{name} has an address")
    found: dict[str, Any] = cluster.get("service", name)
    return found


def balancer_ips(service: dict[str, Any]) -> list[str]:
    return [one["ip"] for one in service["status"].get("loadBalancer", {}).get("ingress", [])]


def url(address: str, port: int = 80, path: str = "hostname") -> str:
    shown = f"[{address}]" if ":" in address else address
    return f"http://{shown}:{port}/{path}"


CURL = ("curl", "-sg", "--max-time", "5")


def asked(cluster: ClusterHost, address: str, port: int = 80, times: int = 10) -> set[str]:
    """Who answers the host."""
    return {cluster.run(*CURL, url(address, port)) for _ in range(times)}


def asked_by_pod(cluster: ClusterHost, address: str, port: int = 80, path: str = "hostname") -> str:
    return cluster.inside("client", *CURL, url(address, port, path))


def node_address(cluster: ClusterHost, node: str, family: str) -> str:
    found = cluster.get("node", node)["status"]["addresses"]
    internal = [one["address"] for one in found if one["type"] == "InternalIP"]
    return next(one for one in internal if (":" in one) == (family == "IPv6"))


def is_served(cluster: ClusterHost, address: str, port: int = 80) -> bool:
    return cluster.attempt(*CURL, url(address, port)).stdout in ECHOES


@both_families
def test_a_cluster_ip_is_reached_from_pods_nodes_and_the_host(cluster: ClusterHost, family: str) -> None:
    service = make(cluster, f"plain-{family.lower()}", family)
    ip = service["spec"]["clusterIP"]
    until(lambda: is_served(cluster, ip), "the cluster IP answers")
    assert asked(cluster, ip, times=20) == ECHOES
    assert asked_by_pod(cluster, ip) in ECHOES
    assert cluster.on_node("node-2", *CURL, url(ip)) in ECHOES
    # a pod that is its own backend gets an answer, too
    assert {cluster.inside("echo-1", *CURL, url(ip)) for _ in range(10)} == ECHOES


@both_families
def test_a_pod_sees_who_asks_by_a_cluster_ip(cluster: ClusterHost, family: str) -> None:
    service = make(cluster, f"source-{family.lower()}", family)
    ip = service["spec"]["clusterIP"]
    until(lambda: is_served(cluster, ip), "the cluster IP answers")
    seen = asked_by_pod(cluster, ip, path="clientip").rpartition(":")[0].strip("[]")
    assert seen in {one["ip"] for one in cluster.get("pod", "client")["status"]["podIPs"]}


@both_families
def test_a_node_port_is_reached_at_every_node(cluster: ClusterHost, family: str) -> None:
    service = make(cluster, f"nodeport-{family.lower()}", family, type="NodePort")
    port = service["spec"]["ports"][0]["nodePort"]
    for node in ("node-1", "node-2", "node-3"):
        address = node_address(cluster, node, family)
        until(lambda address=address: is_served(cluster, address, port), f"{node} answers")
        assert asked_by_pod(cluster, address, port) in ECHOES
    if family == "IPv4":
        assert cluster.on_node("node-3", *CURL, url("127.0.0.1", port)) in ECHOES


@both_families
def test_a_load_balancer_address_is_reached_from_the_host_and_from_pods(cluster: ClusterHost, family: str) -> None:
    service = make(cluster, f"balanced-{family.lower()}", family, type="LoadBalancer")
    (ip,) = balancer_ips(service)
    until(lambda: is_served(cluster, ip), "the address answers")
    assert asked(cluster, ip, times=20) == ECHOES
    assert asked_by_pod(cluster, ip) in ECHOES
    cluster.kubectl("delete", "service", f"balanced-{family.lower()}")
    until(lambda: cluster.attempt(*CURL, url(ip)).returncode == 7, "the address is refused at once")


def test_a_load_balancer_has_an_address_of_each_family(cluster: ClusterHost) -> None:
    service = make(cluster, "both", *FAMILIES, type="LoadBalancer")
    assert [ipaddress.ip_address(one).version for one in balancer_ips(service)] == [4, 6]
    for ip in balancer_ips(service):
        until(lambda ip=ip: is_served(cluster, ip), f"{ip} answers")


@both_families
def test_with_the_policy_local_the_source_stays_and_other_nodes_are_not_asked(
    cluster: ClusterHost, family: str
) -> None:
    name = f"local-{family.lower()}"
    select = {"app": "echo", "number": "2"}
    policy = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    service = make(cluster, name, family, selector=select, **policy)
    (ip,) = balancer_ips(service)
    until(lambda: is_served(cluster, ip), "the address answers")
    assert asked(cluster, ip) == {"echo-2"}
    seen = cluster.run(*CURL, url(ip, path="clientip")).rpartition(":")[0].strip("[]")
    assert seen == ("10.97.0.254" if family == "IPv4" else "fd00:10:97::ffff")
    port = service["spec"]["healthCheckNodePort"]
    says = (*CURL, "-o", "/dev/null", "-w", "%{http_code}")
    codes = {node: cluster.run(*says, url(node_address(cluster, node, family), port)) for node in ("node-1", "node-2")}
    assert codes == {"node-1": "503", "node-2": "200"}
    assert asked_by_pod(cluster, ip) == "echo-2"


@both_families
def test_external_ips_are_served_where_they_arrive(cluster: ClusterHost, family: str) -> None:
    ip = "198.51.100.7" if family == "IPv4" else "2001:db8:7::7"
    make(cluster, f"external-{family.lower()}", family, externalIPs=[ip])
    until(lambda: cluster.attempt("kubectl", "exec", "client", "--", *CURL, url(ip)).stdout in ECHOES, "it answers")
    cluster.run("ip", "route", "add", ip, "via", node_address(cluster, "node-1", family))
    assert asked(cluster, ip) == ECHOES


@both_families
def test_udp_is_served(cluster: ClusterHost, family: str) -> None:
    ports = [{"name": "udp", "protocol": "UDP", "port": 8081}]
    service = make(cluster, f"udp-{family.lower()}", family, type="LoadBalancer", ports=ports)
    for ip in (service["spec"]["clusterIP"], *balancer_ips(service)):
        command = f"echo hostname | nc -u -w 1 {ip} 8081"
        until(lambda command=command: cluster.run("sh", "-c", command).strip() in ECHOES, f"{ip} answers by UDP")


@both_families
def test_affinity_keeps_a_client_with_its_backend(cluster: ClusterHost, family: str) -> None:
    service = make(cluster, f"sticky-{family.lower()}", family, sessionAffinity="ClientIP")
    ip = service["spec"]["clusterIP"]
    until(lambda: is_served(cluster, ip), "the cluster IP answers")
    assert len({asked_by_pod(cluster, ip) for _ in range(10)}) == 1
    assert len(asked(cluster, ip)) == 1


@both_families
def test_affinity_is_switched_while_a_local_load_balancer_is_served(cluster: ClusterHost, family: str) -> None:
    name = f"switched-{family.lower()}"
    policy = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    (ip,) = balancer_ips(make(cluster, name, family, **policy))
    until(lambda: is_served(cluster, ip), "the address answers")
    assert asked(cluster, ip, times=20) == ECHOES
    cluster.kubectl("patch", "service", name, "-p", '{"spec": {"sessionAffinity": "ClientIP"}}')
    until(lambda: len(asked(cluster, ip)) == 1, "one pod answers the host")
    cluster.kubectl("patch", "service", name, "-p", '{"spec": {"sessionAffinity": "None"}}')
    until(lambda: asked(cluster, ip) == ECHOES, "all pods answer the host")


def test_an_internal_policy_local_serves_a_nodes_own_pods_alone(cluster: ClusterHost) -> None:
    ip = make(cluster, "near", "IPv4", internalTrafficPolicy="Local")["spec"]["clusterIP"]
    until(lambda: cluster.attempt("kubectl", "exec", "echo-1", "--", *CURL, url(ip)).stdout == "echo-1", "it answers")
    assert {cluster.inside("echo-2", *CURL, url(ip)) for _ in range(5)} == {"echo-2"}
    assert cluster.attempt("kubectl", "exec", "client", "--", "curl", "-s", "--max-time", "1", url(ip)).stdout == ""


def test_source_ranges_let_nobody_else_in(cluster: ClusterHost) -> None:
    ranges = {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"]}
    (ip,) = balancer_ips(make(cluster, "guarded", "IPv4", **ranges))
    until(lambda: cluster.attempt("curl", "-s", "--max-time", "1", url(ip)).returncode == 28, "the host is dropped")
    patch = '{"spec": {"loadBalancerSourceRanges": ["0.0.0.0/0"]}}'
    cluster.kubectl("patch", "service", "guarded", "-p", patch)
    until(lambda: is_served(cluster, ip), "the host is let in")


def test_a_service_changes_its_type_and_back(cluster: ClusterHost) -> None:
    name = "changing"
    make(cluster, name, "IPv4", type="LoadBalancer")
    cluster.kubectl("patch", "service", name, "-p", '{"spec": {"type": "ClusterIP"}}')

    def has_nothing_left() -> bool:
        found = cluster.get("service", name)
        return not balancer_ips(found) and not found["metadata"].get("finalizers")

    until(has_nothing_left, "address and finalizer are gone")
    cluster.kubectl("patch", "service", name, "-p", '{"spec": {"type": "LoadBalancer"}}')
    until(lambda: balancer_ips(cluster.get("service", name)), "it has an address again")


def test_a_service_without_endpoints_refuses_at_once(cluster: ClusterHost) -> None:
    service = make(cluster, "empty", "IPv4", selector={"app": "none"}, type="LoadBalancer")
    for ip in (service["spec"]["clusterIP"], *balancer_ips(service)):
        until(lambda ip=ip: cluster.attempt(*CURL, url(ip)).returncode == 7, f"{ip} is refused")
