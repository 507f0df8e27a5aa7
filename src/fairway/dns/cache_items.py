"""What of an answer the `cache` plugin keeps, and for how long (RFC 2308, RFC 2181). Pure: replies in, values out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from fairway.config.corefile_settings import CacheLimits
from fairway.dns.model import Reply, Request
from fairway.values.domain import Name
from fairway.values.rrtypes import AD, Opcode, Rcode, RRType
from fairway.wire.dns_message import Record

FALLBACK_TTL = 5
"""Of an answer that has no record to take a TTL from, or that is an error."""


class Class(Enum):
    """What kind of answer it is."""

    SUCCESS = "success"
    DENIAL = "denial"
    FAILURE = "failure"
    DELEGATION = "delegation"
    """Kept as a success, with the TTL of an error."""
    UNKEPT = "unkept"


class Key(NamedTuple):
    """What makes two questions the same."""

    name: Name
    type: int
    rclass: int
    do: bool
    cd: bool


def key_of(request: Request) -> Key:
    """Under which an answer to the question is kept."""
    return Key(request.key, request.type, request.rclass, request.wants_dnssec, request.checking_disabled)


@dataclass(slots=True)
class Item:
    """An answer, and what it needs to be given again."""

    reply: Reply
    ttl: int
    stored: float
    answers: bool = False
    """It answers its question, rather than telling of an alias that leads nowhere."""
    hits: int = 0
    last_hit: float = 0.0
    is_refreshing: bool = False
    retry_at: float = field(default=float("-inf"))
    """No refresh before, since the last one failed."""
    last_good: Item | None = None
    """The answer that this one, which is none, took the place of (`serve_stale_policy`)."""

    def left(self, now: float) -> int:
        return self.ttl - int(now - self.stored)

    def begin_refresh(self, now: float) -> bool:
        """Take the refresh for oneself; False while another has it, or too soon after a failure."""
        if self.is_refreshing or now < self.retry_at:
            return False
        self.is_refreshing = True
        return True

    def end_refresh(self, now: float, recheck: float, *, is_done: bool) -> None:
        self.retry_at = now + recheck if recheck and not is_done else float("-inf")
        self.is_refreshing = False


def classify(reply: Reply, request: Request) -> Class:
    """What kind of answer a reply is."""
    if request.opcode != Opcode.QUERY or request.type in {RRType.AXFR, RRType.IXFR}:
        return Class.UNKEPT
    has_soa = any(r.type == RRType.SOA for r in reply.authority)
    match reply.rcode:
        case Rcode.NOERROR if reply.answer:
            # A chain of aliases that ends nowhere is NODATA if a SOA record says so (RFC 2308, section 2.2).
            return Class.DENIAL if has_soa and not answers(reply, request) else Class.SUCCESS
        case Rcode.NOERROR if has_soa:
            return Class.DENIAL
        case Rcode.NOERROR:
            has_ns = any(r.type == RRType.NS for r in reply.authority)
            return Class.DELEGATION if has_ns else Class.SUCCESS
        case Rcode.NXDOMAIN if not reply.answer:
            return Class.DENIAL
        case Rcode.SERVFAIL | Rcode.NOTIMP:
            return Class.FAILURE
    return Class.UNKEPT


def may_keep(reply: Reply, kind: Class, *, is_answer: bool) -> bool:
    """Nobody says for how long a denial without a SOA record holds (RFC 2308, section 5); a cut answer is none."""
    if kind is Class.UNKEPT or reply.tc:
        return False
    has_soa = any(r.type == RRType.SOA for r in reply.authority)
    if reply.rcode == Rcode.NXDOMAIN:
        return has_soa
    return not (kind is Class.SUCCESS and reply.answer and not has_soa and not is_answer)


def answers(reply: Reply, request: Request) -> bool:
    """Some record is what was asked for, at the end of the chain of aliases that begins at the question's name."""
    if reply.rcode != Rcode.NOERROR or not reply.answer:
        return False
    if request.type == RRType.ANY:
        return any(r.name.lower() == request.key for r in reply.answer)
    aliases: dict[Name, set[Name]] = {}
    for record in reply.answer:
        if record.type == RRType.CNAME:
            aliases.setdefault(record.name.lower(), set()).add(record.rdata.lower())
    if request.type == RRType.CNAME:
        return len(aliases.get(request.key, ())) == 1
    name, seen = request.key, set[Name]()
    while name in aliases:
        if name in seen or len(aliases[name]) > 1:
            return False  # a circle, or a name with two aliases: neither leads anywhere
        seen.add(name)
        (name,) = aliases[name]
    return any(r.type == request.type and r.name.lower() == name for r in reply.answer)


def lifetime(reply: Reply, kind: Class, limits: CacheLimits) -> int:
    """How long a reply may be kept: its lowest TTL, within the limits."""
    ttls: list[int] = []
    if kind in {Class.SUCCESS, Class.DENIAL}:
        ttls = [r.ttl for section in (reply.answer, reply.authority, reply.additional) for r in section]
    lowest = min((*ttls, limits.longest)) if ttls else FALLBACK_TTL
    return min(max(lowest, limits.shortest), limits.longest)


def with_ttl(reply: Reply, ttl: int) -> Reply:
    """The reply with that TTL on every record; the sections are new lists."""

    def aged(records: Iterable[Record]) -> list[Record]:
        return [Record(r.name, r.type, ttl, r.rdata, r.rclass) for r in records]

    sections = aged(reply.answer), aged(reply.authority), aged(reply.additional)
    return Reply(
        reply.rcode, reply.aa, reply.ra, reply.ad, reply.tc, *sections, reply.options, reply.echoed, reply.stream,
        reply.is_refusal, reply.cause, reply.source,
    )  # fmt: skip


def kept_form(reply: Reply) -> Reply:
    """As it is kept: what belongs to one exchange alone (EDNS, RD, CD) is left out."""
    return Reply(
        reply.rcode, reply.aa, reply.ra, reply.ad, reply.tc, reply.answer, reply.authority, reply.additional,
        source=reply.source,
    )  # fmt: skip


def for_client(reply: Reply, request: Request) -> Reply:
    """Without AD for who asked neither for it nor for DNSSEC (RFC 6840, sections 5.7 and 5.8)."""
    if reply.ad and not request.wants_dnssec and not request.flags & AD:
        return replace(reply, ad=False)
    return reply
