"""The small tables of `dataplanes.nftables.own_tables` in this network namespace: made, mended, filled, removed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self

from fairway.dataplanes.nftables import changes
from fairway.dataplanes.nftables.codec import nest, parse, read_value, write_value
from fairway.dataplanes.nftables.encode import (
    NLM_F_CREATE,
    Kind,
    Message,
    delete_table,
    for_table,
    new_table,
    table_header,
)
from fairway.dataplanes.nftables.own_tables import OwnTable
from fairway.io.netlink import nftables_reader as reader
from fairway.io.netlink.nftables_batch import Batch, Step
from fairway.reconcile.items import Operation
from fairway.values.address import Family


class ElementChange(NamedTuple):
    """An element of a set to add, or to remove."""

    container: str
    key: bytes
    value: bytes
    is_removal: bool
    operation: Operation | None = None
    """What asked for it: a refusal names it."""


class OwnTableWriter:
    """One small table."""

    def __init__(self, table: OwnTable) -> None:
        """Raises UnavailableError without nftables in the kernel or without CAP_NET_ADMIN."""
        self.table = table
        self._batch = Batch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._batch.close()

    def ensure(self) -> list[str]:
        """Make the table, or mend what is missing or differs; says what. Elements stay where they can."""
        name, wanted = self.table.name, self.table.skeleton
        found = reader.read_skeleton(wanted.family, name, tuple(wanted.sets.values()))
        if found is not None and not changes.incompatible_sets(found.sets, wanted):
            made = changes.difference(found, wanted)
            if made.messages:
                self._commit(made.messages)
            return list(made.descriptions)
        messages = [new_table(wanted.family, self.table.comment), *changes.build(wanted)[1:]]
        self._commit([*([delete_table(wanted.family)] if found is not None else []), *messages])
        return ["table was missing" if found is None else "the layout of the sets differed"]

    def elements(self, container: str) -> dict[bytes, bytes]:
        """Keys and values of a set or map; none where there is none."""
        raw = b"".join(reader.dump_raw(self.table.family, container, self.table.name, strict=True))
        rows = (dict(parse(entry)) for _, entry in parse(raw))
        return {read_value(row[1]): read_value(row.get(2, b"")) for row in rows if 1 in row}

    def change(self, wanted: Iterable[ElementChange]) -> None:
        """Add and remove elements in one transaction. Raises WriteError; then nothing was changed."""
        self._batch.commit([self._step(one) for one in wanted])

    def _step(self, one: ElementChange) -> Step:
        data = (write_value(2, one.value),) if one.value and not one.is_removal else ()
        head = table_header(self.table.family, one.container, self.table.name)
        payload = head + nest(3, nest(1, write_value(1, one.key), *data))
        kind, flags = (Kind.DELETE_ELEMENTS, 0) if one.is_removal else (Kind.NEW_ELEMENTS, NLM_F_CREATE)
        operations = (one.operation,) if one.operation is not None else ()
        return Step(Message(kind, flags, payload), operations)

    def remove(self) -> bool:
        """Delete the table if it is there; says whether it was."""
        return remove_own_table(self.table.name, self.table.family, self._batch)

    def _commit(self, messages: Iterable[Message]) -> None:
        self._batch.commit([Step(for_table(message, self.table.name)) for message in messages])


def remove_own_table(name: str, family: Family, batch: Batch | None = None) -> bool:
    """Delete a table by its name, also one that a dead process left; says whether it was there."""
    if not reader.has_table(family, name):
        return False
    used = batch or Batch()
    try:
        used.commit([Step(for_table(delete_table(family), name))])
    finally:
        if batch is None:
            used.close()
    return True
