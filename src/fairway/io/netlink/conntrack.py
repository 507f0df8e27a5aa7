"""The kernel's connection table: finds the entries that queries of `plan.stale` mean, and deletes them.

Decides how to ask the kernel so that the work is bounded by what matches, and decodes only the tuples and ids needed.
Which entries are stale is decided in `plan.stale`. A walk of the table is one system call of some milliseconds, which
releases the interpreter: callers with an event loop step through `find` in a thread.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from fairway.io.netlink.socket import (
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    NetlinkSocket,
    Protocol,
    attribute,
    attributes,
    failure,
    kernel_error,
    message,
    messages,
    nest,
)
from fairway.plan.stale import Destination, Flow, StaleQuery, expected_replies
from fairway.values.address import Address, Family
from fairway.values.errors import KernelError

_GET = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_DELETE = 1 << 8 | 2
_GET_STATS = 1 << 8 | 5
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID, _CTA_ZONE, _CTA_FILTER = 1, 2, 12, 18, 25
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_PROTO_NUM, _CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT = 1, 2, 3
_CTA_FILTER_ORIG_FLAGS = 1
_CTA_STATS_GLOBAL_ENTRIES = 1
_FILTER_IP_DST, _FILTER_PROTO_NUM, _FILTER_PROTO_DST_PORT = 1 << 1, 1 << 3, 1 << 5
_UDP = 17
_AF = {Family.IPV4: 2, Family.IPV6: 10}
_WIDTH = {2: 4, 10: 16}
_IP_SRC = {4: 1, 16: 3}  # CTA_IP_V4_SRC, CTA_IP_V6_SRC; the destination's number is one more
_WORD = struct.Struct("=I")
_BIG = struct.Struct(">I")

_BUCKET_COST, _SKIP_COST, _MATCH_COST = 40, 200, 2500
"""Nanoseconds a hash bucket, an entry that the kernel passes over, an entry that it copies and we decode.

Measured on Linux 6.18 (docs/performance.md); only their ratios matter, to choose between several narrow walks and a
wide one."""
_DELETE_BATCH = 100


class Lookup(NamedTuple):
    """One walk of the table: what the kernel shall filter by. None matches all."""

    family: Family | None
    address: Address | None = None
    port: int | None = None
    protocol: int | None = _UDP

    def __str__(self) -> str:
        return f"{self.family or 'any family'}, {self.address or 'any address'}, port {self.port or 'any'}"


class TableSize(NamedTuple):
    """What walks of the table cost."""

    entries: int
    buckets: int
    udp_share: Mapping[Family, float] = {}
    """A family's UDP entries among all; 1 where nothing is known."""


EVERYTHING = Lookup(None, protocol=None)
"""Asked without a filter, and so understood by every kernel."""


class Conntrack:
    """The table of the network namespace that its maker's thread was in."""

    def __init__(self, *, can_filter: bool = True) -> None:
        self._dumps = NetlinkSocket(Protocol.NETFILTER)
        self._deletes = NetlinkSocket(Protocol.NETFILTER)
        self._can_filter = can_filter
        self._udp_share: dict[Family, float] = {}
        """Of a family's UDP entries in the whole table, as the last walk over all of them found."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._dumps.close()
        self._deletes.close()

    def find(self, queries: Sequence[StaleQuery], node: Collection[Address]) -> Generator[list[Flow], None, None]:
        """The stale entries, in steps; a step without any is an empty list, for the caller to draw breath.

        `node` is the addresses of this node: where node ports count. Raises KernelError; what was yielded before
        stands.
        """
        expected = expected_replies(queries, node)
        if not expected:
            return
        size = TableSize(self.count(), bucket_count(), self._udp_share)
        for lookup in self._plan([query.destination for query in queries], size):
            rows = 0
            try:
                for payloads in self._dumps.dump(_GET, encode_lookup(lookup), what=f"list entries of {lookup}"):
                    rows += len(payloads)
                    yield pick_stale(payloads, expected)
            except KernelError as error:
                if lookup == EVERYTHING or error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                self._can_filter = False
                yield from self.find(queries, node)
                return
            if lookup.family and lookup.port is None:
                self._udp_share[lookup.family] = rows / max(1, size.entries)

    def _plan(self, destinations: Collection[Destination], size: TableSize) -> list[Lookup]:
        """Kernels before 5.8 pass over a filter; one that refuses it is not asked again."""
        return plan_lookups(destinations, size) if self._can_filter else [EVERYTHING]

    def delete(self, flows: Sequence[Flow]) -> int:
        """Delete these entries; returns how many were still there. Raises KernelError when the kernel refuses one."""
        deleted = 0
        for start in range(0, len(flows), _DELETE_BATCH):
            deleted += self._delete_batch(flows[start : start + _DELETE_BATCH])
        return deleted

    def count(self) -> int:
        """How many entries the table has."""
        for answer in self._deletes.request(_GET_STATS, _header(None), what="count connection entries"):
            for kind, value in attributes(answer.payload[4:]):
                if kind == _CTA_STATS_GLOBAL_ENTRIES:
                    return int(_BIG.unpack(value)[0])
        return 0

    def _delete_batch(self, flows: Sequence[Flow]) -> int:
        waiting = {self._deletes.next_sequence(): flow for flow in flows}
        self._deletes.send(
            b"".join(message(_DELETE, NLM_F_REQUEST | NLM_F_ACK, flow.handle, n) for n, flow in waiting.items())
        )
        numbers: list[int] = []
        while waiting:
            for answer in messages(self._deletes.receive()):
                if answer.type == NLMSG_ERROR and answer.sequence in waiting:
                    del waiting[answer.sequence]
                    numbers.append(failure(answer)[0])
        for number in numbers:
            if number not in (0, errno.ENOENT):  # gone by itself meanwhile: as good as deleted
                raise kernel_error("delete UDP entries", number)
        return numbers.count(0)


def plan_lookups(destinations: Collection[Destination], size: TableSize) -> list[Lookup]:
    """The cheapest walks that see every entry to `destinations` in a table of this size.

    Each walk visits every bucket and entry, and what it returns costs much more than what it passes over. So one walk a
    destination while they are few; for many, or in a small table, one wide walk a family.
    """
    walk = size.buckets * _BUCKET_COST + size.entries * _SKIP_COST
    lookups = []
    for family in sorted({destination.family for destination in destinations}):  # no filter works across families
        own = [destination for destination in destinations if destination.family is family]
        wide = walk + size.entries * size.udp_share.get(family, 1.0) * _MATCH_COST
        if len(own) == 1 or len(own) * walk <= wide:
            lookups += [Lookup(family, destination.address, destination.port) for destination in own]
        else:
            lookups.append(Lookup(family, port=_only({destination.port for destination in own})))
    return lookups


def _only(ports: set[int]) -> int | None:
    return next(iter(ports)) if len(ports) == 1 else None


def bucket_count() -> int:
    """The size of the hash table, which all network namespaces share."""
    try:
        return int(Path("/proc/sys/net/netfilter/nf_conntrack_buckets").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 1 << 16


def _header(family: Family | None) -> bytes:
    """nfgenmsg: family, version 0, resource 0"""
    return bytes((_AF[family] if family else 0, 0, 0, 0))


def encode_lookup(lookup: Lookup) -> bytes:
    """CTA_FILTER says which fields of CTA_TUPLE_ORIG count (Linux 5.8, commit cb8aa9a3affb)."""
    if lookup.protocol is None:
        return _header(lookup.family)
    flags = _FILTER_PROTO_NUM
    protocol = [attribute(_CTA_PROTO_NUM, bytes((lookup.protocol,)))]
    if lookup.port is not None:
        flags |= _FILTER_PROTO_DST_PORT
        protocol.append(attribute(_CTA_PROTO_DST_PORT, lookup.port.to_bytes(2, "big")))
    fields = [nest(_CTA_TUPLE_PROTO, *protocol)]
    if lookup.address is not None:
        flags |= _FILTER_IP_DST
        fields.append(nest(_CTA_TUPLE_IP, attribute(_IP_SRC[len(lookup.address)] + 1, lookup.address)))
    return (
        _header(lookup.family)
        + nest(_CTA_TUPLE_ORIG, *fields)
        + nest(_CTA_FILTER, attribute(_CTA_FILTER_ORIG_FLAGS, _WORD.pack(flags)))
    )


def pick_stale(payloads: Sequence[memoryview], expected: dict[bytes, frozenset[bytes]]) -> list[Flow]:
    """The stale ones of these entries. Those of the usual shape are judged without decoding them: 1 µs each."""
    found = []
    for payload in payloads:
        destination = _usual_destination(payload)
        if destination is not None and destination not in expected:
            continue
        flow = decode(payload)
        if flow and (replies := expected.get(flow.destination)) is not None and flow.reply not in replies:
            found.append(flow)
    return found


class _Shape(NamedTuple):
    """How the kernel lays out the two tuples of an entry when nothing unusual, like a zone, stands between."""

    end: int
    mask: int
    """The bytes that tell the shape: headers of attributes."""
    headers: int
    address: slice
    port: slice


def _usual_shape(width: int) -> _Shape:
    """Of an IP family, by the order in which ctnetlink_dump_tuples writes."""
    headers, mask = b"", b""

    def put(kind: int, length: int, data: int) -> None:
        nonlocal headers, mask
        headers += attribute(kind, bytes(length - 4))[:4] + bytes(data)
        mask += b"\xff" * 4 + bytes(data)

    nested = 0x8000
    addresses = 4 + 2 * (4 + width)
    for kind in (_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY):
        put(kind | nested, 4 + addresses + 28, 0)
        put(_CTA_TUPLE_IP | nested, addresses, 0)
        put(_IP_SRC[width], 4 + width, width)
        put(_IP_SRC[width] + 1, 4 + width, width)
        put(_CTA_TUPLE_PROTO | nested, 28, 0)
        put(_CTA_PROTO_NUM, 5, 4)
        put(_CTA_PROTO_SRC_PORT, 6, 4)
        put(_CTA_PROTO_DST_PORT, 6, 4)
    address = 4 + 12 + width + 4
    port = address + width + 4 + 8 + 8 + 4
    return _Shape(
        4 + len(headers),
        int.from_bytes(mask, "little"),
        int.from_bytes(headers, "little"),
        slice(address, address + width),
        slice(port, port + 2),
    )


_SHAPES = {family: _usual_shape(width) for family, width in _WIDTH.items()}


def _usual_destination(payload: memoryview) -> bytes | None:
    """Destination address and port of an entry of the usual shape; None when it has to be decoded in full."""
    shape = _SHAPES.get(payload[0]) if payload else None
    if shape is None or int.from_bytes(payload[4 : shape.end], "little") & shape.mask != shape.headers:
        return None
    return bytes(payload[shape.address]) + bytes(payload[shape.port])


def decode(payload: memoryview) -> Flow | None:
    """A UDP entry; None for anything else, also for what is malformed.

    It is deleted by its reply tuple, which names the backend, and its id: an entry of the same client that meanwhile
    took its place and goes to a good backend has another one. The id alone may recur with the place in memory.
    """
    if len(payload) < 4 or (width := _WIDTH.get(payload[0])) is None:
        return None
    original = reply = None
    handle = [bytes((payload[0], 0, 0, 0))]
    for kind, value in attributes(payload[4:]):
        if kind == _CTA_TUPLE_ORIG:
            original = _tuple(value, width, is_reply=False)
        elif kind == _CTA_TUPLE_REPLY:
            reply = _tuple(value, width, is_reply=True)
            handle.append(nest(kind, bytes(value)))
        elif kind in (_CTA_ID, _CTA_ZONE):
            handle.append(attribute(kind, bytes(value)))
    if original is None or reply is None:
        return None
    return Flow(original, reply, b"".join(handle))


def _tuple(value: memoryview, width: int, *, is_reply: bool) -> bytes | None:
    """Address and port of a UDP tuple: its source if it is the reply's, else its destination."""
    wanted_address = _IP_SRC[width] + (not is_reply)
    wanted_port = _CTA_PROTO_SRC_PORT if is_reply else _CTA_PROTO_DST_PORT
    address = port = protocol = b""
    for kind, nested in attributes(value):
        for inner, data in attributes(nested):
            if kind == _CTA_TUPLE_IP and inner == wanted_address:
                address = bytes(data)
            elif kind == _CTA_TUPLE_PROTO and inner == wanted_port:
                port = bytes(data)
            elif kind == _CTA_TUPLE_PROTO and inner == _CTA_PROTO_NUM:
                protocol = bytes(data)
    if len(address) != width or len(port) != 2 or protocol != bytes((_UDP,)):
        return None
    return address + port
