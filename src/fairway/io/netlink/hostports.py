"""Host ports in the kernel of this network namespace: one family's table."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Self, cast

from fairway.dataplanes.nftables.own_tables import host_ports_table
from fairway.io.netlink.own_tables import ElementChange, OwnTableWriter
from fairway.podnet.hostports import ANY_PORTS, HAIRPIN, PORTS
from fairway.reconcile.items import Action, Operation
from fairway.values.address import Address, Family
from fairway.values.protocol import Protocol


class HostPortTable:
    """fairway.agents.upkeep.PartOfKernel over one family's table."""

    def __init__(self, family: Family) -> None:
        self._writer = OwnTableWriter(host_ports_table(family))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._writer.close()

    def read(self) -> dict[str, dict[Hashable, Hashable]]:
        """All host ports; the table is made or mended first."""
        self._writer.ensure()
        found: dict[str, dict[Hashable, Hashable]] = {}
        for container in (PORTS, ANY_PORTS, HAIRPIN):
            rows = self._writer.elements(container)
            found[container] = {_unpack_key(container, key): _unpack_target(value) for key, value in rows.items()}
        return found

    def apply(self, operations: Sequence[Operation]) -> None:
        """All in one transaction. Raises WriteError."""
        steps: list[ElementChange] = []
        for operation in operations:
            container, key, value = operation.item
            packed = _pack_key(container, key)
            if operation.action is not Action.ADD:
                # the value of an element is not told apart by a removal, so a replacement is both
                steps.append(ElementChange(container, packed, b"", True, operation))
            if operation.action is not Action.REMOVE:
                steps.append(ElementChange(container, packed, _pack_target(value), False, operation))
        self._writer.change(steps)

    def remove(self) -> bool:
        """Take the table away; says whether there was one."""
        return self._writer.remove()


def _pack_key(container: str, key: Any) -> bytes:
    if container == HAIRPIN:
        return cast("Address", key) + cast("Address", key)
    *address, protocol, port = key
    return b"".join(address) + bytes((protocol, 0, 0, 0)) + cast("int", port).to_bytes(2, "big") + bytes(2)


def _unpack_key(container: str, key: bytes) -> Hashable:
    if container == HAIRPIN:
        return Address(key[: len(key) // 2])
    rest = (Protocol(key[-8]), int.from_bytes(key[-4:-2], "big"))
    return (Address(key[:-8]), *rest) if container == PORTS else rest


def _pack_target(value: Any) -> bytes:
    if value is None:
        return b""
    address, port = value
    return cast("Address", address) + cast("int", port).to_bytes(2, "big") + bytes(2)


def _unpack_target(value: bytes) -> Hashable:
    return (Address(value[:-4]), int.from_bytes(value[-4:-2], "big")) if value else None
