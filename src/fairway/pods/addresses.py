"""Which pod has which of its node's addresses: a number in the range, the same in each family. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from fairway.values.errors import FairwayError

FIRST: Final = 2
"""0 is the network, 1 the bridge."""


class NoAddressError(FairwayError):
    """The node's pod range is used up."""


class Leases(msgspec.Struct):
    """Who has which number; what a node keeps on its disk."""

    numbers: dict[str, int] = {}
    """By the pod's UID."""
    last: int = FIRST - 1
    """The one that was given last."""


def give(leases: Leases, uid: str, bits: int) -> int:
    """The pod's number, a new one if it has none: the next free one behind the last, in a range of 2 ** `bits`.

    An address that was given back is not used again until all others were: what still speaks to the old pod finds
    nobody, rather than somebody else. Raises NoAddressError.
    """
    if uid in leases.numbers:
        return leases.numbers[uid]
    last = (1 << bits) - 2  # the broadcast address of IPv4 is left out
    taken = set(leases.numbers.values())
    room = last - FIRST + 1
    for step in range(1, room + 1):
        number = FIRST + (leases.last - FIRST + step) % room
        if number not in taken:
            leases.numbers[uid] = leases.last = number
            return number
    raise NoAddressError(f"no address is free: {len(taken)} pods have all {room} of this node's range")


def take_back(leases: Leases, uid: str) -> bool:
    """The pod is gone. Whether it had a number."""
    return leases.numbers.pop(uid, None) is not None


def strangers(leases: Leases, there: Collection[str]) -> tuple[str, ...]:
    """Pods that have a number and are not there any more."""
    return tuple(sorted(set(leases.numbers) - set(there)))
