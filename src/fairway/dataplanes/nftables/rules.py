"""Register programs of the skeleton: how one packet finds its backend (docs/nftables.md).

One rule chains lookups through the 16 registers: what a map yields becomes part of the next map's key. No packet
mark is read to decide anything: `meta mark` is loaded only into registers that a lookup overwrites before they are
used. These *decoys* tell the `nft` program the type of a register that it cannot work out, without which
`nft list ruleset` aborts for everybody on the host.
"""

from __future__ import annotations

import socket
import sys
from typing import NamedTuple

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.expressions import (
    Base,
    Bitwise,
    Change,
    Compare,
    Comparison,
    Ct,
    CtKey,
    DestinationNat,
    Expression,
    Fib,
    FibFlag,
    Immediate,
    Lookup,
    Meta,
    MetaKey,
    OneOf,
    Payload,
    Random,
    Remember,
)
from fairway.values.address import Family
from fairway.values.protocol import Protocol

PROTOCOLS: frozenset[int] = frozenset(Protocol)
_RTN_LOCAL = (2).to_bytes(4, sys.byteorder)
_RANDOM_MODULUS = 0xFFFFFFFF
_UNUSED = MetaKey.MARK
_IFNAMSIZ = 16


class Registers(NamedTuple):
    """Which registers hold what, for addresses of `width` words: frontend key, its data, and scratch behind."""

    family: Family
    width: int

    @classmethod
    def of(cls, family: Family) -> Registers:
        return cls(family, family.width // 4)

    @property
    def protocol(self) -> int:
        return self.width

    @property
    def port(self) -> int:
        """Later overwritten by the pad of the frontend's data."""
        return self.width + 1

    @property
    def svc(self) -> int:
        return self.width + 2

    @property
    def policy(self) -> int:
        return self.width + 3

    @property
    def flags(self) -> int:
        return self.width + 4

    @property
    def place(self) -> int:
        """Stands before svc, so that both are one key."""
        return self.svc - 1

    @property
    def client(self) -> int:
        """Stands behind svc, so that both are one key."""
        return self.svc + 1

    @property
    def scratch(self) -> int:
        """Key of `shares`, then the backend's address and port."""
        return self.svc + 1 + self.width


def source(registers: Registers, target: int) -> Payload:
    """Load the packet's source address."""
    v4 = registers.family is Family.IPV4
    return Payload(Base.NETWORK, 12 if v4 else 8, registers.family.width, target)


def destination(registers: Registers, target: int) -> Payload:
    """Load the packet's destination address."""
    v4 = registers.family is Family.IPV4
    return Payload(Base.NETWORK, 16 if v4 else 24, registers.family.width, target)


def _decoys(*targets: int) -> tuple[Expression, ...]:
    return tuple(Meta(_UNUSED, target) for target in targets)


def find_frontend(registers: Registers, container: str, *read: int) -> tuple[Expression, ...]:
    """Look up destination . protocol . port; svc, policy and flags are then in their registers.

    `read` names those that later expressions read: only they need a decoy.
    """
    key = (
        destination(registers, 0),
        Meta(MetaKey.L4PROTO, registers.protocol),
        Payload(Base.TRANSPORT, 2, 2, registers.port),
    )
    return (*key, *_decoys(*read), Lookup(container, 0, registers.port))


def find_original_frontend(registers: Registers, container: str, *read: int) -> tuple[Expression, ...]:
    """As find_frontend, for a packet that has been translated already: asks conntrack where it was sent to."""
    key = (
        Ct(CtKey.DST_IP if registers.family is Family.IPV4 else CtKey.DST_IP6, 0, original=True),
        Meta(MetaKey.L4PROTO, registers.protocol),
        Ct(CtKey.PROTO_DST, registers.port, original=True),
    )
    return (*key, *_decoys(*read), Lookup(container, 0, registers.port))


def draw_place(registers: Registers) -> tuple[Expression, ...]:
    """From svc, draw one of its N places with equal chance: N and a random number find the share they fall in."""
    r = registers
    s = r.scratch
    if r.family is Family.IPV4:
        # 16 bytes of any packet with a port: nft must believe in an IPv6 address here, the type that `shares` has
        typed: tuple[Expression, ...] = (Payload(Base.NETWORK, 8, 16, s),)
    else:
        typed = (destination(r, s),)
    return (
        *typed,
        *_decoys(s + 2),
        Immediate(bytes(8), s),
        Lookup(layout.COUNTS, r.svc, s + 1),
        Random(_RANDOM_MODULUS, s + 3),
        *_decoys(r.place),
        Lookup(layout.SHARES, s, r.place - 1),
    )


def translate(registers: Registers) -> tuple[Expression, ...]:
    """DNAT to the address and port in scratch. The protocol test changes nothing: a saved listing needs it to load."""
    r = registers
    number = socket.AF_INET if r.family is Family.IPV4 else socket.AF_INET6
    return (
        Meta(MetaKey.L4PROTO, 0),
        OneOf(0, PROTOCOLS),
        DestinationNat(int(number), r.scratch, r.scratch + r.width),
    )


def pick(registers: Registers, container: str) -> tuple[Expression, ...]:
    """Any backend, with equal chance."""
    r = registers
    return (
        *find_frontend(r, container, r.svc),
        *draw_place(r),
        Lookup(layout.BACKENDS, r.place, r.scratch),
        *translate(r),
    )


def pick_first(registers: Registers, container: str) -> tuple[Expression, ...]:
    """The backend at place 0, which is there as long as any is: for a packet whose lookups met a change half way."""
    r = registers
    return (
        *find_frontend(r, container, r.svc),
        *_first_place(r),
        Lookup(layout.BACKENDS, r.place, r.scratch),
        *translate(r),
    )


def pick_first_by_id(registers: Registers, container: str) -> tuple[Expression, ...]:
    """As pick_first, of a set with affinity."""
    r = registers
    return (
        *find_frontend(r, container, r.svc),
        *_first_place(r),
        Lookup(layout.BACKEND_IDS, r.place, r.place - 1),
        Lookup(layout.ENDPOINTS, r.place, r.scratch),
        *translate(r),
    )


def _first_place(registers: Registers) -> tuple[Expression, ...]:
    place = registers.place
    return (*_decoys(place), Bitwise(place, place, bytes(4), bytes(4)))


def pick_by_id(registers: Registers, container: str) -> tuple[Expression, ...]:
    """Any backend of a set with affinity, with equal chance, without remembering."""
    r = registers
    return (
        *find_frontend(r, container, r.svc),
        *draw_place(r),
        Lookup(layout.BACKEND_IDS, r.place, r.place - 1),
        Lookup(layout.ENDPOINTS, r.place, r.scratch),
        *translate(r),
    )


def follow_affinity(registers: Registers, container: str, seconds: int) -> tuple[Expression, ...]:
    """The backend that this client had, if it is still one; its time starts anew."""
    r = registers
    return (
        *find_frontend(r, container, r.svc),
        _service_port(r, 0),
        source(r, 1),
        *_decoys(r.place),
        Lookup(layout.AFFINITY, 0, r.place - 1),
        *_decoys(r.place - 1),
        Lookup(layout.ENDPOINTS, r.place, r.scratch),
        *_affinity_entry(r),
        Remember(layout.AFFINITY, Change.UPDATE, r.svc, r.place - 1, seconds * 1000),
        *translate(r),
    )


def start_affinity(registers: Registers, container: str, seconds: int) -> tuple[Expression, ...]:
    """Any backend; remember which. An update keeps the data of a live element, hence delete first."""
    r = registers
    return (
        *find_frontend(r, container, r.svc),
        *draw_place(r),
        Lookup(layout.BACKEND_IDS, r.place, r.place - 1),
        *_decoys(r.place - 1),
        Lookup(layout.ENDPOINTS, r.place, r.scratch),
        *_affinity_entry(r),
        Remember(layout.AFFINITY, Change.DELETE, r.svc, r.place - 1, seconds * 1000),
        Remember(layout.AFFINITY, Change.UPDATE, r.svc, r.place - 1, seconds * 1000),
        *translate(r),
    )


def _service_port(registers: Registers, target: int) -> Bitwise:
    """Affinity belongs to the service port, whichever of its two sets of backends the packet is for (rule 18)."""
    return Bitwise(registers.svc, target, layout.svc_key(0xFFFFFFFE), bytes(4))


def _affinity_entry(registers: Registers) -> tuple[Expression, ...]:
    """Key in svc and client, data in the two registers before: the pad is 0 again, the id has stood there since."""
    r = registers
    pad = r.place - 1
    return (Bitwise(pad, pad, bytes(4), bytes(4)), _service_port(r, r.svc), source(r, r.client))


def in_source_range(registers: Registers, length: int) -> tuple[Expression, ...]:
    """The client is inside one of the frontend's source ranges of this prefix length."""
    r = registers
    width = r.family.width
    mask = (((1 << length) - 1) << (width * 8 - length)).to_bytes(width, "big")
    behind = r.client + r.width
    return (
        *find_frontend(r, layout.FRONTENDS, r.svc),
        source(r, r.client),
        Bitwise(r.client, r.client, mask, bytes(width)),
        Meta(_UNUSED, behind),
        Bitwise(behind, behind, bytes(4), layout.svc_key(length)),
        Lookup(layout.SOURCE_RANGES, r.svc, None),
    )


def find_outside_policy(registers: Registers, container: str) -> tuple[Expression, ...]:
    """What outsiders get at a frontend with a local policy: left in the register of its flags."""
    flags = registers.flags
    mask = layout.svc_key(0xFFFFFFFF << layout.OUTSIDE_SHIFT & 0xFFFFFFFF)
    return (*find_frontend(registers, container, flags), Bitwise(flags, flags, mask, bytes(4)))


def find_masquerade_flags(registers: Registers) -> tuple[Expression, ...]:
    """The flags of the frontend that a translated packet was sent to."""
    flags = registers.flags
    mask = layout.svc_key((1 << layout.OUTSIDE_SHIFT) - 1)
    found = find_original_frontend(registers, layout.FRONTENDS, flags)
    return (*found, Bitwise(flags, flags, mask, bytes(4)))


def is_node(registers: Registers) -> tuple[Expression, ...]:
    """The source is one of the node's addresses."""
    return (Fib(FibFlag.SADDR, registers.scratch), Compare(registers.scratch, Comparison.EQUAL, _RTN_LOCAL))


def comes_by(interface: str, *, is_prefix: bool, inverted: bool = False) -> tuple[Expression, ...]:
    """The packet came in by this interface, or by one whose name starts so."""
    name = interface.encode()
    data = name if is_prefix else name.ljust(_IFNAMSIZ, b"\0")
    return (Meta(MetaKey.IIFNAME, 0), Compare(0, Comparison.NOT_EQUAL if inverted else Comparison.EQUAL, data))
