"""What is known to exist of one kind, by name and by index, with this process's own writes already in.

A controller that reads what it wrote needs no "expectations": after a create it sees the object at once, although the
watch will tell of it later. Three rules keep that sound. An event that is not newer than what is held is old news. An
object made here stays until the watch has told of it, or `forget_unseen`. An object deleted here stays gone for every
event with its uid.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from fairway.kube.decode import Kind
from fairway.kube.objectmeta import ApiObject
from fairway.values.names import ObjectName

T = TypeVar("T", bound=ApiObject)

IndexKeys = Callable[[Any], Iterable[Hashable]]
Listener = Callable[[Kind[Any], Any, Any], None]
"""Called with kind, old object and new object; one of them is None when it came or went."""


class NamedChange(Protocol):
    """One event: the object as it now is, or None when it is gone (`fairway.agents.feed.Change`)."""

    @property
    def name(self) -> ObjectName: ...

    @property
    def object(self) -> Any: ...


class Reader(Protocol):
    """Read access to one kind."""

    def get(self, name: ObjectName) -> Any: ...

    def all(self) -> Iterator[Any]: ...

    def by(self, index: str, key: Hashable) -> Collection[Any]: ...


class _Unseen(NamedTuple):
    since: float
    is_new: bool


class Cache(Generic[T]):
    """The objects of one kind. A sink for the reflector, and where own writes are noted."""

    def __init__(self, kind: Kind[T], indexes: Mapping[str, IndexKeys]) -> None:
        self.kind = kind
        self._keys = dict(indexes)
        self._objects: dict[ObjectName, T] = {}
        self._index: dict[str, dict[Hashable, dict[ObjectName, T]]] = {name: defaultdict(dict) for name in indexes}
        self._unseen: dict[ObjectName, _Unseen] = {}
        self._deleted: dict[ObjectName, str] = {}
        self._listeners: list[Listener] = []
        self.has_synced = False

    def listen(self, listener: Listener) -> None:
        """Tell of every change from here on."""
        self._listeners.append(listener)

    # -- reading

    def get(self, name: ObjectName) -> T | None:
        return self._objects.get(name)

    def all(self) -> Iterator[T]:
        return iter(list(self._objects.values()))

    def by(self, index: str, key: Hashable) -> Collection[T]:
        """The objects that the index files under this key."""
        return list(self._index[index].get(key, {}).values())

    def count(self, index: str, key: Hashable) -> int:
        return len(self._index[index].get(key, ()))

    def __len__(self) -> int:
        return len(self._objects)

    # -- what the API server tells

    def replace(self, objects: Sequence[T], kept: Collection[ObjectName]) -> None:
        """All there is. What was made here and not told of yet stays: the list may be older."""
        names = {one.metadata.object_name for one in objects}
        for one in objects:
            self._take(one)
        for name in [n for n in self._objects if n not in names and n not in kept]:
            unseen = self._unseen.get(name)
            if unseen is None or not unseen.is_new:
                self._put(name, None)
        for name in [n for n in self._deleted if n not in names]:
            del self._deleted[name]
        self.has_synced = True

    def apply(self, changes: Sequence[NamedChange]) -> None:
        """Events in order."""
        for change in changes:
            if change.object is not None:
                self._take(change.object)
            else:
                self._take_deletion(change.name)

    def _take(self, new: T) -> None:
        name = new.metadata.object_name
        gone = self._deleted.get(name)
        if gone is not None:
            if gone == new.metadata.uid:
                return
            del self._deleted[name]
        held = self._objects.get(name)
        if held is not None and held.metadata.uid == new.metadata.uid:
            order = _compare(new, held)
            if order >= 0:
                self._unseen.pop(name, None)
            if order <= 0:
                return
        elif held is not None and _compare(new, held) < 0:
            return
        self._unseen.pop(name, None)
        self._put(name, new)

    def _take_deletion(self, name: ObjectName) -> None:
        self._deleted.pop(name, None)
        unseen = self._unseen.get(name)
        if unseen is not None and unseen.is_new:
            return  # the news is of an earlier object of that name
        self._put(name, None)

    # -- what this process did

    def note_written(self, new: T, now: float) -> None:
        """The server's answer to an own write."""
        name = new.metadata.object_name
        held = self._objects.get(name)
        if held is not None and _compare(new, held) <= 0:
            return  # the watch was faster
        if self._deleted.get(name) == new.metadata.uid:
            return
        if held is None and new.metadata.is_leaving:
            return  # the write took the last finalizer away, and the watch has told of the end already
        before = self._unseen.get(name)
        is_new = held is None or held.metadata.uid != new.metadata.uid or (before is not None and before.is_new)
        self._unseen[name] = _Unseen(now, is_new)
        self._put(name, new)

    def note_deleted(self, name: ObjectName, uid: str) -> None:
        """The server said that this object is gone."""
        held = self._objects.get(name)
        if held is None or (uid and held.metadata.uid != uid):
            return
        self._deleted[name] = held.metadata.uid
        self._put(name, None)

    def forget_unseen(self, before: float) -> None:
        """Drop own new objects that no event confirmed since then: they came and went unseen."""
        for name, unseen in list(self._unseen.items()):
            if unseen.since < before:
                del self._unseen[name]
                if unseen.is_new:
                    self._put(name, None)

    # -- one place where anything changes

    def _put(self, name: ObjectName, new: T | None) -> None:
        old = self._objects.pop(name, None)
        if old is None and new is None:
            return
        if new is None:
            self._unseen.pop(name, None)
        else:
            self._objects[name] = new
        for index, keys in self._keys.items():
            self._reindex(index, name, keys(old) if old is not None else (), new, keys)
        for listener in self._listeners:
            listener(self.kind, old, new)

    def _reindex(
        self, index: str, name: ObjectName, old_keys: Iterable[Hashable], new: T | None, keys: IndexKeys
    ) -> None:
        table = self._index[index]
        new_keys = set(keys(new)) if new is not None else set()
        for key in old_keys:
            if key not in new_keys:
                bucket = table[key]
                bucket.pop(name, None)
                if not bucket:
                    del table[key]
        if new is not None:
            for key in new_keys:
                table[key][name] = new


def _compare(a: ApiObject, b: ApiObject) -> int:
    """Which is newer: 1, 0 or -1. Versions of one kind are comparable numbers (KEP-5504); others count as newer."""
    left, right = a.metadata.resource_version, b.metadata.resource_version
    if left == right:
        return 0
    if left.isdecimal() and right.isdecimal():
        return 1 if int(left) > int(right) else -1
    return 1
