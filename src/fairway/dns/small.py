"""Plugins of a few lines: acl, any, bufsize, local, minimal, nsid, whoami, dns64.

Each changes the question on its way in or the answer on its way out, or answers a fixed thing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from typing import Protocol

from fairway.config.corefile_settings import AclRule, AclSettings, ChaosSettings, Dns64Settings, LocalSettings
from fairway.dns.loadbalance import shuffled
from fairway.dns.metrics import Count
from fairway.dns.model import Handler, Reply, Request, Transport
from fairway.dns.networks import is_within, network_of
from fairway.dns.server import DROP
from fairway.values.domain import (
    IN_ADDR_ARPA,
    ROOT,
    Name,
    from_labels,
    from_text,
    is_subdomain,
    longest_zone,
    to_text,
)
from fairway.values.rrtypes import CLASS_CH, CLASS_IN, Rcode, RRType
from fairway.wire.dns_message import Record, soa_rdata, srv_rdata, txt_rdata

NSID = 3


_DONE = {"block": "blocked", "filter": "filtered", "drop": "dropped"}
EXTENDED_ERROR, BLOCKED, FILTERED = 15, 15, 17
"""Number of the EDNS option, and two of its codes (RFC 8914)."""


def _extended_error(code: int) -> tuple[int, bytes]:
    return EXTENDED_ERROR, code.to_bytes(2, "big")


class Acl:
    """Lets questions through, or not, by client and type; the first rule that fits decides."""

    def __init__(self, settings: Sequence[AclSettings], following: Handler) -> None:
        self.rules = [(rule, [network_of(text) for text in rule.networks]) for one in settings for rule in one.rules]
        self.following = following
        self._counted: dict[tuple[str, str], int] = {}
        self._allowed = 0

    def counts(self) -> Iterator[Count]:
        """As `fairway.dns.metrics.Counting`."""
        yield Count("coredns_acl_allowed_requests_total", "Counter of DNS requests being allowed.", (), self._allowed,
                    has_view=True)  # fmt: skip
        for (action, zone), number in self._counted.items():
            word = _DONE[action]
            text, labels = f"Counter of DNS requests being {word}.", (("zone", zone),)
            yield Count(f"coredns_acl_{word}_requests_total", text, labels, number, has_view=True)

    async def serve(self, request: Request) -> Reply:
        """Ask the next plugin unless a rule forbids it."""
        for rule, networks in self.rules:
            if not self._fits(rule, networks, request):
                continue
            if rule.action in _DONE:
                self._count(rule, request)
            match rule.action:
                case "block":
                    return Reply(rcode=Rcode.REFUSED, options=(_extended_error(BLOCKED),), source="acl")
                case "filter":
                    return Reply(rcode=Rcode.NOERROR, options=(_extended_error(FILTERED),), source="acl")
                case "drop":
                    return Reply(rcode=DROP, source="acl")
            break
        self._allowed += 1
        return await self.following.serve(request)

    def _count(self, rule: AclRule, request: Request) -> None:
        key = (rule.action, to_text(longest_zone(request.key, rule.zones) or ROOT))
        self._counted[key] = self._counted.get(key, 0) + 1

    @staticmethod
    def _fits(rule: AclRule, networks: list[tuple[bytes, bytes]], request: Request) -> bool:
        if longest_zone(request.key, rule.zones) is None or (rule.types and request.type not in rule.types):
            return False
        return not networks or any(is_within(request.client, block) for block in networks)


class Any:
    """ANY is answered with one HINFO record (RFC 8482), so that nobody is flooded with its answer."""

    def __init__(self, following: Handler) -> None:
        self.following = following

    async def serve(self, request: Request) -> Reply:
        if request.type != RRType.ANY:
            return await self.following.serve(request)
        rdata = b"\x0dANY obsoleted\x0cSee RFC 8482"
        return Reply(answer=[Record(request.name, RRType.HINFO, 8482, rdata)], source="any")


class Bufsize:
    """Caps what a client says it can take, against fragments (RFC 9715)."""

    def __init__(self, size: int, following: Handler) -> None:
        self.size = size
        self.following = following

    async def serve(self, request: Request) -> Reply:
        if request.edns is not None and request.edns.size > self.size:
            request.edns = request.edns._replace(size=self.size)
        return await self.following.serve(request)


class Nsid:
    """Names the server to whoever asks (RFC 5001)."""

    def __init__(self, data: bytes, following: Handler) -> None:
        self.data = data
        self.following = following

    async def serve(self, request: Request) -> Reply:
        reply = await self.following.serve(request)
        if request.edns is not None and any(code == NSID for code, _ in request.edns.options):
            others = tuple(o for o in reply.options or () if o[0] != NSID)
            reply.options = (*others, (NSID, self.data))
        return reply


class Minimal:
    """Leaves out what an answer does not need: authority and additional records of successful answers."""

    def __init__(self, following: Handler) -> None:
        self.following = following

    async def serve(self, request: Request) -> Reply:
        reply = await self.following.serve(request)
        is_plain = bool(reply.answer) or not any(r.type in {RRType.SOA, RRType.NS} for r in reply.authority)
        if reply.rcode == Rcode.NOERROR and is_plain and reply.stream is None and not reply.is_refusal:
            reply.authority, reply.additional = [], []
        return reply


LOCALHOST = from_text("localhost")
_LOCAL_ZONES = (LOCALHOST, from_labels([b"127"], IN_ADDR_ARPA), from_text("0.in-addr.arpa"),
                from_text("255.in-addr.arpa"))  # fmt: skip
_LOOPBACK_NAME = from_text("1.0.0.127.in-addr.arpa")
_LOOPBACK = {RRType.A: b"\x7f\0\0\1", RRType.AAAA: bytes(15) + b"\1"}
LOCAL_TTL = 604800


class Local:
    """Answers localhost and the reverse names that no upstream should see (RFC 6303, RFC 6761)."""

    def __init__(self, settings: LocalSettings, following: Handler) -> None:
        self._has_prefix = settings.has_prefix
        self.following = following
        self._intercepted = 0

    def counts(self) -> Iterator[Count]:
        """As `fairway.dns.metrics.Counting`."""
        text = "Counter of special localhost subdomain requests."
        yield Count("coredns_local_localhost_requests_total", text, (), self._intercepted, has_server=False)

    async def serve(self, request: Request) -> Reply:
        key, rtype = request.key, request.type
        is_searched = self._has_prefix and key != LOCALHOST and key.startswith(LOCALHOST[:-1])
        is_below = is_searched or (key != LOCALHOST and is_subdomain(key, LOCALHOST))
        zone = longest_zone(key, _LOCAL_ZONES)
        if zone is None and not is_below:
            return await self.following.serve(request)
        self._intercepted += is_below
        reply = Reply(source="local")
        owner = request.name if is_below or zone is None else request.name[len(key) - len(zone) :]
        if is_below or key == LOCALHOST:
            is_denied = False
            if rtype in _LOOPBACK:
                reply.answer = [Record(request.name, rtype, LOCAL_TTL, _LOOPBACK[RRType(rtype)])]
        else:
            is_denied = key not in {zone, _LOOPBACK_NAME}
        if key == zone and rtype in {RRType.NS, RRType.SOA}:
            rdata = LOCALHOST if rtype == RRType.NS else _local_soa()
            reply.answer = [Record(request.name, rtype, LOCAL_TTL, rdata)]
        if key == _LOOPBACK_NAME and rtype == RRType.PTR:
            reply.answer = [Record(request.name, RRType.PTR, LOCAL_TTL, LOCALHOST)]
        if not reply.answer:
            reply.authority = [Record(owner, RRType.SOA, LOCAL_TTL, _local_soa())]
            reply.rcode = Rcode.NXDOMAIN if is_denied else Rcode.NOERROR
        return reply


def _local_soa() -> bytes:
    return soa_rdata(LOCALHOST, from_labels([b"root"], LOCALHOST), (1, 0, 0, 0, LOCAL_TTL))


class Machine(Protocol):
    """Where the server runs."""

    @property
    def hostname(self) -> str: ...

    def random(self) -> float: ...


_VERSION_NAMES = frozenset({from_text("version.bind"), from_text("version.server")})
_HOST_NAMES = frozenset({from_text("hostname.bind"), from_text("id.server")})
_AUTHORS_NAME = from_text("authors.bind")


class Chaos:
    """Says which program answers, on which host, and who made it, to TXT questions of class CH."""

    def __init__(self, settings: ChaosSettings, machine: Machine, following: Handler) -> None:
        self.settings = settings
        self._machine = machine
        self.following = following

    async def serve(self, request: Request) -> Reply:
        texts = self._texts(request.key) if (request.rclass, request.type) == (CLASS_CH, RRType.TXT) else None
        if texts is None:
            return await self.following.serve(request)
        answer = [Record(request.name, RRType.TXT, 0, txt_rdata(t.encode()[:255]), CLASS_CH) for t in texts]
        return Reply(answer=answer, source="chaos")

    def _texts(self, key: Name) -> list[str] | None:
        if key in _VERSION_NAMES:
            return [self.settings.version]
        if key in _HOST_NAMES:
            return [self._machine.hostname]
        return shuffled(list(self.settings.authors), self._machine.random) if key == _AUTHORS_NAME else None


class Whoami:
    """Answers with the client's own address and port."""

    async def serve(self, request: Request) -> Reply:
        rtype = RRType.A if len(request.client) == 4 else RRType.AAAA
        protocol = b"_udp" if request.transport is Transport.UDP else b"_tcp"
        port = Record(from_labels([protocol], request.name), RRType.SRV, 0, srv_rdata(0, request.client_port, ROOT))
        address = Record(request.name, rtype, 0, request.client, CLASS_IN)
        return Reply(aa=True, additional=[address, port], source="whoami")


UNKNOWN_TTL = 600
"""The most that a made address lives when no SOA says for how long there is no real one (RFC 6147, 5.1.7)."""


class Dns64:
    """Makes AAAA records from A records, for clients that have IPv6 alone (RFC 6147)."""

    def __init__(self, settings: Dns64Settings, following: Handler) -> None:
        network = ipaddress.IPv6Network(settings.prefix)
        self.prefix = network.network_address.packed[: network.prefixlen // 8]
        self.settings = settings
        self.following = following
        self._translated = 0

    def counts(self) -> Iterator[Count]:
        """As `fairway.dns.metrics.Counting`."""
        text = "Counter of DNS requests translated by dns64."
        yield Count("coredns_dns64_requests_translated_total", text, (), self._translated)

    async def serve(self, request: Request) -> Reply:
        reply = await self.following.serve(request)
        if not self._is_wanted(request, reply):
            return reply
        found = await self.following.serve(request.asking(request.key, RRType.A))
        longest = next((r.ttl for r in reply.authority if r.type == RRType.SOA), UNKNOWN_TTL)
        answer = [
            Record(r.name, RRType.AAAA, min(r.ttl, longest), self.embed(r.rdata)) if r.type == RRType.A else r
            for r in found.answer
        ]
        self._translated += 1
        authority, additional = list(found.authority), list(found.additional)
        return Reply(
            found.rcode,
            tc=found.tc,
            answer=answer,
            authority=authority,
            additional=additional,
            options=found.options,
            source="dns64",
        )

    def _is_wanted(self, request: Request, reply: Reply) -> bool:
        if request.type != RRType.AAAA or request.rclass != CLASS_IN:
            return False
        if len(request.client) == 4 and not self.settings.allow_ipv4:
            return False
        if reply.is_refusal or (reply.rcode == Rcode.NXDOMAIN and not reply.answer):
            return False
        return self.settings.translate_all or not any(r.type == RRType.AAAA for r in reply.answer)

    def embed(self, address: bytes) -> bytes:
        """The IPv4 address behind the prefix; bits 64 to 71 stay zero (RFC 6052, section 2.2)."""
        room = 8 - len(self.prefix)
        if room <= 0:
            return self.prefix + address if len(self.prefix) == 12 else self.prefix + b"\0" + address + bytes(3)
        return (self.prefix + address[:room] + b"\0" + address[room:]).ljust(16, b"\0")


def address_text(address: bytes) -> str:
    """`10.0.0.1`, `fd00::1`."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
