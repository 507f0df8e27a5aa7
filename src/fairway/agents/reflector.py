"""Follows one kind: list, hand over, watch from there, and whatever goes wrong, never lose or invent an object.

Decides what counts as known, gone, unreadable or stale. What comes next after each outcome is `Progress`; how bytes
travel is the `ApiReader`'s business; what the objects mean is the sink's. See docs/api-client.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, TypeVar

import msgspec

from fairway.agents.api import ApiReader, WatchEvent
from fairway.agents.clock import Clock
from fairway.agents.feed import BrokenObject, Change, Feed
from fairway.agents.pager import read_list
from fairway.agents.progress import Progress, SilentStreamError, Step
from fairway.kube.status import (
    ApiStatusError,
    ApiUnreachableError,
    CorruptAnswerError,
    ForbiddenError,
    NotFoundError,
    status_error,
)
from fairway.reconcile.backoff import Backoff
from fairway.values.errors import FairwayError
from fairway.values.names import ObjectName

T = TypeVar("T")

log = logging.getLogger(__name__)

ABSENT_RETRY: Final = 60.0
"""How often to ask again for an optional kind that the server does not serve: a feature may be switched on."""
SHORT_WATCH: Final = 1.0
"""A watch that ends without an event before this is a failure, else a server that closes at once would be hammered."""
SILENCE: Final = 10.0
"""How long a streamed list may pause before it is taken for a server that does not know streamed lists."""
INITIAL_END: Final = "k8s.io/initial-events-end"


class _Meta(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""  # noqa: N815 - the wire's name

    def object_name(self) -> ObjectName:
        return ObjectName(self.namespace, self.name)


class _Head(msgspec.Struct, gc=False):
    metadata: _Meta


class _BookmarkMeta(msgspec.Struct, gc=False):
    resourceVersion: str = ""  # noqa: N815 - the wire's name
    annotations: dict[str, str] | None = None


class _Bookmark(msgspec.Struct, gc=False):
    metadata: _BookmarkMeta


_head_decoder: Final = msgspec.json.Decoder(_Head)
_bookmark_decoder: Final = msgspec.json.Decoder(_Bookmark)


class Reflector(Generic[T]):
    """Keeps one sink equal to what the API server has of one kind.

    `clock` and `random` (in [0, 1)) are handed in; `streams` asks for the list as a stream first (KEP-3157) and falls
    back for good when the server refuses. `run` goes on until cancelled, through any failure of the server.
    """

    def __init__(
        self, api: ApiReader, feed: Feed[T], clock: Clock, random: Callable[[], float], *, streams: bool = True
    ) -> None:
        self._api = api
        self._feed = feed
        self._clock = clock
        self._random = random
        self._backoff = Backoff(jitter=0.5)
        self._progress = Progress(streams)
        self._path = _collection_path(feed)
        self._initial: dict[ObjectName, T | None] | None = None
        self._initial_broken: dict[ObjectName, BrokenObject] = {}
        self._synced = asyncio.Event()
        self._is_absent = False
        self._has_hurried = False
        self._said = ""
        self.broken: dict[ObjectName, BrokenObject] = {}
        """Objects whose present version cannot be read, with why; the sink still has their last good one, if any."""
        self.last_contact: float | None = None
        """When the server was last heard of for this kind, by the clock."""
        self.stale_since: float | None = None
        """Since when this kind cannot be followed; None while it can."""

    @property
    def has_synced(self) -> bool:
        """The kind has been handed over whole once (or is optional and absent)."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Return when `has_synced`."""
        await self._synced.wait()

    @property
    def resource_version(self) -> str:
        """The last version heard: where a watch would go on from."""
        return self._progress.version

    async def run(self) -> None:
        """Follow the kind until cancelled."""
        while True:
            try:
                match self._progress.step:
                    case Step.LIST:
                        await self._list()
                    case Step.CHECK:
                        await self._check()
                    case Step.STREAM | Step.WATCH:
                        await self._watch()
            except (ApiStatusError, ApiUnreachableError, SilentStreamError) as error:
                await self._clock.sleep(self._after(error))
            finally:
                self._initial = None

    # -- list

    async def _list(self) -> None:
        objects: list[T] = []
        broken: dict[ObjectName, BrokenObject] = {}

        def take(items: list[msgspec.Raw]) -> None:
            self._contact()
            for raw in items:
                one = self._decode(raw, broken)
                if one is not None:
                    objects.append(one)

        def restart() -> None:
            objects.clear()
            broken.clear()
            log.info("kind=%s msg='the snapshot expired between two pages: listing again'", self._feed.kind.plural)

        version = await read_list(self._api, self._path, self._query(), take, restart)
        self._hand_over(objects, broken, version)

    def _hand_over(self, objects: list[T], broken: dict[ObjectName, BrokenObject], version: str) -> None:
        self.broken = broken
        self._contact()
        self._progress.listed(version)
        self._feed.sink.replace(objects, broken.keys())
        self._is_absent = False
        if not self._synced.is_set():
            log.info("kind=%s objects=%d version=%s msg=listed", self._feed.kind.plural, len(objects), version)
            self._synced.set()

    # -- watch

    async def _check(self) -> None:
        async with self._api.open_list(self._path, self._query()):
            self._progress.checked()

    async def _watch(self) -> None:
        query = self._query()
        # Between 5 and 10 minutes: long enough to cost nothing, spread so that servers are not all left at once.
        query["timeoutSeconds"] = str(300 + int(300 * self._random()))
        if self._progress.step is Step.STREAM:
            self._initial, self._initial_broken = {}, {}
        opened, events = self._clock.now(), 0
        async with self._api.open_watch(self._path, query) as stream:
            self._contact()
            try:
                while (batch := await self._next_batch(stream)) is not None:
                    self._contact()
                    self._take(batch)
                    events += len(batch)
            finally:
                if events or self._clock.now() - opened >= SHORT_WATCH:
                    self._backoff.succeeded()
                    self._has_hurried = False
        if self._initial is not None:
            raise ApiUnreachableError("the streamed list ended before its end was marked")
        if not events and self._clock.now() - opened < SHORT_WATCH:
            raise ApiUnreachableError("the watch was closed at once, without an event")

    async def _next_batch(self, stream: AsyncIterator[list[WatchEvent]]) -> list[WatchEvent] | None:
        if self._initial is None:
            return await anext(stream, None)
        # Only while the list streams in: a server that ignores sendInitialEvents never marks its end.
        batch = asyncio.ensure_future(_next(stream))
        timer = asyncio.ensure_future(self._clock.sleep(SILENCE))
        try:
            await asyncio.wait((batch, timer), return_when=asyncio.FIRST_COMPLETED)
            if batch.done():
                return batch.result()
            raise SilentStreamError(f"no mark of the list's end after {SILENCE:g} s of silence")
        finally:
            for task in (batch, timer):
                task.cancel()
            await asyncio.gather(batch, timer, return_exceptions=True)

    def _take(self, batch: list[WatchEvent]) -> None:
        changes: list[Change[T]] = []
        version = ""
        try:
            for event in batch:
                if event.type == "BOOKMARK":
                    version = self._take_bookmark(event.object)
                elif event.type == "ERROR":
                    raise status_error(event.object, request=f"watch {self._path}")
                else:
                    version = self._take_event(event, changes) or version
        finally:
            if changes:
                self._feed.sink.apply(changes)
            if self._initial is None:
                self._progress.seen(version)

    def _take_event(self, event: WatchEvent, changes: list[Change[T]]) -> str:
        """Put one event into the changes (or the streamed list), and return its version."""
        if event.type not in ("ADDED", "MODIFIED", "DELETED"):
            raise CorruptAnswerError(f"watch {self._path}: event type {event.type[:40]!r}")
        try:
            meta = _head_decoder.decode(event.object).metadata
        except msgspec.MsgspecError as error:
            log.error("kind=%s msg='an event without readable metadata is left out' error='%s'", self._path, error)
            return ""
        name = meta.object_name()
        broken = self.broken if self._initial is None else self._initial_broken
        if event.type == "DELETED":
            broken.pop(name, None)
            if self._initial is None:
                changes.append(Change(name, None))
            else:
                self._initial.pop(name, None)
            return meta.resourceVersion
        one = self._decode(event.object, broken)
        if one is not None:
            broken.pop(name, None)
        if self._initial is not None:
            self._initial[name] = one
        elif one is not None:
            changes.append(Change(name, one))
        return meta.resourceVersion

    def _take_bookmark(self, raw: msgspec.Raw) -> str:
        try:
            meta = _bookmark_decoder.decode(raw).metadata
        except msgspec.MsgspecError as error:
            raise CorruptAnswerError(f"watch {self._path}: bookmark: {error}") from None
        if self._initial is not None and (meta.annotations or {}).get(INITIAL_END) == "true":
            objects = [one for one in self._initial.values() if one is not None]
            self._initial = None
            self._hand_over(objects, self._initial_broken, meta.resourceVersion)
        return meta.resourceVersion

    # -- what went wrong

    def _decode(self, raw: msgspec.Raw, broken: dict[ObjectName, BrokenObject]) -> T | None:
        try:
            return self._feed.kind.decode(raw)
        except (FairwayError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            self._note_broken(raw, error, broken)
            return None

    def _note_broken(self, raw: msgspec.Raw, error: Exception, broken: dict[ObjectName, BrokenObject]) -> None:
        message = str(error) or type(error).__name__
        try:
            meta = _head_decoder.decode(raw).metadata
        except msgspec.MsgspecError:
            log.error("kind=%s msg='an object without readable metadata is left out' error='%s'", self._path, message)
            return
        name = meta.object_name()
        known = broken.get(name) or self.broken.get(name)
        broken[name] = BrokenObject(meta.resourceVersion, message)
        if known is None or known.resource_version != meta.resourceVersion:
            log.error("msg='%s' version=%s kept='last good version, if any'", message, meta.resourceVersion)

    def _after(self, error: FairwayError) -> float:
        """Note a failure and say how many seconds to wait."""
        step = self._progress.step
        self._progress.failed(error)
        may_be_absent = self._feed.is_optional and (self._is_absent or not self._synced.is_set())
        if may_be_absent and isinstance(error, (ForbiddenError, NotFoundError)):
            if step is Step.STREAM:
                return 0.0  # `list` may be allowed where `watch` is not; its answer decides
            self._note_absent(error)
            return ABSENT_RETRY * (0.5 + self._random())
        if step is not self._progress.step is not Step.CHECK and not self._has_hurried:
            # Expired or refused: the other request is the remedy. Once; if it does not help, slower.
            log.info("kind=%s msg='%s' next=%s", self._feed.kind.plural, error, self._progress.step.value)
            self._has_hurried = True
            return 0.0
        if self.stale_since is None:
            self.stale_since = self._clock.now()
        delay = self._backoff.failed(self._random())
        if isinstance(error, ApiStatusError):
            delay = max(delay, float(error.retry_after))
        if str(error) != self._said:
            self._said = str(error)
            log.warning("kind=%s msg='%s' retry_in=%.1fs", self._feed.kind.plural, error, delay)
        return delay

    def _note_absent(self, error: FairwayError) -> None:
        if self._is_absent:
            return
        self._is_absent = True
        log.info("kind=%s msg='not served here: taken as having none' answer='%s'", self._feed.kind.plural, error)
        self._feed.sink.replace((), ())
        self._synced.set()

    def _contact(self) -> None:
        self.last_contact = self._clock.now()
        if self.stale_since is not None:
            log.info("kind=%s msg='following again'", self._feed.kind.plural)
            self.stale_since = None
            self._said = ""

    def _query(self) -> dict[str, str]:
        query = self._progress.query()
        if self._feed.labels:
            query["labelSelector"] = self._feed.labels
        if self._feed.fields:
            query.setdefault("fieldSelector", self._feed.fields)
        return query


async def _next(stream: AsyncIterator[list[WatchEvent]]) -> list[WatchEvent] | None:
    return await anext(stream, None)


def _collection_path(feed: Feed[T]) -> str:
    if not feed.namespace:
        return feed.kind.path
    root, _, plural = feed.kind.path.rpartition("/")
    return f"{root}/namespaces/{feed.namespace}/{plural}"
