"""One packet as a question: where would it go?"""

from __future__ import annotations

from typing import NamedTuple

from fairway.values.address import Address
from fairway.values.protocol import Protocol


class Packet(NamedTuple):
    """The first packet of a connection as it reaches the node, or as it leaves a socket on the node."""

    source: Address
    destination: Address
    protocol: Protocol
    port: int
    interface: str = ""
    """The interface that it came in by; empty when unknown or when it was made on the node."""

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination.with_port(self.port)}/{self.protocol}"
