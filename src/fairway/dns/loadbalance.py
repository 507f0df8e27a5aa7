"""The `loadbalance` plugin: which of an answer's addresses comes first.

Chance and the text of the file of weights are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from fairway.config.corefile_settings import LoadbalanceSettings
from fairway.dns.model import Handler, Reply, Request
from fairway.dns.networks import is_within, network_of
from fairway.dns.rows import packed
from fairway.values.domain import Name, from_text
from fairway.values.errors import ConfigError, InvalidValueError
from fairway.values.rrtypes import Rcode, RRType
from fairway.wire.dns_message import Record

T = TypeVar("T")
Weights = dict[tuple[Name, bytes], int]
"""By a name in lower case and one of its addresses; 1 for those that are not listed."""
MAX_WEIGHT = 255
_ADDRESSES = frozenset({RRType.A, RRType.AAAA})


class Loadbalance:
    """Orders addresses (and MX), keeps every CNAME in front, and puts preferred networks first.

    `round_robin` shuffles; `weighted` brings one address to the front, each as often as its weight says.
    """

    def __init__(self, settings: LoadbalanceSettings, random: Callable[[], float], following: Handler) -> None:
        self.settings = settings
        self.weights: Weights = {}
        self._preferred = [network_of(text) for text in settings.prefer]
        self._random = random
        self.following = following

    def load(self, text: str) -> None:
        """Take the file of weights as it is now. Raises ConfigError, which changes nothing."""
        self.weights = dict(read_weights(text, self.settings.weights))

    async def serve(self, request: Request) -> Reply:
        reply = await self.following.serve(request)
        is_transfer = reply.stream is not None or request.type in {RRType.AXFR, RRType.IXFR}
        if reply.rcode == Rcode.NOERROR and not is_transfer:
            reply.answer = self._ordered(reply.answer, request.type)
            reply.additional = self._ordered(reply.additional, request.type)
        return reply

    def _ordered(self, records: list[Record], rtype: int) -> list[Record]:
        if len(records) < 2:
            return records
        front, addresses, exchanges = balanced_parts(records)
        if not self.settings.weights:
            addresses, exchanges = shuffled(addresses, self._random), shuffled(exchanges, self._random)
        elif addresses and rtype in {RRType.A, RRType.AAAA, RRType.SRV}:
            first = self._chosen(addresses)
            addresses[0], addresses[first] = addresses[first], addresses[0]
        if self._preferred:
            addresses.sort(key=lambda r: self._rank(r.rdata))
        return [*front, *addresses, *exchanges]

    def _chosen(self, addresses: list[Record]) -> int:
        """The place of one of them, by chance and weight."""
        weights = [self.weights.get((r.name.lower(), r.rdata), 1) for r in addresses]
        left = int(self._random() * sum(weights))
        for place, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return place
        return 0

    def _rank(self, address: bytes) -> int:
        for rank, block in enumerate(self._preferred):
            if is_within(address, block):
                return rank
        return len(self._preferred)


def balanced_parts(records: Sequence[Record]) -> tuple[list[Record], list[Record], list[Record]]:
    """What keeps its order (aliases in front), and what is ordered anew behind it: addresses, then mail exchanges."""
    aliases = [r for r in records if r.type == RRType.CNAME]
    addresses = [r for r in records if r.type in _ADDRESSES]
    exchanges = [r for r in records if r.type == RRType.MX]
    others = [r for r in records if r.type not in {RRType.CNAME, *_ADDRESSES, RRType.MX}]
    return [*aliases, *others], addresses, exchanges


def read_weights(text: str, file: str) -> Iterator[tuple[tuple[Name, bytes], int]]:
    """Lines with a name, and after each lines with one of its addresses and a weight. Raises ConfigError."""
    name: Name | None = None
    for number, line in enumerate(text.splitlines(), 1):
        place, words = f"{file}:{number}", line.split()
        if not words or words[0].startswith("#"):
            continue
        address = packed(words[0])
        if len(words) > 2:
            raise ConfigError(f"{place}: {line.strip()!r} is neither a name nor an address and a weight")
        if len(words) == 1:
            if address is not None:
                raise ConfigError(f"{place}: {words[0]} has no weight")
            name = _name(words[0], place)
            continue
        if address is None:
            raise ConfigError(f"{place}: {words[0]!r} is not an address")
        if name is None:
            raise ConfigError(f"{place}: {words[0]} stands before the first name")
        yield (name, address), _weight(words[1], place)


def _name(text: str, place: str) -> Name:
    try:
        return from_text(text).lower()
    except InvalidValueError as error:
        raise ConfigError(f"{place}: {error}") from None


def _weight(text: str, place: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MAX_WEIGHT:
        raise ConfigError(f"{place}: {text!r} is not a weight from 1 to {MAX_WEIGHT}")
    return int(text)


def shuffled(items: list[T], random: Callable[[], float]) -> list[T]:
    """In random order (Fisher and Yates); `random` gives numbers in [0, 1)."""
    for i in range(len(items) - 1, 0, -1):
        j = int(random() * (i + 1))
        items[i], items[j] = items[j], items[i]
    return items
