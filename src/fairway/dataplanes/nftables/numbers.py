"""The numbers in the maps' keys: given out once, recovered from what the kernel holds after a restart.

A set of backends is named by the comment of its element in `counts`; an endpoint by the address behind its id.
"""

from __future__ import annotations

from collections.abc import Mapping

from fairway.dataplanes.nftables import layout
from fairway.plan.model import Backend, PlannedPort, Scope
from fairway.reconcile.ids import Ids
from fairway.values.names import ServicePortName

_SCOPES = {scope.name.lower() for scope in Scope}


class NftablesNumbers:
    """The numbers of one family's table."""

    def __init__(self) -> None:
        self._ports = Ids(last=2**30 - 1)
        """By ServicePortName; by the text of one while nobody asked for a recovered number."""
        self._endpoints = Ids()
        """By service port number and target: an endpoint has one number in both sets, which share affinity."""
        self._targets: dict[int, set[bytes]] = {}
        """The targets that have numbers, by service port number."""
        self._recovered: set[str] = set()

    def svc(self, name: ServicePortName, scope: Scope) -> int:
        """Twice the service port's number, plus one for its local set."""
        number = self._ports.get(name)
        return 2 * (number if number is not None else self._adopt(name)) + scope.value

    def _adopt(self, name: ServicePortName) -> int:
        if self._recovered:
            text = str(name)
            self._recovered.discard(text)
            self._ports.rename(text, name)
        return self._ports.of(name)

    def endpoint(self, svc: int, backend: Backend) -> int:
        """The number that affinity remembers."""
        number, target = svc // 2, layout.address_data(backend.address, backend.port)
        self._targets.setdefault(number, set()).add(target)
        return self._endpoints.of((number, target))

    def release(self, name: ServicePortName) -> None:
        """The service port is gone."""
        number = self._ports.get(name)
        if number is not None:
            self._ports.release(name)
            self._release_targets(number, set())

    def keep_endpoints(self, port: PlannedPort) -> None:
        """Free the numbers of endpoints that are no backends of this service port any more."""
        number = self._ports.get(port.name)
        if number is None or number not in self._targets:
            return
        backends = port.cluster.backends + port.local.backends if port.affinity_seconds else ()
        self._release_targets(number, {layout.address_data(b.address, b.port) for b in backends})

    def _release_targets(self, number: int, kept: set[bytes]) -> None:
        known = self._targets.pop(number, set())
        for target in known - kept:
            self._endpoints.release((number, target))
        if known & kept:
            self._targets[number] = known & kept

    def recover(self, counts: Mapping[bytes, bytes], endpoints: Mapping[bytes, bytes]) -> None:
        """Take over the numbers that the kernel's elements carry."""
        names = []
        for key, value in counts.items():
            text, _, scope = layout.unpack_count(value)[1].rpartition(" ")
            if text and scope in _SCOPES:
                names.append((text, layout.unpack_svc_key(key) // 2))
        self._ports.recover(names)
        self._recovered.update(text for text, _ in names)
        numbered = [(layout.unpack_place_key(key), value) for key, value in endpoints.items()]
        self._endpoints.recover(((svc // 2, target), number) for (number, svc), target in numbered)
        for (_, svc), target in numbered:
            self._targets.setdefault(svc // 2, set()).add(target)

    def release_recovered(self) -> None:
        """Everything that is wanted has its number: what else was recovered is free."""
        for text in self._recovered:
            number = self._ports.get(text)
            if number is not None:
                self._ports.release(text)
                self._release_targets(number, set())
        self._recovered.clear()
