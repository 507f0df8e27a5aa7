"""What passes through the chain of plugins: a request in, a reply out.

Decides the shape of both and nothing else. Handlers are coroutines, since some of them wait for an upstream; most never
do, and whoever drives them may count on that (`fairway.dns.server`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from fairway.values.domain import Name
from fairway.values.rrtypes import AD, CD, Opcode, Rcode
from fairway.wire.dns_message import MAX_MESSAGE, MIN_UDP, Edns, Record


class Transport(Enum):
    """How a question came."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    INTERNAL = "internal"
    """Asked by a plugin, for a name that an answer points to."""


@dataclass(slots=True)
class Request:
    """One question. `name` is spelt as asked, `key` in lower case."""

    name: Name
    key: Name
    type: int
    rclass: int = 1
    id: int = 0
    flags: int = 0
    edns: Edns | None = None
    authority: tuple[Record, ...] = ()
    """Only IXFR has one: the serial that the client has."""
    transport: Transport = Transport.UDP
    client: bytes = b"\x7f\0\0\1"
    """Packed address; IPv4 is 4 bytes whatever socket it came by."""
    client_port: int = 0
    local: bytes = b"\x7f\0\0\1"
    local_port: int = 53
    size: int = 0
    """Bytes of the query, for the log."""
    depth: int = 0
    """How many names that pointed here were asked for before."""

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 15

    @property
    def wants_dnssec(self) -> bool:
        return self.edns is not None and self.edns.do

    @property
    def checking_disabled(self) -> bool:
        return bool(self.flags & CD)

    @property
    def authenticated_data(self) -> bool:
        return bool(self.flags & AD)

    @property
    def is_stream(self) -> bool:
        return self.transport in {Transport.TCP, Transport.TLS}

    @property
    def limit(self) -> int:
        """The largest reply that the client can take."""
        if self.is_stream or self.transport is Transport.INTERNAL:
            return MAX_MESSAGE
        return max(MIN_UDP, self.edns.size if self.edns else 0)

    def with_flags(self, flags: int) -> Request:
        """The same question with other header bits."""
        # `dataclasses.replace` costs as much as reading the query.
        return Request(
            self.name, self.key, self.type, self.rclass, self.id, flags, self.edns, self.authority, self.transport,
            self.client, self.client_port, self.local, self.local_port, self.size, self.depth,
        )  # fmt: skip

    def asking(self, name: Name, rtype: int) -> Request:
        """The same client's question for something else."""
        return replace(self, name=name, key=name.lower(), type=rtype)


@dataclass(slots=True)
class Reply:
    """What goes back: the header bits that a plugin decides, and three sections."""

    rcode: int = Rcode.NOERROR
    aa: bool = False
    ra: bool = False
    ad: bool = False
    tc: bool = False
    answer: list[Record] = field(default_factory=list)
    authority: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)
    options: tuple[tuple[int, bytes], ...] | None = None
    """EDNS options of the reply's own; None echoes those of the question that a plugin knows."""
    echoed: int | None = None
    """RD and CD as an upstream sent them back; None for those of the question."""
    stream: list[list[Record]] | None = None
    """Of a zone transfer: the messages after the first."""
    is_refusal: bool = False
    """No plugin wrote this: only its code counts (CoreDNS: the handler returned an error code)."""
    cause: str = ""
    """Why it is a failure, for the `errors` plugin."""
    source: str = ""
    """Which plugin answered, for explain."""


def refusal(rcode: int, cause: str = "") -> Reply:
    """An answer that is only a code."""
    return Reply(rcode=rcode, is_refusal=True, cause=cause)


class Handler(Protocol):
    """One plugin of a server block, which holds the next one."""

    async def serve(self, request: Request) -> Reply:
        """Answer, or ask the next plugin."""
        ...


class EndOfChain:
    """Stands behind the last plugin: nobody claimed the name."""

    async def serve(self, request: Request) -> Reply:
        return refusal(Rcode.SERVFAIL, "no next plugin found")


def accepts_opcode(opcode: int) -> bool:
    """Of the opcodes that exist, those that reach a plugin."""
    return opcode in {Opcode.QUERY, Opcode.NOTIFY}
