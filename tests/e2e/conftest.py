"""One cluster for all tests of this folder, and the pods that all of them use; each test has Services of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cluster_host import ClusterHost

NODES = ("node-1", "node-2", "node-3")


def pod(name: str, node: str, *arguments: str, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod of agnhost on a node of one's choice."""
    own_part = spec.pop("container", {})
    container = {"name": "agnhost", "image": "agnhost", "args": [*(arguments or ("pause",))], **own_part}
    metadata = {"name": name, "labels": labels or {}}
    own = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 1, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": own}


def echo(number: int) -> dict[str, Any]:
    """A pod that says its name and who asks, over TCP and UDP, on the node of its number."""
    ready = {"readinessProbe": {"httpGet": {"path": "/hostname", "port": 8080}, "periodSeconds": 1}}
    return pod(
        f"echo-{number}",
        f"node-{number}",
        "netexec",
        "--http-port=8080",
        "--udp-port=8081",
        labels={"app": "echo", "number": str(number)},
        container=ready,
    )


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHost]:
    """Three nodes, both families; `echo-1` and `echo-2` on the nodes of their numbers, `client` on the third."""
    with ClusterHost(tmp_path_factory.mktemp("home")) as host:
        host.up("--ip-family", "dual")
        host.apply(echo(1), echo(2), pod("client", "node-3"))
        host.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")
        yield host
