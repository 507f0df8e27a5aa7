"""A node's signs of life: its Node object, its conditions, and the Lease that is renewed every ten seconds."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from fairway.agents.clock import Clock
from fairway.agents.pods import STRATEGIC, PodApi
from fairway.kube.status import AlreadyExistsError, ApiStatusError, ApiUnreachableError, NotFoundError
from fairway.pods.status import rfc3339

log = logging.getLogger(__name__)

LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
SECONDS: Final = 40
"""leaseDurationSeconds; renewed four times in it (KEP-589)."""
PRESSURES: Final = ("MemoryPressure", "DiskPressure", "PIDPressure")


class _Condition(msgspec.Struct):
    type: str
    status: str


class _Status(msgspec.Struct):
    conditions: list[_Condition] | None = None


class _Node(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


_node_decoder: Final = msgspec.json.Decoder(_Node)


class Heartbeat:
    """Registers one node and keeps it alive. `node` is the Node object without conditions."""

    def __init__(self, node: dict[str, Any], api: PodApi, clock: Clock, wall: Callable[[], float]) -> None:
        self._node, self._api, self._clock, self._wall = node, api, clock, wall
        self._name = str(node["metadata"]["name"])

    async def run(self) -> None:
        """Until cancelled; a server that cannot be reached is asked again."""
        is_registered = False
        while True:
            try:
                if not is_registered:
                    await self.register()
                    is_registered = True
                await self.renew()
                if not await self.is_taken_for_ready():
                    await self.register()
            except NotFoundError:
                is_registered = False
            except (ApiStatusError, ApiUnreachableError) as error:
                log.warning("node=%s msg='no sign of life could be written' error='%s'", self._name, error)
            await self._clock.sleep(SECONDS / 4 if is_registered else 1.0)

    async def register(self) -> None:
        """Make the Node if it is not there, and say that it is ready."""
        body = {key: value for key, value in self._node.items() if key != "status"}
        try:
            await self._api.request("POST", "/api/v1/nodes", body=json.dumps(body).encode())
        except AlreadyExistsError:
            log.info("node=%s msg='is known already'", self._name)
        now = rfc3339(self._wall())
        ready = _condition("Ready", "True", "KubeletReady", "the pod agent is posting ready status", now)
        calm = [_condition(kind, "False", "KubeletHasNo" + kind, "", now) for kind in PRESSURES]
        own = self._node.get("status", {})
        # Addresses are merged by type, of which a dual-stack node has two alike: as kubelet does, they are replaced.
        addresses = [*own.get("addresses", ()), {"$patch": "replace"}]
        status = {**own, "addresses": addresses, "conditions": [*calm, ready]}
        path = f"/api/v1/nodes/{self._name}/status"
        await self._api.request("PATCH", path, body=json.dumps({"status": status}).encode(), content_type=STRATEGIC)

    async def is_taken_for_ready(self) -> bool:
        """Whether the API has what this node says of itself: one that was silent too long is not ready (KEP-589).

        Raises NotFoundError when there is no such node any more.
        """
        raw = await self._api.request("GET", f"/api/v1/nodes/{self._name}")
        conditions = _node_decoder.decode(raw).status.conditions or ()
        return any(one.type == "Ready" and one.status == "True" for one in conditions)

    async def renew(self) -> None:
        """Write the Lease; made anew when it has gone."""
        moment = datetime.fromtimestamp(self._wall(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": SECONDS, "renewTime": moment}
        try:
            body = json.dumps({"spec": spec}).encode()
            await self._api.request("PATCH", f"{LEASES}/{self._name}", body=body, content_type=STRATEGIC)
        except NotFoundError:
            made = {"metadata": {"name": self._name, "namespace": "kube-node-lease"}, "spec": spec}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **made}
            await self._api.request("POST", LEASES, body=json.dumps(lease).encode())


def _condition(kind: str, status: str, reason: str, message: str, now: str) -> dict[str, Any]:
    times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    return {"type": kind, "status": status, "reason": reason, "message": message, **times}
