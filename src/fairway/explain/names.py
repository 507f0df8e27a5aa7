"""What names in questions stand for, from the objects at hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fairway.kube.cluster import Pod
from fairway.state.tables import State
from fairway.values.address import Address
from fairway.values.names import ObjectName
from fairway.values.protocol import Protocol


class StateNames:
    """Services and nodes from the state; pods as they were handed over, since a proxy's state has none."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._pods: dict[ObjectName, Pod] = {}

    def take_pods(self, pods: Sequence[Pod], kept: Collection[ObjectName] = ()) -> None:
        """All pods there are."""
        self._pods = {pod.name: pod for pod in pods}

    def pod(self, name: ObjectName) -> tuple[Address, ...]:
        """A pod's addresses."""
        pod = self._pods.get(name)
        return pod.addresses if pod else ()

    def node(self, name: str) -> tuple[Address, ...]:
        """A node's addresses."""
        node = self._state.node(name)
        return node.addresses if node else ()

    def service(self, name: ObjectName) -> tuple[Address, ...]:
        """A Service's cluster IPs."""
        service = self._state.service(name)
        return service.cluster_ips if service else ()

    def service_port(self, name: ObjectName, port: str, protocol: Protocol) -> int | None:
        """The number of a Service's named port."""
        service = self._state.service(name)
        ports = service.ports if service else ()
        return next((p.port for p in ports if p.name == port and p.protocol is protocol), None)
