"""The rule expressions that the skeleton is made of, as data (docs/nftables.md).

Each class is one expression of the kernel's nf_tables; a register is a number from 0 to 15, one 32-bit word each.
What the expressions mean together is decided in `rules`; their bytes are made in `encode`.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple


class Base(IntEnum):
    """Which header a payload is read from."""

    NETWORK = 1
    TRANSPORT = 2


class MetaKey(IntEnum):
    MARK = 3
    IIFNAME = 6
    OIFNAME = 7
    L4PROTO = 16


class CtKey(IntEnum):
    STATE = 0
    STATUS = 2
    PROTO_DST = 12
    DST_IP = 20
    DST_IP6 = 22


class Comparison(IntEnum):
    EQUAL = 0
    NOT_EQUAL = 1


class Change(IntEnum):
    """What a packet does to a dynamic map."""

    UPDATE = 1
    DELETE = 2


class Code(IntEnum):
    """Verdicts; the kernel's numbers."""

    DROP = 0
    ACCEPT = 1
    GOTO = -4
    JUMP = -3
    RETURN = -5


class FibFlag(IntFlag):
    SADDR = 1
    DADDR = 2


class Verdict(NamedTuple):
    """What an immediate or a verdict map leads to."""

    code: Code
    chain: str = ""


class Payload(NamedTuple):
    """Load `length` bytes of a header."""

    base: Base
    offset: int
    length: int
    target: int


class Meta(NamedTuple):
    key: MetaKey
    target: int


class Ct(NamedTuple):
    """Load from the conntrack entry; with `original`, from its tuple as it was before translation."""

    key: CtKey
    target: int
    original: bool = False


class Fib(NamedTuple):
    """Load the address type of the packet's source or destination (RTN_LOCAL is 2)."""

    flags: FibFlag
    target: int


class Immediate(NamedTuple):
    data: bytes
    target: int


class Decide(NamedTuple):
    """End with a verdict."""

    verdict: Verdict


class Compare(NamedTuple):
    """End the rule unless the register compares so with the data."""

    source: int
    comparison: Comparison
    data: bytes


class Bitwise(NamedTuple):
    """target = source & mask ^ xor"""

    source: int
    target: int
    mask: bytes
    xor: bytes


class Random(NamedTuple):
    """Load a random number below `modulus`."""

    modulus: int
    target: int


class Lookup(NamedTuple):
    """Find the key that starts in `source`; end the rule if it is absent (or present, when inverted).

    A map's data go to `target`; None for a set.
    """

    container: str
    source: int
    target: int | None = None
    inverted: bool = False


class OneOf(NamedTuple):
    """End the rule unless the register is one of these protocols, which stand in a set of the rule's own."""

    source: int
    protocols: frozenset[int]


class Dispatch(NamedTuple):
    """Find the key in a verdict map and do what it says; end the rule if it is absent."""

    container: str
    source: int


class Remember(NamedTuple):
    """Add, refresh or delete an element of a dynamic map from the packet path."""

    container: str
    change: Change
    key: int
    data: int
    timeout_ms: int


class DestinationNat(NamedTuple):
    address_family: int
    address: int
    port: int


class Masquerade(NamedTuple):
    """The source becomes the outgoing interface's address, its port chosen at random."""


class Untracked(NamedTuple):
    """The packet gets no conntrack entry."""


class Reject(NamedTuple):
    """Refuse with ICMP port unreachable."""

    code: int


class Unknown(NamedTuple):
    """An expression found in the kernel that the skeleton never uses."""

    name: str
    data: bytes


Expression = (
    Payload
    | Meta
    | Ct
    | Fib
    | Immediate
    | Decide
    | Compare
    | Bitwise
    | Random
    | Lookup
    | OneOf
    | Dispatch
    | Remember
    | DestinationNat
    | Masquerade
    | Untracked
    | Reject
    | Unknown
)


class Rule(NamedTuple):
    expressions: tuple[Expression, ...]
    comment: str


class ChainKind(IntEnum):
    """Type of a base chain."""

    FILTER = 0
    NAT = 1


class HookPoint(IntEnum):
    """NF_INET_* numbers."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4


class Hook(NamedTuple):
    kind: ChainKind
    point: HookPoint
    priority: int


class Chain(NamedTuple):
    name: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None
