"""A name server for tests that programs outside this process can ask: UDP and TCP, from a few lines of a zone file."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone

ZONE = """
@ 300 IN SOA ns.up.test. admin.up.test. 7 3600 600 86400 20
@ 300 IN NS ns
ns 300 IN A 192.0.2.53
www 60 IN A 192.0.2.1
www 60 IN A 192.0.2.2
www 120 IN AAAA 2001:db8::1
v4 60 IN A 192.0.2.9
here 60 IN A 127.0.0.1
brief 1 IN A 192.0.2.11
never 0 IN A 192.0.2.12
long 7200 IN A 192.0.2.13
alias 30 IN CNAME www
alias2 30 IN CNAME alias
dangling 30 IN CNAME nothing
outside 30 IN CNAME www.elsewhere.test.
mail 60 IN MX 10 mx1
mail 60 IN MX 20 mx2
mx1 60 IN A 192.0.2.21
mx2 60 IN A 192.0.2.22
text 60 IN TXT "one" "two words"
_sip._tcp 60 IN SRV 10 20 5060 www
naptr 60 IN NAPTR 10 20 "u" "E2U+sip" "" www
caa 60 IN CAA 0 issue "ca.test"
svcb 60 IN HTTPS 1 . alpn="h2"
"""
"""Of `up.test.`, and of every other zone the same names."""


def bound_pair(address: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket with the same port: what is free for one may not be for the other."""
    while True:
        udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            udp.bind((address, 0))
            tcp.bind((address, udp.getsockname()[1]))
        except OSError:
            udp.close()
            tcp.close()
        else:
            return udp, tcp


def free_port() -> int:
    """Free for UDP and TCP, as far as one can know."""
    udp, tcp = bound_pair()
    port = int(udp.getsockname()[1])
    udp.close()
    tcp.close()
    return port


class TextUpstream:
    """Serves the same zone under every name of two labels; some names are answered oddly.

    servfail, refused, nosoa (empty without a SOA), big (one record that is more than a datagram holds), aa
    (authoritative), ad (validated), wrong (an answer to another question), gone (no answer over UDP), mute (never).
    """

    def __init__(self, address: str = "127.0.0.1", tag: str = "192.0.2.250") -> None:
        self.udp, self.tcp = bound_pair(address)
        self.port: int = self.udp.getsockname()[1]
        self.tcp.listen(64)
        self.tag = tag
        """What `who` is answered with: tells two servers apart."""
        self.asked: list[tuple[str, str, str]] = []
        """Name, type and transport of every question."""
        self.is_silent = False
        """Hears, and answers nothing."""
        self.options: list[tuple[int, bytes]] = []
        """EDNS options of the last question that had some."""
        for work in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=work, daemon=True).start()

    def close(self) -> None:
        """Go away: connections are refused from now on."""
        for one in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve_udp(self) -> None:
        while True:
            try:
                data, client = self.udp.recvfrom(65535)
                reply = self.answer(data, "udp")
                if reply is not None:
                    self.udp.sendto(reply, client)
            except OSError:
                return

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            stream = connection.makefile("rb")
            while len(head := stream.read(2)) == 2:
                reply = self.answer(stream.read(int.from_bytes(head, "big")), "tcp")
                if reply is not None:
                    connection.sendall(len(reply).to_bytes(2, "big") + reply)

    def answer(self, data: bytes, transport: str) -> bytes | None:
        """The reply to one message; None for silence."""
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        first = question.name.labels[0].decode().lower() if len(question.name) > 1 else ""
        self.asked.append((question.name.to_text(), dns.rdatatype.to_text(question.rdtype), transport))
        if query.options:
            self.options = [(int(o.otype), o.to_wire() or b"") for o in query.options]
        if self.is_silent or first == "mute" or (first == "gone" and transport == "udp"):
            return None
        reply = dns.message.make_response(query, recursion_available=True)
        self._fill(reply, question, first)
        if transport == "tcp":
            return reply.to_wire(max_size=65535)
        size = max(512, query.payload) if query.edns >= 0 else 512
        try:
            return reply.to_wire(max_size=size)
        except dns.exception.TooBig:
            reply.flags |= dns.flags.TC
            reply.answer.clear()
            return reply.to_wire()

    def _fill(self, reply: dns.message.Message, question: dns.rrset.RRset, first: str) -> None:
        name, kind = question.name, question.rdtype
        match first:
            case "servfail" | "refused" | "notimp" | "formerr":
                reply.set_rcode(dns.rcode.from_text(first))
                return
            case "nosoa":
                return
            case "who":
                reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", self.tag))
                return
            case "big":
                reply.answer.append(
                    dns.rrset.from_text(name, 60, "IN", "TXT", " ".join(f'"{i:0200}"' for i in range(12)))
                )
                return
            case "aa":
                reply.flags |= dns.flags.AA
            case "ad":
                reply.flags |= dns.flags.AD
            case "wrong":
                reply.question = [dns.rrset.RRset(dns.name.from_text("another.test."), question.rdclass, kind)]
        origin = dns.name.Name(name.labels[-3:]) if len(name) > 3 else name
        _look_up(reply, name, kind, origin)


def _look_up(reply: dns.message.Message, name: dns.name.Name, kind: int, origin: dns.name.Name) -> None:
    if len(name) <= 2:
        reply.set_rcode(dns.rcode.NXDOMAIN)
        reply.authority.append(dns.rrset.from_text(".", 300, "IN", "SOA", "a.root. b.root. 1 2 3 4 5"))
        return
    zone = dns.zone.from_text(ZONE, origin=origin, relativize=False)
    soa = dns.rrset.from_rdata(origin, 300, zone.find_rdataset(origin, "SOA")[0])
    for _ in range(8):
        node = zone.get_node(name)
        if node is None and name.labels[0].lower() in {b"aa", b"ad"}:
            reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.77"))
            return
        if node is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
            reply.authority.append(soa)
            return
        found = node.get_rdataset(dns.rdataclass.IN, kind)
        if found is not None:
            reply.answer.append(dns.rrset.from_rdata_list(name, found.ttl, list(found)))
            return
        alias = node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.CNAME)
        if alias is None:
            reply.authority.append(soa)
            return
        reply.answer.append(dns.rrset.from_rdata_list(name, alias.ttl, list(alias)))
        name = alias[0].target
        if not name.is_subdomain(origin):
            return


@contextlib.contextmanager
def upstream(**more: str) -> Iterator[TextUpstream]:
    """One that is gone afterwards."""
    one = TextUpstream(**more)
    try:
        yield one
    finally:
        one.close()
