"""Keeps what the fast path gives of a cache's answers equal to the cache.

Decides what is handed over (an answer that was asked for a second time: a flood of names that nobody asks for twice
never gets there), what goes when there is too much of it, and where answers are counted. What may be kept at all, and
for how long, is `fairway.dns.cache`'s; the form that an answer has there, `fairway.dns.kept`'s.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from fairway.config.corefile_settings import ServerSettings
from fairway.dns.cache import Cache
from fairway.dns.cache_items import Item, Key
from fairway.dns.fast_rules import KeptRules
from fairway.dns.kept import MAX_ROWS, FastKey, Place, pack
from fairway.dns.metrics import FastCounts
from fairway.dns.model import Request
from fairway.values.domain import ROOT, Name, longest_zone, to_text

MAX_BYTES: Final = 16 * 1024 * 1024
"""Of one cache's answers in each table."""


class KeptTable(Protocol):
    """Where kept answers are given from."""

    def keep(self, packed: bytes) -> None: ...

    def forget(self, name: Name, rtype: int, key_flags: int) -> None: ...


class Row(NamedTuple):
    """What metrics call answers by: the server block's zone, the plugin that made them, and whose cache kept them."""

    zone: str
    plugin: str
    block: Hashable = None


class Rows:
    """Numbers for rows, which stay what they are over reloads: the fast path counts on."""

    def __init__(self) -> None:
        self._numbers: dict[Row, int] = {}
        self._rows: list[Row] = []
        self._seen: WeakKeyDictionary[object, dict[int, FastCounts]] = WeakKeyDictionary()
        self.caches: dict[Hashable, Cache] = {}
        """Those of the generation in force, by their blocks."""

    def number(self, row: Row) -> int | None:
        """None when there are no more: such answers are the plugins'."""
        number = self._numbers.get(row)
        if number is None and len(self._rows) < MAX_ROWS:
            number = self._numbers[row] = len(self._rows)
            self._rows.append(row)
        return number

    def row(self, number: int) -> Row:
        return self._rows[number]

    def cache_of(self, number: int) -> Cache | None:
        """Whose answers are counted there."""
        return self.caches.get(self._rows[number].block) if number < len(self._rows) else None

    def add_hits(self, listener: object, number: int, counts: FastCounts) -> None:
        """Bring what a listener has counted since the last time into the cache's statistics."""
        seen = self._seen.setdefault(listener, {})
        cache, before = self.cache_of(number), seen.get(number) or FastCounts()
        seen[number] = counts
        if cache is None:
            return
        for kind, now, then in zip(("success", "denial"), counts.hits, before.hits, strict=True):
            cache.statistics.hits[kind] += now - then
            cache.statistics.requests += now - then
        cache.statistics.served_stale += counts.stale - before.stale


def zone_label(name: Name, zones: Iterable[Name]) -> str:
    """How metrics call the server block that answers for a name."""
    return to_text(longest_zone(name, zones) or ROOT)


class KeptAnswers:
    """One cache's answers in the tables of the addresses that its block listens at (a `fairway.dns.cache.Keeper`)."""

    def __init__(
        self,
        rules: KeptRules,
        settings: ServerSettings,
        tables: Sequence[KeptTable],
        rows: Rows,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._cache = rules.cache
        self._shuffles = rules.shuffles
        self._zones = settings.zones
        self.block = (settings.keys, settings.bind)
        self._tables = tables
        self._rows = rows
        self._max_bytes = max_bytes
        self._held: OrderedDict[FastKey, tuple[Item, int]] = OrderedDict()
        """What was handed over and its size; 0 for what has no form there."""
        self.size = 0

    def hit(self, request: Request, key: Key, kind: str, item: Item) -> None:
        """Hand it over, unless it is there."""
        fast_key = FastKey(key, request.name != key.name)
        held = self._held.get(fast_key)
        if held is None or held[0] is not item:
            self._drop(fast_key)
            self._hold(fast_key, kind, item)

    def changed(self, key: Key) -> None:
        """What was asked for twice stays: the new one is handed over at once."""
        for has_capitals in (False, True):
            fast_key = FastKey(key, has_capitals)
            if fast_key not in self._held:
                continue
            self._drop(fast_key)
            kind, item = self._cache.find(key, self._cache.now())
            if item is not None:
                self._hold(fast_key, kind, item)

    def _hold(self, fast_key: FastKey, kind: str, item: Item) -> None:
        label = zone_label(fast_key.key.name, self._zones)
        row = self._rows.number(Row(label, item.reply.source, self.block))
        settings = self._cache.settings
        packed = pack(settings, fast_key, kind, item, Place(row, self._shuffles)) if row is not None else None
        size = len(packed) if packed is not None else 0
        while self._held and self.size + size > self._max_bytes:
            self._drop(next(iter(self._held)))
        if packed is not None:
            for table in self._tables:
                table.keep(packed)
        self._held[fast_key] = (item, size)
        self.size += size

    def _drop(self, fast_key: FastKey) -> None:
        held = self._held.pop(fast_key, None)
        if held is None:
            return
        self.size -= held[1]
        for table in self._tables if held[1] else ():
            table.forget(*fast_key.parts)
