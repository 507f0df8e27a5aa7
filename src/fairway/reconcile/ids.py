"""Stable numbers for names, as some kernels need them: given out once, recovered after a restart, not reused early."""

from __future__ import annotations

from collections.abc import Hashable, Iterable


class Ids:
    """Names to numbers. A freed number is not given out again before all others were: entries that the kernel keeps
    about it (affinity) have long expired by then."""

    def __init__(self, first: int = 1, last: int = 2**31 - 1) -> None:
        self._first, self._last = first, last
        self._next = first
        self._number: dict[Hashable, int] = {}
        self._taken: set[int] = set()

    def recover(self, pairs: Iterable[tuple[Hashable, int]]) -> None:
        """Numbers found in the kernel; a name or number that is taken already keeps what it has."""
        for name, number in pairs:
            if name not in self._number and number not in self._taken and self._first <= number <= self._last:
                self._number[name] = number
                self._taken.add(number)
                self._next = max(self._next, number + 1)

    def of(self, name: Hashable) -> int:
        """The name's number; a new one when it has none. Raises OverflowError when all are taken."""
        number = self._number.get(name)
        return number if number is not None else self._give(name)

    def get(self, name: Hashable) -> int | None:
        """The name's number if it has one."""
        return self._number.get(name)

    def rename(self, old: Hashable, new: Hashable) -> None:
        """`new` has from now on what `old` had, if anything, unless it has a number of its own."""
        if new not in self._number and old in self._number:
            self._number[new] = self._number.pop(old)

    def release(self, name: Hashable) -> None:
        """The name is gone."""
        number = self._number.pop(name, None)
        if number is not None:
            self._taken.discard(number)

    def __len__(self) -> int:
        return len(self._number)

    def _give(self, name: Hashable) -> int:
        if len(self._taken) > self._last - self._first:
            raise OverflowError("no number is left")
        while self._next in self._taken or self._next > self._last:
            self._next = self._first if self._next >= self._last else self._next + 1
        number = self._next
        self._next += 1
        self._number[name] = number
        self._taken.add(number)
        return number
