"""Keeps one small part of a kernel at what its owners want: writes at once, retries, and mends what others changed.

For parts that are read whole in milliseconds (routes, host ports). The proxy's tables have `agents.family`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from fairway.agents.clock import Clock
from fairway.reconcile.backoff import Backoff
from fairway.reconcile.difference import Difference
from fairway.reconcile.items import Container, Item, Operation, WriteError
from fairway.values.errors import FairwayError

log = logging.getLogger(__name__)

COMPARE_SECONDS = 15.0
"""How often all is read and what drifted is mended."""
MOST_REFUSED = 50
"""Operations that are left out in one round because the kernel refuses them."""


class PartOfKernel(Protocol):
    """What is written to (`fairway.io.netlink.routes`, `fairway.io.netlink.hostports`)."""

    def read(self) -> Mapping[str, Mapping[Hashable, Hashable]]:
        """All that is there, by container. Makes what has to be there before any item can be. Raises FairwayError."""
        ...

    def apply(self, operations: Sequence[Operation]) -> None:
        """Carry out the operations in order. Raises WriteError; some may be done then."""
        ...


class Timing(NamedTuple):
    """What retries hang on."""

    clock: Clock
    random: Callable[[], float]
    """Uniform in [0, 1)."""


class Upkeep:
    """One part. `run` until cancelled; what is there then stays."""

    def __init__(self, name: str, containers: Iterable[Container], kernel: PartOfKernel, timing: Timing) -> None:
        self._name = name
        self._kernel = kernel
        self._timing = timing
        self._containers = tuple(containers)
        self.difference = Difference(self._containers)
        self._needs_look = asyncio.Event()
        self._is_open = False
        self._said = ""
        self.has_settled = asyncio.Event()
        """Set while the kernel holds all that is wanted."""

    def want(self, owner: Hashable, items: Sequence[Item]) -> None:
        """The owner wants exactly these items; none takes it out. `flush` writes."""
        self.difference.set_wanted(owner, items)
        if self.difference.pending_count:
            self.has_settled.clear()

    def open(self) -> None:
        """From here on it is written. What is there and nobody wants stays until `prune`."""
        self._is_open = True
        self._needs_look.set()

    def prune(self) -> None:
        """All owners have spoken once: what nobody wants goes."""
        self.difference.start_pruning()
        self._needs_look.set()

    def flush(self) -> str:
        """Write what is pending; returns what is wrong, empty when nothing is. `run` tries again."""
        if not self._is_open:
            return ""
        refused: set[tuple[str, Hashable]] = set()
        words = ""
        try:
            while steps := self._steps(refused):
                words = self._write(steps, refused) or words
        except FairwayError as error:
            words = str(error)
        self._tell(words)
        if words:
            self._needs_look.set()
        elif not self.difference.pending_count:
            self.has_settled.set()
        return words

    def _steps(self, refused: Collection[tuple[str, Hashable]]) -> list[Operation]:
        if len(refused) > MOST_REFUSED:
            return []
        return [step for step in self.difference.pending() if (step.item.container, step.item.key) not in refused]

    def _write(self, steps: Sequence[Operation], refused: set[tuple[str, Hashable]]) -> str:
        try:
            self._kernel.apply(steps)
        except WriteError as error:
            self._load()
            if error.operation is None:
                raise
            refused.add((error.operation.item.container, error.operation.item.key))
            return str(error)
        self.difference.applied(steps)
        return ""

    def _load(self) -> None:
        found = self._kernel.read()
        for container in self._containers:
            self.difference.load_known(container.name, found.get(container.name, {}))

    def look(self) -> str:
        """Read all and mend; returns what is wrong."""
        try:
            self._load()
        except FairwayError as error:
            self._tell(str(error))
            return str(error)
        return self.flush()

    async def run(self) -> None:
        """Look when something went wrong, with back-off, and from time to time anyway."""
        backoff = Backoff()
        while True:
            await self._needs_look.wait()
            self._needs_look.clear()
            if self.look():
                self._needs_look.set()
                await self._timing.clock.sleep(backoff.failed(self._timing.random()))
                continue
            backoff.succeeded()
            waiting = asyncio.ensure_future(self._needs_look.wait())
            timer = asyncio.ensure_future(self._timing.clock.sleep(COMPARE_SECONDS))
            try:
                await asyncio.wait((waiting, timer), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (waiting, timer):
                    task.cancel()
                await asyncio.gather(waiting, timer, return_exceptions=True)
            self._needs_look.set()

    def _tell(self, words: str) -> None:
        if words and words != self._said:
            log.warning("part=%s error='%s'", self._name, words)
        elif self._said and not words:
            log.info("part=%s msg='written again'", self._name)
        self._said = words
