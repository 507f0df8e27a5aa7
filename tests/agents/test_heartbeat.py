"""Against the embedded API server."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from api_process import running
from fairway.agents.heartbeat import LEASES, Heartbeat
from fairway.cluster.topology import Machine, Ranges, node_object, plan
from fairway.io.host.clock import SystemClock
from fairway.io.kube.client import ApiClient
from fairway.io.kube.kubeconfig import Kubeconfig
from fairway.values.address import Prefix


def test_a_node_is_registered_ready_with_a_lease_and_again_without_harm(tmp_path: Path) -> None:
    underlay, pods = ("172.31.255.0/24", "fd00:31::/64"), ("10.244.0.0/16", "fd00:244::/56")
    ranges = Ranges(tuple(map(Prefix.parse, underlay)), tuple(map(Prefix.parse, pods)))
    made = plan(1, ranges).nodes[0]
    node = node_object(made, Machine(2, 1 << 30, "amd64"))

    async def go(config: Path) -> None:
        async with ApiClient(Kubeconfig.read([config]).connection()) as client:
            for _ in range(2):
                heart = Heartbeat(node, client, SystemClock(), time.time)
                await heart.register()
                await heart.renew()

    with running(tmp_path) as api:
        asyncio.run(go(tmp_path / "kubeconfig"))
        _, found = api.call("GET", "/api/v1/nodes/node-1")
        _, lease = api.call("GET", f"{LEASES}/node-1")
    conditions = {one["type"]: one["status"] for one in found["status"]["conditions"]}
    assert conditions == {
        "Ready": "True",
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
    }
    addresses = [one["address"] for one in found["status"]["addresses"] if one["type"] == "InternalIP"]
    assert addresses == [str(one) for one in made.addresses]
    assert found["spec"]["podCIDR"] == "10.244.0.0/24"
    assert lease["spec"]["holderIdentity"] == "node-1"
