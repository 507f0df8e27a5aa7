"""The `cache` plugin: answers for as long as their TTL says, negative ones for as long as their SOA says (RFC 2308).

Decides when to answer from what is kept, when to fetch anew ahead of the end and when an old answer is better than none
(RFC 8767). What may be kept is `fairway.dns.cache_items`' decision. The clock is handed in. A fresh answer may be
fetched in the background: `spawn` runs that.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from fairway.config.corefile_settings import CacheLimits, CacheSettings
from fairway.dns.cache_items import (
    Class,
    Item,
    Key,
    answers,
    classify,
    for_client,
    kept_form,
    key_of,
    lifetime,
    may_keep,
    with_ttl,
)
from fairway.dns.model import Handler, Reply, Request
from fairway.values.domain import Name, longest_zone
from fairway.values.rrtypes import AD, Opcode, Rcode

WaitFor = Callable[[Coroutine[Any, Any, Any], float], Awaitable[Any]]
"""Runs something in the background and waits for it so many seconds: its result, or None when it took longer."""


@dataclass(slots=True)
class CacheStatistics:
    """Counters, as CoreDNS names them."""

    requests: int = 0
    misses: int = 0
    hits: dict[str, int] = field(default_factory=lambda: {"success": 0, "denial": 0})
    prefetches: int = 0
    evictions: dict[str, int] = field(default_factory=lambda: {"success": 0, "denial": 0})
    served_stale: int = 0


class Keeper(Protocol):
    """Gives kept answers to further clients without asking us, and hears here which."""

    def hit(self, request: Request, key: Key, kind: str, item: Item) -> None:
        """An item, of `success` or `denial`, has answered a question."""
        ...

    def changed(self, key: Key) -> None:
        """What is kept under a key is another one now, or gone."""
        ...


class Cache:
    """Keeps replies of the plugins behind it."""

    def __init__(
        self,
        settings: CacheSettings,
        following: Handler,
        now: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, object]], object],
        wait_for: WaitFor | None = None,
    ) -> None:
        self.settings = settings
        self.following = following
        self.now = now
        self._spawn = spawn
        self._wait_for = wait_for
        # The oldest goes first. A plain dict finds its first key by way of all that were deleted before it.
        self.items: dict[str, OrderedDict[Key, Item]] = {"success": OrderedDict(), "denial": OrderedDict()}
        self.statistics = CacheStatistics()
        self.keeper: Keeper | None = None

    def covers(self, zone: Name) -> bool:
        """Answers under a zone (lower case) may be kept: then what is asked must pass here."""
        settings = self.settings
        if longest_zone(zone, settings.zones) is None:
            return False
        return longest_zone(zone, settings.no_success) is None or longest_zone(zone, settings.no_denial) is None

    async def serve(self, request: Request) -> Reply:
        """Answer from what is kept, or keep what the next plugin answers."""
        if request.opcode != Opcode.QUERY or longest_zone(request.key, self.settings.zones) is None:
            return await self.following.serve(request)
        self.statistics.requests += 1
        key, now = key_of(request), self.now()
        kind, item = self.find(key, now)
        if item is None:
            self.statistics.misses += 1
            return for_client(await self._fetch(request, key), request)
        self.statistics.hits[kind] += 1
        if self.keeper is not None:
            self.keeper.hit(request, key, kind, item)
        left = item.left(now)
        if left <= 0:
            return for_client(await self._stale(request, key, item), request)
        if self._should_prefetch(item, now, left) and item.begin_refresh(now):
            self._spawn(self._refreshed(request, key, item, is_stale=False))
        return for_client(with_ttl(item.reply, item.ttl if self.settings.keep_ttl else left), request)

    # -- finding

    def find(self, key: Key, now: float) -> tuple[str, Item | None]:
        """What answers a question now, and of which kind it is; perhaps a stale one."""
        denied, found = self.items["denial"].get(key), self.items["success"].get(key)
        usable = found if found is not None and self._is_usable(found, now) else None
        if self.settings.prefers_positive and self.settings.stale_for:
            good = usable if usable is None or usable.answers else usable.last_good
            if good is not None and self._is_usable(good, now):
                return "success", good
        if denied is not None and self._is_usable(denied, now):
            # A failure passes: it does not stand in the way of an answer that is still good.
            return ("success", usable) if denied.reply.rcode == Rcode.SERVFAIL and usable else ("denial", denied)
        return ("success", usable) if usable else ("", None)

    def _is_usable(self, item: Item, now: float) -> bool:
        return item.left(now) > 0 or -item.left(now) < self.settings.stale_for

    def _should_prefetch(self, item: Item, now: float, left: int) -> bool:
        if not self.settings.prefetch_hits:
            return False
        if now - item.last_hit > self.settings.prefetch_window:
            item.hits = 0
        item.hits, item.last_hit = item.hits + 1, now
        threshold = math.ceil(self.settings.prefetch_percent / 100 * item.ttl)
        return item.hits >= self.settings.prefetch_hits and left <= threshold

    def refresh(self, request: Request) -> None:
        """Fetch anew what the keeper has just given: near its end, or after it."""
        key, now = key_of(request), self.now()
        _kind, item = self.find(key, now)
        if item is None or not item.begin_refresh(now):
            return
        is_stale = item.left(now) <= 0
        if not is_stale:  # it has been asked for often enough: so has the next one
            item.hits, item.last_hit = max(item.hits, self.settings.prefetch_hits), now
        self._spawn(self._refreshed(request, key, item, is_stale=is_stale))

    # -- old answers

    async def _stale(self, request: Request, key: Key, item: Item) -> Reply:
        settings, now = self.settings, self.now()
        if settings.stale_verify:
            is_free = not (settings.stale_recheck or settings.stale_wait) or item.begin_refresh(now)
            fresh = await self._verified(request, key, item) if is_free else None
            if fresh is not None:
                return fresh
        elif item.begin_refresh(now):
            self._spawn(self._refreshed(request, key, item, is_stale=True))
        self.statistics.served_stale += 1
        return with_ttl(item.reply, item.ttl if settings.keep_ttl and not settings.stale_ttl else settings.stale_ttl)

    async def _verified(self, request: Request, key: Key, item: Item) -> Reply | None:
        work = self._replaced(request, key, item)
        if self.settings.stale_wait and self._wait_for is not None:
            found: Reply | None = await self._wait_for(work, self.settings.stale_wait)
            return found
        return await work

    async def _refreshed(self, request: Request, key: Key, item: Item, *, is_stale: bool) -> None:
        self.statistics.prefetches += 1
        if is_stale:
            await self._replaced(request, key, item)
        else:
            fresh = None
            try:
                fresh = await self._fetch(request, key)
            finally:
                item.end_refresh(self.now(), 0.0, is_done=fresh is not None)
        fresh_item = self.items["success"].get(key)
        if fresh_item is not None and fresh_item is not item:
            fresh_item.hits, fresh_item.last_hit = item.hits, item.last_hit
            if not self.settings.prefers_positive or fresh_item.answers:
                self.items["denial"].pop(key, None)
            self._changed(key)

    async def _replaced(self, request: Request, key: Key, item: Item) -> Reply | None:
        """A fresh reply that may take the stale one's place (RFC 8767, section 4), or None."""
        is_done = False
        try:
            reply = await self.following.serve(_trusting(request))
            is_fresh = not reply.is_refusal and not reply.tc and reply.rcode in {Rcode.NOERROR, Rcode.NXDOMAIN}
            is_answer = classify(reply, request) is Class.SUCCESS and answers(reply, request)
            is_done = is_answer if self.settings.prefers_positive else is_fresh
            if is_done or (self.settings.prefers_positive and not reply.is_refusal):
                reply = self._keep(request, key, reply)
            return reply if is_done else None
        finally:
            item.end_refresh(self.now(), self.settings.stale_recheck, is_done=is_done)

    # -- new answers

    async def _fetch(self, request: Request, key: Key) -> Reply:
        return self._keep(request, key, await self.following.serve(_trusting(request)))

    def _keep(self, request: Request, key: Key, reply: Reply) -> Reply:
        """Keep the reply if it may be kept; the reply with the TTL that it is kept for, which is what clients see."""
        kind = classify(reply, request)
        if reply.stream is not None or (reply.is_refusal and not (kind is Class.FAILURE and reply.cause)):
            return reply
        limits, excepted = self._limits(kind)
        ttl = int(self.settings.servfail) if kind is Class.FAILURE else lifetime(reply, kind, limits)
        shown = reply if reply.is_refusal else with_ttl(reply, ttl)
        shown.options = None  # those of an upstream end here: EDNS is between neighbours
        is_answer = answers(reply, request)
        if ttl > 0 and may_keep(reply, kind, is_answer=is_answer) and longest_zone(request.key, excepted) is None:
            self._put(kind, key, Item(kept_form(shown), ttl, self.now(), is_answer), limits)
        return shown

    def _limits(self, kind: Class) -> tuple[CacheLimits, tuple[Name, ...]]:
        if kind in {Class.DENIAL, Class.FAILURE}:
            return self.settings.denial, self.settings.no_denial
        return self.settings.success, self.settings.no_success

    def _put(self, kind: Class, key: Key, item: Item, limits: CacheLimits) -> None:
        name = "denial" if kind in {Class.DENIAL, Class.FAILURE} else "success"
        items = self.items[name]
        if key not in items and len(items) >= limits.capacity:
            if items:
                self._changed(items.popitem(last=False)[0])
            self.statistics.evictions[name] += 1
        old = items.pop(key, None)
        if name == "success" and self.settings.prefers_positive:
            if item.answers:
                self.items["denial"].pop(key, None)
            elif old is not None:
                item.last_good = old if old.answers else old.last_good
        if limits.capacity:
            items[key] = item
        self._changed(key)

    def _changed(self, key: Key) -> None:
        if self.keeper is not None:
            self.keeper.changed(key)


def _trusting(request: Request) -> Request:
    """Ask for the AD bit, whoever asks: one kept answer serves all (RFC 6840, section 5.7)."""
    if request.flags & AD:
        return request
    return request.with_flags(request.flags | AD)
