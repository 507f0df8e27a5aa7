"""The host ports of the pods of one node: who has which, and that the kernel sends packets there.

The pod agent says what each pod has, by `HostPorts.put` and `remove`. A pod that is in another's way waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from fairway.agents.stale_flows import FlowTable
from fairway.agents.upkeep import Upkeep
from fairway.plan.stale import Destination, StaleQuery
from fairway.podnet.hostports import PortMapping, families, in_each_others_way, items
from fairway.values.address import Address, Family
from fairway.values.errors import FairwayError
from fairway.values.names import ObjectName
from fairway.values.protocol import Protocol

log = logging.getLogger(__name__)


class _Holder(NamedTuple):
    name: ObjectName
    addresses: tuple[Address, ...]
    mappings: tuple[PortMapping, ...]


class HostPorts:
    """The host ports of one node."""

    def __init__(
        self, upkeep: Mapping[Family, Upkeep], flows: FlowTable, node: Callable[[], Collection[Address]]
    ) -> None:
        self._upkeep = upkeep
        self._flows = flows
        self._node = node
        """The addresses of the node now."""
        self._holders: dict[str, _Holder] = {}

    def open(self) -> None:
        """Begin to write."""
        for upkeep in self._upkeep.values():
            upkeep.open()
            upkeep.look()

    def prune(self) -> None:
        """Every pod that runs has been `put` again after a start: what nobody has goes."""
        for upkeep in self._upkeep.values():
            upkeep.prune()
            upkeep.flush()

    def has(self, uid: str) -> bool:
        """Whether this pod was put and not removed since."""
        return uid in self._holders

    async def run(self) -> None:
        """Mend what others change and try again what failed, until cancelled."""
        await asyncio.gather(*(upkeep.run() for upkeep in self._upkeep.values()))

    def put(
        self, uid: str, name: ObjectName, addresses: Sequence[Address], mappings: Sequence[PortMapping]
    ) -> tuple[str, ...]:
        """A pod has these addresses and host ports; says for an event what another pod has already."""
        holder, before = _Holder(name, tuple(addresses), tuple(mappings)), self._holders.get(uid)
        if holder.mappings or before is not None:
            around = self._around(uid)
            self._holders[uid] = holder
            self._write({*around, *self._around(uid), uid})
        if before is not None and before != holder:
            self._forget_flows(before, frozenset())
        return tuple(
            f"host port {mine.host_text} is in use by pod {other.name}" for mine, other in self._conflicts(uid)
        )

    def remove(self, uid: str) -> None:
        """The pod is gone; who waited for its ports has them now."""
        if uid in self._holders:
            around = self._around(uid)
            gone = self._holders.pop(uid)
            for upkeep in self._upkeep.values():
                upkeep.want(uid, ())
            self._write(around)
            self._forget_flows(gone, frozenset())

    def _around(self, uid: str) -> set[str]:
        """Later pods that want what this one has: what they get may change with it."""
        if uid not in self._holders:
            return set()
        mine = self._holders[uid].mappings
        later = list(self._holders)[list(self._holders).index(uid) + 1 :]
        return {
            other
            for other in later
            if any(in_each_others_way(a, b) for a in mine for b in self._holders[other].mappings)
        }

    def _conflicts(self, uid: str) -> list[tuple[PortMapping, _Holder]]:
        """A pod's mappings that an earlier pod has, with that pod."""
        if uid not in self._holders:
            return []
        earlier = list(self._holders)[: list(self._holders).index(uid)]
        return [
            (mine, self._holders[other])
            for mine in self._holders[uid].mappings
            for other in earlier
            if any(in_each_others_way(mine, theirs) for theirs in self._holders[other].mappings)
        ]

    def _write(self, uids: Collection[str]) -> None:
        for uid in uids:
            holder = self._holders[uid]
            taken = {mapping for mapping, _ in self._conflicts(uid)}
            free = tuple(mapping for mapping in holder.mappings if mapping not in taken)
            for family, upkeep in self._upkeep.items():
                own = [address for address in holder.addresses if address.family is family]
                upkeep.want(uid, tuple(items(own[0], free)) if own else ())
        for upkeep in self._upkeep.values():
            upkeep.flush()
        for uid in uids:
            holder = self._holders[uid]
            self._forget_flows(holder, frozenset(holder.addresses))

    def _forget_flows(self, holder: _Holder, allowed: frozenset[Address]) -> None:
        """UDP entries that lead elsewhere would go on as long as their clients send (`plan.stale`)."""
        queries = [
            StaleQuery(
                Destination(family, mapping.host_ip if mapping.host_ip and any(mapping.host_ip) else None, port),
                frozenset((one, mapping.container_port) for one in allowed if one.family is family),
            )
            for mapping in holder.mappings
            if mapping.protocol is Protocol.UDP
            for family in families(mapping)
            for port in (mapping.host_port,)
            if family in self._upkeep
        ]
        try:
            for flows in self._flows.find(queries, self._node()) if queries else ():
                if flows:
                    self._flows.delete(flows)
        except FairwayError as error:
            log.warning("pod=%s msg='stale flows to its host ports stay' error='%s'", holder.name, error)
