"""What others do to our table, as nf_tables tells everybody who listens.

Our own transactions are kept out by the kernel before they reach the socket, and those about other tables are passed
over without being decoded. What to do about a change is decided in `agents`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Self

from fairway.agents.drift import ForeignChange, Part
from fairway.dataplanes.nftables import elements, layout
from fairway.dataplanes.nftables.codec import parse, read_text
from fairway.dataplanes.nftables.encode import Kind, table_header
from fairway.dataplanes.nftables.skeleton import SETS, SetKind
from fairway.io.netlink.socket import NetlinkSocket, OverrunError, Protocol, messages
from fairway.values.address import Family

_GROUP = 7
_AT_ONCE = 256
"""Datagrams to read before others get their turn: the descriptor stays readable."""
_NETLINK_PORT_AT = 12
_GENERIC_HEADER = 4
_TABLE_ATTRIBUTE = table_header(Family.IPV4)[_GENERIC_HEADER:]
_LOADS_WORD, _JUMPS_IF_EQUAL, _RETURNS = 0x20, 0x15, 0x06
_INSTRUCTION = struct.Struct("=HBBI")
_PLAIN = {spec.name for spec in SETS if not spec.leads and spec.kind is SetKind.HASH}


_PARTS = {
    Kind.NEW_TABLE: Part.TABLE,
    Kind.DELETE_TABLE: Part.TABLE,
    Kind.NEW_CHAIN: Part.CHAIN,
    Kind.DELETE_CHAIN: Part.CHAIN,
    Kind.NEW_RULE: Part.RULE,
    Kind.DELETE_RULE: Part.RULE,
    Kind.NEW_SET: Part.SET,
    Kind.DELETE_SET: Part.SET,
    Kind.NEW_ELEMENTS: Part.ELEMENT,
    Kind.DELETE_ELEMENTS: Part.ELEMENT,
}


class NftablesEvents:
    """A subscription of one family's table. Its descriptor is readable when there is something to `read`."""

    def __init__(self, family: Family, own_ports: Iterable[int], *, buffer: int = 1 << 23) -> None:
        """What comes from `own_ports` is ours and is not told."""
        self._family = table_header(family)[0]
        self._forms = {name: elements.form_of(family, name) for name in _PLAIN if name != layout.AFFINITY}
        self._socket = NetlinkSocket(Protocol.NETFILTER, buffer=buffer)
        self._socket.attach_filter(_all_but(sorted(own_ports)))
        self._socket.join(_GROUP)
        self._gathered: list[ForeignChange] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[ForeignChange]:
        """All that is known of so far, without waiting."""
        found: list[ForeignChange] = []
        for _ in range(_AT_ONCE):
            try:
                chunk = self._socket.receive_now()
            except OverrunError:
                found.append(ForeignChange(Part.UNKNOWN))
                continue
            if chunk is None:
                break
            found.extend(self._changes(chunk))
        # a transaction's end may still be on its way: who did it is then not known
        found.extend(self._gathered)
        self._gathered.clear()
        # with the table went all that is in it
        return [change for change in found if change.part is Part.TABLE] or found

    def _changes(self, chunk: bytes) -> Iterator[ForeignChange]:
        for each in messages(chunk):
            if each.type == Kind.NEW_GENERATION:
                by = _process(bytes(each.payload))
                yield from (change._replace(by=by) for change in self._gathered)
                self._gathered.clear()
            elif each.type in _PARTS and each.payload[0] == self._family:
                payload = bytes(each.payload)
                if payload.startswith(_TABLE_ATTRIBUTE, _GENERIC_HEADER):
                    self._gathered.extend(self._decode(Kind(each.type), payload))

    def _decode(self, kind: Kind, payload: bytes) -> Iterator[ForeignChange]:
        part = _PARTS[kind]
        fields = dict(parse(payload[_GENERIC_HEADER:]))
        name = read_text(fields.get(3 if part is Part.CHAIN else 2, b"")) if part is not Part.TABLE else ""
        form = self._forms.get(name) if part is Part.ELEMENT else None
        if form is None:
            yield ForeignChange(part, name)
            return
        decode = elements.decode_commented if form.shape is elements.Shape.COMMENTED else elements.decode_plain
        for key, _ in decode(form, elements.elements_of(payload)):
            yield ForeignChange(part, name, key)


def _process(payload: bytes) -> str:
    fields = dict(parse(payload[_GENERIC_HEADER:]))
    name, number = read_text(fields.get(3, b"")), int.from_bytes(fields.get(2, b""), "big")
    return f"{name}[{number}]" if name else ""


def _all_but(ports: list[int]) -> bytes:
    """A socket filter, as instructions: a datagram whose first message comes from one of the ports is not queued.

    All messages of one datagram are of one transaction.
    """
    program = [(_LOADS_WORD, 0, 0, _NETLINK_PORT_AT)]
    for at, port in enumerate(ports):
        # the filter reads words in network order
        program.append((_JUMPS_IF_EQUAL, len(ports) - at, 0, socket.htonl(port)))
    program += [(_RETURNS, 0, 0, 0xFFFFFFFF), (_RETURNS, 0, 0, 0)]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
