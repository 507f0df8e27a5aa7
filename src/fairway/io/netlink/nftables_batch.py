"""Transactions of nf_tables: a batch of messages that the kernel takes whole or not at all."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from typing import NamedTuple

from fairway.dataplanes.nftables.codec import text
from fairway.dataplanes.nftables.encode import Kind, Message, family_header
from fairway.io.netlink.socket import (
    HEADER,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    NetlinkSocket,
    Protocol,
    failure,
    failure_offset,
    kernel_error,
    messages,
)
from fairway.reconcile.items import Operation, WriteError
from fairway.values.address import Family
from fairway.values.errors import KernelError, UnavailableError

_BEGIN, _END = 0x10, 0x11
_MARK = b"\0\0\0\x0a"
_BUFFER = 1 << 28


class Step(NamedTuple):
    """A message, the operations that it carries out, and where in its payload their elements begin."""

    message: Message
    operations: Sequence[Operation] = ()
    elements_at: int = 0


class Batch:
    """The socket that transactions are sent by."""

    def __init__(self) -> None:
        """Raises UnavailableError without nftables in the kernel or without CAP_NET_ADMIN."""
        self._socket = NetlinkSocket(Protocol.NETFILTER, buffer=_BUFFER)
        self.port = self._socket.port
        try:
            self._socket.request(Kind.GET_GENERATION, bytes(4), what="nftables")
        except KernelError as error:
            raise UnavailableError(f"the kernel has no nftables: load or build nf_tables ({error})") from error
        self.can_destroy = self._probe_destroy()
        """NFT_MSG_DESTROYSETELEM, since kernel 6.3: deletes an element that may be gone already."""

    def close(self) -> None:
        self._socket.close()

    def _probe_destroy(self) -> bool:
        """An unknown message is EINVAL, a known one about a table that is not there ENOENT."""
        payload = family_header(Family.IPV4) + text(1, "fairway-probe") + text(2, "probe")
        try:
            self.commit([Step(Message(Kind.DESTROY_ELEMENTS, 0, payload))])
        except WriteError as error:
            return error.errno != errno.EINVAL
        return True

    def commit(self, steps: Sequence[Step]) -> None:
        """One transaction: all or nothing. Raises WriteError, or UnavailableError without the right to."""
        if not steps:
            return
        parts, sent = self._frame(steps)
        self._socket.send(b"".join(parts))
        first: tuple[int, str, Step | None, int] | None = None
        acknowledged = False
        while (chunk := self._socket.receive_now()) is not None:
            for answer in messages(chunk):
                number, words = failure(answer) if answer.type == NLMSG_ERROR else (0, "")
                step = sent.get(answer.sequence)
                acknowledged |= step is steps[-1]
                if number and first is None:
                    first = (number, words, step, failure_offset(answer))
        if first is not None:
            raise _error(*first)
        if not acknowledged:
            raise WriteError("nftables: the kernel did not acknowledge a transaction", errno.EIO)

    def _frame(self, steps: Sequence[Step]) -> tuple[list[bytes], dict[int, Step]]:
        sequence = self._socket.next_sequence
        parts = [_mark(_BEGIN, sequence())]
        sent = {}
        last = len(steps) - 1
        for at, step in enumerate(steps):
            kind, flags, payload = step.message
            number = sequence()
            sent[number] = step
            flags |= NLM_F_REQUEST | (NLM_F_ACK if at == last else 0)
            parts.append(HEADER.pack(HEADER.size + len(payload), kind, flags, number, 0))
            parts.append(payload)
        parts.append(_mark(_END, sequence()))
        return parts, sent


def _mark(kind: int, sequence: int) -> bytes:
    return HEADER.pack(HEADER.size + len(_MARK), kind, NLM_F_REQUEST, sequence, 0) + _MARK


def _error(number: int, words: str, step: Step | None, offset: int) -> WriteError | UnavailableError:
    operation = _blamed(step, offset - HEADER.size) if step is not None else None
    what = "nftables transaction"
    if operation is not None:
        key = operation.item.key
        shown = key.hex() if isinstance(key, bytes) else key
        what = f"nftables: {operation.action.value} in {operation.item.container}, key {shown}"
    elif step is not None:
        what = f"nftables: {step.message.kind.name.lower().replace('_', ' ')}"
    error = kernel_error(what, number, words)
    return error if isinstance(error, UnavailableError) else WriteError(str(error), number, operation)


def _blamed(step: Step, offset: int) -> Operation | None:
    """The operation whose element stands at this offset of the payload."""
    if len(step.operations) == 1:
        return step.operations[0]
    payload, at = step.message.payload, step.elements_at
    if not at or offset < at:
        return None
    for operation in step.operations:
        at += int.from_bytes(payload[at : at + 2], sys.byteorder)
        if offset < at:
            return operation
    return None
