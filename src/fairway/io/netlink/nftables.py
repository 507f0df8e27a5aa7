"""The fairway table of one IP family in the kernel of this network namespace: write, read, verify.

Small and dumb: it applies operations in transactions, keeps the skeleton as it should be, and lists what is there.
What the elements mean is decided in `dataplanes.nftables`; when to write and what to do about drift, in `agents`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, cast

from fairway.agents.dataplane import suspects_by_dump
from fairway.dataplanes.nftables import changes, elements, layout
from fairway.dataplanes.nftables.elements import Pair, Shape
from fairway.dataplanes.nftables.encode import Kind, delete_table, flush_table, for_table
from fairway.dataplanes.nftables.expressions import Chain
from fairway.dataplanes.nftables.skeleton import (
    RANGES_CHAIN,
    Skeleton,
    SkeletonSettings,
    affinity_timeout,
    build_skeleton,
    range_length,
)
from fairway.io.netlink import nftables_reader as reader
from fairway.io.netlink.nftables_batch import Batch, Step
from fairway.io.netlink.nftables_events import NftablesEvents
from fairway.io.netlink.socket import NetlinkSocket, Protocol
from fairway.reconcile.items import Action, Item, Operation, WriteError
from fairway.values.address import Family

_TRANSACTION_OPERATIONS = 8192
"""About a megabyte and 20 ms of the kernel's time."""
_ATTEMPTS = 3
_KEYS_AT_ONCE = 200
_FINDER_BUFFER = 1 << 23


@dataclass(slots=True)
class _Grown:
    """The parts of the skeleton that exist because elements need them."""

    timeouts: set[int]
    lengths: set[int]
    shares: set[int]
    """Each N that `shares` has ranges for."""


class NftablesKernel:
    """One family's table in the network namespace of the calling thread."""

    def __init__(self, family: Family) -> None:
        """Raises UnavailableError without nftables in the kernel or without CAP_NET_ADMIN."""
        self.family = family
        self._batch = Batch()
        self._settings = SkeletonSettings(family)
        self._grown: _Grown | None = None
        """None when it must be read from the kernel."""
        self._finder: NetlinkSocket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._batch.close()
        if self._finder is not None:
            self._finder.close()

    @property
    def port(self) -> int:
        """The netlink port that our transactions come from: notifications carry it."""
        return self._batch.port

    # --- skeleton --------------------------------------------------------------------------------------------------

    def ensure_skeleton(self, settings: SkeletonSettings, items: Callable[[], Iterable[Item]] = tuple) -> list[str]:
        """Create the table, or repair what is missing or differs; says what, and writes nothing when nothing is.

        A table that is missing is made in one transaction that holds `items`; one whose sets are of another layout is
        replaced by such a table, without a packet that meets neither.
        """
        self._settings = settings
        found = reader.read_skeleton(self.family)
        if found is None:
            self._make(items(), ())
            self._drop_interim()
            return ["table was missing"]
        self._drop_interim()
        wanted = build_skeleton(settings)
        if others := changes.incompatible_sets(found.sets, wanted):
            fits = changes.can_hold(wanted.sets[layout.AFFINITY], found.sets.get(layout.AFFINITY))
            self._replace(items(), tuple(reader.dump_raw(self.family, layout.AFFINITY)) if fits else ())
            return [f"set {name} had another layout" for name in others]
        grown = self._grown or _grown_in(found)
        made = changes.difference(found, build_skeleton(settings, grown.timeouts, grown.lengths))
        shares, damaged = self._missing_shares(grown)
        if made.messages or shares:
            self._batch.commit([*(Step(message) for message in made.messages), *shares])
        self._grown = grown
        return [*made.descriptions, *(f"shares of {count} differed" for count in damaged)]

    def check_skeleton(self, settings: SkeletonSettings) -> list[str]:
        """What `ensure_skeleton` would repair, without repairing it."""
        found = reader.read_skeleton(self.family)
        if found is None:
            return [f"table {layout.TABLE} is missing"]
        if others := changes.incompatible_sets(found.sets, build_skeleton(settings)):
            return [f"set {name} has another layout" for name in others]
        grown = _grown_in(found)
        _, damaged = self._missing_shares(grown)
        made = changes.difference(found, build_skeleton(settings, grown.timeouts, grown.lengths))
        return [*made.descriptions, *(f"shares of {count} differ" for count in damaged)]

    def _missing_shares(self, grown: _Grown) -> tuple[list[Step], list[int]]:
        """What repairs `shares`, where a range is missing or differs; notes in `grown` what it has then."""
        form = elements.form_of(self.family, layout.SHARES)
        found = reader.read_bounds(self.family, layout.SHARES)
        used = grown.shares or reader.read_counts(self.family)
        steps: list[Step] = []
        damaged = []
        for count in sorted(used | found.keys()):
            wanted = elements.share_bounds(count)
            present = found.get(count, {})
            grown.shares.add(count)
            if present == wanted:
                continue
            damaged.append(count)
            steps.extend(_pack(form, Kind.DELETE_ELEMENTS, elements.encode_bounds(form, present)))
            steps.extend(_pack(form, Kind.NEW_ELEMENTS, elements.encode_bounds(form, wanted)))
        return steps, damaged

    def _make(self, items: Iterable[Item], affinity: Sequence[bytes]) -> None:
        skeleton, content = self._whole(items, affinity)
        self._commit([*(Step(message) for message in changes.build(skeleton)), *content])

    def _replace(self, items: Iterable[Item], affinity: Sequence[bytes]) -> None:
        """Replace the table while packets pass.

        A packet takes its rules from one generation, but looks maps up in that of the moment: if rules and maps went
        at once, it could find the old maps empty. So another table stands in behind the old one, which then loses its
        rules alone, and is replaced when no packet is in it any more.
        """
        skeleton, content = self._whole(items, affinity)
        stand_in = [*(Step(message) for message in changes.build(changes.interim(skeleton))), *content]
        self._commit([_for_interim(step) for step in stand_in])
        self._commit([Step(flush_table(self.family))])
        made = [delete_table(self.family), *changes.build(skeleton)]
        self._commit([*(Step(message) for message in made), *content])
        self._drop_interim()

    def _drop_interim(self) -> None:
        """Also one that a crash has left behind."""
        if reader.has_table(self.family, layout.INTERIM_TABLE):
            self._commit([_for_interim(Step(flush_table(self.family)))])
            self._commit([_for_interim(Step(delete_table(self.family)))])

    def _whole(self, items: Iterable[Item], affinity: Sequence[bytes]) -> tuple[Skeleton, list[Step]]:
        """The skeleton that these items need, and the messages that fill it."""
        additions = [Operation(Action.ADD, item) for item in items]
        grown = _Grown(set(), set(), set())
        for _, (container, key, _) in additions:
            if container in _PSEUDO:
                _PSEUDO[container](grown).add(layout.unpack_number_key(cast("bytes", key)))
        self._grown = grown
        steps = self._share(_counts_in(additions))
        steps += self._encode([each for each in additions if each.item.container not in _PSEUDO])
        form = elements.form_of(self.family, layout.AFFINITY)
        steps += [Step(elements.raw_list(form, raw)) for raw in affinity]
        return build_skeleton(self._settings, grown.timeouts, grown.lengths), steps

    def remove(self) -> bool:
        """Delete our table, if there is one; says whether there was."""
        self._grown = None
        self._drop_interim()
        if not reader.has_table(self.family):
            return False
        self._batch.commit([Step(delete_table(self.family))])
        return True

    # --- elements --------------------------------------------------------------------------------------------------

    def apply(self, operations: Sequence[Operation]) -> None:
        """Carry out the operations in order, in one transaction where they fit.

        Raises WriteError; then nothing of the failed transaction, nor of what follows, is in the kernel.
        """
        for at in range(0, len(operations), _TRANSACTION_OPERATIONS):
            self._apply_one(operations[at : at + _TRANSACTION_OPERATIONS])

    def _apply_one(self, operations: Sequence[Operation]) -> None:
        # Interval sets show what is new at the end of a transaction, hash maps at its beginning: were N and its shares
        # in one, packets between the two would find no place (seen with kernel 6.18).
        self._commit(self._share(_counts_in(operations)))
        for _ in range(_ATTEMPTS):
            try:
                self._commit(self._encode(operations))
            except WriteError as error:
                if error.errno != errno.ENOENT or self._batch.can_destroy:
                    raise
                # kernels before 6.3 cannot delete what may be gone already
                operations = self._without_missing(operations)
            else:
                return
        raise WriteError("nftables: ENOENT: elements vanish while they are written", errno.ENOENT)

    def _commit(self, steps: Sequence[Step]) -> None:
        try:
            self._batch.commit(steps)
        except Exception:
            self._grown = None
            raise

    def _without_missing(self, operations: Sequence[Operation]) -> list[Operation]:
        kept = []
        for each in operations:
            action, (container, key, _) = each
            if action is Action.ADD or container in _PSEUDO or self.get(container, cast("bytes", key)) is not None:
                kept.append(each)
            elif action is Action.REPLACE:
                kept.append(each._replace(action=Action.ADD))
        return kept

    def _encode(self, operations: Sequence[Operation]) -> list[Step]:
        """Runs of one action on one container become messages together."""
        steps: list[Step] = []
        at, end = 0, len(operations)
        while at < end:
            action, (container, _, _) = operations[at]
            stop = at + 1
            while stop < end and operations[stop][0] is action and operations[stop][1][0] == container:
                stop += 1
            run = operations[at:stop]
            steps.extend(self._grow(action, container, run) if container in _PSEUDO else self._write(action, run))
            at = stop
        return steps

    def _write(self, action: Action, operations: Sequence[Operation]) -> Iterator[Step]:
        container = operations[0].item.container
        form = elements.form_of(self.family, container)
        pairs = cast("list[Pair]", [(key, value) for _, (_, key, value) in operations])
        if action is not Action.ADD:
            kind = Kind.DESTROY_ELEMENTS if self._batch.can_destroy else Kind.DELETE_ELEMENTS
            yield from _pack(form, kind, elements.encode_removals(form, pairs), operations)
        if action is not Action.REMOVE:
            yield from _pack(form, Kind.NEW_ELEMENTS, elements.encode_additions(form, pairs), operations)

    def _share(self, counts: set[int]) -> list[Step]:
        """Ranges for each N that has none yet; they stay, being the same for all Services."""
        if not counts:
            return []
        form = elements.form_of(self.family, layout.SHARES)
        grown = self._known_grown()
        steps: list[Step] = []
        for count in sorted(counts - grown.shares):
            steps += _pack(form, Kind.NEW_ELEMENTS, elements.encode_bounds(form, elements.share_bounds(count)))
            grown.shares.add(count)
        return steps

    def _grow(self, action: Action, container: str, operations: Sequence[Operation]) -> Iterator[Step]:
        """Chains for affinity timeouts, rules for prefix lengths."""
        grown = self._known_grown()
        before = build_skeleton(self._settings, grown.timeouts, grown.lengths)
        numbers = {layout.unpack_number_key(cast("bytes", item.key)) for _, item in operations}
        known = _PSEUDO[container](grown)
        if action is Action.REMOVE:
            known -= numbers
        else:
            known |= numbers
        after = build_skeleton(self._settings, grown.timeouts, grown.lengths)
        return (Step(message, operations) for message in changes.difference(before, after).messages)

    def _known_grown(self) -> _Grown:
        if self._grown is None:
            found = reader.read_skeleton(self.family)
            self._grown = _Grown(set(), set(), set()) if found is None else _grown_in(found)
            self._grown.shares.update(reader.read_bounds(self.family, layout.SHARES))
        return self._grown

    # --- reading ---------------------------------------------------------------------------------------------------

    def dump(self, container: str) -> Iterator[list[Pair]]:
        """What a container holds, in chunks of a few hundred; the caller may do other things between chunks.

        While others write, elements may be missing or come twice: `get` tells about each suspect. A table or set that
        does not exist holds nothing.
        """
        if container in _PSEUDO:
            found = reader.read_skeleton(self.family)
            numbers = _PSEUDO[container](_grown_in(found)) if found is not None else set()
            yield [(layout.number_key(number), b"") for number in sorted(numbers)]
            return
        form = elements.form_of(self.family, container)
        if form.shape is Shape.INTERVAL:
            yield [(first + last, b"") for first, last, _ in reader.read_ranges(self.family, container)]
            return
        decode = elements.decode_commented if form.shape is Shape.COMMENTED else elements.decode_plain
        for raw in reader.dump_raw(self.family, container):
            yield decode(form, raw)

    def subscribe(self, also_ours: Iterable[int] = ()) -> NftablesEvents:
        """Hear what others do to our table; `also_ours` are ports of other writers of this process."""
        return NftablesEvents(self.family, [self.port, *also_ours])

    def get(self, container: str, key: bytes) -> bytes | None:
        """The value that a container holds for a key now; None if it has no such key."""
        form = None if container in _PSEUDO else elements.form_of(self.family, container)
        if form is None or form.shape is Shape.INTERVAL:
            return next((value for chunk in self.dump(container) for found, value in chunk if found == key), None)
        return self._find(form, [key]).get(key)

    def suspects(self, container: str, known: Mapping[bytes, bytes]) -> Iterator[Collection[bytes]]:
        """Keys whose element is not as `known` says, or which `known` lacks; in pieces of about a millisecond.

        Cheaper than a dump, in which the kernel starts over for each chunk: asks for what is known, and only when the
        container has another number of elements, or the kernel cannot tell it, dumps it to find the others. What is
        written meanwhile may be among them.
        """
        form = None if container in _PSEUDO else elements.form_of(self.family, container)
        if form is None or form.shape is Shape.INTERVAL:
            yield from suspects_by_dump(self.dump(container), known)
            return
        missing = 0
        keys = list(known)
        for at in range(0, len(keys), _KEYS_AT_ONCE):
            piece = keys[at : at + _KEYS_AT_ONCE]
            present = self._find(form, piece)
            missing += len(piece) - len(present)
            if len(present) < len(piece) // 2:
                yield from suspects_by_dump(self.dump(container), known)
                return
            yield [key for key in piece if present.get(key) != known.get(key)]
        if reader.count(self.family, container) != len(keys) - missing:
            for chunk in self.dump(container):
                yield [key for key, _ in chunk if key not in known]

    def _find(self, form: elements.Form, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        if self._finder is None:
            self._finder = NetlinkSocket(Protocol.NETFILTER, buffer=_FINDER_BUFFER)
        return reader.find(self._finder, form, keys)


def _for_interim(step: Step) -> Step:
    return Step(for_table(step.message, layout.INTERIM_TABLE))


def _pack(
    form: elements.Form, kind: Kind, entries: Sequence[bytes], operations: Sequence[Operation] = ()
) -> Iterator[Step]:
    at = 0
    for message, count in elements.pack_lists(form, kind, entries):
        begin = 0 if form.shape is Shape.INTERVAL else len(form.head) + elements.LIST_HEADER_BYTES
        yield Step(message, operations[at : at + count], begin)
        at += count


def _counts_in(operations: Iterable[Operation]) -> set[int]:
    """Each N that these operations put into `counts`, but 0."""
    return {
        layout.unpack_number(cast("bytes", value))
        for action, (container, _, value) in operations
        if container == layout.COUNTS and action is not Action.REMOVE
    } - {0}


def _grown_in(found: Skeleton) -> _Grown:
    timeouts = {seconds for name in found.chains if (seconds := affinity_timeout(name)) is not None}
    ranges = found.chains.get(RANGES_CHAIN, Chain(RANGES_CHAIN, ()))
    return _Grown(timeouts, {bits for rule in ranges.rules if (bits := range_length(rule)) is not None}, set())


_PSEUDO: dict[str, Callable[[_Grown], set[int]]] = {
    layout.TIMEOUTS: lambda grown: grown.timeouts,
    layout.RANGE_LENGTHS: lambda grown: grown.lengths,
}
