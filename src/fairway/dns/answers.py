"""Finished answers: what a Service's names are answered with, as bytes that wait to be sent.

For each name one *node*: the answers by type, made once per change instead of once per query. A node's form is that of
`fairway/io/dns/fast.c`, and each answer in it is a key (name, type) with a value (counts, bytes) that a BPF map can
hold as well: the bytes stand behind the question, whose name is at offset 12, and their pointers lead there.

Only what needs no thought at query time is made: anything else is left to the plugins by a node that defers. Every
answer here equals what `fairway.dns.kubernetes` says to the same question; the tests compare the two.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from fairway.dns.kubernetes import Kubernetes
from fairway.dns.lookup import Lookup
from fairway.dns.rows import NO_PORT, Port, ServiceRow, SliceRow
from fairway.values.domain import Name, from_labels, is_reverse, is_subdomain, longest_zone, reverse_name
from fairway.values.names import ObjectName

HEADER_SIZE = 12
QUESTION = b"\xc0\x0c"
"""A pointer to the question's name."""
MAX_BODY = 4000
"""Answers beyond this are rare enough to be made when asked for."""

MAX_CHILDREN = 255

DEFER, OPEN = 1, 2
CASE, SHUFFLE = 1, 2
CLOSED = 1

_NODE = struct.Struct("<HBBBB")
_ANSWER = struct.Struct("<6H")
_SRV = struct.Struct("!3H")


_Endpoint: TypeAlias = tuple[Name, bytes, int]
"""Its own name, address and port."""


class FastZone(NamedTuple):
    """A zone as the table needs it for answers that deny."""

    name: Name
    is_closed: bool
    """A name that is not in the table (and is no endpoint's, port's or pod's) does not exist."""
    ttl: int
    minimum: int


class Answer(NamedTuple):
    """One finished answer."""

    type: int
    body: bytes
    answers: int
    additional: int = 0
    flags: int = 0


class Node(NamedTuple):
    """All finished answers of a name."""

    key: Name
    zone: int
    flags: int = 0
    answers: tuple[Answer, ...] = ()
    children: tuple[bytes, ...] = ()
    """Labels in front of the key, of nodes that go when this one goes."""

    def pack(self) -> bytes:
        """As the table takes it, its length in front."""
        parts = [_NODE.pack(len(self.key), self.zone, self.flags, len(self.answers), len(self.children)), self.key]
        for one in self.answers:
            parts.append(_ANSWER.pack(one.type, len(one.body), one.answers, 0, one.additional, one.flags))
            parts.append(one.body)
        parts.extend(bytes((len(child),)) + child for child in self.children)
        data = b"".join(parts)
        return len(data).to_bytes(4, "little") + data


class FastAnswers:
    """Makes the nodes of one `kubernetes` plugin's zones.

    `first_zone` numbers its zones in the table; `has_glue` is false where `minimal` leaves additional records out;
    `shuffles` where `loadbalance` orders addresses anew for each answer.
    """

    def __init__(
        self, plugin: Kubernetes, *, first_zone: int = 0, has_glue: bool = True, shuffles: bool = False
    ) -> None:
        options = plugin.options
        self._shuffle = SHUFFLE if shuffles else 0
        self._state = plugin.state
        self._lookup: Lookup = plugin.lookup
        self._has_glue = has_glue
        self._ttl = options.ttl.to_bytes(4, "big")
        self._a = QUESTION + b"\0\1\0\1" + self._ttl + b"\0\4"
        self._aaaa = QUESTION + b"\0\x1c\0\1" + self._ttl + b"\0\x10"
        self.zones = tuple(
            FastZone(zone, self._is_closed(plugin, zone), min(options.ttl, 300), options.ttl)
            for zone in options.zones
            if zone not in options.multicluster and len(zone) > 1
        )
        numbered = list(enumerate((z.name for z in self.zones), first_zone))
        self._forward = [(i, name) for i, name in numbered if not is_reverse(name)]
        self._reverse = [(i, name) for i, name in numbered if is_reverse(name)]
        self._primary = options.primary_zone

    @staticmethod
    def _is_closed(plugin: Kubernetes, zone: Name) -> bool:
        through = plugin.options.fallthrough
        return not is_reverse(zone) and not any(is_subdomain(zone, f) or is_subdomain(f, zone) for f in through)

    # -- what there is

    def everything(self) -> Iterator[bytes]:
        """Nodes of all zones, Services and cluster IPs, packed."""
        for index, zone in self._forward:
            yield from self._zone_nodes(index, zone)
        for namespace in self._state.namespaces:
            yield from self.namespace(namespace.name.name)
        for service in self._state.services:
            yield from self.service(service.name)
            for address in service.cluster_ips:
                yield from self.address(address)

    def _zone_nodes(self, index: int, zone: Name) -> Iterator[bytes]:
        for labels in ((), (b"ns", b"dns"), (b"dns-version",), (b"pod",)):
            yield Node(from_labels(labels, zone), index, DEFER).pack()
        yield Node(from_labels((b"svc",), zone), index).pack()

    def namespace(self, name: str) -> Iterator[bytes]:
        """The empty node of an exposed namespace."""
        if self._lookup.is_exposed(name):
            for index, zone in self._forward:
                yield Node(from_labels((name.encode(), b"svc"), zone), index).pack()

    def namespace_keys(self, name: str) -> list[Name]:
        """Where a namespace's nodes are."""
        return [from_labels((name.encode(), b"svc"), zone) for _, zone in self._forward]

    def service_keys(self, name: ObjectName) -> list[Name]:
        """Where a Service's nodes are; its ports' nodes go with them."""
        labels = (name.name.encode(), name.namespace.encode(), b"svc")
        return [from_labels(labels, zone) for _, zone in self._forward]

    def address_keys(self, address: bytes) -> list[Name]:
        """Where an address's node is."""
        name = reverse_name(address)
        zone = longest_zone(name, (zone for _, zone in self._reverse))
        return [name] if zone is not None else []

    # -- nodes

    def service(self, name: ObjectName) -> Iterator[bytes]:
        """Nodes of a Service and its named ports, none if it is not to be seen."""
        service = self._state.service(name.namespace, name.name)
        if service is None or not self._lookup.is_exposed(name.namespace):
            return
        options = self._lookup.options
        slices = self._state.slices_of(name.namespace, name.name) if service.is_headless else ()
        can_hide = options.ignore_empty_service and not service.is_headless and service.external_name is None
        if can_hide and not any(map(len, self._state.slices_of(name.namespace, name.name))):
            return
        for (index, _), key in zip(self._forward, self.service_keys(name), strict=True):
            if service.external_name is not None:
                yield Node(key, index, DEFER).pack()
            elif service.is_headless:
                ports = tuple(dict.fromkeys(port for row in slices for port in row.ports))
                yield from self._headless(key, index, service, ports)
            else:
                yield from self._clustered(key, index, service)

    def _clustered(self, key: Name, index: int, service: ServiceRow) -> Iterator[bytes]:
        named = [(_port_labels(port), port) for port in service.ports if port.name]
        if len(named) > MAX_CHILDREN:
            yield Node(key, index, DEFER).pack()
            return
        answers = self._address_answers(service.cluster_ips)
        answers += self._srv_of_ports(key, b"", service.cluster_ips, service.ports)
        yield Node(key, index, 0, tuple(answers), tuple(labels for labels, _ in named)).pack()
        for labels, _port in named:
            same = tuple(port for other, port in named if other == labels)
            answers = self._address_answers(service.cluster_ips)
            answers += self._srv_of_ports(key, labels, service.cluster_ips, same)
            yield Node(labels + key, index, 0, tuple(answers)).pack()

    def _address_answers(self, addresses: Iterable[bytes]) -> list[Answer]:
        found = dict.fromkeys(addresses)
        four = [a for a in found if len(a) == 4]
        six = [a for a in found if len(a) == 16]
        answers = []
        if four and len(four) * 16 <= MAX_BODY:
            answers.append(Answer(1, b"".join([self._a + a for a in four]), len(four), 0, self._shuffle))
        if six and len(six) * 28 <= MAX_BODY:
            answers.append(Answer(28, b"".join([self._aaaa + a for a in six]), len(six), 0, self._shuffle))
        return answers

    def _srv_of_ports(
        self, key: Name, labels: bytes, addresses: tuple[bytes, ...], ports: tuple[Port, ...]
    ) -> list[Answer]:
        """SRV records that point to the Service's own name, a suffix of the question's."""
        count = len(addresses) * len(ports)
        weight = max(1, 100 // count) if count else 1
        numbers = dict.fromkeys(port.number for port in ports if port.number != NO_PORT)
        head = QUESTION + b"\0\x21\0\1" + self._ttl + (6 + len(key)).to_bytes(2, "big")
        records = [head + _SRV.pack(0, weight, number) + key for number in numbers]
        if not records:
            return []
        glue = []
        if self._has_glue:
            owner = (0xC000 | HEADER_SIZE + len(labels)).to_bytes(2, "big")
            glue = [owner + (self._a if len(a) == 4 else self._aaaa)[2:] + a for a in dict.fromkeys(addresses)]
        return [Answer(33, b"".join([*records, *glue]), len(records), len(glue), CASE)]

    def _headless(self, key: Name, index: int, service: ServiceRow, ports: tuple[Port, ...]) -> Iterator[bytes]:
        labels = tuple(dict.fromkeys(_port_labels(port) for port in ports if port.name))
        slices = self._state.slices_of(service.name.namespace, service.name.name)
        whole = self._endpoints(key, slices, ports)
        if len(labels) > MAX_CHILDREN:
            yield Node(key, index, DEFER).pack()
        elif whole:
            yield self._endpoint_node(key, b"", index, whole, labels)
            for one in labels:
                # With one port for all, its name stands for the same as the Service's.
                same = tuple(port for port in ports if port.name and _port_labels(port) == one)
                targets = whole if len(ports) == 1 else self._endpoints(key, slices, same)
                if targets:
                    yield self._endpoint_node(key, one, index, targets, ())
        elif self._lookup.options.zonal:
            yield Node(key, index, DEFER).pack()  # names of its zones exist though nothing answers there

    def _endpoints(self, key: Name, slices: Iterable[SliceRow], ports: tuple[Port, ...]) -> list[_Endpoint]:
        """What `Lookup.find` says of a headless Service, for some ports. A change waits for this: it is lean."""
        found: list[_Endpoint] = []
        for row in slices:
            width, addresses = row.width, row.addresses
            numbers = [port.number for port in row.ports if port in ports]
            for i in range(len(addresses) // width if numbers else 0):
                label = self._lookup.endpoint_label(row, i).encode()
                host = bytes((len(label),)) + label + key
                address = addresses[i * width : i * width + width]
                found += [(host, address, number) for number in numbers]
        return found

    def _endpoint_node(
        self, key: Name, labels: bytes, index: int, targets: list[_Endpoint], children: tuple[bytes, ...]
    ) -> bytes:
        addresses = dict.fromkeys([address for _, address, _ in targets])
        answers = self._address_answers(addresses)
        srv = self._srv_of_endpoints(key, labels, targets)
        answers += srv
        fits = len(addresses) * 28 <= MAX_BODY and (srv or all(port == NO_PORT for _, _, port in targets))
        return Node(labels + key, index, 0 if fits else OPEN, tuple(answers), children).pack()

    def _srv_of_endpoints(self, key: Name, labels: bytes, targets: list[_Endpoint]) -> list[Answer]:
        """SRV records that point to endpoints' own names, below the Service's; glue points into them."""
        if len(targets) * (18 + 2 + len(key)) > MAX_BODY:
            return []
        weight = max(1, 100 // len(targets)) if targets else 1
        place = HEADER_SIZE + len(labels) + len(key) + 4 + 18
        head = QUESTION + b"\0\x21\0\1" + self._ttl
        seen: set[tuple[Name, int]] = set()
        glue: dict[tuple[Name, bytes], bytes] = {}
        places: dict[Name, int] = {}
        records: list[bytes] = []
        pack = _SRV.pack
        for host, address, port in targets:
            if port == NO_PORT:
                continue
            if (host, port) not in seen:
                seen.add((host, port))
                places.setdefault(host, place)
                size = 6 + len(host)
                records.append(head + size.to_bytes(2, "big") + pack(0, weight, port) + host)
                place += size + 12
            if self._has_glue:
                tail = self._a if len(address) == 4 else self._aaaa
                glue[host, address] = (0xC000 | places[host] & 0x3FFF).to_bytes(2, "big") + tail[2:] + address
        body = b"".join((*records, *glue.values()))
        return [Answer(33, body, len(records), len(glue), CASE)] if records and len(body) <= MAX_BODY else []

    def address(self, address: bytes) -> Iterator[bytes]:
        """The node of a cluster IP's reverse name; endpoints' reverse names are answered when asked."""
        services = self._state.services_at(address)
        listed = [s for s in services if self._lookup.is_listed(s.name.namespace)]
        keys = self.address_keys(address)
        if not listed or not keys:
            return
        name = listed[0].name
        holding = [(len(zone), i) for i, zone in self._reverse if is_subdomain(keys[0], zone)]
        index = max(holding)[1]
        host = from_labels((name.name.encode(), name.namespace.encode(), b"svc"), self._primary)
        body = QUESTION + b"\0\x0c\0\1" + self._ttl + len(host).to_bytes(2, "big") + host
        yield Node(keys[0], index, OPEN, (Answer(12, body, 1),)).pack()


@lru_cache(maxsize=4096)
def _port_labels(port: Port) -> bytes:
    return from_labels((b"_" + port.name.encode(), b"_" + port.protocol.encode()))[:-1]
