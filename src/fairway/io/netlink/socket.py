"""Netlink sockets: requests with acknowledgement, dumps in chunks, notifications, errors with their errno named.

Decides how messages are framed and when an answer is complete. What the messages mean is left to the callers.
A socket belongs to the network namespace that its maker's thread was in, and stays there when the thread moves on.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple, Self

from fairway.values.errors import KernelError, UnavailableError

SO_ATTACH_FILTER = 26
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11

NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_ACK_TLVS = 0x200

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSGERR_ATTR_MSG = 1
NLMSGERR_ATTR_OFFS = 2

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

HEADER = struct.Struct("=IHHII")
"""length, type, flags, sequence number, port id"""
_ATTRIBUTE = struct.Struct("=HH")
_CODE = struct.Struct("=i")

_NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}
"""The kernel's names: Python gives 95 its C library's alias ENOTSUP."""

CHUNK = 1 << 16
"""The kernel fills at most 32 KiB of a dump at a time, however large the buffer is."""


class Protocol(IntEnum):
    """Netlink protocols that Fairway speaks; the value is the kernel's number."""

    ROUTE = 0
    NETFILTER = 12


class Message(NamedTuple):
    """One message; the payload is a view into the received chunk."""

    type: int
    flags: int
    sequence: int
    payload: memoryview


class OverrunError(KernelError):
    """Notifications were lost (ENOBUFS): only a new dump tells what is there."""


class DumpInterruptedError(KernelError):
    """The table changed while it was dumped (NLM_F_DUMP_INTR): the dump may be inconsistent, so take another."""


def message(kind: int, flags: int, payload: bytes, sequence: int = 0) -> bytes:
    """Frame one message. Payloads made of `attribute`s are already aligned."""
    return HEADER.pack(HEADER.size + len(payload), kind, flags, sequence, 0) + payload + bytes(-len(payload) % 4)


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to 4 bytes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def nest(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def messages(chunk: bytes) -> Iterator[Message]:
    """The messages of a received chunk. What is truncated or malformed ends the iteration."""
    view = memoryview(chunk)
    offset, end = 0, len(chunk)
    while offset + HEADER.size <= end:
        length, kind, flags, sequence, _ = HEADER.unpack_from(chunk, offset)
        if length < HEADER.size or offset + length > end:
            return
        yield Message(kind, flags, sequence, view[offset + HEADER.size : offset + length])
        offset += (length + 3) & ~3


def attributes(payload: memoryview | bytes) -> Iterator[tuple[int, memoryview]]:
    """(type without flags, value) of each attribute; what is malformed ends the iteration, as libmnl does."""
    view = memoryview(payload)
    offset, end = 0, len(view)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(view, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & NLA_TYPE_MASK, view[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def failure(answer: Message) -> tuple[int, str]:
    """(errno, the kernel's own words) of an NLMSG_ERROR or NLMSG_DONE; errno 0 is an acknowledgement."""
    if len(answer.payload) < _CODE.size:
        return 0, ""
    number: int = -_CODE.unpack_from(answer.payload)[0]
    text = bytes(_extended(answer).get(NLMSGERR_ATTR_MSG, b"")).rstrip(b"\0").decode(errors="replace")
    return number, text


def failure_offset(answer: Message) -> int:
    """Where in the refused message the attribute at fault stands; 0 if the kernel does not say."""
    return int.from_bytes(_extended(answer).get(NLMSGERR_ATTR_OFFS, b""), sys.byteorder)


def _extended(answer: Message) -> dict[int, memoryview | bytes]:
    """The attributes of an extended acknowledgement."""
    if not answer.flags & NLM_F_ACK_TLVS:
        return {}
    # NETLINK_CAP_ACK: the echo of the request is its header only; NLMSG_DONE has no echo at all
    start = _CODE.size + (HEADER.size if answer.type == NLMSG_ERROR else 0)
    return dict(attributes(answer.payload[start:]))


def kernel_error(what: str, number: int, text: str = "") -> KernelError | UnavailableError:
    """The error to raise for an errno: who lacks the right to do it cannot try again, everybody else may."""
    name = _NAMES.get(number, str(number))
    said = f"{os.strerror(number)}; {text}" if text else os.strerror(number)
    if number == errno.EPERM:
        return UnavailableError(f"{what}: {name}: this process lacks CAP_NET_ADMIN here: run it as root ({said})")
    return KernelError(f"{what}: {name}: {said}", number)


class NetlinkSocket:
    """A bound netlink socket. One request or dump is under way at a time; notifications want a socket of their own."""

    def __init__(self, protocol: Protocol, *, groups: Iterable[int] = (), buffer: int = 1 << 20) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            raise UnavailableError(f"the kernel offers no {protocol.name.lower()} netlink: {error.strerror}") from error
        self._sequence = 0
        self._requests = threading.Lock()
        self._grow(buffer)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))
        self.port: int = self._socket.getsockname()[0]
        """The kernel's name for this socket: notifications of what it did carry it."""
        for group in groups:
            self.join(group)

    def _grow(self, size: int) -> None:
        """Buffers beyond net.core.[rw]mem_max need CAP_NET_ADMIN; without it the limit has to do."""
        for forced, plain in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, forced, size)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, plain, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """For `loop.add_reader` and `select`."""
        return self._socket.fileno()

    def join(self, group: int) -> None:
        """Hear the notifications of a multicast group."""
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def attach_filter(self, program: bytes) -> None:
        """Classic BPF instructions that say which datagrams are queued for this socket."""
        text = ctypes.create_string_buffer(program, len(program))
        shape = struct.pack("@HP", len(program) // 8, ctypes.addressof(text))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, shape)

    def next_sequence(self) -> int:
        """A number that no earlier request of this socket had, so that late answers are told apart."""
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        return self._sequence

    def send(self, data: bytes) -> None:
        """Send framed messages as one datagram; the kernel has worked through them when this returns."""
        try:
            self._socket.send(data)
        except OSError as error:
            raise kernel_error("netlink send", error.errno or 0) from error

    def receive(self) -> bytes:
        """The next datagram; waits for it. Raises OverrunError when the kernel had to throw some away."""
        return self._receive(0)

    def receive_now(self) -> bytes | None:
        """The next datagram, or None when there is none at the moment. Raises OverrunError like `receive`."""
        try:
            return self._receive(socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def _receive(self, flags: int) -> bytes:
        try:
            return self._socket.recv(CHUNK, flags)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise OverrunError("netlink: ENOBUFS: the kernel dropped messages", errno.ENOBUFS) from error
            raise kernel_error("netlink receive", error.errno or 0) from error

    def request(self, kind: int, payload: bytes, *, flags: int = 0, what: str = "netlink request") -> list[Message]:
        """Send one message and wait until it is acknowledged; returns what the kernel answered before that.

        Threads may ask at once; they take turns, since one that waits takes whatever answer comes.
        """
        with self._requests:
            sequence = self.next_sequence()
            self.send(message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, payload, sequence))
            return self._answers(sequence, what)

    def _answers(self, sequence: int, what: str) -> list[Message]:
        answers: list[Message] = []
        while True:
            for answer in (each for each in messages(self.receive()) if each.sequence == sequence):
                if answer.type != NLMSG_ERROR:
                    answers.append(answer)
                    continue
                number, text = failure(answer)
                if number:
                    raise kernel_error(what, number, text)
                return answers

    def dump(self, kind: int, payload: bytes, *, what: str = "netlink dump") -> Iterator[list[memoryview]]:
        """List a table: yields the payloads chunk by chunk, at most 32 KiB a time, as the kernel makes them.

        Between chunks the caller may do other things. A dump that is given up is read to its end, since the kernel
        refuses another one before. Raises DumpInterruptedError at the end of an inconsistent one.
        """
        sequence = self.next_sequence()
        self.send(message(kind, NLM_F_REQUEST | NLM_F_DUMP, payload, sequence))
        is_done, interrupted = False, False
        try:
            while not is_done:
                is_done = True  # in case that receiving fails
                payloads, is_done, flags = self._receive_rows(sequence, what)
                interrupted |= bool(flags & NLM_F_DUMP_INTR)
                yield payloads
        finally:
            while not is_done:
                _, is_done, _ = self._receive_rows(sequence, what)
        if interrupted:
            raise DumpInterruptedError(f"{what}: EINTR: the table changed meanwhile", errno.EINTR)

    def _receive_rows(self, sequence: int, what: str) -> tuple[list[memoryview], bool, int]:
        """The rows of the next chunk of a dump, whether it was the last one, and the flags of all its messages."""
        payloads, is_done, flags = [], False, 0
        for answer in messages(self.receive()):
            if answer.sequence != sequence:
                continue
            flags |= answer.flags
            if answer.type in (NLMSG_DONE, NLMSG_ERROR):
                number, text = failure(answer)
                if number:
                    raise kernel_error(what, number, text)
                is_done = True
            else:
                payloads.append(answer.payload)
        return payloads, is_done, flags
