"""Links, addresses and routes of the embedded cluster: made, found again, taken away, in one network namespace.

Every call is idempotent: what is there already as asked for is left, what is gone already is gone. What should exist is
decided in `fairway.cluster`. Messages are packed here, as elsewhere in this folder: pyroute2 costs 0.14 s and 24 MiB.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

from fairway.io.netlink.socket import NetlinkSocket, Protocol, attribute, nest
from fairway.values.address import Address, Family, Prefix
from fairway.values.errors import KernelError

_NEW_LINK, _DELETE_LINK, _SET_LINK = 16, 17, 19
_NEW_ADDRESS, _DELETE_ADDRESS = 20, 21
_NEW_ROUTE, _DELETE_ROUTE = 24, 25
_REPLACE, _EXCLUSIVE, _CREATE = 0x100, 0x200, 0x400
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")
_WORD = struct.Struct("=I")
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_PROTINFO = 1, 3, 10, 12
_IFLA_LINKINFO, _IFLA_NET_NS_FD = 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_PORT_ISOLATED = 33
_AF_BRIDGE: Final = 7
_UP: Final = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_NO_DAD: Final = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_MAIN_TABLE, _BOOT, _UNIVERSE, _LINK_SCOPE, _UNICAST = 254, 3, 0, 253, 1
_ONLINK: Final = 4
_GONE: Final = (errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT, errno.ENETUNREACH)


class Peer(NamedTuple):
    """The other end of a veth pair."""

    name: str
    namespace: int
    """Descriptor of the network namespace that it is put into."""


class Hop(NamedTuple):
    """Where a route leads: by an interface, to a gateway or to neighbours."""

    link: str
    via: Address | None = None
    on_link: bool = False
    """The gateway is a neighbour although no address of ours says so."""


class LinkWriter:
    """Writes in the network namespace that its maker's thread was in."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(Protocol.ROUTE, buffer=1 << 16)
        self._indexes = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        """Belongs to the same namespace; numbers of interfaces are asked through it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()
        self._indexes.close()

    def index(self, name: str) -> int:
        """The number of an interface; 0 when there is none of this name."""
        import fcntl

        request = struct.pack("16s16x", name.encode())
        try:
            answer = fcntl.ioctl(self._indexes, 0x8933, request)  # SIOCGIFINDEX
        except OSError as error:
            if error.errno == errno.ENODEV:
                return 0
            raise KernelError(f"interface {name}: {error.strerror}", error.errno or 0) from None
        return int(struct.unpack_from("i", answer, 16)[0])

    # -- links

    def add_bridge(self, name: str) -> None:
        """A bridge, up. Its hardware address is its name's.

        One without an address of its own has the lowest of its ports', so it changes as they come and go, and whoever
        remembers the old one speaks to nobody until he asks again, some 10 s later.
        """
        info = nest(_IFLA_LINKINFO, attribute(_INFO_KIND, b"bridge"))
        named = _text(_IFLA_IFNAME, name) + attribute(_IFLA_ADDRESS, _hardware_address(name))
        self._new_link(named + info, f"bridge {name}")
        self.set_up(name)

    def add_veth(self, name: str, peer: Peer) -> None:
        """A pair, this end up, the other end in another namespace.

        The other end's hardware address comes of this name: what neighbours remember holds when a pair is made again.
        """
        other = _text(_IFLA_IFNAME, peer.name) + attribute(_IFLA_ADDRESS, _hardware_address(f"peer of {name}"))
        self._add_pair(name, other + attribute(_IFLA_NET_NS_FD, _WORD.pack(peer.namespace)))
        self.set_up(name)

    def add_pair(self, name: str, other: str) -> None:
        """A veth pair with both ends here, both down."""
        self._add_pair(name, _text(_IFLA_IFNAME, other))

    def _add_pair(self, name: str, peer: bytes) -> None:
        other = _IFINFO.pack(0, 0, 0, 0, 0) + peer
        data = nest(_INFO_DATA, attribute(_VETH_PEER | 0x8000, other))
        info = nest(_IFLA_LINKINFO, attribute(_INFO_KIND, b"veth"), data)
        self._new_link(_text(_IFLA_IFNAME, name) + info, f"link {name}")

    def _new_link(self, attributes: bytes, what: str) -> None:
        try:
            payload = _IFINFO.pack(0, 0, 0, 0, 0) + attributes
            self._socket.request(_NEW_LINK, payload, flags=_CREATE | _EXCLUSIVE, what=what)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise

    def set_up(self, name: str) -> None:
        """Switch an interface on."""
        payload = _IFINFO.pack(0, 0, self._need(name), _UP, _UP)
        self._socket.request(_SET_LINK, payload, what=f"link {name} up")

    def set_master(self, name: str, bridge: str) -> None:
        """Make an interface a port of a bridge."""
        payload = _IFINFO.pack(0, 0, self._need(name), 0, 0) + attribute(_IFLA_MASTER, _WORD.pack(self._need(bridge)))
        self._socket.request(_SET_LINK, payload, what=f"link {name} master {bridge}")

    def isolate(self, name: str) -> None:
        """Let a port of a bridge speak with the bridge alone, not with other such ports."""
        port = nest(_IFLA_PROTINFO, attribute(_PORT_ISOLATED, b"\1"))
        payload = _IFINFO.pack(_AF_BRIDGE, 0, self._need(name), 0, 0) + port
        self._socket.request(_SET_LINK, payload, what=f"port {name} isolated")

    def remove(self, name: str) -> None:
        """Take an interface away, and its peer with it."""
        if number := self.index(name):
            with _tolerating_absence():
                self._socket.request(_DELETE_LINK, _IFINFO.pack(0, 0, number, 0, 0), what=f"link {name}")

    # -- addresses

    def add_address(self, link: str, address: Address, length: int) -> None:
        """An address that is there at once: nobody else on these links can have it."""
        flags = attribute(_IFA_FLAGS, _WORD.pack(_NO_DAD)) if address.family is Family.IPV6 else b""
        self._socket.request(
            _NEW_ADDRESS,
            self._address(link, address, length) + flags,
            flags=_CREATE | _REPLACE,
            what=f"address {address}/{length} on {link}",
        )

    def remove_address(self, link: str, address: Address, length: int) -> None:
        if self.index(link):
            with _tolerating_absence():
                what = f"address {address}/{length} on {link}"
                self._socket.request(_DELETE_ADDRESS, self._address(link, address, length), what=what)

    def _address(self, link: str, address: Address, length: int) -> bytes:
        header = _IFADDR.pack(_number(address.family), length, 0, 0, self._need(link))
        return header + attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)

    # -- routes

    def add_route(self, to: Prefix, hop: Hop) -> None:
        """A route in the main table; one that is there for the same network is replaced."""
        payload = self._route(to, hop, _LINK_SCOPE if hop.via is None else _UNIVERSE)
        self._socket.request(_NEW_ROUTE, payload, flags=_CREATE | _REPLACE, what=f"route {to}")

    def remove_route(self, to: Prefix, hop: Hop) -> None:
        if self.index(hop.link):
            with _tolerating_absence():
                self._socket.request(_DELETE_ROUTE, self._route(to, hop, 255), what=f"route {to}")

    def _route(self, to: Prefix, hop: Hop, scope: int) -> bytes:
        family, flags = _number(to.family), _ONLINK if hop.on_link else 0
        header = _RTMSG.pack(family, to.length, 0, 0, _MAIN_TABLE, _BOOT, scope, _UNICAST, flags)
        payload = header + attribute(_RTA_OIF, _WORD.pack(self._need(hop.link)))
        if to.length:
            payload += attribute(_RTA_DST, to.address)
        if hop.via is not None:
            payload += attribute(_RTA_GATEWAY, hop.via)
        return payload

    def _need(self, name: str) -> int:
        number = self.index(name)
        if not number:
            raise KernelError(f"there is no interface {name}", errno.ENODEV)
        return number


def _hardware_address(name: str) -> bytes:
    """A locally administered one."""
    return b"\x02" + hashlib.blake2s(name.encode(), digest_size=5).digest()


@contextlib.contextmanager
def _tolerating_absence() -> Iterator[None]:
    try:
        yield
    except KernelError as error:
        if error.errno not in _GONE:
            raise


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _number(family: Family) -> int:
    return int(socket.AF_INET if family is Family.IPV4 else socket.AF_INET6)
