"""The `file` plugin: answers from a zone file (RFC 1034, section 4.3.2), with wildcards and delegations.

Decides what of a zone answers a question. Reading the file is the caller's; text becomes records by dnspython.
"""

from __future__ import annotations

from collections.abc import Iterable

import dns.exception
import dns.rdataclass
import dns.zone

from fairway.dns.model import EndOfChain, Handler, Reply, Request, refusal
from fairway.values.domain import Name, from_labels, is_subdomain, longest_zone, parent, to_text
from fairway.values.errors import ConfigError
from fairway.values.rrtypes import Rcode, RRType
from fairway.wire.dns_message import Record

MAX_CHAIN = 8


class Zone:
    """The records of one zone."""

    def __init__(self, origin: Name, records: Iterable[Record]) -> None:
        self.origin = origin
        self.records: dict[Name, dict[int, list[Record]]] = {}
        self.names: set[Name] = {origin}
        for record in records:
            key = record.name.lower()
            self.records.setdefault(key, {}).setdefault(record.type, []).append(record)
            while len(key) > len(origin):
                self.names.add(key)
                key = parent(key)

    @property
    def soa(self) -> Record | None:
        found = self.records.get(self.origin, {}).get(RRType.SOA)
        return found[0] if found else None

    def delegation(self, name: Name) -> list[Record] | None:
        """NS records of the closest cut above or at a name, below the origin."""
        cut: list[Record] | None = None
        while len(name) > len(self.origin):
            cut = self.records.get(name, {}).get(RRType.NS) or cut
            name = parent(name)
        return cut

    def at(self, name: Name) -> dict[int, list[Record]] | None:
        """Records at a name, made from a wildcard if need be; None when the name does not exist."""
        if name in self.names:
            return self.records.get(name, {})
        closest = parent(name)
        while closest not in self.names:
            closest = parent(closest)
        return self.records.get(from_labels([b"*"], closest))


def read_zone(text: str, origin: Name, file: str) -> Zone:
    """Read a zone file. Raises ConfigError."""
    try:
        parsed = dns.zone.from_text(text, origin=to_text(origin), relativize=False, check_origin=False)
    except (dns.exception.DNSException, ValueError) as error:
        raise ConfigError(f"{file}: zone {to_text(origin)}: {error}") from None
    records = [
        Record(name.to_wire() or b"\0", int(rdata.rdtype), ttl, rdata.to_wire() or b"")
        for name, ttl, rdata in parsed.iterate_rdatas()
    ]
    zone = Zone(origin, records)
    if zone.soa is None:
        raise ConfigError(f"{file}: zone {to_text(origin)}: no SOA record at its origin")
    return zone


class ZoneFile:
    """Answers for the zones of files."""

    def __init__(self, zones: dict[Name, Zone], fallthrough: tuple[Name, ...], following: Handler) -> None:
        self.zones = zones
        self.fallthrough = fallthrough
        self.following = following

    async def serve(self, request: Request) -> Reply:
        """Answer if the name lies in one of the zones."""
        origin = longest_zone(request.key, self.zones)
        if origin is None:
            # As the last plugin it is an authoritative server, which refuses what is not its own.
            is_last = isinstance(self.following, EndOfChain)
            return refusal(Rcode.REFUSED) if is_last else await self.following.serve(request)
        if request.type in {RRType.AXFR, RRType.IXFR}:
            return refusal(Rcode.REFUSED)
        reply = answer_from(self.zones[origin], request.name, request.key, request.type)
        if reply.rcode == Rcode.NXDOMAIN and longest_zone(request.key, self.fallthrough) is not None:
            return await self.following.serve(request)
        return reply

    def transfer(self, zone: Name) -> tuple[Record, list[Record]] | None:
        """For the `transfer` plugin."""
        found = self.zones.get(zone)
        if found is None or found.soa is None:
            return None
        soa = found.soa
        rest = [r for sets in found.records.values() for records in sets.values() for r in records if r is not soa]
        return soa, rest


def answer_from(zone: Zone, name: Name, key: Name, rtype: int) -> Reply:
    """What a zone says to a question."""
    reply = Reply(aa=True, source="file")
    for _ in range(MAX_CHAIN):
        cut = zone.delegation(key)
        if cut is not None and not (rtype == RRType.DS and cut[0].name.lower() == key):
            reply.aa = bool(reply.answer)
            reply.authority += cut
            reply.additional += _glue(zone, cut)
            return reply
        sets = zone.at(key)
        if sets is None:
            return _denied(zone, reply, Rcode.NXDOMAIN)
        found = sets.get(rtype, [])
        if found:
            reply.answer += [r._replace(name=name) for r in found]
            reply.additional += _glue(zone, found)
            if not (rtype == RRType.NS and key == zone.origin):
                reply.authority += zone.records.get(zone.origin, {}).get(RRType.NS, [])
            return reply
        alias = sets.get(RRType.CNAME)
        if not alias:
            return _denied(zone, reply, Rcode.NOERROR)
        reply.answer.append(alias[0]._replace(name=name))
        name = alias[0].rdata
        key = name.lower()
        if not is_subdomain(key, zone.origin):
            return reply
    return reply


def _denied(zone: Zone, reply: Reply, rcode: int) -> Reply:
    reply.rcode = rcode
    if zone.soa is not None:
        reply.authority.append(zone.soa)
    return reply


def _glue(zone: Zone, records: list[Record]) -> list[Record]:
    targets = []
    for record in records:
        skipped = _TARGET_AT.get(record.type)
        if skipped is not None:
            targets.append(record.rdata[skipped:].lower())
    sets = [zone.records.get(target, {}) for target in dict.fromkeys(targets)]
    return [r for one in sets for rtype in (RRType.A, RRType.AAAA) for r in one.get(rtype, [])]


_TARGET_AT: dict[int, int] = {RRType.NS: 0, RRType.MX: 2, RRType.SRV: 6}
