"""Targets → resource records of one type, the same way for cluster names and for names outside the cluster.

Decides owner names, weights, duplicates and additional records. Which targets a name has is decided before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fairway.dns.lookup import Target, absolute
from fairway.dns.rows import NO_PORT
from fairway.values.domain import ROOT, Name, from_labels, is_subdomain, labels
from fairway.values.rrtypes import Rcode, RRType
from fairway.wire.dns_message import Record, a_or_aaaa, soa_rdata, srv_rdata

MAX_CHAIN = 10
"""CNAMEs followed inside the zone."""


class Resolved(NamedTuple):
    """What looking up another name gave."""

    records: tuple[Record, ...] = ()
    is_truncated: bool = False
    rcode: int = Rcode.NOERROR


Resolve = Callable[[Name, int], Awaitable[Resolved]]
"""Asks the whole server, as a client would."""


def addresses(name: Name, targets: Iterable[Target], rtype: int, ttl: int) -> list[Record]:
    """A or AAAA records of the targets that have such addresses, each once."""
    width = 4 if rtype == RRType.A else 16
    found = dict.fromkeys(t.address for t in targets if len(t.address) == width)
    return [Record(name, rtype, ttl, address) for address in found]


def srv(name: Name, zone: Name, targets: Sequence[Target], ttl: int) -> tuple[list[Record], list[Record]]:
    """SRV records and the addresses of what they point to; the weight is 100 shared between all targets."""
    weight = max(1, 100 // len(targets)) if targets else 1
    records: dict[tuple[Name, int], Record] = {}
    extra: dict[tuple[Name, bytes], Record] = {}
    for target in targets:
        if target.port == NO_PORT:
            continue
        host = target.alias or absolute(target.owner, zone)
        if (host, target.port) not in records:
            rdata = srv_rdata(weight, target.port, host)
            records[host, target.port] = Record(name, RRType.SRV, ttl, rdata)
        if target.address:
            extra.setdefault((host, target.address), a_or_aaaa(host, target.address, ttl))
    return list(records.values()), list(extra.values())


@dataclass(frozen=True, slots=True)
class Aliases:
    """Follows the names that targets point to, for one question: inside the zone here, outside by asking."""

    zone: Name
    rtype: int
    ttl: int
    find: Callable[[Name], list[Target] | None]
    """Targets of a name of the zone, None when it does not exist."""
    resolve: Resolve

    async def follow(self, name: Name, targets: list[Target], chain: tuple[Name, ...] = ()) -> Resolved:
        """Addresses of a name's targets, with the CNAMEs that lead there; `chain` are the names before it."""
        is_address = self.rtype in {RRType.A, RRType.AAAA}
        records = addresses(name, targets, self.rtype, self.ttl) if is_address else []
        is_truncated = False
        for target in targets:
            alias = target.alias
            if not alias or alias.lower() == name.lower() or len(chain) > MAX_CHAIN or alias.lower() in chain:
                continue
            is_inside = is_subdomain(alias.lower(), self.zone.lower())
            if is_inside:
                found = await self.follow(alias, self.find(alias) or [], (*chain, alias.lower()))
            else:
                found = await self.resolve(alias, self.rtype)
            is_truncated |= found.is_truncated
            if found.records or not is_inside:
                records += [Record(name, RRType.CNAME, self.ttl, alias), *found.records]
        return Resolved(tuple(records), is_truncated)


class Authority(NamedTuple):
    """What a zone's SOA record says."""

    zone: Name
    mname: tuple[bytes, ...]
    rname: tuple[bytes, ...]
    serial: int
    ttl: int
    minimum: int

    def record(self) -> Record:
        numbers = (self.serial, 7200, 1800, 86400, self.minimum)
        rdata = soa_rdata(from_labels(self.mname, self.zone), from_labels(self.rname, self.zone), numbers)
        return Record(self.zone, RRType.SOA, self.ttl, rdata)


def under(name: Name, first: bytes, zone: Name) -> bool:
    """The name (lower case) is `first` or lies below it, `first` being a label in front of the zone."""
    return is_subdomain(name, from_labels([first], zone))


def relative_to(name: Name, zone: Name) -> list[bytes]:
    """Labels of a lower-case name in front of the zone."""
    return labels(name[: len(name) - len(zone)] + ROOT)
