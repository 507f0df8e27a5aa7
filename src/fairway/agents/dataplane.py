"""What the proxy's loop needs of a dataplane and of its kernel writer; each a few methods.

A `Dataplane` is pure: planned rows to items. A `Kernel` is dumb: it writes operations and lists what is there. Both
serve one IP family.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from fairway.plan.model import PlannedPort, PlannedService
from fairway.plan.view import NodeView
from fairway.reconcile.items import Container, Item, Operation
from fairway.values.names import ServicePortName


class Dataplane(Protocol):
    """Planned rows of one family to kernel items."""

    @property
    def containers(self) -> Sequence[Container]:
        """All containers, and in what stages they are written."""
        ...

    @property
    def atomic_stages(self) -> int:
        """How many of the first stages the kernel takes as one transaction."""
        ...

    def port_items(self, port: PlannedPort) -> Sequence[Item]:
        """What one service port wants."""
        ...

    def service_items(self, service: PlannedService) -> Sequence[Item]:
        """What a Service wants beside its ports."""
        ...

    def node_items(self, view: NodeView) -> Sequence[Item]:
        """What this node wants."""
        ...

    def show(self, container: str, key: Any, value: Any) -> str:
        """An item as a person reads it; a value of None is its absence."""
        ...

    def forget(self, name: ServicePortName, now: PlannedPort | None) -> None:
        """The kernel holds no more of this service port than what `now` wants: other numbers of it may be freed."""
        ...

    def recover(self, known: Callable[[str], Mapping[Any, Any]]) -> None:
        """Take over the numbers that the kernel's items carry, before anything is wanted."""
        ...

    def filled(self) -> None:
        """The kernel holds the first whole plan and nothing else: recovered numbers that it does not use are free."""
        ...


class Kernel(Protocol):
    """Writes and lists one family's items. Errors are KernelError; UnavailableError when the kernel cannot at all."""

    def ensure(self, view: NodeView, items: Callable[[], Iterable[Item]]) -> Sequence[str]:
        """Make, or mend, what does not depend on Services. Returns what was missing or wrong, one line each.

        `items` gives what is wanted at present, in case everything must be made anew without a gap.
        """
        ...

    def apply(self, operations: Sequence[Operation]) -> None:
        """One transaction, or several in order when it is too large for one. Raises WriteError."""
        ...

    def dump(self, container: str) -> Iterator[Sequence[tuple[Any, Any]]]:
        """Everything that a container holds, in pieces of about a millisecond."""
        ...

    def get(self, container: str, key: Any) -> Any | None:
        """The value of one key now, or None."""
        ...

    def suspects(self, container: str, known: Mapping[Any, Any]) -> Iterator[Collection[Any]]:
        """Keys where a container is perhaps not as `known`, in pieces of about a millisecond.

        What is written meanwhile may be among them: `get` tells. `suspects_by_dump` does for most.
        """
        ...


def suspects_by_dump(dump: Iterable[Sequence[tuple[Any, Any]]], known: Mapping[Any, Any]) -> Iterator[Collection[Any]]:
    """Keys that a dump shows otherwise than `known` has them, or does not show."""
    seen: set[Any] = set()
    for piece in dump:
        seen.update(key for key, _ in piece)
        yield [key for key, value in piece if known.get(key, _MISSING) != value]
    yield known.keys() - seen


_MISSING = object()
