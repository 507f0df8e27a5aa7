"""A cluster that changes at random, written through a real API server: Services of all types and their slices.

Every request is valid, so that a refusal is an error of the test. What is made depends on the seed and on the order of
requests only.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from fairway.io.kube.client import ApiClient, object_path
from fairway.kube.status import InvalidError, NotFoundError

NAMESPACE = "default"
NODE, ZONES = "node-a", ("zone-a", "zone-b")
PORTS, BACKEND_PORTS = (80, 443, 53), (8080, 5353)
NODE_PORTS = range(30000, 30120)
BALANCERS = {"IPv4": ("1.2.3.4", "5.6.7.8"), "IPv6": ("2600::4", "2600::8")}
EXTERNAL = {"IPv4": "9.10.11.12", "IPv6": "2600::12"}
BACKENDS = {"IPv4": "10.0.1.{}", "IPv6": "fd00:10:1::{:x}"}
RANGES = {"IPv4": "203.0.113.0/25", "IPv6": "2600::/49"}
SERVICES, SLICES = "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"
NODES = "/api/v1/nodes"
_SPACE = 20
Tree = dict[str, Any]


class Churn:
    """Random changes of at most 20 Services, `s0` to `s19`."""

    _client: ApiClient

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._slices: dict[str, str] = {}
        """The Service of each slice."""
        self._services: set[int] = set()
        self._free = deque(NODE_PORTS)
        """The longest unused is next."""
        self.changes = 0

    async def start(self, client: ApiClient) -> None:
        """The node, with an address of each family and a zone."""
        self._client = client
        labels = {"topology.kubernetes.io/zone": ZONES[0], "kubernetes.io/hostname": NODE}
        await self._create(NODES, {"metadata": {"name": NODE, "labels": labels}})
        addresses = [{"type": "InternalIP", "address": a} for a in ("192.168.0.2", "2001:db8::1")]
        status = {"status": {"addresses": addresses}}
        await self._client.patch(object_path(NODES, NODE, "", "status"), json.dumps(status).encode())

    async def change(self, client: ApiClient, times: int) -> None:
        """So many changes, one after another."""
        self._client = client
        for _ in range(times):
            await self._one()
            self.changes += 1

    async def remove_everything(self, client: ApiClient) -> None:
        self._client = client
        for number in sorted(self._services):
            await self._client.delete(object_path(SERVICES, f"s{number}", NAMESPACE))
        for name in sorted(self._slices):
            await self._client.delete(object_path(SLICES, name, NAMESPACE))
        self._services.clear()
        self._slices.clear()

    async def _one(self) -> None:
        ways: list[Callable[[], Awaitable[None]]] = [self._put_slice, self._put_slice, self._put_slice]
        ways += [self._remove_slice, self._remove_service, self._change_service, self._change_service]
        ways += [self._balance] * 2
        if len(self._services) < _SPACE:
            ways += [self._add_service] * 3
        await self._random.choice(ways)()

    # --- Services --------------------------------------------------------------------------------------------------

    async def _add_service(self) -> None:
        number = self._random.choice([n for n in range(_SPACE) if n not in self._services])
        self._services.add(number)
        spec = self._spec()
        spec["ipFamilyPolicy"] = "PreferDualStack" if self._random.random() < 0.6 else "SingleStack"
        spec["ipFamilies"] = [self._random.choice(list(BALANCERS))]
        labels = {"service.kubernetes.io/service-proxy-name": "other"} if self._random.random() < 0.1 else {}
        draw = self._random.random()
        if draw < 0.08:
            spec = {"clusterIP": "None", "ports": [{"port": 80}]}
        elif draw < 0.12:
            spec = {"type": "ExternalName", "externalName": "example.org"}
        spec = {key: value for key, value in spec.items() if value is not None}
        await self._create(SERVICES, {"metadata": {"name": f"s{number}", "labels": labels}, "spec": spec})

    async def _change_service(self) -> None:
        """Any of its fields but those of its addresses; what has none stays without."""
        if not self._services:
            return
        number = self._random.choice(sorted(self._services))
        path = object_path(SERVICES, f"s{number}", NAMESPACE)
        now = json.loads(await self._client.get(path))["spec"]
        if now.get("clusterIP", "None") == "None":
            return
        # in two steps: an entry of `ports` that is renamed may not take another's node port in the same request
        spec = self._spec()
        bare = {**spec, "type": "ClusterIP", "externalTrafficPolicy": None, "healthCheckNodePort": None}
        bare |= {"externalIPs": None, "ports": [{k: p[k] for k in p if k != "nodePort"} for p in spec["ports"]]}
        bare |= {"loadBalancerSourceRanges": None}
        await self._patch(path, {"spec": bare})
        try:
            await self._patch(path, {"spec": spec})
        except InvalidError as error:  # the server tries a patch anew over a stale cache, and forgets the first try's
            if "port is already allocated" not in str(error):
                raise
            await self._patch(path, {"spec": self._spec()})

    def _spec(self) -> Tree:
        """None takes a field away."""
        random = self._random
        kind = random.choice(("ClusterIP", "NodePort", "LoadBalancer"))
        ports: list[Tree] = []
        for at, name in enumerate(("p", "q")[: random.choice((1, 2))]):
            protocol = random.choice(("TCP", "TCP", "UDP", "SCTP"))
            port = {
                "name": f"{name}-{protocol.lower()}",
                "port": PORTS[at + random.choice((0, 1))] + at,
                "protocol": protocol,
            }
            if kind != "ClusterIP":
                port["nodePort"] = self._free[0]
                self._free.rotate(-1)
            ports.append(port)
        external = random.sample(list(EXTERNAL.values()), random.choice((0, 0, 1, 2)))
        policy = random.choice(("Cluster", "Local")) if kind != "ClusterIP" else "Cluster" if external else None
        affinity = random.choice(("None", "None", "ClientIP"))
        return {
            "type": kind,
            "ports": ports,
            "externalIPs": external or None,
            "externalTrafficPolicy": policy,
            "internalTrafficPolicy": random.choice(("Cluster", "Cluster", "Local")),
            "healthCheckNodePort": None,  # the server gives one where one is needed
            "sessionAffinity": affinity,
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 7200}} if affinity == "ClientIP" else None,
            "loadBalancerSourceRanges": list(RANGES.values())
            if kind == "LoadBalancer" and random.random() < 0.3
            else None,
            "trafficDistribution": random.choice((None, "PreferSameZone")),
        }

    async def _remove_service(self) -> None:
        """With its slices or without."""
        if not self._services:
            return
        number = self._random.choice(sorted(self._services))
        self._services.discard(number)
        await self._client.delete(object_path(SERVICES, f"s{number}", NAMESPACE))
        if self._random.random() < 0.5:
            for name in [name for name, owner in self._slices.items() if owner == f"s{number}"]:
                del self._slices[name]
                await self._client.delete(object_path(SLICES, name, NAMESPACE))

    async def _balance(self) -> None:
        """What a load balancer controller writes."""
        name = f"s{self._random.randrange(_SPACE)}"
        path = object_path(SERVICES, name, NAMESPACE)
        try:
            now = json.loads(await self._client.get(path))["spec"]
        except NotFoundError:
            return
        if now["type"] == "LoadBalancer":
            addresses = [a for f in now["ipFamilies"] for a in BALANCERS[f] if self._random.random() < 0.6]
            modes = ("VIP", "VIP", "Proxy")
            rows = [{"ip": address, "ipMode": self._random.choice(modes)} for address in addresses]
            await self._patch(f"{path}/status", {"status": {"loadBalancer": {"ingress": rows}}})

    # --- slices ----------------------------------------------------------------------------------------------------

    async def _put_slice(self) -> None:
        """A new slice or new content of one, for a Service that may not be there."""
        random = self._random
        owner, family, number = f"s{random.randrange(_SPACE)}", random.choice(list(BACKENDS)), random.choice((1, 2))
        name = f"{owner}-{family.lower()}-{number}"
        count = random.choice((0, 1, 2, 3, 3))
        ports = [
            {"name": f"{letter}-{protocol.lower()}", "protocol": protocol, "port": random.choice(BACKEND_PORTS)}
            for letter in ("p", "q")
            for protocol in ("TCP", "UDP", "SCTP")
        ]
        labels = {"kubernetes.io/service-name": owner}
        content = {
            "metadata": {"name": name, "labels": labels},
            "addressType": family,
            "ports": ports,
            "endpoints": [self._endpoint(family, at) for at in random.sample(range(1, 9), count)],
        }
        if name in self._slices:
            await self._update(object_path(SLICES, name, NAMESPACE), content)
        else:
            await self._create(SLICES, content)
        self._slices[name] = owner

    def _endpoint(self, family: str, number: int) -> Tree:
        random = self._random
        words = {"ready": (None, True, True, False), "serving": (None, True, False), "terminating": (None, False, True)}
        conditions = {word: random.choice(values) for word, values in words.items()}
        endpoint: Tree = {
            "addresses": [BACKENDS[family].format(number)],
            "conditions": {word: value for word, value in conditions.items() if value is not None},
        }
        if node := random.choice((None, NODE, "other")):
            endpoint["nodeName"] = node
        if random.random() < 0.6:
            endpoint["hints"] = {"forZones": [{"name": random.choice(ZONES)}]}
        return endpoint

    async def _remove_slice(self) -> None:
        if self._slices:
            name = self._random.choice(sorted(self._slices))
            del self._slices[name]
            await self._client.delete(object_path(SLICES, name, NAMESPACE))

    # --- requests --------------------------------------------------------------------------------------------------

    async def _create(self, collection: str, tree: Tree) -> None:
        folder = collection if collection == NODES else object_path(collection, "", NAMESPACE)
        await self._client.create(folder, json.dumps(tree).encode())

    async def _update(self, path: str, tree: Tree) -> None:
        await self._client.update(path, json.dumps(tree).encode())

    async def _patch(self, path: str, tree: Tree) -> None:
        await self._client.patch(path, json.dumps(tree).encode())
