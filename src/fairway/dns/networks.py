"""CIDR blocks of a Corefile as pairs of packed addresses, which are quick to ask."""

from __future__ import annotations

import ipaddress

Block = tuple[bytes, bytes]
"""The first and the last address."""


def network_of(text: str) -> Block:
    """A CIDR block as first and last packed address."""
    network = ipaddress.ip_network(text)
    return network.network_address.packed, network.broadcast_address.packed


def is_within(address: bytes, block: Block) -> bool:
    """The packed address lies in the block; families never mix."""
    first, last = block
    return len(address) == len(first) and first <= address <= last
