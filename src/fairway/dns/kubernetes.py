"""The `kubernetes` plugin: answers for the cluster's zones, from `ClusterState`.

Decides NODATA against NXDOMAIN for each type, as CoreDNS does, and what an unsynced server may say. How names are read
is `fairway.dns.lookup`, how records look is `fairway.dns.records`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from fairway.dns.lookup import Lookup, LookupOptions, NoSuchNameError, Target, absolute, parse_name
from fairway.dns.model import Handler, Reply, Request, refusal
from fairway.dns.records import Aliases, Authority, Resolved, addresses, relative_to, srv
from fairway.dns.state import ClusterState
from fairway.values.domain import Name, from_labels, is_reverse, longest_zone, reverse_address
from fairway.values.rrtypes import Rcode, RRType
from fairway.wire.dns_message import Record, a_or_aaaa, txt_rdata

SCHEMA_VERSION = b"1.1.0"
SCHEMA_TTL = 28800
MAX_SOA_TTL = 300
Resolver = Callable[[Request, Name, int], Awaitable[Resolved]]
"""Asks the whole server for a name, as the same client would."""
_NS_DNS = [b"ns", b"dns"]


@dataclass(frozen=True, slots=True)
class KubernetesOptions:
    """The plugin's configuration, as far as answers go. Zones are in lower case."""

    zones: tuple[Name, ...]
    ttl: int = 5
    lookup: LookupOptions = field(default_factory=LookupOptions)
    multicluster: tuple[Name, ...] = ()
    fallthrough: tuple[Name, ...] = ()

    @property
    def primary_zone(self) -> Name:
        """The first that is not a reverse zone: what PTR records point into."""
        return next(zone for zone in self.zones if not is_reverse(zone))


class Kubernetes:
    """Answers for the zones, passes everything else on.

    `local` gives the server's own addresses, `serial` turns a count of changes into a SOA serial, `resolve` asks the
    whole server about a name elsewhere.
    """

    def __init__(self, options: KubernetesOptions, state: ClusterState, following: Handler) -> None:
        self.options = options
        self.state = state
        self.lookup = Lookup(state, options.lookup)
        self.following = following
        self.local: tuple[bytes, ...] = ()
        self.has_synced: Callable[[], bool] = lambda: True
        self.serial: Callable[[int], int] = lambda count: count
        self.resolve: Resolver = _unresolved
        self.on_transfer: Callable[[], None] = lambda: None
        """Called when a zone is handed over: from then on its serial stands for what was in it."""

    async def serve(self, request: Request) -> Reply:
        """Answer if the name lies in one of the zones."""
        found = longest_zone(request.key, self.options.zones)
        if found is None:
            return await self.following.serve(request)
        if request.type in {RRType.AXFR, RRType.IXFR}:
            return refusal(Rcode.REFUSED)
        zone = request.name[len(request.name) - len(found) :]
        try:
            reply = await self._answer(request, zone)
        except NoSuchNameError:
            if longest_zone(request.key, self.options.fallthrough) is not None:
                return await self.following.serve(request)
            reply = Reply(rcode=Rcode.NXDOMAIN if self.has_synced() else Rcode.SERVFAIL)
        reply.aa = True
        reply.source = "kubernetes"
        if not reply.answer:
            reply.authority.append(self.soa(zone))
        return reply

    def soa(self, zone: Name) -> Record:
        """The SOA record of one of the zones, as it is spelt."""
        ttl = self.options.ttl
        mname, rname = (b"ns", b"dns"), (b"hostmaster",)
        serial = self.serial(self.state.modified)
        return Authority(zone, mname, rname, serial, min(ttl, MAX_SOA_TTL), ttl).record()

    # -- answers by type

    async def _answer(self, request: Request, zone: Name) -> Reply:
        ttl, name = self.options.ttl, request.name
        match request.type:
            case RRType.A | RRType.AAAA:
                return await self._addresses(request, zone)
            case RRType.SRV:
                answer, additional = srv(name, zone, [t for t in self.find(request.key, zone) if not t.alias], ttl)
                return Reply(answer=answer, additional=additional)
            case RRType.PTR:
                return Reply(answer=self._pointers(request, zone))
            case RRType.TXT:
                return Reply(answer=self._texts(request, zone))
            case RRType.CNAME:
                targets = self.find(request.key, zone)
                alias = targets[0].alias if targets else b""
                return Reply(answer=[Record(name, RRType.CNAME, ttl, alias)] if alias else [])
            case RRType.SOA:
                return Reply(answer=[self.soa(zone)] if len(name) == len(zone) else [])
            case RRType.NS if request.key == zone:
                # A zone asked for in capitals has no name servers with CoreDNS, which compares spellings here.
                return self._name_servers(zone)
            case _:
                self.find(request.key, zone)
                return Reply()

    async def _addresses(self, request: Request, zone: Name) -> Reply:
        targets = self.find(request.key, zone)
        name, ttl = request.name, self.options.ttl
        if not any(t.alias for t in targets):
            return Reply(answer=addresses(name, targets, request.type, ttl))

        async def ask(alias: Name, rtype: int) -> Resolved:
            return await self.resolve(request, alias, rtype)

        def find(alias: Name) -> list[Target] | None:
            try:
                return self.find(alias.lower(), zone)
            except NoSuchNameError:
                return None

        found = await Aliases(zone, request.type, ttl, find, ask).follow(name, targets)
        return Reply(answer=list(found.records), tc=found.is_truncated)

    def find(self, key: Name, zone: Name) -> list[Target]:
        """Targets of a name (lower case) in a zone; raises NoSuchNameError."""
        lower = zone.lower()
        relative = relative_to(key, lower)
        if relative == _NS_DNS and zone == lower:
            return [Target((b"ns", b"dns"), record.rdata) for record in self.name_server_addresses(lower)]
        return self.lookup.find(
            relative, is_multicluster=lower in self.options.multicluster, is_reverse=is_reverse(key)
        )

    def _pointers(self, request: Request, zone: Name) -> list[Record]:
        address = reverse_address(request.key)
        if address is None:
            relative = relative_to(request.key, zone.lower())
            self.lookup.find(
                relative, is_multicluster=zone.lower() in self.options.multicluster, is_reverse=is_reverse(request.key)
            )
            return []
        owners = dict.fromkeys(self.lookup.reverse(address))
        if not owners:
            raise NoSuchNameError
        primary = self.options.primary_zone
        return [Record(request.name, RRType.PTR, self.options.ttl, absolute(o, primary)) for o in owners]

    def _texts(self, request: Request, zone: Name) -> list[Record]:
        lower = zone.lower()
        relative = relative_to(request.key, lower)
        if relative == [b"dns-version"]:
            return [Record(request.name, RRType.TXT, SCHEMA_TTL, txt_rdata(SCHEMA_VERSION))]
        is_multicluster = lower in self.options.multicluster
        targets = self.lookup.find(relative, is_multicluster=is_multicluster, is_reverse=is_reverse(request.key))
        if targets or self._is_zonal(relative):
            return []
        # CoreDNS says NXDOMAIN here though the name exists (zone, svc, namespace); clients that know it rely on it.
        raise NoSuchNameError

    def _is_zonal(self, relative: list[bytes]) -> bool:
        return self.options.lookup.zonal and bool(parse_name(relative, is_zonal=True).zone)

    # -- the server itself

    def name_server_addresses(self, zone: Name) -> list[Record]:
        """Address records of the Services whose endpoints this server is, else of its own addresses."""
        found = list(self._own_services(zone))
        if not found and not any(self.state.slices_at(a) for a in self.local):
            name = from_labels(_NS_DNS, zone)
            found = [(name, address) for address in self.local]
        return [a_or_aaaa(name, address, self.options.ttl) for name, address in found]

    def _own_services(self, zone: Name) -> Iterator[tuple[Name, bytes]]:
        for local in self.local:
            for row in self.state.slices_at(local):
                service = self.state.service(row.name.namespace, row.service)
                if service is None:
                    continue
                above = (service.name.name.encode(), service.name.namespace.encode(), b"svc")
                if not service.is_headless:
                    yield from ((absolute(above, zone), address) for address in service.cluster_ips)
                    continue
                for i in range(len(row)):
                    label = self.lookup.endpoint_label(row, i).encode()
                    yield absolute((label, *above), zone), row.address(i)

    def _name_servers(self, zone: Name) -> Reply:
        extra = self.name_server_addresses(zone)
        names = dict.fromkeys(record.name for record in extra)
        answer = [Record(zone, RRType.NS, self.options.ttl, name) for name in names]
        return Reply(answer=answer, additional=extra)

    # -- autopath

    def search_path(self, request: Request, client: str) -> list[Name]:
        """What the client's resolver would append, in order; empty when the client is no known pod."""
        zone = longest_zone(request.key, self.options.zones)
        pods = self.state.pods_at(client)
        if zone is None or not pods:
            return []
        svc = from_labels([b"svc"], zone)
        return [from_labels([pods[0].name.namespace.encode()], svc), svc, zone]


async def _unresolved(_request: Request, _name: Name, _rtype: int) -> Resolved:
    return Resolved()
