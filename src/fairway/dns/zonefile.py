"""The `file` plugin: answers from a zone file (RFC 1034, section 4.3.2), with wildcards, delegations and DNAME records.

Decides what of a zone answers a question. Reading the file is the caller's; text becomes records by dnspython. Names
that an alias leads to outside the zone are asked of the whole server.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fairway.dns.kubernetes import Resolver
from fairway.dns.model import EndOfChain, Handler, Reply, Request, refusal
from fairway.dns.records import Resolved
from fairway.dns.server import DROP
from fairway.values.domain import Name, from_labels, is_subdomain, labels, longest_zone, parent, suffixes, to_text
from fairway.values.errors import ConfigError, InvalidValueError
from fairway.values.rrtypes import Opcode, Rcode, RRType
from fairway.wire.dns_message import Record

MAX_CHAIN = 8
Sets = dict[int, list[Record]]


class Zone:
    """The records of one zone."""

    def __init__(self, origin: Name, records: Iterable[Record]) -> None:
        self.origin = origin
        self.records: dict[Name, Sets] = {}
        self.names: set[Name] = {origin}
        """Every name that exists: with records, or above one that has some."""
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

    @property
    def name_servers(self) -> list[Record]:
        return list(self.records.get(self.origin, {}).get(RRType.NS, ()))

    def above(self, name: Name) -> list[Name]:
        """The names from the origin (left out) down to the name itself."""
        found = [one for one in suffixes(name) if len(one) > len(self.origin)]
        return found[::-1]

    def cut(self, name: Name, rtype: int) -> list[Record]:
        """NS records of the highest delegation above or at a name; a DS record at it belongs to this side."""
        for one in self.above(name):
            found = self.records.get(one, {}).get(RRType.NS)
            if found and not (rtype == RRType.DS and one == name):
                return found
        return []

    def redirection(self, name: Name) -> Record | None:
        """The DNAME record of the highest name above this one (RFC 6672)."""
        sets = (self.records.get(one, {}) for one in (self.origin, *self.above(name)[:-1]))
        return next((one[RRType.DNAME][0] for one in sets if RRType.DNAME in one), None)

    def at(self, name: Name) -> Sets | None:
        """Records at a name, or of the wildcard that makes it (RFC 4592); None when it does not exist."""
        if name in self.names:
            return self.records.get(name, {})
        closest = parent(name)
        while closest not in self.names:
            closest = parent(closest)
        star = from_labels([b"*"], closest)
        return self.records.get(star, {} if star in self.names else None)


def read_zone(text: str, origin: Name, file: str) -> Zone:
    """Read a zone file. Raises ConfigError."""
    import dns.exception  # 3 MiB that only those pay who have such files
    import dns.zone

    try:
        parsed = dns.zone.from_text(text, origin=to_text(origin), relativize=False, check_origin=False)
    except (dns.exception.DNSException, ValueError) as error:
        raise ConfigError(f"{file}: zone {to_text(origin)}: {error}") from None
    records = [
        Record((name.to_wire() or b"\0").lower(), int(rdata.rdtype), ttl, rdata.to_wire() or b"")
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
        self.resolve: Resolver = _refused

    async def serve(self, request: Request) -> Reply:
        """Answer if the name lies in one of the zones."""
        origin = longest_zone(request.key, self.zones)
        if origin is None:
            # As the last plugin it is an authoritative server, which refuses what is not its own.
            is_last = isinstance(self.following, EndOfChain)
            return refusal(Rcode.REFUSED) if is_last else await self.following.serve(request)
        if request.type in {RRType.AXFR, RRType.IXFR}:
            return refusal(Rcode.REFUSED)
        if request.opcode == Opcode.NOTIFY:
            return Reply(rcode=DROP)  # for secondary zones alone
        if self.zones[origin].soa is None:
            return refusal(Rcode.SERVFAIL, f"zone {to_text(origin)} was not loaded yet")
        reply = await _Answering(self.zones[origin], request, self.resolve).run()
        is_nothing = not reply.answer and (reply.rcode == Rcode.NXDOMAIN or reply.source == _EMPTY)
        if is_nothing and longest_zone(request.key, self.fallthrough) is not None:
            return await self.following.serve(request)
        reply.source = "file"
        return reply

    def transfer(self, zone: Name) -> tuple[Record, list[Record]] | None:
        """For the `transfer` plugin."""
        found = self.zones.get(zone)
        if found is None or found.soa is None:
            return None
        soa = found.soa
        rest = [r for sets in found.records.values() for records in sets.values() for r in records if r is not soa]
        return soa, rest


_EMPTY = "empty name"
"""Source of an answer for a name that has no records but names below it: `fallthrough` goes on there, too."""


class _Answering:
    """What a zone says to one question."""

    def __init__(self, zone: Zone, request: Request, resolve: Resolver) -> None:
        self.zone = zone
        self.request = request
        self.resolve = resolve
        self.reply = Reply(aa=True)

    async def run(self) -> Reply:
        key, rtype, zone = self.request.key, self.request.type, self.zone
        if key == zone.origin and rtype in {RRType.SOA, RRType.NS}:
            found = zone.records[key].get(rtype, [])
            self.reply.answer = list(found)
            if rtype == RRType.NS:
                self.reply.additional = self._addresses(found, within=b"")
            else:
                self.reply.authority = zone.name_servers
            return self.reply
        dname, cut = zone.redirection(key), zone.cut(key, rtype)
        if dname is not None and not (cut and len(cut[0].name) < len(dname.name)):
            return await self._redirected(dname)
        if cut:
            self.reply.aa = False
            return self._delegated(cut)
        sets = zone.at(key)
        if sets is None or (not sets and key in zone.names):
            return self._denied(Rcode.NXDOMAIN if sets is None else Rcode.NOERROR, _EMPTY)
        alias = sets.get(RRType.CNAME)
        if alias and rtype != RRType.CNAME:
            return await self._followed(alias[0]._replace(name=key))
        found = sets.get(rtype, [])
        if not found:
            return self._denied(Rcode.NOERROR)
        self.reply.answer = [record._replace(name=key) for record in found]
        return self._completed()

    async def _redirected(self, dname: Record) -> Reply:
        """A DNAME record stands for a CNAME record of each name below it."""
        key = self.request.key
        above = labels(key)[: len(labels(key)) - len(labels(dname.name))]
        try:
            target = from_labels(above, dname.rdata)
        except InvalidValueError:
            return replace(self.reply, rcode=Rcode.YXDOMAIN, answer=[dname])
        alias = Record(key, RRType.CNAME, dname.ttl, target)
        if target.lower() == key:
            return refusal(Rcode.SERVFAIL)
        if self.request.type == RRType.CNAME:
            return replace(self.reply, answer=[dname, alias], authority=self.zone.name_servers)
        reply = await self._followed(alias)
        reply.answer.insert(0, dname)
        return reply

    async def _followed(self, alias: Record) -> Reply:
        """Go where an alias leads: inside the zone here, elsewhere by asking."""
        zone, rtype, reply = self.zone, self.request.type, self.reply
        if self.request.depth > MAX_CHAIN:
            return refusal(Rcode.SERVFAIL)
        reply.answer.append(alias)
        for _ in range(MAX_CHAIN + 1):
            target = alias.rdata.lower()
            cut = zone.cut(target, rtype) if is_subdomain(target, zone.origin) else []
            if cut and (target in zone.records or cut[0].name != target):
                return self._delegated(cut)
            sets = zone.records.get(target)
            if sets is None or rtype == RRType.NS or (rtype == RRType.SOA and target == zone.origin):
                return await self._asked(alias.rdata)
            further = sets.get(RRType.CNAME)
            if not further:
                reply.answer += sets.get(rtype, [])
                break
            if further[0].rdata.lower() == target:
                return refusal(Rcode.SERVFAIL)
            alias = further[0]
            reply.answer.append(alias)
        return self._completed()

    async def _asked(self, target: Name) -> Reply:
        reply, rtype = self.reply, self.request.type
        found = await self.resolve(self.request, target, rtype)
        reply.answer += found.records
        is_denied = found.rcode == Rcode.NXDOMAIN or (found.rcode == Rcode.NOERROR and not found.records)
        if found.rcode in {Rcode.NXDOMAIN, Rcode.SERVFAIL}:
            reply.rcode = found.rcode  # that of the last name, RFC 6604, section 3
        if is_denied and self.zone.soa is not None:
            reply.authority = [self.zone.soa]
        else:
            reply.authority = self.zone.name_servers
        reply.additional = self._addresses(reply.answer)
        return reply

    def _completed(self) -> Reply:
        self.reply.authority = self.zone.name_servers
        self.reply.additional = self._addresses(self.reply.answer)
        return self.reply

    def _delegated(self, cut: list[Record]) -> Reply:
        self.reply.authority = list(cut)
        self.reply.additional = self._addresses(cut, within=b"")
        if self.request.wants_dnssec:
            self.reply.authority += self.zone.records.get(cut[0].name, {}).get(RRType.DS, [])
        return self.reply

    def _denied(self, rcode: int, source: str = "") -> Reply:
        self.reply.rcode, self.reply.source = rcode, source
        if self.zone.soa is not None:
            self.reply.authority = [self.zone.soa]
        return self.reply

    def _addresses(self, records: list[Record], within: Name | None = None) -> list[Record]:
        """Addresses of the names that records point to, each name's once; for NS records only as glue."""
        found = []
        for record in records:
            is_glue = record.type == RRType.NS and within is not None
            skipped = 0 if is_glue else _TARGET_AT.get(record.type)
            if skipped is not None:
                found.append(_first_name(record.rdata[skipped:]).lower())
        sets = [self.zone.records.get(target, {}) for target in dict.fromkeys(found)]
        return [r for one in sets for rtype in (RRType.A, RRType.AAAA) for r in one.get(rtype, [])]


def _first_name(data: bytes) -> Name:
    at = 0
    while data[at]:
        at += data[at] + 1
    return data[: at + 1]


_TARGET_AT: dict[int, int] = {RRType.MX: 2, RRType.SRV: 6, RRType.SVCB: 2, RRType.HTTPS: 2}


async def _refused(_request: Request, _name: Name, _rtype: int) -> Resolved:
    return Resolved(rcode=Rcode.REFUSED)
