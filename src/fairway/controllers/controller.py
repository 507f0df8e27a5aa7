"""What a controller is to the loop that runs it: which keys a change concerns, and what one key needs.

Everything here is pure. The loop's part (queues, writes, back-off, one key at a time) is in `agents/controllers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from fairway.controllers.view import View
from fairway.controllers.writes import Answers, AnyKind, Failure, Outcome
from fairway.values.names import ObjectName

Key = ObjectName


class Turn(NamedTuple):
    """One look at one key."""

    key: Key
    now: datetime
    random: Callable[[], float]
    """Uniform in [0, 1)."""
    memory: object = None
    """What the last look at this key wanted remembered."""
    failure: Failure | None = None
    """The write of the last look that failed, when it did."""
    answers: Answers = MappingProxyType({})
    """To the questions of the look just before."""


class Controller(Protocol):
    """One controller. Instances hold settings, never state."""

    @property
    def name(self) -> str:
        """As kube-controller-manager calls it: also the source of its events."""
        ...

    @property
    def component(self) -> str:
        """The component that its events name."""
        ...

    @property
    def kinds(self) -> tuple[AnyKind, ...]:
        """What it reads, and is told changes of."""
        ...

    @property
    def follows_everything(self) -> bool:
        """It is told changes of every kind that the server serves, besides."""
        ...

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        """The keys to look at after this change; `view` already has it."""
        ...

    def sync(self, turn: Turn, view: View) -> Outcome:
        """What one key needs now."""
        ...
