"""The `cache` plugin: answers for as long as their TTL says, negative ones for as long as their SOA says (RFC 2308).

Decides what may be kept, for how long, when to fetch anew ahead of the end and when an old answer is better than none.
The clock is handed in. An answer to an old question may be fetched in the background: `spawn` runs that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Iterable
from copy import copy
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple

from fairway.config.corefile_settings import CacheLimits, CacheSettings
from fairway.dns.model import Handler, Reply, Request
from fairway.values.domain import Name, longest_zone
from fairway.values.rrtypes import AD, Opcode, Rcode, RRType
from fairway.wire.dns_message import Record

FALLBACK_TTL = 5
"""Of an answer that has no record to take a TTL from."""


class Class(Enum):
    """What kind of answer it is."""

    SUCCESS = "success"
    DENIAL = "denial"
    FAILURE = "failure"
    UNKEPT = "unkept"


class Key(NamedTuple):
    """What makes two questions the same."""

    name: Name
    type: int
    do: bool
    cd: bool


@dataclass(slots=True)
class Item:
    """An answer, and what it needs to be given again."""

    reply: Reply
    ttl: int
    stored: float
    hits: int = 0
    last_hit: float = 0.0
    is_refreshing: bool = False

    def left(self, now: float) -> int:
        return self.ttl - int(now - self.stored)


@dataclass(slots=True)
class CacheStatistics:
    """Counters, as CoreDNS names them."""

    requests: int = 0
    misses: int = 0
    hits: dict[str, int] = field(default_factory=lambda: {"success": 0, "denial": 0})
    prefetches: int = 0
    evictions: dict[str, int] = field(default_factory=lambda: {"success": 0, "denial": 0})
    served_stale: int = 0


class Cache:
    """Keeps replies of the plugins behind it."""

    def __init__(
        self,
        settings: CacheSettings,
        following: Handler,
        now: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, object]], object],
    ) -> None:
        self.settings = settings
        self.following = following
        self.now = now
        self._spawn = spawn
        self.items: dict[str, dict[Key, Item]] = {"success": {}, "denial": {}}
        self.statistics = CacheStatistics()

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
        key = Key(request.key, request.type, request.wants_dnssec, request.checking_disabled)
        now = self.now()
        kind, item = self._find(key, now)
        if item is None:
            self.statistics.misses += 1
            return await self._fetch(request, key)
        self.statistics.hits[kind] += 1
        left = item.left(now)
        if left <= 0:
            return await self._stale(request, key, item)
        if self._should_prefetch(item, now, left):
            self.statistics.prefetches += 1
            self._refresh(request, key, item)
        return _with_ttl(item.reply, item.ttl if self.settings.keep_ttl else left, request)

    def _find(self, key: Key, now: float) -> tuple[str, Item | None]:
        denied, found = self.items["denial"].get(key), self.items["success"].get(key)
        is_denied = denied is not None and self._is_usable(denied, now)
        is_found = found is not None and self._is_usable(found, now)
        if is_denied and denied is not None and not (denied.reply.rcode == Rcode.SERVFAIL and is_found):
            return "denial", denied
        return ("success", found) if is_found else ("", None)

    def _is_usable(self, item: Item, now: float) -> bool:
        return item.left(now) > 0 or -item.left(now) < self.settings.stale_for

    async def _stale(self, request: Request, key: Key, item: Item) -> Reply:
        if self.settings.stale_verify:
            fresh = await self._fetch(request, key)
            if not fresh.is_refusal and fresh.rcode in {Rcode.NOERROR, Rcode.NXDOMAIN}:
                return fresh
        else:
            self._refresh(request, key, item)
        self.statistics.served_stale += 1
        return _with_ttl(item.reply, 0, request)

    def _refresh(self, request: Request, key: Key, item: Item) -> None:
        if not item.is_refreshing:
            item.is_refreshing = True
            self._spawn(self._refreshed(request, key, item))

    async def _refreshed(self, request: Request, key: Key, item: Item) -> None:
        try:
            await self._fetch(request, key)
            fresh = self.items["success"].get(key)
            if fresh is not None and fresh is not item:
                fresh.hits, fresh.last_hit = item.hits, item.last_hit
                self.items["denial"].pop(key, None)
        finally:
            item.is_refreshing = False

    def _should_prefetch(self, item: Item, now: float, left: int) -> bool:
        if not self.settings.prefetch_hits:
            return False
        if now - item.last_hit > self.settings.prefetch_window:
            item.hits = 0
        item.hits, item.last_hit = item.hits + 1, now
        threshold = math.ceil(self.settings.prefetch_percent / 100 * item.ttl)
        return item.hits >= self.settings.prefetch_hits and left <= threshold

    async def _fetch(self, request: Request, key: Key) -> Reply:
        reply = await self.following.serve(request)
        kind = classify(reply)
        if kind is Class.UNKEPT or reply.stream is not None:
            return reply
        limits, excepted = self._limits(kind)
        ttl = int(self.settings.servfail) if kind is Class.FAILURE else lifetime(reply, limits)
        if not reply.is_refusal:
            reply = _with_ttl(reply, ttl, None)
        if longest_zone(request.key, excepted) is None and ttl > 0 and _may_keep(reply, kind, request):
            self._keep(kind, key, Item(copy(reply), ttl, self.now()), limits)
        if not request.wants_dnssec and not request.authenticated_data:
            reply.ad = False
        return reply

    def _limits(self, kind: Class) -> tuple[CacheLimits, tuple[Name, ...]]:
        if kind is Class.SUCCESS:
            return self.settings.success, self.settings.no_success
        return self.settings.denial, self.settings.no_denial

    def _keep(self, kind: Class, key: Key, item: Item, limits: CacheLimits) -> None:
        name = "success" if kind is Class.SUCCESS else "denial"
        items = self.items[name]
        if key not in items and len(items) >= limits.capacity:
            # The oldest goes: dicts keep the order in which keys came.
            items.pop(next(iter(items)), None)
            self.statistics.evictions[name] += 1
        items.pop(key, None)
        if limits.capacity:
            items[key] = item


def classify(reply: Reply) -> Class:
    """What kind of answer a reply is."""
    if reply.tc:
        return Class.UNKEPT
    has_soa = any(r.type == RRType.SOA for r in reply.authority)
    match reply.rcode:
        case Rcode.NOERROR if reply.answer:
            return Class.SUCCESS
        case Rcode.NOERROR:
            return Class.DENIAL if has_soa else Class.SUCCESS
        case Rcode.NXDOMAIN:
            return Class.DENIAL if has_soa and not reply.answer else Class.UNKEPT
        case Rcode.SERVFAIL | Rcode.NOTIMP:
            return Class.FAILURE
    return Class.UNKEPT


def _may_keep(reply: Reply, kind: Class, request: Request) -> bool:
    # A chain of CNAMEs that ends nowhere is no answer, and without a SOA nobody says for how long (RFC 2308, 5).
    if kind is not Class.SUCCESS or not reply.answer or request.type in {RRType.ANY, RRType.CNAME}:
        return True
    return any(record.type == request.type for record in reply.answer)


def lifetime(reply: Reply, limits: CacheLimits) -> int:
    """How long a reply may be kept: its lowest TTL, within the limits."""
    ttls = [r.ttl for section in (reply.answer, reply.authority, reply.additional) for r in section]
    lowest = min((*ttls, limits.longest)) if ttls else FALLBACK_TTL
    return min(max(lowest, limits.shortest), limits.longest)


def _with_ttl(reply: Reply, ttl: int, request: Request | None) -> Reply:
    """The reply with that TTL on every record; the sections are new lists."""

    def aged(records: Iterable[Record]) -> list[Record]:
        return [r._replace(ttl=ttl) for r in records]

    aged_reply = replace(
        reply, answer=aged(reply.answer), authority=aged(reply.authority), additional=aged(reply.additional)
    )
    if request is not None and not request.wants_dnssec and not request.flags & AD:
        aged_reply.ad = False
    return aged_reply
