"""Records of what happened to objects of API kind Event, and the limits that keep them few.

As client-go's recorder: the same thing again counts up one Event; many like things become one; a source that says too
much about one object is cut. Everything is decided here, from the time that is passed in; nothing is sent.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import NamedTuple, TypeVar

import msgspec

from fairway.controllers.requests import MERGE_PATCH, Request, collection_path, object_path
from fairway.controllers.writes import Record, Tree
from fairway.kube.objectmeta import ObjectReference, rfc3339, to_tree
from fairway.kube.objects import EVENT
from fairway.values.names import ObjectName

K = TypeVar("K")
V = TypeVar("V")

BURST = 25
REFILL_SECONDS = 300.0
ALIKE_LIMIT = 10
ALIKE_SECONDS = 600.0
KEPT = 4096
NAME_LIMIT = 253 - 17


class _Key(NamedTuple):
    component: str
    about: ObjectReference
    type: str
    reason: str
    message: str


class _Bucket(msgspec.Struct):
    tokens: float
    at: float


class _Alike(msgspec.Struct):
    since: float
    messages: set[str]


class _Known(msgspec.Struct):
    name: str
    first: str
    count: int


class EventBook:
    """What was recorded of late, so that the next record of the same becomes a count."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, _Known] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, ObjectReference], _Bucket] = OrderedDict()
        self._alike: OrderedDict[_Key, _Alike] = OrderedDict()

    def request(self, record: Record, component: str, now: datetime) -> Request | None:
        """The request that tells of it; None when there were too many."""
        about = record.regarding
        identity = msgspec.structs.replace(about, resource_version="", field_path=about.field_path)
        stamp = now.timestamp()
        if not self._may_speak(component, identity, stamp):
            return None
        message = self._combined(component, identity, record, stamp)
        key = _Key(component, identity, record.type.value, record.reason, message)
        known = self._known.get(key)
        namespace = about.namespace or "default"
        if known is not None:
            self._known.move_to_end(key)
            known.count += 1
            body: Tree = {"count": known.count, "lastTimestamp": rfc3339(now), "message": message}
            return Request("PATCH", object_path(EVENT, ObjectName(namespace, known.name)), body, MERGE_PATCH)
        name = f"{about.name[:NAME_LIMIT]}.{int(stamp * 1e9):x}"
        _keep(self._known, key, _Known(name, rfc3339(now), 1))
        return Request("POST", collection_path(EVENT, namespace), _body(key, name, namespace, about, now))

    def forget(self, record: Record, component: str) -> None:
        """An Event that was counted up is gone: the next one is made anew."""
        for key in [k for k in self._known if k.component == component and k.reason == record.reason]:
            if (key.about.namespace, key.about.name) == (record.regarding.namespace, record.regarding.name):
                del self._known[key]

    def _may_speak(self, component: str, about: ObjectReference, now: float) -> bool:
        bucket = self._buckets.get((component, about)) or _Bucket(BURST, now)
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.at) / REFILL_SECONDS)
        bucket.at = now
        _keep(self._buckets, (component, about), bucket)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _combined(self, component: str, about: ObjectReference, record: Record, now: float) -> str:
        """The message, or one for all when many differ in nothing else."""
        key = _Key(component, about, record.type.value, record.reason, "")
        alike = self._alike.get(key)
        if alike is None or now - alike.since > ALIKE_SECONDS:
            alike = _Alike(now, set())
        alike.messages.add(record.message)
        _keep(self._alike, key, alike)
        if len(alike.messages) < ALIKE_LIMIT:
            return record.message
        alike.messages = set(sorted(alike.messages)[:ALIKE_LIMIT])
        return f"(combined from similar events): {record.message}"


def _keep(book: OrderedDict[K, V], key: K, value: V) -> None:
    """Put the entry last, and let the oldest go."""
    book[key] = value
    book.move_to_end(key)
    while len(book) > KEPT:
        book.popitem(last=False)


def _body(key: _Key, name: str, namespace: str, about: ObjectReference, now: datetime) -> Tree:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": to_tree(about),
        "reason": key.reason,
        "message": key.message[:1024],
        "source": {"component": key.component},
        "reportingComponent": key.component,
        "firstTimestamp": rfc3339(now),
        "lastTimestamp": rfc3339(now),
        "count": 1,
        "type": key.type,
    }
