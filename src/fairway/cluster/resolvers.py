"""Which name servers nodes can ask for names that are not the cluster's: the host's own, as far as nodes reach them.

A resolver on the host's loopback (systemd-resolved's stub, dnsmasq) means somebody else inside a node's namespace. The
servers behind the stub are taken, as kubeadm has kubelets do; where nobody knows them, the host relays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fairway.values.address import Address, Prefix
from fairway.values.errors import InvalidValueError


class Resolvers(NamedTuple):
    """What nodes ask."""

    servers: tuple[str, ...]
    relayed: tuple[str, ...] = ()
    """Servers on the host's loopback that its relay asks in turn; `servers` is the relay's address then."""


def plan_resolvers(own: Sequence[str], behind: Sequence[str], relay: Address, cluster: Iterable[Prefix]) -> Resolvers:
    """From the name servers of /etc/resolv.conf and, behind a stub, of /run/systemd/resolve/resolv.conf.

    A server inside `cluster` (a host that asks the cluster's DNS itself) is left out: queries would come back for ever.
    """
    ranges = tuple(cluster)
    for texts in (own, behind):
        reached = tuple(text for text in texts if _is_reached(text, ranges))
        if reached:
            return Resolvers(reached)
    local = tuple(text for text in own if (address := _parse(text)) is not None and address.is_loopback)
    return Resolvers((str(relay),), local) if local else Resolvers(())


def _is_reached(text: str, cluster: Sequence[Prefix]) -> bool:
    address = _parse(text)
    if address is None or address.is_loopback or address.is_link_local:
        return False
    return not any(address in one for one in cluster)


def _parse(text: str) -> Address | None:
    try:
        return Address.parse(text.partition("%")[0])
    except InvalidValueError:
        return None
