"""The `k8s_external` plugin: names of Services under zones of the outside world, by their external addresses.

Answers `service.namespace.zone` from externalIPs and load balancers, and from endpoints of headless Services if asked
to; the zone's own name servers are made up under its apex label.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fairway.dns.kubernetes import Kubernetes
from fairway.dns.lookup import NoSuchNameError, Target, absolute
from fairway.dns.model import Handler, Reply, Request
from fairway.dns.records import Authority, addresses, relative_to, srv
from fairway.dns.rows import Port, ServiceRow, packed
from fairway.values.domain import Name, from_labels, from_text, longest_zone, reverse_address
from fairway.values.rrtypes import Rcode, RRType
from fairway.wire.dns_message import Record, a_or_aaaa


@dataclass(frozen=True, slots=True)
class ExternalOptions:
    zones: tuple[Name, ...]
    apex: bytes = b"dns"
    ttl: int = 5
    headless: bool = False
    fallthrough: tuple[Name, ...] = ()


class External:
    """Answers for its zones from the state of the `kubernetes` plugin of the same server block."""

    def __init__(self, options: ExternalOptions, cluster: Kubernetes, following: Handler) -> None:
        self.options = options
        self.cluster = cluster
        self.following = following

    async def serve(self, request: Request) -> Reply:
        """Answer if the name lies in one of the zones."""
        zone = longest_zone(request.key, self.options.zones)
        if zone is None:
            return await self.following.serve(request)
        relative = relative_to(request.key, zone)
        try:
            if not relative:
                reply = self._apex(request, zone)
            elif relative[-1] == self.options.apex:
                reply = self._below_apex(request, zone, relative)
            else:
                reply = await self._service(request, zone, relative)
        except NoSuchNameError:
            if longest_zone(request.key, self.options.fallthrough) is not None:
                return await self.following.serve(request)
            reply = Reply(rcode=Rcode.NXDOMAIN)
        reply.aa = True
        reply.source = "k8s_external"
        if not reply.answer:
            reply.authority.append(self.soa(zone))
        return reply

    def soa(self, zone: Name) -> Record:
        apex, ttl = self.options.apex, self.options.ttl
        serial = self.cluster.serial(self.cluster.state.modified_outside)
        return Authority(zone, (b"ns1", apex), (b"hostmaster", apex), serial, ttl, ttl).record()

    def _name_server(self, zone: Name) -> Name:
        return from_labels((b"ns1", self.options.apex), zone)

    def _apex(self, request: Request, zone: Name) -> Reply:
        if request.type == RRType.SOA:
            return Reply(answer=[self.soa(zone)])
        if request.type != RRType.NS:
            return Reply()
        server = self._name_server(zone)
        answer = [Record(zone, RRType.NS, self.options.ttl, server)]
        return Reply(answer=answer, additional=[self._address(server, a) for a in self.own_addresses(zone)])

    def _below_apex(self, request: Request, zone: Name, relative: list[bytes]) -> Reply:
        if len(relative) > 2 or (len(relative) == 2 and relative[0] != b"ns1"):
            return Reply(rcode=Rcode.NXDOMAIN)
        if len(relative) == 1:
            return Reply()
        targets = [Target((), address) for address in self.own_addresses(zone)]
        if request.type not in {RRType.A, RRType.AAAA}:
            return Reply()
        return Reply(answer=addresses(request.name, targets, request.type, self.options.ttl))

    def _address(self, name: Name, address: bytes) -> Record:
        return a_or_aaaa(name, address, self.options.ttl)

    def own_addresses(self, _zone: Name) -> list[bytes]:
        """External addresses of the Services whose endpoints this server is, else its own addresses."""
        state, found, is_known = self.cluster.state, [], False
        for local in self.cluster.local:
            for row in state.slices_at(local):
                is_known = True
                service = state.service(row.name.namespace, row.service)
                if service is None:
                    continue
                if self.options.headless and service.is_headless:
                    found += [row.address(i) for i in range(len(row))]
                else:
                    found += [a for a in map(packed, service.external) if a is not None]
        return found if is_known else list(self.cluster.local)

    # -- services

    async def _service(self, request: Request, zone: Name, relative: list[bytes]) -> Reply:
        ttl = self.options.ttl
        if request.type == RRType.PTR:
            address = reverse_address(request.key)
            if address is not None:
                return Reply(answer=self._pointers(request, address))
        targets = self.find(relative)
        match request.type:
            case RRType.A | RRType.AAAA:
                answer = addresses(request.name, targets, request.type, ttl)
                is_truncated = False
                for target in targets:
                    if target.alias:
                        answer.append(Record(request.name, RRType.CNAME, self.cluster.options.ttl, target.alias))
                        more = await self._resolve(request, target.alias, request.type)
                        answer += more.answer
                        is_truncated |= more.tc
                return Reply(answer=answer, tc=is_truncated)
            case RRType.SRV:
                answer, additional = self._srv(request.name, zone, targets)
                for alias in dict.fromkeys(t.alias for t in targets if t.alias):
                    for rtype in (RRType.A, RRType.AAAA):
                        additional += (await self._resolve(request, alias, rtype)).answer
                return Reply(answer=answer, additional=additional)
        return Reply()

    def _srv(self, name: Name, zone: Name, targets: list[Target]) -> tuple[list[Record], list[Record]]:
        """SRV records carry the cluster's TTL, addresses this plugin's own, as with CoreDNS."""
        records, glue = srv(name, zone, targets, self.cluster.options.ttl)
        return records, [r._replace(ttl=self.options.ttl) for r in glue]

    async def _resolve(self, request: Request, name: Name, rtype: int) -> Reply:
        found = await self.cluster.resolve(request, name, rtype)
        return Reply(answer=list(found.records), tc=found.is_truncated)

    def _pointers(self, request: Request, address: bytes) -> list[Record]:
        from_state = self.cluster.state.services_outside(_text(address))
        exposed = [s for s in from_state if self._is_listed(s.name.namespace)]
        if not exposed:
            raise NoSuchNameError
        first = self.options.zones[0]
        names = dict.fromkeys(from_labels((s.name.name.encode(), s.name.namespace.encode()), first) for s in exposed)
        return [Record(request.name, RRType.PTR, self.options.ttl, name) for name in names]

    def _is_listed(self, namespace: str) -> bool:
        lookup = self.cluster.lookup
        return not lookup.options.namespaces or lookup.is_exposed(namespace)

    def find(self, relative: list[bytes]) -> list[Target]:
        """Targets of `service.namespace`, `endpoint.service.namespace` or `_port._protocol.service.namespace`."""
        texts = [label.decode("latin-1") for label in relative]
        namespace = texts.pop()
        if not self.cluster.lookup.is_exposed(namespace):
            raise NoSuchNameError
        if not texts:
            return []
        name, rest = texts[-1], texts[:-1]
        service = self.cluster.state.service(namespace, name)
        if service is None or len(rest) > 2:
            raise NoSuchNameError
        endpoint = rest[0].removeprefix("_") if len(rest) == 1 else ""
        port, protocol = (text.removeprefix("_") for text in rest) if len(rest) == 2 else ("", "")

        def matches(one: Port) -> bool:
            return (not port or one.name == port) and (not protocol or one.protocol == protocol)

        found = list(self._targets(service, endpoint, matches))
        if not found:
            raise NoSuchNameError
        return found

    def _targets(self, service: ServiceRow, endpoint: str, matches: object) -> Iterator[Target]:
        assert callable(matches)
        if self.options.headless and not service.external and (service.is_headless or endpoint):
            yield from self._endpoints(service, endpoint, matches)
            return
        owner = (service.name.name.encode(), service.name.namespace.encode())
        for text in service.external:
            address = packed(text)
            for port in filter(matches, service.ports):
                if address is not None:
                    yield Target(owner, address, port.number)
                else:
                    yield Target(owner, b"", port.number, from_text(text))

    def _endpoints(self, service: ServiceRow, endpoint: str, matches: object) -> Iterator[Target]:
        assert callable(matches)
        lookup = self.cluster.lookup
        owner = (service.name.name.encode(), service.name.namespace.encode())
        for row in self.cluster.state.slices_of(service.name.namespace, service.name.name):
            for i in range(len(row)):
                label = lookup.endpoint_label(row, i)
                if endpoint and label.lower() != endpoint:
                    continue
                for port in filter(matches, row.ports):
                    yield Target((label.encode(), *owner), row.address(i), port.number)

    # -- transfer

    def zone_records(self, zone: Name) -> Iterator[Record]:
        """Every record of a zone but its SOA."""
        server, ttl = self._name_server(zone), self.options.ttl
        yield Record(zone, RRType.NS, ttl, server)
        yield from (self._address(server, address) for address in self.own_addresses(zone))
        for service in sorted(self.cluster.state.services, key=lambda s: s.name):
            yield from self._records_of(service, zone)

    def _records_of(self, service: ServiceRow, zone: Name) -> Iterator[Record]:
        """Each target alone has the whole weight, and a Service's own SRV records are cut down to one: as CoreDNS."""
        ttl = self.options.ttl
        name = absolute((service.name.name.encode(), service.name.namespace.encode()), zone)
        targets = list(self._targets(service, "", lambda _port: True))
        for rtype in (RRType.A, RRType.AAAA):
            yield from addresses(name, targets, rtype, ttl)
        for alias in dict.fromkeys(t.alias for t in targets if t.alias):
            yield Record(name, RRType.CNAME, self.cluster.options.ttl, alias)
        is_headless = any(len(t.owner) == 3 for t in targets)
        if is_headless:
            yield from self._srv(name, zone, targets)[0]
            yield from self._endpoint_records(targets, zone)
        else:
            yield from self._srv(name, zone, targets[:1])[0]
        for port in self._ports(service):
            if port.name:
                label = (b"_" + port.name.encode(), b"_" + port.protocol.encode())
                same = list(self._targets(service, "", port.__eq__))
                yield from self._srv(from_labels(label, name), zone, same if is_headless else same[:1])[0]

    def _ports(self, service: ServiceRow) -> Iterable[Port]:
        if service.external or not service.is_headless:
            return service.ports
        slices = self.cluster.state.slices_of(service.name.namespace, service.name.name)
        return dict.fromkeys(port for row in slices for port in row.ports)

    def _endpoint_records(self, targets: list[Target], zone: Name) -> Iterator[Record]:
        for target in targets:
            name = absolute(target.owner, zone)
            for rtype in (RRType.A, RRType.AAAA):
                yield from addresses(name, [target], rtype, self.options.ttl)
            yield from self._srv(name, zone, [target])[0]


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
