"""Random Services, pods and Endpoints, and random changes of them, from a seed, as the cases write them."""

from __future__ import annotations

import random
from typing import Any

from controllers.memory_api import Tree

NODES = ("node-a", "node-b", "node-c")
LABELS = ({"app": "web"}, {"app": "web", "tier": "front"}, {"app": "db"}, {"tier": "front"})
SELECTORS = ({"app": "web"}, {"app": "db"}, {"app": "web", "tier": "front"}, {"app": "nobody"}, None)
PROTOCOLS = ("TCP", "UDP", "SCTP")


class World:
    """One world: what there is first, then some changes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._addresses = 0
        self._pods: list[Tree] = []
        self._services: list[Tree] = []

    def begin(self) -> Tree:
        """The first step: everything is made."""
        self._services = [self._service(i) for i in range(self._random.randint(2, 5))]
        self._pods = [self._pod(i) for i in range(self._random.randint(3, 12))]
        hand_made = [self._endpoints(one) for one in self._services if not one["spec"].get("selector")]
        trees = [*self._services, *self._pods, *hand_made]
        self._random.shuffle(trees)
        return {"apply": trees}

    def change(self) -> Tree:
        """A later step."""
        step: Tree = {"apply": [], "delete": []}
        for pod in list(self._pods):
            match self._random.randrange(6):
                case 0:
                    # A phase that changes alone goes unnoticed by the real ones until something else happens.
                    phase = pod["status"]["phase"]
                    pod["status"] = {**self._status(pod["status"].get("podIPs") or self._ips()), "phase": phase}
                    step["apply"].append(pod)
                case 1:
                    pod["metadata"]["labels"] = self._random.choice(LABELS)
                    step["apply"].append(pod)
                case 2:
                    grace = self._random.choice((0, 30))
                    step["delete"].append({"kind": "Pod", "name": pod["metadata"]["name"], "grace": grace})
                    self._pods.remove(pod)
        for service in self._services:
            if self._random.random() < 0.3:
                self._change_service(service)
                step["apply"].append(service)
        return step

    def _change_service(self, service: Tree) -> None:
        """Not its selector's absence: that leaves stale slices, and which is a matter of time."""
        spec = service["spec"]
        match self._random.randrange(4):
            case 0:
                service["metadata"]["labels"] = {"v": str(self._random.randrange(9))}
            case 1 if spec.get("ports"):
                spec["ports"] = self._ports()
            case 2:
                spec["publishNotReadyAddresses"] = not spec.get("publishNotReadyAddresses", False)
            case 3 if spec.get("selector"):
                spec["selector"] = self._random.choice(SELECTORS[:4])

    def _service(self, number: int) -> Tree:
        pick = self._random.choice
        spec: Tree = {"ports": self._ports(), "publishNotReadyAddresses": self._random.random() < 0.2}
        selector = pick(SELECTORS)
        if selector:
            spec["selector"] = selector
        if self._random.random() < 0.3:
            spec["clusterIP"] = "None"
            if self._random.random() < 0.4:
                spec["ports"] = []
        families = pick((["IPv4"], ["IPv6"], ["IPv4", "IPv6"], ["IPv6", "IPv4"]))
        spec["ipFamilies"] = families
        spec["ipFamilyPolicy"] = "SingleStack" if len(families) == 1 else "RequireDualStack"
        distribution = pick((None, None, "PreferClose", "PreferSameNode", "PreferSameZone"))
        if distribution:
            spec["trafficDistribution"] = distribution
        labels = pick(({}, {"team": "a"}, {"endpointslice.kubernetes.io/managed-by": "me"}))
        metadata = {"name": f"s{number}", "labels": dict(labels)}
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}

    def _ports(self) -> list[Tree]:
        count = self._random.randint(1, 3)
        return [
            {
                "name": f"p{i}",
                "port": 80 + i,
                "protocol": self._random.choice(PROTOCOLS),
                "targetPort": self._random.choice((8000 + i, "http", "admin", "absent")),
            }
            for i in range(count)
        ]

    def _pod(self, number: int) -> Tree:
        pick = self._random.choice
        ports: list[Tree] = [
            {"name": "http", "containerPort": pick((8080, 8081)), "protocol": pick(PROTOCOLS)},
            {"name": "admin", "containerPort": 9000, "protocol": "TCP"},
        ][: self._random.randint(0, 2)]
        spec: Tree = {"nodeName": pick(NODES), "containers": [{"name": "c", "image": "i", "ports": ports}]}
        if self._random.random() < 0.3:
            spec |= {"hostname": f"h{number}", "subdomain": f"s{self._random.randrange(4)}"}
        metadata = {"name": f"pod{number}", "labels": pick(LABELS)}
        status = self._status(self._ips())
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}

    def _ips(self) -> list[Tree]:
        self._addresses += 1
        four, six = {"ip": f"10.9.0.{self._addresses}"}, {"ip": f"fd09::{self._addresses:x}"}
        return self._random.choice(([four], [six], [four, six], [six, four], []))

    def _status(self, ips: list[Tree]) -> Tree:
        status: Tree = {"phase": self._random.choice(("Running", "Running", "Running", "Pending", "Failed"))}
        if ips:
            status |= {"podIP": ips[0]["ip"], "podIPs": ips}
        ready = self._random.choice(("True", "True", "False", "Unknown", None))
        if ready:
            status["conditions"] = [{"type": "Ready", "status": ready}]
        return status

    def _endpoints(self, service: Tree) -> Tree:
        """Made by hand, for a Service without a selector."""
        subsets: list[Tree] = []
        for _ in range(self._random.randint(0, 3)):
            port = {"name": f"p{self._random.randrange(2)}", "port": self._random.choice((80, 81)), "protocol": "TCP"}
            subset: Tree = {"ports": [port]}
            for field in ("addresses", "notReadyAddresses"):
                count = self._random.randrange(3)
                subset[field] = [{"ip": f"10.8.0.{self._random.randint(1, 20)}"} for _ in range(count)]
            if subset["addresses"] or subset["notReadyAddresses"]:
                subsets.append(subset)
        metadata: dict[str, Any] = {"name": service["metadata"]["name"], "labels": {"made": "by-hand"}}
        return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}
