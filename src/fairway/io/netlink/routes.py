"""Routes by way of groups of nodes, in the network namespace of the calling thread: written, and read back.

Everything carries Fairway's own protocol number, so that it can be told from others' routes and be found after a
crash: `ip route show proto 247`, `ip nexthop show proto 247`. Groups hash resiliently (kernel 5.13): when a node
leaves, only its own connections move. Decoded with struct, as elsewhere here: pyroute2 costs 0.14 s and 24 MiB.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Final, Self, cast
from zlib import crc32

from fairway.announce.routes import GROUPS, HOPS, ROUTES, UNREACHABLE, group_of_all
from fairway.io.netlink.addresses import ensure_address
from fairway.io.netlink.socket import (
    DumpInterruptedError,
    NetlinkSocket,
    Protocol,
    attribute,
    attributes,
    nest,
)
from fairway.reconcile.items import Action, Item, Operation, WriteError
from fairway.values.address import Address, Family, Prefix
from fairway.values.errors import KernelError

ROUTE_PROTOCOL: Final = 247
"""rtm_protocol of what is written here; free in /etc/iproute2/rt_protos."""
METRIC: Final = 247
"""Of every route here: an administrator's own route to the same network stays, and wins with a lower one."""
NUMBERS: Final = 0xF0000000
"""Where numbers of next hops begin; a link has 65,536 of them, by its name: there may be several clusters."""
_GROUPS_AT: Final = 0x8000
_FIRST_OF_ONE: Final = 16
"""Behind the groups of all nodes, whose numbers are those of the families."""
BUCKETS: Final = 128
IDLE_SECONDS: Final = 60
"""A bucket without packets for so long may be given to a node that came."""

_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE = 24, 25, 26
_NEW_HOP, _DELETE_HOP, _GET_HOP = 104, 105, 106
_CREATE, _REPLACE = 0x400, 0x100
_RTMSG = struct.Struct("=BBBBBBBBI")
_NHMSG = struct.Struct("=BBBxI")
_MEMBER = struct.Struct("=IBxxx")
_WORD, _HALF = struct.Struct("=I"), struct.Struct("=H")
_MAIN_TABLE, _UNICAST, _UNREACHABLE_TYPE = 254, 1, 7
_RTA_DST, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_NH_ID = 1, 6, 7, 30
_NHA_ID, _NHA_GROUP, _NHA_GROUP_TYPE, _NHA_OIF, _NHA_GATEWAY, _NHA_RES_GROUP = 1, 2, 3, 5, 6, 12
_RESILIENT = 1
_TRIES = 10


class RouteTable:
    """fairway.agents.upkeep.PartOfKernel over rtnetlink. `link` is the interface that all nodes are behind; no route
    outside `ranges` is touched. Packets to a range that holds one of `clients` leave with that source address."""

    def __init__(self, link: str, ranges: Iterable[Prefix], clients: Iterable[Address] = ()) -> None:
        self._link = link
        self._ranges = tuple(ranges)
        self._clients = {one: client for one in self._ranges for client in clients if client in one}
        self._socket = NetlinkSocket(Protocol.ROUTE)
        self._first = NUMBERS + ((crc32(link.encode()) & 0xFFF) << 16)
        self._hops: dict[Address, int] = {}
        self._groups: dict[str, int] = {name: number for number, name in self._groups_of_all().items()}

    def _groups_of_all(self) -> dict[int, str]:
        return {self._first + _GROUPS_AT + family: group_of_all(family) for family in Family}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    # --- reading ---------------------------------------------------------------------------------------------------

    def read(self) -> dict[str, dict[Hashable, Hashable]]:
        """What there is of ours, by container. Numbers are learnt from it. The link is given its client addresses."""
        for client in self._clients.values():
            ensure_address(self._link, client, client.family.width * 8)
        return self._read()

    def _read(self) -> dict[str, dict[Hashable, Hashable]]:
        routes = {prefix: number for family in Family for prefix, number in self._read_routes(family)}
        hops: dict[int, Address] = {}
        members: dict[int, tuple[int, ...]] = {}
        for number, gateway, group in self._read_hops():
            if gateway is not None:
                hops[number] = gateway
            else:
                members[number] = group
        names = self._groups_of_all()
        names.update({number: str(prefix.address) for prefix, number in routes.items() if number not in (0, *names)})
        self._hops = {gateway: number for number, gateway in hops.items()}
        self._groups = {names.get(number, f"stray/{number}"): number for number in {*members, *names}}
        found: dict[str, dict[Hashable, Hashable]] = {HOPS: dict.fromkeys(self._hops), GROUPS: {}, ROUTES: {}}
        for number, group in members.items():
            name = names.get(number, f"stray/{number}")
            found[GROUPS][name] = tuple(sorted(hops[one] for one in group if one in hops))
        for prefix, number in routes.items():
            found[ROUTES][prefix] = names.get(number, f"stray/{number}") if number else UNREACHABLE
        return found

    def _read_routes(self, family: Family) -> Iterator[tuple[Prefix, int]]:
        header = _RTMSG.pack(_number(family), 0, 0, 0, 0, 0, 0, 0, 0)
        for row in self._dump(_GET_ROUTE, header, "list routes"):
            _, length, _, _, table, protocol, _, kind, _ = _RTMSG.unpack_from(row)
            if protocol != ROUTE_PROTOCOL or table != _MAIN_TABLE:
                continue
            fields = dict(attributes(row[_RTMSG.size :]))
            address = Address(bytes(fields.get(_RTA_DST, bytes(family.width))))
            number = _WORD.unpack(fields[_RTA_NH_ID])[0] if _RTA_NH_ID in fields else 0
            is_inside = any(address in one and length >= one.length for one in self._ranges)
            if is_inside and (number or kind == _UNREACHABLE_TYPE):
                yield Prefix(address, length), number

    def _read_hops(self) -> Iterator[tuple[int, Address | None, tuple[int, ...]]]:
        """(number, gateway or None for a group, members)."""
        for row in self._dump(_GET_HOP, _NHMSG.pack(0, 0, 0, 0), "list next hops"):
            protocol = _NHMSG.unpack_from(row)[2]
            fields = dict(attributes(row[_NHMSG.size :]))
            if protocol != ROUTE_PROTOCOL or _NHA_ID not in fields:
                continue
            number = _WORD.unpack(fields[_NHA_ID])[0]
            if number >> 16 != self._first >> 16:
                continue
            if _NHA_GROUP in fields:
                group = bytes(fields[_NHA_GROUP])
                yield number, None, tuple(member[0] for member in _MEMBER.iter_unpack(group))
            elif _NHA_GATEWAY in fields:
                yield number, Address(bytes(fields[_NHA_GATEWAY])), ()

    def _dump(self, kind: int, header: bytes, what: str) -> list[memoryview]:
        for _ in range(_TRIES):
            try:
                return [row for chunk in self._socket.dump(kind, header, what=what) for row in chunk]
            except DumpInterruptedError:
                continue
        raise DumpInterruptedError(f"{what}: EINTR: the table changes all the time", errno.EINTR)

    # --- writing ---------------------------------------------------------------------------------------------------

    def apply(self, operations: Sequence[Operation]) -> None:
        """Carry out the operations in order. Raises WriteError; those before the one that it names are done."""
        for each in operations:
            try:
                self._apply(each)
            except KernelError as error:
                is_gone = each.action is Action.REMOVE and error.errno in (errno.ENOENT, errno.ESRCH)
                if not is_gone:
                    raise WriteError(str(error), error.errno, each) from error

    def _apply(self, operation: Operation) -> None:
        action, (container, key, value) = operation
        is_removal = action is Action.REMOVE
        if container == ROUTES:
            self._route(cast("Prefix", key), cast("str", value), is_removal=is_removal)
        elif container == GROUPS and is_removal:
            self._remove_group(cast("str", key))
        elif container == GROUPS:
            self._set_group(cast("str", key), cast("tuple[Address, ...]", value))
        elif is_removal:
            self._delete(self._hops.pop(cast("Address", key), 0), f"next hop {key!s}")
        else:
            self._add_hop(cast("Address", key))

    def _add_hop(self, gateway: Address) -> None:
        number = self._hops.get(gateway) or _free(self._first, self._hops.values())
        try:
            index = socket.if_nametoindex(self._link)
        except OSError as error:
            raise KernelError(
                f"next hop {gateway}: interface {self._link}: {error.strerror}", error.errno or errno.ENODEV
            ) from None
        header = _NHMSG.pack(_number(gateway.family), 0, ROUTE_PROTOCOL, 0)
        body = attribute(_NHA_ID, _WORD.pack(number)) + attribute(_NHA_OIF, _WORD.pack(index))
        payload = header + body + attribute(_NHA_GATEWAY, gateway)
        self._socket.request(_NEW_HOP, payload, flags=_CREATE | _REPLACE, what=f"next hop {gateway}")
        self._hops[gateway] = number

    def _set_group(self, name: str, gateways: tuple[Address, ...]) -> None:
        number = self._groups.get(name) or _free(self._first + _GROUPS_AT + _FIRST_OF_ONE, self._groups.values())
        missing = [str(one) for one in gateways if one not in self._hops]
        if missing:
            raise KernelError(f"group {name}: no next hop {', '.join(missing)}", errno.ENOENT)
        members = b"".join(_MEMBER.pack(self._hops[one], 0) for one in gateways)
        hashing = nest(_NHA_RES_GROUP, attribute(1, _HALF.pack(BUCKETS)), attribute(2, _WORD.pack(IDLE_SECONDS * 100)))
        payload = (
            _NHMSG.pack(0, 0, ROUTE_PROTOCOL, 0)
            + attribute(_NHA_ID, _WORD.pack(number))
            + attribute(_NHA_GROUP, members)
            + attribute(_NHA_GROUP_TYPE, _HALF.pack(_RESILIENT))
            + hashing
        )
        self._socket.request(_NEW_HOP, payload, flags=_CREATE | _REPLACE, what=f"next hop group {name}")
        self._groups[name] = number

    def _remove_group(self, name: str) -> None:
        number = self._groups.get(name, 0)
        if number not in self._groups_of_all():
            self._groups.pop(name, None)
        self._delete(number, f"next hop group {name}")

    def _delete(self, number: int, what: str) -> None:
        if not number:
            return
        payload = _NHMSG.pack(0, 0, 0, 0) + attribute(_NHA_ID, _WORD.pack(number))
        self._socket.request(_DELETE_HOP, payload, what=what)

    def _route(self, prefix: Prefix, group: str, *, is_removal: bool) -> None:
        kind = _UNICAST if group != UNREACHABLE else _UNREACHABLE_TYPE
        header = _RTMSG.pack(
            _number(prefix.family), prefix.length, 0, 0, _MAIN_TABLE, ROUTE_PROTOCOL, 0, 0 if is_removal else kind, 0
        )
        payload = header + attribute(_RTA_DST, prefix.address) + attribute(_RTA_PRIORITY, _WORD.pack(METRIC))
        what = f"route {prefix}"
        if is_removal:
            self._socket.request(_DELETE_ROUTE, payload, what=what)
            return
        if group != UNREACHABLE:
            if group not in self._groups:
                raise KernelError(f"{what}: no group {group}", errno.ENOENT)
            payload += attribute(_RTA_NH_ID, _WORD.pack(self._groups[group]))
            if (client := self._client_for(prefix)) is not None:
                payload += attribute(_RTA_PREFSRC, client)
        self._socket.request(_NEW_ROUTE, payload, flags=_CREATE | _REPLACE, what=what)

    def _client_for(self, prefix: Prefix) -> Address | None:
        return next((client for one, client in self._clients.items() if prefix.address in one), None)

    def remove_all(self) -> int:
        """Remove everything of ours, also what a dead process left; returns how many things that were."""
        found = self._read()
        steps = [
            Operation(Action.REMOVE, Item(container, key, value))
            for container in (ROUTES, GROUPS, HOPS)
            for key, value in found[container].items()
        ]
        self.apply(steps)
        return len(steps)


def _number(family: Family) -> int:
    return int(socket.AF_INET if family is Family.IPV4 else socket.AF_INET6)


def _free(first: int, taken: Iterable[int]) -> int:
    used, number = set(taken), first
    while number in used:
        number += 1
    return number
