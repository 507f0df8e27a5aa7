"""Subsets of an Endpoints object in their canonical form, and their limit of 1000 addresses."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from fairway.kube.discovery import EndpointAddress, EndpointSubset, SlicePort

MAX_ADDRESSES = 1000
NO_PORT = SlicePort(port=-1)
"""Stands for "no ports at all", so that such addresses keep their place."""


class _AddressKey(NamedTuple):
    """Two pods may have one address (host network); they stay two."""

    ip: str
    uid: str


def _key(address: EndpointAddress) -> _AddressKey:
    return _AddressKey(address.ip, address.target_ref.uid if address.target_ref else "")


def repack(subsets: Iterable[EndpointSubset]) -> tuple[EndpointSubset, ...]:
    """Equal sets of addresses share one subset, equal ports are merged; not ready beats ready. Sorted."""
    known: dict[_AddressKey, EndpointAddress] = {}
    by_port: dict[SlicePort, dict[_AddressKey, bool]] = {}
    for subset in subsets:
        for port in subset.ports or (NO_PORT,):
            members = by_port.setdefault(_plain(port), {})
            for address, is_ready in _addresses(subset):
                key = _key(address)
                known.setdefault(key, address)
                members[key] = is_ready and members.get(key, True)
    by_members: dict[tuple[tuple[_AddressKey, bool], ...], list[SlicePort]] = {}
    for port, members in by_port.items():
        ports = by_members.setdefault(tuple(sorted(members.items())), [])
        if port != NO_PORT:
            ports.append(port)
    made = (_subset(members, ports, known) for members, ports in by_members.items())
    return tuple(sorted(made, key=_sort_key))


def _plain(port: SlicePort) -> SlicePort:
    return port if port.name != "" else msgspec.structs.replace(port, name=None)


def _addresses(subset: EndpointSubset) -> Iterable[tuple[EndpointAddress, bool]]:
    yield from ((one, True) for one in subset.addresses or ())
    yield from ((one, False) for one in subset.not_ready_addresses or ())


def _subset(
    members: tuple[tuple[_AddressKey, bool], ...],
    ports: list[SlicePort],
    known: dict[_AddressKey, EndpointAddress],
) -> EndpointSubset:
    ready = tuple(known[key] for key, is_ready in members if is_ready)
    not_ready = tuple(known[key] for key, is_ready in members if not is_ready)
    return EndpointSubset(ready or None, not_ready or None, tuple(sorted(ports, key=_port_order)) or None)


def _port_order(port: SlicePort) -> tuple[str, str, int, str]:
    return (port.name or "", port.protocol or "", port.port or 0, port.app_protocol or "")


def _sort_key(subset: EndpointSubset) -> tuple[object, ...]:
    return (
        [_port_order(one) for one in subset.ports or ()],
        [_key(one) for one in subset.addresses or ()],
        [_key(one) for one in subset.not_ready_addresses or ()],
    )


def size(subsets: Iterable[EndpointSubset]) -> int:
    """How many addresses there are."""
    return sum(len(one.addresses or ()) + len(one.not_ready_addresses or ()) for one in subsets)


def truncate(subsets: tuple[EndpointSubset, ...]) -> tuple[EndpointSubset, ...]:
    """At most 1000 addresses, ready ones first, each subset cut in proportion."""
    ready = sum(len(one.addresses or ()) for one in subsets)
    if size(subsets) <= MAX_ADDRESSES:
        return subsets
    cuts_ready = ready > MAX_ADDRESSES
    room = MAX_ADDRESSES if cuts_ready else MAX_ADDRESSES - ready
    total = ready if cuts_ready else size(subsets) - ready
    left = room
    cut: list[EndpointSubset] = []
    for one in subsets:
        members = (one.addresses if cuts_ready else one.not_ready_addresses) or ()
        share = min(left, math.ceil(len(members) / total * room), len(members))
        left -= share
        kept = members[:share] or None
        if cuts_ready:
            cut.append(EndpointSubset(kept, None, one.ports))
        else:
            cut.append(EndpointSubset(one.addresses, kept, one.ports))
    return tuple(cut)
