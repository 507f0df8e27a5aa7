"""Entries of a connection table as values; put into the kernel's table, read back by the `conntrack` program."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Generator, Iterable, Sequence
from typing import NamedTuple

import netns
from fairway.io.netlink.socket import NetlinkSocket, Protocol, attribute, message, nest
from fairway.plan.stale import Flow, StaleQuery, expected_replies
from fairway.values.address import Address
from fairway.values.errors import KernelError

_NEW = 1 << 8
_FLAGS = 0x1 | 0x400 | 0x200  # REQUEST, CREATE, EXCL


class Entry(NamedTuple):
    """One connection, by its first packet and where its replies come from. Ports of the client matter to nobody."""

    source: str
    destination: str
    port: int
    reply: str
    reply_port: int
    protocol: str = "udp"
    source_port: int = 40000
    zone: int = 0


PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_STATES = {  # CTA_PROTOINFO: established, which a kernel asks for
    "tcp": nest(4, nest(1, attribute(1, b"\3"))),
    "sctp": nest(4, nest(3, attribute(1, b"\4"), attribute(2, b"\0\0\0\1"), attribute(3, b"\0\0\0\1"))),
}


def encode(entry: Entry) -> bytes:
    """The payload of IPCTNL_MSG_CT_NEW."""
    source, destination, reply = (Address.parse(text) for text in (entry.source, entry.destination, entry.reply))
    number = PROTOCOLS[entry.protocol]
    status = struct.pack(">I", 0xE if reply == destination and entry.port == entry.reply_port else 0xE | 0x20)
    return (
        bytes((2 if len(source) == 4 else 10, 0, 0, 0))
        + _tuple(1, source, entry.source_port, destination, entry.port, number)
        + _tuple(2, reply, entry.reply_port, source, entry.source_port, number)
        + attribute(3, status)
        + attribute(7, struct.pack(">I", 600))
        + (attribute(18, struct.pack(">H", entry.zone)) if entry.zone else b"")
        + (nest(4, nest(1, attribute(1, b"\3"))) if entry.protocol == "tcp" else b"")
        + (
            nest(4, nest(3, attribute(1, b"\4"), attribute(2, b"\0\0\0\1"), attribute(3, b"\0\0\0\1")))
            if number == 132
            else b""
        )
    )


def _tuple(kind: int, source: Address, source_port: int, destination: Address, port: int, protocol: int) -> bytes:
    first = 1 if len(source) == 4 else 3
    return nest(
        kind,
        nest(1, attribute(first, source), attribute(first + 1, destination)),
        nest(
            2,
            attribute(1, bytes((protocol,))),
            attribute(2, struct.pack(">H", source_port)),
            attribute(3, struct.pack(">H", port)),
        ),
    )


def insert(entries: Iterable[Entry]) -> None:
    """Put entries into the table of this thread's namespace."""
    with NetlinkSocket(Protocol.NETFILTER) as kernel:
        rows = [message(_NEW, _FLAGS, encode(entry)) for entry in entries]
        for start in range(0, len(rows), 100):
            kernel.send(b"".join(rows[start : start + 100]))
            if (refused := kernel.receive_now()) is not None:
                raise AssertionError(f"the kernel refused an entry: {refused.hex()}")


def listed() -> set[Entry]:
    """What the `conntrack` program sees in this thread's namespace."""
    found = set()
    for family in ("ipv4", "ipv6"):
        for line in netns.run("conntrack", "-L", "-f", family).splitlines():
            fields = re.findall(r"(src|dst|sport|dport)=(\S+)", line)
            values = [value for _, value in fields]
            zone = re.search(r" zone=(\d+)", line)
            found.add(
                Entry(
                    values[0],
                    values[1],
                    int(values[3]),
                    values[4],
                    int(values[6]),
                    line.split()[0],
                    int(values[2]),
                    int(zone[1]) if zone else 0,
                )
            )
    return found


class FakeConntrack:
    """A connection table in memory that behaves as the kernel's; `broken` makes the next so many calls fail."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = set(entries)
        self.broken = 0

    def find(self, queries: Sequence[StaleQuery], node: Collection[Address]) -> Generator[list[Flow], None, None]:
        expected = expected_replies(queries, node)
        for entry in sorted(self.entries):
            flow = Flow(_end(entry.destination, entry.port), _end(entry.reply, entry.reply_port), encode(entry))
            replies = expected.get(flow.destination)
            self._maybe_fail()
            yield [flow] if entry.protocol == "udp" and replies is not None and flow.reply not in replies else []

    def delete(self, flows: Sequence[Flow]) -> int:
        self._maybe_fail()
        handles = {flow.handle for flow in flows}
        gone = {entry for entry in self.entries if encode(entry) in handles}
        self.entries -= gone
        return len(gone)

    def _maybe_fail(self) -> None:
        if self.broken:
            self.broken -= 1
            raise KernelError("fake: EIO: injected", 5)


def _end(address: str, port: int) -> bytes:
    return Address.parse(address) + port.to_bytes(2, "big")
