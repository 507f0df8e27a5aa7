"""A node between its pods and the world outside, as network namespaces, and real connections through it.

Any address can be a pod or an outsider: the namespaces `pods` and `world` accept every destination, and send whatever
they say to the node, also what is meant for an address of their own. So a connection that the node translates comes to
an accepting socket there, which tells where it went and who its client seemed to be; one that the node leaves alone
arrives with the destination that it was sent to.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Self

import netns
from fairway.values.address import LOOPBACK6, Address, Prefix
from fairway.values.packet import Packet
from fairway.values.protocol import Protocol

PODS = tuple(Prefix.parse(text) for text in ("10.0.0.0/8", "fd00:10::/32", "fd46::a00:0/104"))
"""Sources that are pods; the last is what `flow_ipv6` makes of the first."""
NODE_SIDE = ("192.168.200.1/24", "fd00:200::1/64")
"""The node's addresses towards the pods: what masqueraded connections of the node itself come from."""
_WITNESSES = {4: Address.parse("10.255.255.254"), 16: Address.parse("fd00:10:ffff::1")}
_WITNESS_PORT = 7
_PATIENCE = 5.0
"""Seconds until a packet that must arrive is given up; it takes 50 µs."""
_IP_FREEBIND, _IPV6_FREEBIND, _SCTP = 15, 78, 132
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: close with a reset, so that no connection lingers."""


class Place(Enum):
    """A namespace."""

    NODE = "node"
    PODS = "pods"
    WORLD = "world"


class Seen(Enum):
    """What became of a connection attempt; the words of the case file."""

    FORWARDED = "to"
    REJECTED = "reject"
    DROPPED = "drop"
    UNTOUCHED = "untouched"


class Outcome(NamedTuple):
    """One connection attempt."""

    seen: Seen
    target: str = ""
    """Where it arrived, as `address:port`, when it was forwarded."""
    masqueraded: bool = False


class Arrival(NamedTuple):
    """A connection as its accepting side saw it."""

    place: Place
    target: Address
    port: int
    source: Address


class World:
    """The namespaces, their accepting sockets, and a count of the connections that were made."""

    def __init__(
        self, node_addresses: Iterable[str], ports: Iterable[int], taken: Collection[tuple[Place, int]] = ()
    ) -> None:
        """`node_addresses` are with prefix lengths; `ports` all that anything may be sent to, before or behind NAT.

        Where a port is `taken` somebody else listens.
        """
        self._stack = ExitStack()
        self.namespaces = {place: netns.create() for place in Place}
        for namespace in self.namespaces.values():
            self._stack.callback(os.close, namespace)
        self.connections = 0
        self._client_port = 0
        """Another each time: the kernel's own choice would now and then meet a UDP flow that is still remembered."""
        addresses = list(node_addresses)
        _connect(self.namespaces, addresses)
        self._local = {Address.parse(text.partition("/")[0]) for text in [*addresses, *NODE_SIDE, "127.0.0.1"]}
        self._local.add(LOOPBACK6)
        self._poll = self._stack.enter_context(select.epoll())
        self._listeners: dict[int, tuple[Place, Protocol, socket.socket]] = {}
        for place in Place:
            for port in sorted({*ports, _WITNESS_PORT}):
                if (place, port) not in taken:
                    self._listen(place, port)
            self._listen_raw(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def entered(self, place: Place = Place.NODE) -> Iterator[None]:
        """This thread in one of the namespaces."""
        with netns.entered(self.namespaces[place]):
            yield

    def home(self, address: Address) -> Place:
        """Where a source lives."""
        if address in self._local:
            return Place.NODE
        return Place.PODS if any(address in prefix for prefix in PODS) else Place.WORLD

    # --- connecting ------------------------------------------------------------------------------------------------

    def attempt(self, packet: Packet, port: int = 0, *, answers: bool = True) -> Outcome:
        """Make one connection and see what became of it. A forwarded one must also be answered.

        With a `port` of the client's, the next attempt from there goes on with a flow that the kernel may remember.
        `answers`: datagrams are answered. While flows are being removed they should not be: an answer that leaves
        after its flow was removed makes a flow of its own, the other way round, which nobody has a reason to remove.
        """
        self.connections += 1
        self._client_port = port or 32768 + self.connections % 28000
        message = struct.pack("!Q", self.connections)
        with one_cpu(), self._client(packet) as client:
            number = _send(client, self._client_port, packet, message)
            arrival = self._arrival(packet.protocol, message, answers=answers)
            if arrival is None and number != errno.ECONNREFUSED:
                self._let_everything_pass(packet)
                arrival = self._arrival(packet.protocol, message, answers=answers)
                number = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if arrival is None:
                return Outcome(Seen.REJECTED if number == errno.ECONNREFUSED else Seen.DROPPED)
            if answers:
                _expect_answer(client, packet, message)
        if (arrival.target, arrival.port) == (packet.destination, packet.port):
            return Outcome(Seen.UNTOUCHED)
        return Outcome(Seen.FORWARDED, arrival.target.with_port(arrival.port), arrival.source != packet.source)

    def _client(self, packet: Packet) -> socket.socket:
        kind = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM, Protocol.SCTP: socket.SOCK_RAW}
        number = _SCTP if packet.protocol is Protocol.SCTP else 0
        with self.entered(self.home(packet.source)):
            client = _open(packet.source, kind[packet.protocol], number)
        if packet.protocol is Protocol.TCP:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        client.bind((str(packet.source), self._client_port))
        return client

    def _let_everything_pass(self, packet: Packet) -> None:
        """Return when whatever was sent before has gone as far as it will.

        Packets of one processor stay in order from queue to queue: once a witness has come through the same node,
        nothing that was sent before it is still under way.
        """
        source = Address(bytes(len(packet.source))) if packet.source.is_loopback else packet.source
        with self.entered(self.home(packet.source)):
            sender = _open(source, socket.SOCK_DGRAM)
        listener = self._listener(Place.PODS, Protocol.UDP, _WITNESS_PORT)
        with sender:
            sender.bind((str(source), 0))
            sender.sendto(b"witness", (str(_WITNESSES[len(source)]), _WITNESS_PORT))
            if not _becomes(listener, select.POLLIN):
                raise AssertionError("a packet straight to a pod did not arrive: the topology is broken")
            listener.recv(64)

    # --- accepting -------------------------------------------------------------------------------------------------

    def _listen(self, place: Place, port: int) -> None:
        any6 = Address(bytes(16))
        with self.entered(place):
            tcp, udp = _open(any6, socket.SOCK_STREAM), _open(any6, socket.SOCK_DGRAM)
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        for protocol, opened in ((Protocol.TCP, tcp), (Protocol.UDP, udp)):
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            opened.bind(("::", port))
            self._register(place, protocol, opened)
        tcp.listen(64)

    def _listen_raw(self, place: Place) -> None:
        """For SCTP, which a kernel may forward and translate without having sockets of it."""
        for width in (4, 16):
            with self.entered(place):
                opened = _open(Address(bytes(width)), socket.SOCK_RAW, _SCTP)
            if width == 16:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self._register(place, Protocol.SCTP, opened)

    def _register(self, place: Place, protocol: Protocol, opened: socket.socket) -> None:
        self._stack.callback(opened.close)
        self._listeners[opened.fileno()] = (place, protocol, opened)
        self._poll.register(opened, select.EPOLLIN)

    def _listener(self, place: Place, protocol: Protocol, port: int) -> socket.socket:
        return next(
            opened
            for at, of, opened in self._listeners.values()
            if (at, of) == (place, protocol) and opened.getsockname()[1] == port
        )

    def _arrival(self, protocol: Protocol, message: bytes, *, answers: bool) -> Arrival | None:
        """What came to an accepting socket. Leftovers of earlier attempts are thrown away."""
        found = None
        for descriptor, _ in self._poll.poll(0):
            place, of, listener = self._listeners[descriptor]
            match of:
                case Protocol.TCP:
                    arrival = _accept(place, listener)
                case Protocol.UDP:
                    arrival = _receive(place, listener, message, answers=answers)
                case Protocol.SCTP:
                    arrival = _receive_raw(place, listener, message)
            found = arrival if of is protocol and arrival else found
        return found


def _send(client: socket.socket, port: int, packet: Packet, message: bytes) -> int:
    """Open the connection; returns the error that the network has told by now. EPERM, which a rule on the way out
    of the node causes by dropping and by refusing alike, is not one."""
    number = client.connect_ex((str(packet.destination), packet.port if packet.protocol is not Protocol.SCTP else 0))
    if packet.protocol is not Protocol.TCP and not number:
        with suppress(PermissionError):
            client.send(message if packet.protocol is Protocol.UDP else _sctp_init(port, packet.port, message))
    if number not in (0, errno.EINPROGRESS, errno.ECONNREFUSED, errno.EPERM):
        raise OSError(number, f"{packet}: {os.strerror(number)}")
    return number or client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _expect_answer(client: socket.socket, packet: Packet, message: bytes) -> None:
    """The way back works, too: the client is answered by whom it called."""
    if packet.protocol is Protocol.TCP:
        is_answered = _becomes(client, select.POLLOUT)
        is_answered = is_answered and not client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    elif packet.protocol is Protocol.UDP:
        is_answered = _becomes(client, select.POLLIN) and client.recv(64) == message
    else:
        return
    if not is_answered:
        raise AssertionError(f"{packet}: it arrived, but the client never got the answer")


def _becomes(one: socket.socket, event: int) -> bool:
    """Whether this happens to a socket. By poll, since `select` takes no descriptor beyond 1023."""
    poll = select.poll()
    poll.register(one, event)
    return bool(poll.poll(_PATIENCE * 1000))


def _accept(place: Place, listener: socket.socket) -> Arrival | None:
    try:
        accepted, source = listener.accept()
    except (BlockingIOError, ConnectionError):
        return None  # its client is gone already
    with accepted:  # closed in order: a reset could overtake what the client has not read yet
        target, port, *_ = accepted.getsockname()
        return Arrival(place, _address(target), port, _address(source[0]))


def _receive(place: Place, listener: socket.socket, message: bytes, *, answers: bool) -> Arrival | None:
    data, ancillary, _, source = listener.recvmsg(2048, 256)
    if data != message:
        return None
    info = _packet_info(ancillary)
    if answers:
        listener.sendmsg([data], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info[:16] + bytes(4))], 0, source)
    return Arrival(
        place, _address(socket.inet_ntop(socket.AF_INET6, info[:16])), listener.getsockname()[1], _address(source[0])
    )


def _receive_raw(place: Place, listener: socket.socket, message: bytes) -> Arrival | None:
    data, ancillary, _, source = listener.recvmsg(2048, 256)
    if listener.family == socket.AF_INET:
        target, data = Address(data[16:20]), data[(data[0] & 15) * 4 :]
    else:
        target = Address(_packet_info(ancillary)[:16])
    if data[16:24] != message:
        return None
    return Arrival(place, target, int.from_bytes(data[2:4], "big"), _address(source[0]))


def _sctp_init(source: int, port: int, message: bytes) -> bytes:
    """An INIT chunk (RFC 9260, 3.3.2) that carries the message as its tag and window. Receivers here check no sum."""
    chunk = struct.pack("!BBH", 1, 0, 20) + message + struct.pack("!HHI", 1, 1, 1)
    return struct.pack("!HHII", source, port, 0, 0) + chunk


def _packet_info(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    return next(data for level, kind, data in ancillary if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO))


def _address(text: str) -> Address:
    return Address.parse(text.removeprefix("::ffff:") if "." in text else text)


def _open(address: Address, kind: int, number: int = 0) -> socket.socket:
    """A socket of the address's family in this thread's namespace that may bind to any address."""
    if len(address) == 4:
        opened = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK, number)
        opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
    else:
        opened = socket.socket(socket.AF_INET6, kind | socket.SOCK_NONBLOCK, number)
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    return opened


@contextmanager
def one_cpu() -> Iterator[None]:
    """This thread on one processor, so that its packets stay in order."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[os.getpid() % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


# --- topology ------------------------------------------------------------------------------------------------------

_EVERYWHERE = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/ip_local_port_range": "61000 65535",  # beyond the ports that `attempt` chooses itself
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv4/icmp_msgs_per_sec": "1000000",
    "net/ipv4/icmp_msgs_burst": "100000",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/icmp/ratelimit": "0",
}
_FAR_SIDE = {**_EVERYWHERE, "net/ipv4/conf/all/accept_local": "1", "net/ipv6/ip_nonlocal_bind": "1"}
_LINK = "link set {dev} address 02:00:00:00:00:0{number} arp off up\n"
"""Without ARP a frame is addressed to the sender's own MAC address: so both ends of a link have the same."""


def _connect(namespaces: dict[Place, int], node_addresses: Iterable[str]) -> None:
    with netns.entered(namespaces[Place.NODE]):
        _set(_EVERYWHERE)
        lines = ""
        for number, (dev, place) in enumerate((("eth0", Place.WORLD), ("pods0", Place.PODS))):
            far = f"/proc/{os.getpid()}/fd/{namespaces[place]}"
            lines += f"link add {dev} type veth peer name {dev} netns {far}\n" + _LINK.format(dev=dev, number=number)
        lines += "".join(f"address add {text} dev eth0{_no_dad(text)}\n" for text in node_addresses)
        lines += "".join(f"address add {text} dev pods0{_no_dad(text)}\n" for text in NODE_SIDE)
        lines += "route add 0.0.0.0/0 dev eth0\nroute add ::/0 dev eth0\n"
        lines += "".join(f"route add {prefix} dev pods0\n" for prefix in PODS)
        netns.run("ip", "-batch", "-", stdin=lines)
        # the check of checksums, since _sctp_init leaves SCTP's out
        _set({"net/netfilter/nf_conntrack_checksum": "0", "net/ipv4/conf/all/route_localnet": "1"})
    for number, (dev, place) in enumerate((("eth0", Place.WORLD), ("pods0", Place.PODS))):
        with netns.entered(namespaces[place]):
            _set(_FAR_SIDE)
            netns.run("ip", "-batch", "-", stdin=_LINK.format(dev=dev, number=number))
            for family, everything in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
                # what is said here goes to the node first, before the local table could keep it here
                lines = "rule add pref 5 lookup local\nrule del pref 0\nrule add pref 1 iif lo lookup 77\n"
                lines += f"route add default dev {dev} table 77\nroute add local {everything} dev lo\n"
                netns.run("ip", family, "-batch", "-", stdin=lines)


def _no_dad(address: str) -> str:
    return " nodad" if ":" in address else ""


def _set(values: dict[str, str]) -> None:
    for name, value in values.items():
        path = Path("/proc/sys") / name
        if path.exists():  # some are not per namespace in older kernels
            path.write_text(value, encoding="ascii")
