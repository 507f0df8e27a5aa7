"""The fast path: `fast.c` by ctypes. Tables of finished answers, and listeners that answer from them without Python.

The library is built with the wheel (`hatch_build.py`); where it is missing, `load` says so and the plain listener
answers everything, the same way and slower.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import secrets
import socket
import struct
import threading
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

from fairway.dns.answers import CLOSED, FastZone
from fairway.dns.metrics import FastCounts
from fairway.dns.server import Server
from fairway.io.dns.addresses import ListenAddress, unmapped
from fairway.io.dns.udp import BATCH, RECEIVE_BUFFER, Answering, open_udp, read_origin

log = logging.getLogger(__name__)

LIBRARY: Final = Path(__file__).with_name("libfast.so")
CHUNK: Final = 256 * 1024
"""Bytes of nodes handed over at a time: a writer holds readers up for as long as that takes."""
TYPES: Final = ("A", "AAAA", "SRV", "PTR", "MX", "HTTPS", "CNAME", "other")
_ORIGIN: Final = struct.Struct("=IHH16s16sII")
_IN_PKTINFO: Final = struct.Struct("=i4s4s")
_IN6_PKTINFO: Final = struct.Struct("=16sI")


class Stats(ctypes.Structure):
    """What a listener's thread has counted (`fw_stats`)."""

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
        ("handed_over", ctypes.c_uint64),
        ("lost", ctypes.c_uint64),
    )


_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "fw_table_new": (_POINTER, ()),
    "fw_table_free": (None, (_POINTER,)),
    "fw_clear": (None, (_POINTER,)),
    "fw_swap": (None, (_POINTER, _POINTER)),
    "fw_put": (ctypes.c_int64, (_POINTER, ctypes.c_char_p, ctypes.c_uint64)),
    "fw_delete": (None, (_POINTER, ctypes.c_char_p, ctypes.c_uint32)),
    "fw_zone": (_INT, (_POINTER, ctypes.c_uint32, ctypes.c_char_p, *(ctypes.c_uint32,) * 5)),
    "fw_count": (ctypes.c_uint64, (_POINTER,)),
    "fw_bytes": (ctypes.c_uint64, (_POINTER,)),
    "fw_answer": (_SIZE, (_POINTER, ctypes.c_char_p, _SIZE, _POINTER, _SIZE, ctypes.c_uint64)),
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
        self.pointer = library.fw_table_new()
        if not self.pointer:
            raise MemoryError

    def __del__(self) -> None:
        self._library.fw_table_free(self.pointer)

    def __len__(self) -> int:
        return int(self._library.fw_count(self.pointer))

    @property
    def size(self) -> int:
        """Bytes of all nodes, without what holds them together."""
        return int(self._library.fw_bytes(self.pointer))

    def set_zone(self, index: int, zone: FastZone, serial: int) -> None:
        """Describe a zone; nothing is answered before the first."""
        flags = CLOSED if zone.is_closed else 0
        self._library.fw_zone(
            self.pointer, index, zone.name, len(zone.name), flags, zone.ttl, zone.minimum, serial & 0xFFFFFFFF
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

    def answer(self, query: bytes, seed: int = 1) -> bytes:
        """The reply to one query; empty when it is not for the fast path. For tests and explain."""
        out = ctypes.create_string_buffer(8192)
        length = self._library.fw_answer(self.pointer, query, len(query), out, 8192, seed)
        return out.raw[:length]


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
        with contextlib.suppress(OSError):  # SO_SNDBUFFORCE: a burst for Python waits here, as it would in a UDP socket
            self._theirs.setsockopt(socket.SOL_SOCKET, 32, RECEIVE_BUFFER)
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
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pointer in self._servers:
            self._library.fw_server_free(pointer)
        self._servers = []
        for sock in (*self._sockets, self._ours, self._theirs):
            sock.close()

    def counted(self) -> FastCounts:
        """What all threads have counted so far."""
        total = FastCounts()
        for pointer in self._servers:
            one = Stats()
            self._library.fw_server_stats(pointer, ctypes.byref(one))
            for family in range(2):
                for i, name in enumerate(TYPES):
                    total.requests[family, name] = total.requests.get((family, name), 0) + one.requests[family][i]
            total.rcodes = [a + b for a, b in zip(total.rcodes, one.rcodes, strict=True)]
            total.request_sizes = [a + b for a, b in zip(total.request_sizes, one.request_sizes, strict=True)]
            total.response_sizes = [a + b for a, b in zip(total.response_sizes, one.response_sizes, strict=True)]
            total.durations = [a + b for a, b in zip(total.durations, one.durations, strict=True)]
            total.do_requests += one.do_requests
            total.request_bytes += one.request_bytes
            total.response_bytes += one.response_bytes
            total.seconds += one.nanoseconds / 1e9
            total.lost += one.lost
        return total

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
        index, family, port, client, local, scope, interface = _ORIGIN.unpack_from(data)
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
