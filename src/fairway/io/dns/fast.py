"""The fast path: `fast_*.c` by ctypes. Tables of finished answers, and listeners that answer from them without Python.

The library is built with the wheel (`hatch_build.py`); where it is missing, `load` says so and the plain listener
answers everything, the same way and slower.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

from fairway.dns.answers import CLOSED, FastZone
from fairway.dns.kept import MAX_ROWS
from fairway.dns.metrics import FastCounts
from fairway.dns.server import Server
from fairway.io.dns.addresses import ListenAddress, unmapped
from fairway.io.dns.udp import BATCH, Answering, open_udp, read_origin, set_buffer
from fairway.values.domain import Name

log = logging.getLogger(__name__)

LIBRARY: Final = Path(__file__).with_name("libfast.so")
CHUNK: Final = 256 * 1024
"""Bytes of nodes handed over at a time: a writer holds readers up for as long as that takes."""
TYPES: Final = ("A", "AAAA", "SRV", "PTR", "MX", "HTTPS", "CNAME", "other")
_ORIGIN: Final = struct.Struct("=IHH16s16sIIHH")
_REFRESH: Final = 1
_SO_SNDBUFFORCE: Final = 32
_IN_PKTINFO: Final = struct.Struct("=i4s4s")
_IN6_PKTINFO: Final = struct.Struct("=16sI")


class RowStats(ctypes.Structure):
    """What a listener's thread has counted of answers with the same labels (`fw_row`)."""

    _fields_ = (
        ("requests", ctypes.c_uint64 * 8 * 2),
        ("rcodes", ctypes.c_uint64 * 16),
        ("do_requests", ctypes.c_uint64),
        ("request_sizes", ctypes.c_uint64 * 15),
        ("response_sizes", ctypes.c_uint64 * 15),
        ("durations", ctypes.c_uint64 * 17),
        ("request_bytes", ctypes.c_uint64),
        ("response_bytes", ctypes.c_uint64),
        ("nanoseconds", ctypes.c_uint64),
        ("hits", ctypes.c_uint64 * 2),
        ("stale", ctypes.c_uint64),
    )


class Stats(ctypes.Structure):
    """All that a listener's thread has counted (`fw_stats`)."""

    _fields_ = (
        ("rows", RowStats * MAX_ROWS),
        ("handed_over", ctypes.c_uint64),
        ("lost", ctypes.c_uint64),
    )


_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "fw_table_new": (_POINTER, (ctypes.c_uint64,)),
    "fw_table_free": (None, (_POINTER,)),
    "fw_clear": (None, (_POINTER,)),
    "fw_swap": (None, (_POINTER, _POINTER)),
    "fw_put": (ctypes.c_int64, (_POINTER, ctypes.c_char_p, ctypes.c_uint64)),
    "fw_delete": (None, (_POINTER, ctypes.c_char_p, ctypes.c_uint32)),
    "fw_zone": (_INT, (_POINTER, ctypes.c_uint32, ctypes.c_char_p, *(ctypes.c_uint32,) * 6)),
    "fw_keep": (_INT, (_POINTER, ctypes.c_char_p, ctypes.c_uint32)),
    "fw_forget": (None, (_POINTER, ctypes.c_char_p, *(ctypes.c_uint32,) * 3)),
    "fw_kept_count": (ctypes.c_uint64, (_POINTER,)),
    "fw_kept_bytes": (ctypes.c_uint64, (_POINTER,)),
    "fw_count": (ctypes.c_uint64, (_POINTER,)),
    "fw_bytes": (ctypes.c_uint64, (_POINTER,)),
    "fw_answer": (_SIZE, (_POINTER, ctypes.c_char_p, _SIZE, _POINTER, _SIZE, *(ctypes.c_uint64,) * 2, _POINTER)),
    "fw_limit": (None, (_POINTER, ctypes.c_uint32)),
    "fw_server_new": (_POINTER, (_POINTER, _INT, _INT, _INT, ctypes.c_uint64)),
    "fw_server_free": (None, (_POINTER,)),
    "fw_server_stats": (None, (_POINTER, _POINTER)),
    "fw_stats_size": (ctypes.c_uint64, ()),
    "fw_serve": (_INT, (_POINTER,)),
    "fw_stop": (None, (_POINTER,)),
}


@lru_cache(maxsize=1)
def load() -> ctypes.CDLL | None:
    """The library, or None where it was not built or does not fit this machine."""
    if os.environ.get("FAIRWAY_DNS_FAST") == "off":
        return None
    try:
        library = ctypes.CDLL(str(LIBRARY))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        log.warning("library=%s msg='no fast path: every query is answered by Python' error='%s'", LIBRARY, error)
        return None
    if library.fw_stats_size() != ctypes.sizeof(Stats):
        log.warning("library=%s msg='of another version: no fast path'", LIBRARY)
        return None
    return library


class NativeTable:
    """Finished answers where C finds them. All methods from one thread."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.pointer = library.fw_table_new(secrets.randbits(64))
        if not self.pointer:
            raise MemoryError
        self.refresh: Callable[[int, bytes], None] = lambda _row, _query: None
        """Called with a row and the query to which a kept answer was given that should be fetched anew."""

    def __del__(self) -> None:
        self._library.fw_table_free(self.pointer)

    def __len__(self) -> int:
        return int(self._library.fw_count(self.pointer))

    @property
    def size(self) -> int:
        """Bytes of all nodes, without what holds them together."""
        return int(self._library.fw_bytes(self.pointer))

    def set_zone(self, index: int, zone: FastZone, serial: int, row: int = 0) -> None:
        """Describe a zone, and where its answers are counted; no node answers before the first."""
        flags, serial = CLOSED if zone.is_closed else 0, serial & 0xFFFFFFFF
        self._library.fw_zone(
            self.pointer, index, zone.name, len(zone.name), flags, zone.ttl, zone.minimum, serial, row
        )

    def put(self, nodes: Iterable[bytes]) -> None:
        """Take packed nodes; each replaces the one of its name."""
        waiting: list[bytes] = []
        size = 0
        for node in nodes:
            waiting.append(node)
            size += len(node)
            if size >= CHUNK:
                self._put(waiting)
                waiting, size = [], 0
        if waiting:
            self._put(waiting)

    def _put(self, nodes: list[bytes]) -> None:
        data = b"".join(nodes)
        taken = self._library.fw_put(self.pointer, data, len(data))
        if taken != len(nodes):
            raise MemoryError(f"the table took {taken} of {len(nodes)} nodes")

    def delete(self, keys: Iterable[bytes]) -> None:
        """Forget names, and what hangs on them."""
        for key in keys:
            self._library.fw_delete(self.pointer, key, len(key))

    def keep(self, packed: bytes) -> None:
        """Give an answer until its time is over (`fairway.dns.kept`)."""
        if self._library.fw_keep(self.pointer, packed, len(packed)):
            raise MemoryError("the table did not take a kept answer")

    def forget(self, name: Name, rtype: int, key_flags: int) -> None:
        """Do not give an answer any more."""
        self._library.fw_forget(self.pointer, name, len(name), rtype, key_flags)

    @property
    def kept(self) -> int:
        """Answers that are given until their time is over."""
        return int(self._library.fw_kept_count(self.pointer))

    def set_limit(self, max_edns: int) -> None:
        """Leave clients that can take larger replies to the plugins; 0 for no limit."""
        self._library.fw_limit(self.pointer, max_edns)

    def spare(self) -> Self:
        """An empty table to fill aside."""
        return type(self)(self._library)

    def clear(self) -> None:
        """Forget everything: all queries go to Python."""
        self._library.fw_clear(self.pointer)

    def swap(self, other: Self) -> None:
        """Exchange contents with a table that nobody reads."""
        self._library.fw_swap(self.pointer, other.pointer)

    def answer(self, query: bytes, seed: int = 1, now: float = 0.0) -> bytes:
        """The reply to one query; empty when it is not for the fast path. For tests and explain."""
        return self.answer_and_refresh(query, seed, now)[0]

    def answer_and_refresh(self, query: bytes, seed: int, now: float) -> tuple[bytes, bool]:
        """The reply, and whether a fresh answer would be asked for."""
        out, refresh = ctypes.create_string_buffer(8192), ctypes.c_int()
        length = self._library.fw_answer(
            self.pointer, query, len(query), out, 8192, seed, round(now * 1e9), ctypes.byref(refresh)
        )
        return out.raw[:length], bool(refresh.value)


def new_table() -> NativeTable | None:
    """A table, where there is a fast path."""
    library = load()
    return NativeTable(library) if library is not None else None


class FastListener(Answering):
    """A socket and a thread per core: what the table knows is answered in C, the rest by `server`."""

    def __init__(
        self,
        address: ListenAddress,
        server: Server,
        loop: asyncio.AbstractEventLoop,
        table: NativeTable,
        *,
        sockets: int = 1,
    ) -> None:
        super().__init__(address, server, loop)
        library = load()
        assert library is not None
        self._library = library
        self.table = table
        self._sockets = [open_udp(address) for _ in range(sockets)]
        self._bound = unmapped(self._sockets[0].getsockname()[0])
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        # A burst for Python waits here, as it would in a UDP socket.
        set_buffer(self._theirs, socket.SO_SNDBUF, _SO_SNDBUFFORCE)
        self._servers = []
        for index, sock in enumerate(self._sockets):
            sock.setblocking(True)
            pointer = library.fw_server_new(
                table.pointer, sock.fileno(), self._theirs.fileno(), index, secrets.randbits(63)
            )
            if not pointer:
                raise MemoryError
            self._servers.append(pointer)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to answer."""
        self._loop.add_reader(self._ours.fileno(), self._readable)
        for pointer in self._servers:
            # A C function that never comes back until it is stopped; ctypes lets go of the interpreter for as long.
            thread = threading.Thread(target=self._run, args=(pointer,), name="dns-fast", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self, pointer: int) -> None:
        failed = self._library.fw_serve(pointer)
        if failed:
            log.error("listen=%s msg='the fast path ended' error='%s'", self.address, os.strerror(failed))

    async def close(self) -> None:
        """Stop reading; answers under way are still sent."""
        for pointer in self._servers:
            self._library.fw_stop(pointer)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._readable()
        self._loop.remove_reader(self._ours.fileno())
        await self._finish()
        for pointer in self._servers:
            self._library.fw_server_free(pointer)
        self._servers = []
        for sock in (*self._sockets, self._ours, self._theirs):
            sock.close()

    def counted(self) -> list[FastCounts]:
        """What all threads have counted so far, row by row."""
        found = [Stats() for _ in self._servers]
        for one, pointer in zip(found, self._servers, strict=True):
            self._library.fw_server_stats(pointer, ctypes.byref(one))
        return [_sum([one.rows[i] for one in found]) for i in range(MAX_ROWS)]

    @property
    def lost(self) -> int:
        """Queries that found Python too far behind."""
        found, one = 0, Stats()
        for pointer in self._servers:
            self._library.fw_server_stats(pointer, ctypes.byref(one))
            found += one.lost
        return found

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                data = self._ours.recv(_ORIGIN.size + 65535)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.error("listen=%s msg='the fast path cannot hand over' error='%s'", self.address, error)
                return
            if len(data) > _ORIGIN.size:
                self._take(data)

    def _take(self, data: bytes) -> None:
        index, family, port, client, local, scope, interface, wanted, row = _ORIGIN.unpack_from(data)
        if wanted == _REFRESH:
            self.table.refresh(row, data[_ORIGIN.size :])
            return
        if family == socket.AF_INET6:
            host: tuple[Any, ...] = (socket.inet_ntop(socket.AF_INET6, client), port, 0, scope)
            ancillary = [(socket.IPPROTO_IPV6, 50, _IN6_PKTINFO.pack(local, interface))]
        else:
            host = (socket.inet_ntoa(client[:4]), port)
            ancillary = [(socket.IPPROTO_IP, 8, _IN_PKTINFO.pack(0, local[:4], bytes(4)))]
        if not any(local):
            ancillary = []
        via = self._sockets[index]
        self.handle(data[_ORIGIN.size :], read_origin(via, ancillary, host, self._bound))


def _sum(parts: Sequence[RowStats]) -> FastCounts:
    total = FastCounts()
    for one in parts:
        if not any(one.rcodes):
            continue  # most rows are nobody's
        for family in range(2):
            for i, name in enumerate(TYPES):
                total.requests[family, name] = total.requests.get((family, name), 0) + one.requests[family][i]
        for name in ("rcodes", "request_sizes", "response_sizes", "durations", "hits"):
            setattr(total, name, [a + b for a, b in zip(getattr(total, name), getattr(one, name), strict=True)])
        total.do_requests += one.do_requests
        total.request_bytes += one.request_bytes
        total.response_bytes += one.response_bytes
        total.seconds += one.nanoseconds / 1e9
        total.stale += one.stale
    return total
