"""A node between its pods and the outside, as network namespaces with real sockets: where does a packet go?

`node` has eth0 towards `outside`, pods0 towards `pods` and pods1 towards `callers`. Each backend is an address in the
one namespace `pods`, where a server on port 8080 notes for each connection or datagram which address was reached and
from where; a pod that calls others lives in `callers`, since its answers have to come back through the node.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import netns
from fairway.values.address import Address, Family, Prefix
from fairway.values.protocol import Protocol

PORT = 8080
_SO_RCVBUFFORCE = 33
_MARKER_PORT = 9
_SYSCTLS = """
net.ipv4.conf.all.rp_filter=0
net.ipv4.conf.default.rp_filter=0
net.ipv4.ip_forward=1
net.ipv4.icmp_ratelimit=0
net.ipv4.icmp_msgs_per_sec=1000000
net.ipv4.icmp_msgs_burst=100000
net.ipv6.icmp.ratelimit=0
net.ipv6.conf.all.forwarding=1
net.ipv6.conf.all.accept_dad=0
net.ipv6.conf.default.accept_dad=0
"""


@dataclass(frozen=True)
class Plan:
    """The addresses of one family."""

    family: Family
    pods: Prefix
    node: Address
    """On eth0."""
    gateway: Address
    """The node's address on pods0: what the source of a masqueraded packet to a pod becomes."""
    client: Address
    stranger: Address
    """Another client outside, in another network."""
    services: Prefix
    pod: tuple[Address, ...]
    """Backends."""
    caller: Address
    """A pod that calls."""

    def service(self, number: int) -> Address:
        """An address in the service range."""
        return _plus(self.services.address, number)


def _plus(address: Address, number: int) -> Address:
    return Address((int.from_bytes(address, "big") + number).to_bytes(len(address), "big"))


def _plan(pods: str, outside: str, stranger: str, services: str) -> Plan:
    network, wide = Prefix.parse(pods), Prefix.parse(outside)
    return Plan(
        network.family,
        network,
        _plus(wide.address, 10),
        _plus(network.address, 1),
        _plus(wide.address, 100),
        Address.parse(stranger),
        Prefix.parse(services),
        tuple(_plus(network.address, 10 + n) for n in range(10)),
        _plus(network.address, 200),
    )


PLANS = {
    Family.IPV4: _plan("10.1.0.0/16", "192.168.0.0/24", "172.16.5.5", "10.96.0.0/16"),
    Family.IPV6: _plan("fd00:1::/64", "fd00:2::/64", "fd77:3::5", "fd00:96::/112"),
}


class Reached(NamedTuple):
    """A server got it: at which address and port, from which source."""

    address: Address
    port: int
    source: Address


@dataclass(frozen=True)
class Refused:
    """The sender was told (ICMP port unreachable)."""


@dataclass(frozen=True)
class Silence:
    """It went nowhere, and nobody was told."""


Outcome = Reached | Refused | Silence


@dataclass
class Node:
    """Three namespaces; a context manager. Addresses of both families."""

    node: int = -1
    pods: int = -1
    outside: int = -1
    callers: int = -1
    _stack: ExitStack = field(default_factory=ExitStack)
    _tcp: dict[Family, socket.socket] = field(default_factory=dict)
    _udp: dict[Address, socket.socket] = field(default_factory=dict)
    _markers: dict[tuple[int, Family], tuple[socket.socket, socket.socket]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for name in ("node", "pods", "outside", "callers"):
                namespace = netns.create()
                stack.callback(os.close, namespace)
                setattr(self, name, namespace)
                with netns.entered(namespace):
                    netns.run("sysctl", "-qw", *_SYSCTLS.split())
            self._connect()
            self._serve(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _connect(self) -> None:
        commands = []
        for device, peer in (("eth0", self.outside), ("pods0", self.pods), ("pods1", self.callers)):
            commands.append(f"link add {device} type veth peer name {device} netns /proc/{os.getpid()}/fd/{peer}")
            commands.append(f"link set {device} up")
        for plan in PLANS.values():
            commands.append(f"addr add {plan.node}/{_outside_length(plan)} dev eth0 {_nodad(plan)}")
            commands.append(f"addr add {plan.gateway}/{plan.pods.length} dev pods0 {_nodad(plan)}")
            commands.append(f"route add default via {plan.client}")
            commands.append(f"addr add {plan.gateway} dev pods1 {_nodad(plan)}")
            commands.append(f"route add {plan.caller} dev pods1")
        self.ip(self.node, commands)
        for namespace, device in ((self.pods, "pods0"), (self.callers, "pods1"), (self.outside, "eth0")):
            commands = [f"link set {device} up"]
            for plan in PLANS.values():
                own = {self.pods: plan.pod, self.callers: (plan.caller,), self.outside: (plan.client,)}[namespace]
                length = _outside_length(plan) if namespace == self.outside else plan.family.width * 8
                commands += [f"addr add {address}/{length} dev {device} {_nodad(plan)}" for address in own]
                gateway = plan.node if namespace == self.outside else plan.gateway
                if namespace == self.outside:
                    commands.append(f"addr add {plan.stranger} dev lo {_nodad(plan)}")
                else:
                    commands.append(f"route add {gateway} dev {device}")
                commands.append(f"route add default via {gateway}")
            self.ip(namespace, commands)

    @staticmethod
    def ip(namespace: int, commands: list[str]) -> None:
        """iproute2 commands, IPv6 ones told by their addresses."""
        with netns.entered(namespace):
            for family, chosen in (
                ("-4", [c for c in commands if ":" not in c]),
                ("-6", [c for c in commands if ":" in c]),
            ):
                netns.run("ip", family, "-batch", "-", stdin="\n".join(chosen))

    def _serve(self, stack: ExitStack) -> None:
        with netns.entered(self.pods):
            for plan in PLANS.values():
                listener = stack.enter_context(_socket(plan.family, socket.SOCK_STREAM))
                listener.bind(("", PORT))
                listener.listen(4096)
                self._tcp[plan.family] = listener
                for address in plan.pod:
                    server = stack.enter_context(_socket(plan.family, socket.SOCK_DGRAM))
                    server.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
                    server.bind((str(address), PORT))
                    self._udp[address] = server
        for namespace in (self.node, self.pods, self.outside, self.callers):
            for plan in PLANS.values():
                self._markers[namespace, plan.family] = self._marker(stack, namespace, plan)

    def _marker(self, stack: ExitStack, namespace: int, plan: Plan) -> tuple[socket.socket, socket.socket]:
        """A sender and the one who answers it, beyond the node."""
        target = self.outside if namespace == self.pods else self.pods
        address = plan.client if namespace == self.pods else plan.pod[-1]
        with netns.entered(target):
            echo = stack.enter_context(_socket(plan.family, socket.SOCK_DGRAM))
            echo.bind((str(address), _MARKER_PORT + 40000 + len(self._markers)))
        with netns.entered(namespace):
            sender = stack.enter_context(_socket(plan.family, socket.SOCK_DGRAM))
            sender.connect((str(address), echo.getsockname()[1]))
        return sender, echo

    def settle(self, namespace: int, family: Family) -> None:
        """All that was sent from this namespace before has arrived wherever it goes, and answers have come back."""
        sender, echo = self._markers[namespace, family]
        for _ in range(3):
            sender.send(b"marker")
            _wait(echo)
            data, peer = echo.recvfrom(64)
            echo.sendto(data, peer)
            _wait(sender)
            sender.recv(64)

    def home(self, source: Address) -> int:
        """The namespace that has this address."""
        plan = PLANS[source.family]
        if source in plan.pod:
            return self.pods
        if source == plan.caller:
            return self.callers
        return self.outside if source in (plan.client, plan.stranger) else self.node

    def send(self, protocol: Protocol, source: Address, target: Address, port: int) -> Outcome:
        """Connect, or send a datagram, and see where it goes."""
        with netns.entered(self.home(source)):
            kind = socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM
            client = _socket(source.family, kind)
        with client:
            client.bind((str(source), 0))
            return self.attempt(client, source, target, port)

    def attempt(self, client: socket.socket, source: Address, target: Address, port: int) -> Outcome:
        """As send, by a socket that exists."""
        family = source.family
        is_tcp = client.type == socket.SOCK_STREAM
        client.setblocking(False)
        if is_tcp:
            refused = client.connect_ex((str(target), port)) == errno.ECONNREFUSED
        else:
            client.connect((str(target), port))
            refused = _send_quietly(client)
        self.settle(self.home(source), family)
        reached = self._accept(family) if is_tcp else self._receive(family)
        if reached is not None:
            return reached
        refused = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED or refused
        return Refused() if refused else Silence()

    @contextmanager
    def accepting(self, family: Family) -> Iterator[None]:
        """Connections are taken and closed by a thread, so that the queue never fills."""
        done = threading.Event()

        def accept() -> None:
            while not done.is_set():
                if select.select([self._tcp[family]], [], [], 0.01)[0]:
                    self._accept(family)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def received(self, family: Family) -> dict[Address, int]:
        """Takes all datagrams that have reached the backends; how many at each."""
        found = {}
        for address in PLANS[family].pod:
            number = 0
            with suppress(BlockingIOError):
                while self._udp[address].recv(64):
                    number += 1
            found[address] = number
        return found

    def _accept(self, family: Family) -> Reached | None:
        try:
            accepted, peer = self._tcp[family].accept()
        except BlockingIOError:
            return None
        with accepted:
            name = accepted.getsockname()
            return Reached(Address.parse(name[0]), name[1], Address.parse(peer[0]))

    def _receive(self, family: Family) -> Reached | None:
        for address in PLANS[family].pod:
            try:
                _, peer = self._udp[address].recvfrom(64)
            except BlockingIOError:
                continue
            return Reached(address, PORT, Address.parse(peer[0]))
        return None


def _socket(family: Family, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET if family is Family.IPV4 else socket.AF_INET6, kind)
    if family is Family.IPV6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setblocking(False)
    return made


def _send_quietly(client: socket.socket) -> bool:
    """Send a datagram; a filter in the output path may refuse it at once (EPERM), which tells nothing yet."""
    try:
        client.send(b"hello")
    except ConnectionRefusedError:
        return True
    except PermissionError:
        return False
    return False


def _wait(sock: socket.socket) -> None:
    if not select.select([sock], [], [], 5)[0]:
        raise TimeoutError("the marker did not come back")


def _outside_length(plan: Plan) -> int:
    return 24 if plan.family is Family.IPV4 else 64


def _nodad(plan: Plan) -> str:
    return "nodad" if plan.family is Family.IPV6 else ""
