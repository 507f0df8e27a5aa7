"""Interfaces and addresses of this network namespace: read now, or followed as they change.

Decides what counts as an address of this node and when a change is worth telling. What node ports or primaries are made
of them is the plan's business. Decoded here with struct: pyroute2 takes 0.14 s and 24 MiB to import.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import AsyncIterator, Collection
from enum import IntFlag
from typing import NamedTuple, Self

from fairway.io.netlink.socket import (
    DumpInterruptedError,
    NetlinkSocket,
    OverrunError,
    Protocol,
    attribute,
    attributes,
    messages,
)
from fairway.values.address import Address
from fairway.values.errors import KernelError

_RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 18, 20, 22
_RTM_GETROUTE = 26
_RTNLGRP_LINK = 1
_RTNLGRP_IPV4_IFADDR, _RTNLGRP_IPV6_IFADDR = 5, 9
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")
_WORD = struct.Struct("=I")
_IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_EXT_MASK = 3, 10, 18, 29
_IFLA_INFO_KIND = 1
_SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_DST, _RTA_OIF = 1, 4
_WIDTH = {2: 4, 10: 16}
_TRIES = 10
_CREATE, _REPLACE = 0x400, 0x100

SETTLE_SECONDS = 0.02
"""How long further changes are waited for: an interface that comes up brings several."""


class AddressFlag(IntFlag):
    """Flags of an address that matter here (linux/if_addr.h)."""

    NODAD = 0x02
    OPTIMISTIC = 0x04
    DAD_FAILED = 0x08
    DEPRECATED = 0x20
    TENTATIVE = 0x40


class InterfaceAddress(NamedTuple):
    """An address of an interface."""

    address: Address
    prefix_length: int
    interface: int
    """The interface's number."""
    scope: int
    """0 global, 253 link, 254 host (rtnetlink's RT_SCOPE)."""
    flags: int

    @property
    def is_usable(self) -> bool:
        """Whether packets to it arrive: duplicate address detection is over, or need not be waited for (RFC 4429).

        A deprecated address still receives (RFC 4862, 5.5.4), and kube-proxy serves node ports on it.
        """
        if self.flags & AddressFlag.DAD_FAILED:
            return False
        return not self.flags & AddressFlag.TENTATIVE or bool(self.flags & AddressFlag.OPTIMISTIC)


class Interface(NamedTuple):
    """A network interface."""

    number: int
    """The kernel's interface index."""
    name: str
    kind: str = ""
    """bridge, veth, … ; empty for a physical one."""
    master: int = 0
    """The number of the bridge or bond that it is a port of; 0 for none."""


class Links:
    """Reads interfaces, addresses and routes of the network namespace that its maker's thread was in."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(Protocol.ROUTE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def addresses(self) -> tuple[InterfaceAddress, ...]:
        """Every address of every interface, in this order."""
        rows = self._dump(_RTM_GETADDR, _IFADDR.pack(0, 0, 0, 0, 0), "list addresses")
        found = [address for row in rows if (address := decode_address(row))]
        return tuple(sorted(found, key=lambda row: (row.interface, len(row.address), row.address)))

    def usable_addresses(self) -> tuple[Address, ...]:
        """The addresses of this node: those that receive packets, sorted by family, each once."""
        return _usable(self.addresses())

    def interfaces(self) -> tuple[Interface, ...]:
        """Every interface, by number."""
        request = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFLA_EXT_MASK, _WORD.pack(_SKIP_STATISTICS))
        rows = self._dump(_RTM_GETLINK, request, "list interfaces")
        return tuple(sorted(found for row in rows if (found := decode_interface(row))))

    def interface_towards(self, address: Address) -> Interface | None:
        """The interface that leads to an address, and that packets from it are expected by; None without a route.

        A pod behind a bridge is seen by the bridge: netfilter knows its ports only where bridges call it.
        """
        family = 2 if len(address) == 4 else 10
        request = _RTMSG.pack(family, len(address) * 8, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_DST, address)
        try:
            answers = self._socket.request(_RTM_GETROUTE, request, what=f"route to {address}")
        except KernelError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
                return None  # the last two: a prohibit and a blackhole route
            raise
        number = next((decode_route(answer.payload) for answer in answers), 0)
        return next((one for one in self.interfaces() if one.number == number), None)

    def _dump(self, kind: int, request: bytes, what: str) -> list[memoryview]:
        for _ in range(_TRIES):
            try:
                return [row for chunk in self._socket.dump(kind, request, what=what) for row in chunk]
            except DumpInterruptedError:
                continue
        raise DumpInterruptedError(f"{what}: EINTR: the table changes all the time", errno.EINTR)


class AddressWatch:
    """Follows the addresses of the network namespace that its maker's thread was in.

    Only address notifications are subscribed to: an interface that goes takes its addresses along one by one, and the
    comings and goings of pods' interfaces, which have none, wake nobody.
    """

    def __init__(self) -> None:
        # subscribed before anything is read, so that no change falls between
        self._events = NetlinkSocket(Protocol.ROUTE, groups=(_RTNLGRP_IPV4_IFADDR, _RTNLGRP_IPV6_IFADDR))
        self._links = Links()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._events.close()
        self._links.close()

    async def usable_addresses(self) -> AsyncIterator[tuple[Address, ...]]:
        """The usable addresses now, and the whole list again after each change of it."""
        loop, happened = asyncio.get_running_loop(), asyncio.Event()
        known: tuple[Address, ...] | None = None
        loop.add_reader(self._events.fileno(), happened.set)
        try:
            while True:
                self._drain()
                happened.clear()
                found = self._links.usable_addresses()
                if found != known:
                    known = found
                    yield found
                await happened.wait()
                await asyncio.sleep(SETTLE_SECONDS)
        finally:
            loop.remove_reader(self._events.fileno())

    def _drain(self) -> None:
        """Take all notifications; what they say is read anew, so lost ones do not matter."""
        while True:
            try:
                if self._events.receive_now() is None:
                    return
            except OverrunError:
                continue


def ensure_address(interface: str, address: Address, length: int) -> None:
    """Give an interface of this network namespace an address, if it has it not yet. Raises KernelError."""
    try:
        index = socket.if_nametoindex(interface)
    except OSError as error:
        raise KernelError(f"address {address}: interface {interface}: {error.strerror}", errno.ENODEV) from None
    header = _IFADDR.pack(
        2 if len(address) == 4 else 10, length, AddressFlag.NODAD if len(address) == 16 else 0, 0, index
    )
    payload = header + attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)
    with NetlinkSocket(Protocol.ROUTE) as kernel:
        kernel.request(_RTM_NEWADDR, payload, flags=_CREATE | _REPLACE, what=f"address {address} on {interface}")


class LinkWatch:
    """Follows a few interfaces of the network namespace that its maker's thread was in, by their names."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._events = NetlinkSocket(Protocol.ROUTE, groups=(_RTNLGRP_LINK,))

    async def changes(self, seconds: float) -> AsyncIterator[None]:
        """Something happened to one of them; or, in case that something was missed, so many seconds went by."""
        loop, happened = asyncio.get_running_loop(), asyncio.Event()

        def look() -> None:
            if self._concerns():
                happened.set()

        loop.add_reader(self._events.fileno(), look)
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(happened.wait(), seconds)
                    await asyncio.sleep(SETTLE_SECONDS)
                happened.clear()
                yield
        finally:
            loop.remove_reader(self._events.fileno())
            self._events.close()

    def _concerns(self) -> bool:
        found = False
        while True:
            try:
                chunk = self._events.receive_now()
            except OverrunError:
                found = True
                continue
            if chunk is None:
                return found
            rows = (decode_interface(one.payload) for one in messages(chunk))
            found = found or any(row is not None and row.name in self._names for row in rows)


def _usable(rows: tuple[InterfaceAddress, ...]) -> tuple[Address, ...]:
    return tuple(sorted({row.address for row in rows if row.is_usable}, key=lambda a: (len(a), a)))


def decode_address(payload: memoryview) -> InterfaceAddress | None:
    """The payload of RTM_NEWADDR; None when it is no IP address or malformed."""
    if len(payload) < _IFADDR.size:
        return None
    family, length, flags, scope, index = _IFADDR.unpack_from(payload)
    width = _WIDTH.get(family)
    local = remote = b""
    for kind, value in attributes(payload[_IFADDR.size :]):
        if kind == _IFA_LOCAL:
            local = bytes(value)
        elif kind == _IFA_ADDRESS:
            remote = bytes(value)
        elif kind == _IFA_FLAGS and len(value) == 4:
            (flags,) = _WORD.unpack(value)
    address = local or remote  # with a peer, IFA_ADDRESS is the peer's
    if len(address) != width:
        return None
    return InterfaceAddress(Address(address), length, index, scope, flags)


def decode_interface(payload: memoryview) -> Interface | None:
    """The payload of RTM_NEWLINK; None when malformed."""
    if len(payload) < _IFINFO.size:
        return None
    index = _IFINFO.unpack_from(payload)[2]
    name, kind, master = "", "", 0
    for number, value in attributes(payload[_IFINFO.size :]):
        if number == _IFLA_IFNAME:
            name = _text(value)
        elif number == _IFLA_MASTER and len(value) == 4:
            (master,) = _WORD.unpack(value)
        elif number == _IFLA_LINKINFO:
            kind = next((_text(inner) for key, inner in attributes(value) if key == _IFLA_INFO_KIND), "")
    return Interface(index, name, kind, master) if name else None


def decode_route(payload: memoryview) -> int:
    """The outgoing interface's index of an RTM_NEWROUTE; 0 when it has none."""
    for kind, value in attributes(payload[_RTMSG.size :]):
        if kind == _RTA_OIF and len(value) == 4:
            return int(_WORD.unpack(value)[0])
    return 0


def _text(value: memoryview) -> str:
    """Interface names are bytes; any but `/`, NUL and blanks may stand in them."""
    return bytes(value).rstrip(b"\0").decode(errors="surrogateescape")
