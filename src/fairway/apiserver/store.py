"""The objects and their recent history, in memory: one increasing version, one order of all changes.

Objects are kept as encoded bytes (without `apiVersion` and `kind`). Decides versions, what the window remembers and
what a list at an older version was; refuses to know kinds. A `Journal` makes changes durable before anybody hears of
them: `take_pending` hands them over, `publish` or `rollback` ends their wait.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

# What an empty database counts as: nothing can be asked about the versions before its first object.
FIRST_VERSION = 3


class Entry(NamedTuple):
    """One object as it stands: the version of its last change and its bytes."""

    version: int
    data: bytes


class Change(NamedTuple):
    """One write. A deletion's data is the object's last state, with the deletion's own version in it."""

    version: int
    resource: str
    key: str
    data: bytes
    deleted: bool
    previous: Entry | None
    at: float


class Row(NamedTuple):
    """A change as a journal keeps it; what was before follows from the rows before."""

    version: int
    resource: str
    key: str
    data: bytes
    deleted: bool
    at: float


class Journal(Protocol):
    """Where changes survive a crash."""

    def append(self, rows: Sequence[Row], forgotten: Sequence[int], compacted: int) -> None:
        """Write all rows, or none and raise OSError; drop the rows of these versions."""


class Window(NamedTuple):
    """How much history is remembered; whatever is reached first ends it."""

    changes: int = 40_000
    superseded_bytes: int = 24 << 20
    seconds: float = 300.0


class TooOldError(Exception):
    """The version asked for has left the window."""


Listener = Callable[[Sequence[Change]], None]


class Store:
    """All objects. One thread, no waiting: every method returns at once."""

    def __init__(self, window: Window | None = None) -> None:
        self._window = window or Window()
        self._objects: dict[str, dict[str, Entry]] = {}
        self._keys: dict[str, list[str]] = {}
        self._history: deque[Change] = deque()
        self._superseded = 0
        self._pending: list[Change] = []
        self._forgotten: list[int] = []
        self._listeners: list[Listener] = []
        self.version = FIRST_VERSION
        self.published = FIRST_VERSION
        self.compacted = FIRST_VERSION

    # ---- reading ----------------------------------------------------------------------------------------------
    def get(self, resource: str, key: str) -> Entry | None:
        table = self._objects.get(resource)
        return table.get(key) if table else None

    def keys(self, resource: str, prefix: str = "", after: str = "") -> list[str]:
        """Sorted keys that start with a prefix (a namespace and `/`), from the first one after `after`."""
        keys = self._keys.get(resource, [])
        start = bisect_left(keys, max(prefix, after))
        end = bisect_left(keys, prefix[:-1] + chr(ord(prefix[-1]) + 1)) if prefix else len(keys)
        return keys[start:end]

    def entries(self, resource: str, prefix: str = "", after: str = "") -> list[tuple[str, Entry]]:
        table = self._objects.get(resource, {})
        return [(k, table[k]) for k in self.keys(resource, prefix, after)]

    def entries_at(self, version: int, resource: str, prefix: str = "", after: str = "") -> list[tuple[str, Entry]]:
        """The same as they were at an older version; raises TooOldError."""
        if version >= self.version:
            return self.entries(resource, prefix, after)
        if version < self.compacted:
            raise TooOldError
        found = dict(self.entries(resource, prefix, after))
        for change in reversed(self._history):
            if change.version <= version:
                break
            if change.resource != resource or not change.key.startswith(prefix) or change.key < after:
                continue
            if change.previous is None:
                found.pop(change.key, None)
            else:
                found[change.key] = change.previous
        return sorted(found.items())

    def count(self, resource: str) -> int:
        return len(self._objects.get(resource, ()))

    def since(self, version: int) -> Iterator[Change]:
        """Published changes after a version, oldest first; raises TooOldError."""
        if version < self.compacted:
            raise TooOldError
        newer: list[Change] = []
        for change in reversed(self._history):
            if change.version <= version:
                break
            if change.version <= self.published:
                newer.append(change)
        return reversed(newer)

    # ---- writing ----------------------------------------------------------------------------------------------
    def next_version(self) -> int:
        """The version that the next write gets; objects carry it inside."""
        return self.version + 1

    def put(self, resource: str, key: str, data: bytes, now: float) -> Entry:
        entry = Entry(self.version + 1, data)
        self._record(Change(entry.version, resource, key, data, False, self.get(resource, key), now))
        return entry

    def delete(self, resource: str, key: str, data: bytes, now: float) -> None:
        """Remove an object; `data` is its last state, carrying `next_version`."""
        self._record(Change(self.version + 1, resource, key, data, True, self._objects[resource][key], now))

    def _record(self, change: Change) -> None:
        self._apply(change)
        self.version = change.version
        self._pending.append(change)

    def _apply(self, change: Change) -> None:
        table = self._objects.setdefault(change.resource, {})
        keys = self._keys.setdefault(change.resource, [])
        if change.deleted:
            if table.pop(change.key, None) is not None:
                del keys[bisect_left(keys, change.key)]
        else:
            if change.key not in table:
                if keys and keys[-1] < change.key:
                    keys.append(change.key)
                else:
                    insort(keys, change.key)
            table[change.key] = Entry(change.version, change.data)
        self._history.append(change)
        if change.previous is not None:
            self._superseded += len(change.previous.data)

    def _undo(self, change: Change) -> None:
        table, keys = self._objects[change.resource], self._keys[change.resource]
        if change.previous is None:
            del table[change.key]
            del keys[bisect_left(keys, change.key)]
            return
        if change.key not in table:
            insort(keys, change.key)
        table[change.key] = change.previous
        self._superseded -= len(change.previous.data)

    # ---- durability -------------------------------------------------------------------------------------------
    @property
    def dirty(self) -> bool:
        """Are there writes that no journal has yet?"""
        return bool(self._pending)

    def take_pending(self, now: float) -> tuple[list[Change], list[int]]:
        """What the journal must write, and the versions it may drop."""
        self._trim(now)
        pending, self._pending = self._pending, []
        forgotten, self._forgotten = self._forgotten, []
        return pending, forgotten

    def publish(self, changes: Sequence[Change]) -> None:
        """These changes are durable: watches hear of them."""
        if not changes:
            return
        self.published = changes[-1].version
        for listener in tuple(self._listeners):
            listener(changes)

    def rollback(self, changes: Sequence[Change], forgotten: Sequence[int]) -> None:
        """The journal refused: as if never asked for. Nobody has heard of their versions, so they are free again."""
        for change in reversed(changes):
            self._undo(change)
            self._history.pop()
            self.version = change.version - 1
        self._forgotten = [*forgotten, *self._forgotten]

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call with every published batch, in order; returns the way to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _trim(self, now: float) -> None:
        window, history = self._window, self._history
        unpublished = len(self._pending)
        while len(history) > unpublished and (
            len(history) > window.changes
            or self._superseded > window.superseded_bytes
            or history[0].at < now - window.seconds
        ):
            self._forget(history.popleft())

    def _forget(self, change: Change) -> None:
        self.compacted = change.version
        if change.previous is not None:
            self._superseded -= len(change.previous.data)
            self._forgotten.append(change.previous.version)
        if change.deleted:
            self._forgotten.append(change.version)

    def restore(self, rows: Iterable[Row], compacted: int) -> None:
        """Fill an empty store from a journal's rows, in the order of their versions."""
        for row in rows:
            previous = self.get(row.resource, row.key)
            self._apply(Change(row.version, row.resource, row.key, row.data, row.deleted, previous, row.at))
            self.version = max(self.version, row.version)
        self.compacted = max(self.compacted, compacted)
        while self._history and self._history[0].version <= self.compacted:
            change = self._history.popleft()
            if change.previous is not None:
                self._superseded -= len(change.previous.data)
        self.version = max(self.version, self.compacted)
        self.published = self.version
