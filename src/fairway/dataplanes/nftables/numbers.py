"""The numbers in the maps' keys: given out once, recovered from what the kernel holds after a restart.

A set of backends is named by the comment of its element in `counts`; an endpoint by the address behind its id.
"""

from __future__ import annotations

from collections.abc import Mapping

from fairway.dataplanes.nftables import layout
from fairway.plan.model import Backend, Scope
from fairway.reconcile.ids import Ids
from fairway.values.names import ServicePortName

_SCOPES = {scope.name.lower() for scope in Scope}


class NftablesNumbers:
    """The numbers of one family's table."""

    def __init__(self) -> None:
        self._ports = Ids(last=2**30 - 1)
        self._endpoints = Ids()
        self._endpoints_of: dict[int, set[tuple[int, bytes]]] = {}

    def svc(self, name: ServicePortName, scope: Scope) -> int:
        """Twice the service port's number, plus one for its local set."""
        return 2 * self._ports.of(str(name)) + scope.value

    def endpoint(self, svc: int, backend: Backend) -> int:
        """The number that affinity remembers: the same in both sets of a service port, which share affinity."""
        name = _endpoint_name(svc, backend)
        self._endpoints_of.setdefault(svc, set()).add(name)
        return self._endpoints.of(name)

    def release(self, name: ServicePortName) -> None:
        """The service port is gone."""
        number = self._ports.get(str(name))
        if number is None:
            return
        self._ports.release(str(name))
        for scope in Scope:
            self.keep_endpoints(2 * number + scope.value, ())

    def keep_endpoints(self, svc: int, backends: tuple[Backend, ...]) -> None:
        """Free the numbers of a set's endpoints that are no longer among `backends`."""
        known = self._endpoints_of.get(svc)
        if not known:
            return
        present = {_endpoint_name(svc, backend) for backend in backends}
        for name in known - present - self._endpoints_of.get(_other_set(svc), set()):
            self._endpoints.release(name)
        if known & present:
            self._endpoints_of[svc] = known & present
        else:
            del self._endpoints_of[svc]

    def recover(self, counts: Mapping[bytes, bytes], endpoints: Mapping[bytes, bytes]) -> None:
        """Take over the numbers that the kernel's elements carry."""
        names = []
        for key, value in counts.items():
            text, _, scope = layout.unpack_count(value)[1].rpartition(" ")
            if text and scope in _SCOPES:
                names.append((text, layout.unpack_svc_key(key) // 2))
        self._ports.recover(names)
        numbered = [(layout.unpack_place_key(key), value) for key, value in endpoints.items()]
        self._endpoints.recover(((svc // 2, target), number) for (number, svc), target in numbered)
        for (_, svc), target in numbered:
            self._endpoints_of.setdefault(svc, set()).add((svc // 2, target))


def _endpoint_name(svc: int, backend: Backend) -> tuple[int, bytes]:
    return svc // 2, layout.address_data(backend.address, backend.port)


def _other_set(svc: int) -> int:
    """The number of the service port's other set of backends."""
    return svc ^ 1
