"""Events of pods as kubelet writes them: the same one again counts up, and a pod that has too many says no more.

Decides what "the same" is (client-go's EventCorrelator) and how many there may be. A lost event is no fault.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from fairway.kube.podspec import NodePod
from fairway.kube.status import ApiStatusError, ApiUnreachableError, NotFoundError
from fairway.pods.lifecycle import Happening
from fairway.pods.status import rfc3339

log = logging.getLogger(__name__)

MERGE: Final = "application/merge-patch+json"
REMEMBERED: Final = 4096
BURST: Final = 25
"""New events that a pod may have at once; then one every REFILL seconds (client-go's spam filter)."""
REFILL: Final = 300.0
LONGEST: Final = 1024


class EventApi(Protocol):
    """Writes."""

    async def request(
        self, method: str, path: str, query: Any = None, body: bytes = b"", *, content_type: str = ...
    ) -> bytes: ...


@dataclass(slots=True)
class _Known:
    name: str
    first: str
    count: int


@dataclass(slots=True)
class _Bucket:
    left: float
    filled_at: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One event of a pod at a time: their order, and what is the same, would be lost otherwise."""


class EventTeller:
    """Events of one node's pods."""

    def __init__(self, node: str, api: EventApi, wall: Callable[[], float]) -> None:
        self._node, self._api, self._wall = node, api, wall
        self._known: OrderedDict[tuple[str, ...], _Known] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._number = 0

    async def tell(self, pod: NodePod, happening: Happening) -> None:
        """Write an event, or count up the one that is there."""
        if (lock := self._may_speak(pod.metadata.uid)) is not None:
            async with lock:
                await self._tell(pod, happening)

    async def _tell(self, pod: NodePod, happening: Happening) -> None:
        message = happening.message[:LONGEST]
        key = (pod.metadata.uid, happening.container, happening.type, happening.reason, message)
        known = self._known.get(key)
        try:
            if known is not None and await self._count_up(pod, known):
                self._known.move_to_end(key)
                return
            self._known[key] = await self._create(pod, happening, message)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        except (ApiStatusError, ApiUnreachableError) as error:
            log.debug("pod=%s msg='event lost' error='%s'", pod.full_name, error)

    def _may_speak(self, uid: str) -> asyncio.Lock | None:
        now = self._wall()
        bucket = self._buckets.pop(uid, None) or _Bucket(float(BURST), now)
        bucket.left = min(bucket.left + (now - bucket.filled_at) / REFILL, float(BURST))
        bucket.filled_at = now
        self._buckets[uid] = bucket
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        if bucket.left < 1.0:
            return None
        bucket.left -= 1.0
        return bucket.lock

    async def _count_up(self, pod: NodePod, known: _Known) -> bool:
        """False when the event has gone."""
        known.count += 1
        body = {"count": known.count, "lastTimestamp": rfc3339(self._wall())}
        path = f"{_path(pod)}/{known.name}"
        try:
            await self._api.request("PATCH", path, body=json.dumps(body).encode(), content_type=MERGE)
        except NotFoundError:
            return False
        return True

    async def _create(self, pod: NodePod, happening: Happening, message: str) -> _Known:
        meta, wall = pod.metadata, self._wall()
        now = rfc3339(wall)
        self._number += 1
        known = _Known(f"{meta.name}.{int(wall * 1e6) * 1000 + self._number % 1000:x}", now, 1)
        reference = {"apiVersion": "v1", "kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid}
        if happening.container:
            reference["fieldPath"] = happening.container
        event = {
            "metadata": {"name": known.name, "namespace": meta.namespace},
            "involvedObject": reference,
            "type": happening.type,
            "reason": happening.reason,
            "message": message,
            "source": {"component": "kubelet", "host": self._node},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._api.request("POST", _path(pod), body=json.dumps(event).encode())
        return known


def _path(pod: NodePod) -> str:
    return f"/api/v1/namespaces/{pod.metadata.namespace}/events"
