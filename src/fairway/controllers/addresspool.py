"""Addresses for load balancers out of a few ranges: the next free one, in turn, so that a freed address rests a while.

Who holds which address is known from Services' statuses; this only remembers what was given out and is not written yet.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

from fairway.values.address import Address, Family, Prefix

MOST_TRIED = 1 << 16
"""Addresses that are looked at before a pool counts as exhausted: a /64 is never walked through."""


class AddressPool:
    """Which address comes next. Addresses that end a range of IPv4 (.0, .255) are in no device's favour: left out."""

    def __init__(self, ranges: Iterable[Prefix], reserved: Iterable[Address] = ()) -> None:
        self._ranges = tuple(ranges)
        self._reserved = frozenset(reserved)
        self._claims: dict[Address, Hashable] = {}
        self._cursor = dict.fromkeys(self._ranges, 0)

    @property
    def ranges(self) -> tuple[Prefix, ...]:
        return self._ranges

    def __contains__(self, address: object) -> bool:
        return address not in self._reserved and any(address in one for one in self._ranges)

    def holder(self, address: Address) -> Hashable | None:
        """Who was given this address and has not said that it is written."""
        return self._claims.get(address)

    def claim(self, address: Address, owner: Hashable) -> None:
        """The address is the owner's until it settles or releases it."""
        self._claims[address] = owner

    def settle(self, owner: Hashable) -> None:
        """What the owner holds can be read in its status from here on, or it holds nothing."""
        for address in [one for one, holder in self._claims.items() if holder == owner]:
            del self._claims[address]

    def take(self, family: Family, owner: Hashable, is_free: Callable[[Address], bool]) -> Address | None:
        """Claim the next address of a family that nobody holds; None when all are held."""
        for one in self._ranges:
            if one.family is family and (found := self._next(one, is_free)) is not None:
                self._claims[found] = owner
                return found
        return None

    def _next(self, within: Prefix, is_free: Callable[[Address], bool]) -> Address | None:
        width = within.family.width
        size = 1 << (width * 8 - within.length)
        # Of a range of more than two the first names the network, in IPv4 the last everybody on it.
        first = 0 if size <= 2 else 1
        count = size - first - (1 if size > 2 and within.family is Family.IPV4 else 0)
        base = int.from_bytes(within.address, "big") + first
        for _ in range(min(count, MOST_TRIED)):
            offset = self._cursor[within] % count
            self._cursor[within] = offset + 1
            address = Address((base + offset).to_bytes(width, "big"))
            if address not in self._claims and address not in self._reserved and is_free(address):
                return address
        return None
