"""Kept answers in the form that the fast path gives them in: what the `cache` plugin would say, as bytes that age.

An answer is a key (name, type, DO, CD) with a value: when it was stored and for how long it is good, header bits,
counts, the places of its TTLs, and the bytes that follow the question; a BPF map can hold both. How they are found and
aged is `fairway/io/dns/fast_kept.c`'s; the tests hold its answers equal to the plugin's.
"""

from __future__ import annotations

import math
import struct
from itertools import pairwise
from typing import Final, NamedTuple

from fairway.config.corefile_settings import CacheSettings
from fairway.dns.cache_items import Item, Key
from fairway.dns.loadbalance import balanced_parts
from fairway.dns.model import Reply
from fairway.values.domain import Name
from fairway.values.rrtypes import AA, AD, CLASS_IN, RA, Rcode
from fairway.wire.dns_message import HEADER, Message, Question, Record, write_message

MAX_REPLY: Final = 4096
"""Larger ones are rare enough to be written when asked for."""
MAX_ROWS: Final = 64
"""Of counts: as many as there are sets of labels (`fast.h`)."""
DO, CD, CAPITALS = 1, 2, 4
FIXED_TTL, DENIAL = 1, 2

_HEAD: Final = struct.Struct("=QQ6I13H2B4x")
_NO_SHUFFLE: Final = (0, 0, 0)
_TTL_TO_DATA: Final = 6
_RECORD_SIZE: Final = 12
"""Of a record without its data, whose name is a pointer."""


class Place(NamedTuple):
    """How a block's answers look and where they are counted."""

    row: int = 0
    shuffles: bool = False


class FastKey(NamedTuple):
    """Under which the table has an answer: one for questions in lower case, and one for all other spellings.

    The cache keeps the spelling of whoever asked first. An answer to a question in lower case can point to the
    question's name where that is its own; one to any other spelling has to have its own in full.
    """

    key: Key
    has_capitals: bool = False

    @property
    def parts(self) -> tuple[Name, int, int]:
        """Name, type and flags."""
        key = self.key
        flags = (DO if key.do else 0) | (CD if key.cd else 0) | (CAPITALS if self.has_capitals else 0)
        return key.name, key.type, flags


def pack(settings: CacheSettings, fast_key: FastKey, kind: str, item: Item, place: Place) -> bytes | None:
    """The item as the table takes it; None if only the plugins can give it."""
    key, reply = fast_key.key, item.reply
    if key.rclass != CLASS_IN or reply.rcode > 15 or reply.stream is not None:
        return None
    sections = _in_order(reply, shuffles=place.shuffles)
    if sections is None:
        return None
    message = Message(0, 0, Question(key.name, key.type), *sections)
    wire = write_message(message, points_to_question=not fast_key.has_capitals)
    if len(wire) > MAX_REPLY:
        return None
    start = HEADER.size + len(key.name) + 4
    ttls = _ttl_places(wire, start)
    shuffle = _NO_SHUFFLE
    if place.shuffles and reply.rcode == Rcode.NOERROR:
        found = _shuffled_run(sections[0], ttls, start)
        if found is None:
            return None
        shuffle = found
    name, rtype, key_flags = fast_key.parts
    counts = [len(section) for section in sections]
    head = _HEAD.pack(
        round(item.stored * 1e9), round(item.last_hit * 1e9), *_times(settings, item), item.hits,
        len(name), len(ttls), len(wire) - start, rtype, _bits(reply), *counts, place.row,
        min(settings.prefetch_hits, 0xFFFF), *shuffle,
        key_flags, (FIXED_TTL if settings.keep_ttl else 0) | (DENIAL if kind == "denial" else 0),
    )  # fmt: skip
    places = struct.pack(f"={len(ttls)}H", *(ttl - start for ttl in ttls))
    return b"".join((head, name, places, wire[start:]))


def _times(settings: CacheSettings, item: Item) -> tuple[int, int, int, int, int]:
    """TTL; how long after its end and with which one; when it is fetched ahead, and how many ms a hit counts."""
    # Where a stale answer is only given when upstream fails, the plugin has to find out.
    stale_for = 0 if settings.stale_verify else math.ceil(settings.stale_for)
    stale_ttl = item.ttl if settings.keep_ttl and not settings.stale_ttl else settings.stale_ttl
    ahead = math.ceil(settings.prefetch_percent / 100 * item.ttl)
    return item.ttl, stale_for, stale_ttl, ahead, round(settings.prefetch_window * 1000)


def _bits(reply: Reply) -> int:
    bits: int = reply.rcode
    for bit, is_set in ((AA, reply.aa), (RA, reply.ra), (AD, reply.ad)):
        bits |= bit if is_set else 0
    return bits


def _in_order(reply: Reply, *, shuffles: bool) -> tuple[list[Record], list[Record], list[Record]] | None:
    """The sections; None where `loadbalance` would shuffle more than the addresses of the answer."""
    if not shuffles or reply.rcode != Rcode.NOERROR:
        return reply.answer, reply.authority, reply.additional
    first, addresses, exchanges = balanced_parts(reply.answer)
    others, glue, more = balanced_parts(reply.additional)
    if len(exchanges) > 1 or len(glue) > 1 or len(more) > 1:
        return None
    return [*first, *addresses, *exchanges], reply.authority, [*others, *glue, *more]


def _ttl_places(wire: bytes, at: int) -> list[int]:
    """Where each record's TTL stands. The bytes are our own: nothing in them is wrong."""
    found = []
    while at < len(wire):
        while 0 < wire[at] < 0xC0:
            at += wire[at] + 1
        at += 2 if wire[at] else 1
        found.append(at + 4)
        at += 10 + int.from_bytes(wire[at + 8 : at + 10], "big")
    return found


def _shuffled_run(answer: list[Record], places: list[int], start: int) -> tuple[int, int, int] | None:
    """Where the answer's first address is in the body, the bytes from one to the next, and how many they are.

    None if they are not all one name's and of one type, or do not stand as far from each other: then they cannot change
    places.
    """
    first, addresses, _ = balanced_parts(answer)
    if len(addresses) < 2:
        return _NO_SHUFFLE
    mine, stride = places[len(first) : len(first) + len(addresses)], _RECORD_SIZE + len(addresses[0].rdata)
    is_even = all(b - a == stride for a, b in pairwise(mine))
    if not is_even or len({(one.name, one.type, one.rclass) for one in addresses}) > 1:
        return None
    return mine[0] + _TTL_TO_DATA - start, stride, len(addresses)
