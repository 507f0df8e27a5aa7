"""Against the embedded API server."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from api_process import running
from fairway.agents.heartbeat import LEASES, Heartbeat
from fairway.agents.pods import STRATEGIC
from fairway.cluster.topology import Machine, Ranges, node_object, plan
from fairway.io.host.clock import SystemClock
from fairway.io.kube.client import ApiClient
from fairway.io.kube.kubeconfig import Kubeconfig
from fairway.values.address import Prefix

RANGES = Ranges(
    (Prefix.parse("172.31.255.0/24"), Prefix.parse("fd00:31::/64")),
    (Prefix.parse("10.244.0.0/16"), Prefix.parse("fd00:244::/56")),
)


def test_a_node_is_registered_ready_with_a_lease_and_again_without_harm(tmp_path: Path) -> None:
    made = plan(1, RANGES).nodes[0]
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


async def corrected(client: ApiClient) -> None:
    """Return when the API has the node as ready."""
    async with client.open_watch("/api/v1/nodes", {"timeoutSeconds": "20"}) as events:
        async for batch in events:
            for event in batch:
                conditions = json.loads(bytes(event.object))["status"].get("conditions", ())
                if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
                    return
    raise AssertionError("it was never said to be ready again")


def test_a_node_that_was_taken_for_dead_says_that_it_is_not(tmp_path: Path) -> None:
    node = node_object(plan(1, RANGES).nodes[0], Machine(2, 1 << 30, "amd64"))
    silent = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": ""}
    path = "/api/v1/nodes/node-1/status"

    async def go(config: Path) -> None:
        async with ApiClient(Kubeconfig.read([config]).connection()) as client:
            heart = Heartbeat(node, client, SystemClock(), time.time)
            await heart.register()
            assert await heart.is_taken_for_ready()
            body = json.dumps({"status": {"conditions": [silent]}}).encode()
            await client.request("PATCH", path, body=body, content_type=STRATEGIC)
            assert not await heart.is_taken_for_ready()
            beating = asyncio.ensure_future(heart.run())
            try:
                await corrected(client)
            finally:
                beating.cancel()

    with running(tmp_path):
        asyncio.run(asyncio.wait_for(go(tmp_path / "kubeconfig"), 20))
