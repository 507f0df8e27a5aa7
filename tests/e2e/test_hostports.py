"""Host ports in a whole cluster."""

from __future__ import annotations

import pytest

from cluster_host import ClusterHost, until
from e2e.conftest import pod
from e2e.test_services import CURL, node_address, url

pytestmark = pytest.mark.kernel
PORT = 54323


def test_pods_share_a_port_at_different_addresses_and_protocols(cluster: ClusterHost) -> None:
    address = node_address(cluster, "node-2", "IPv4")
    wanted = {"local": ("127.0.0.1", "TCP", 8080), "outer": (address, "TCP", 8080), "udp": (address, "UDP", 8081)}
    for name, (ip, protocol, inner) in wanted.items():
        port = {"containerPort": inner, "hostPort": PORT, "hostIP": ip, "protocol": protocol}
        cluster.apply(
            pod(f"port-{name}", "node-2", "netexec", "--http-port=8080", "--udp-port=8081", container={"ports": [port]})
        )
    names = [f"pod/port-{name}" for name in wanted]
    cluster.kubectl("wait", *names, "--for=condition=Ready", "--timeout=30s")
    reached = lambda *words: cluster.attempt(*words).stdout.strip()  # noqa: E731
    until(lambda: reached(*CURL, url(address, PORT)) == "port-outer", "the pod at the node's address")
    assert cluster.on_node("node-2", *CURL, url("127.0.0.1", PORT)) == "port-local"
    assert cluster.inside("client", *CURL, url(address, PORT)) == "port-outer"
    assert cluster.run("sh", "-c", f"echo hostname | nc -u -w 1 {address} {PORT}").strip() == "port-udp"
    cluster.kubectl("delete", *names)
    assert cluster.attempt(*CURL, url(address, PORT)).returncode == 7


def test_a_pod_that_names_its_node_and_whose_port_is_taken_is_refused_there(cluster: ClusterHost) -> None:
    ports = {"ports": [{"containerPort": 8080, "hostPort": PORT + 1}]}
    for name in ("first", "second"):
        cluster.apply(pod(f"taken-{name}", "node-1", "netexec", "--http-port=8080", container=ports))
        if name == "first":
            cluster.kubectl("wait", "pod/taken-first", "--for=condition=Ready", "--timeout=30s")
    until(lambda: cluster.get("pod", "taken-second")["status"].get("phase") == "Failed", "the second is refused")
    assert cluster.get("pod", "taken-second")["status"]["reason"] == "NodePorts"
    address = node_address(cluster, "node-1", "IPv4")
    assert cluster.run(*CURL, url(address, PORT + 1)) == "taken-first"
    cluster.kubectl("delete", "pod", "taken-first", "taken-second")
