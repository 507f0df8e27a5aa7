"""A pod's network with its host ports: what `BridgeNetwork` does, and behind it the ports of the node that lead there.

Fulfils `fairway.io.containers.machine.PodNetwork`. A pod whose host port another has starts when that one is gone:
its events say which pod it is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from fairway.agents.hostports import HostPorts
from fairway.kube.podspec import NodePod
from fairway.podnet.hostports import mappings_of
from fairway.values.address import Address
from fairway.values.errors import FairwayError
from fairway.values.names import ObjectName


class HostPortTakenError(FairwayError):
    """Another pod of this node has the host port; the message names both."""


class Network(Protocol):
    """The network without host ports."""

    async def attach(self, pod: NodePod) -> tuple[str, tuple[str, ...]]: ...

    async def detach(self, pod: NodePod) -> None: ...

    async def keep(self, uids: Collection[str]) -> None: ...


class HostPortNetwork:
    """The pods' network of one node."""

    def __init__(self, network: Network, ports: HostPorts) -> None:
        self._network = network
        self._ports = ports
        self._awaited: set[str] | None = None
        """Pods that were there before this process and have not been attached by it yet; None before they are known."""

    async def attach(self, pod: NodePod) -> tuple[str, tuple[str, ...]]:
        """Raises HostPortTakenError and what the network raises."""
        namespace, addresses = await self._network.attach(pod)
        if not pod.spec.host_network:
            uid = pod.metadata.uid
            name = ObjectName(pod.metadata.namespace, pod.metadata.name)
            taken = self._ports.put(uid, name, [Address.parse(one) for one in addresses], mappings_of(pod))
            self._seen(uid)
            if taken:
                raise HostPortTakenError("; ".join(taken))
        return namespace, addresses

    async def detach(self, pod: NodePod) -> None:
        """The ports go before the addresses that they lead to, which another pod may get."""
        self._ports.remove(pod.metadata.uid)
        self._seen(pod.metadata.uid)
        await self._network.detach(pod)

    async def keep(self, uids: Collection[str]) -> None:
        """Take away what pods left that went while nobody looked: ports, once all that are here have said theirs."""
        await self._network.keep(uids)
        self._awaited = {uid for uid in uids if not self._ports.has(uid)}
        self._prune()

    def _seen(self, uid: str) -> None:
        if self._awaited is not None:
            self._awaited.discard(uid)
            self._prune()

    def _prune(self) -> None:
        if self._awaited is not None and not self._awaited:
            self._ports.prune()
            self._awaited = None
