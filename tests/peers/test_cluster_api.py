"""The cluster of `fairway up` on a real kube-apiserver: our nodes and controllers are its clients like any others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import netns
from cluster_host import FAIRWAY, ClusterHost, until
from kube_apiserver import kube_apiserver

pytestmark = [pytest.mark.kernel, pytest.mark.peers]


def test_nodes_pods_and_services_work_with_the_real_api_server(tmp_path: Path) -> None:
    with ClusterHost(tmp_path) as host:
        network = os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with netns.entered(network), kube_apiserver(tmp_path, advertise_address="10.245.0.1") as server:
            config = tmp_path / "real"
            config.write_text(server.kubeconfig)
            host.up("--nodes", "2", "--api", str(config))
            version = host.kubectl("version", "-o", "json")
            assert '"gitCommit"' in version
            assert "fairway" not in version.partition("serverVersion")[2]
            nodes = host.get("nodes")["items"]
            assert [one["metadata"]["name"] for one in nodes] == ["node-1", "node-2"]
            host.kubectl("create", "deployment", "web", "--image=agnhost", "--replicas=3", "--", "/agnhost", "netexec")
            host.kubectl("rollout", "status", "deployment", "web", "--timeout=60s")
            host.kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
            address = host.get("service", "web")["spec"]["clusterIP"]
            asked = ("curl", "-s", "--max-time", "2", f"http://{address}/hostname")
            until(lambda: host.attempt(*asked).stdout.startswith("web-"), "the Service answers")
            done = host.run(str(FAIRWAY), "status")
            assert "cluster fairway is well" in done
            host.down()
        os.close(network)
