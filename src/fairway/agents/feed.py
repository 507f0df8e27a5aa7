"""What crosses from a source of objects (an API server, a folder of manifests) to whoever keeps them.

A source decides when something is known to exist or to be gone, a sink what that means. Neither knows the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from fairway.kube.decode import Kind
from fairway.values.names import ObjectName

T = TypeVar("T")


class Change(NamedTuple, Generic[T]):
    """One object as it now is; None when it is gone. Whether it was there before is the sink's knowledge."""

    name: ObjectName
    object: T | None


class Sink(Protocol[T]):
    """Takes the objects of one kind. Called from the event loop, never concurrently; must not block."""

    def replace(self, objects: Sequence[T], kept: Collection[ObjectName]) -> None:
        """All there is, at first and whenever the source had to list anew.

        `kept` names objects that exist but whose present version cannot be read: what the sink has of them stays.
        """
        ...

    def apply(self, changes: Sequence[Change[T]]) -> None:
        """Changes that arrived together, in order. One object may occur more than once; the last one counts."""
        ...


@dataclass(frozen=True, slots=True)
class Feed(Generic[T]):
    """What is wanted of one kind, and where it goes."""

    kind: Kind[T]
    sink: Sink[T]
    labels: str = ""
    """A label selector, as in `kubectl get -l`."""
    fields: str = ""
    """A field selector (`metadata.name=node-a`)."""
    namespace: str = ""
    """Only this namespace; empty for all."""
    is_optional: bool = False
    """A server that does not serve the kind, or forbids it, counts as having listed none of it."""


@dataclass(frozen=True, slots=True)
class BrokenObject:
    """An object whose present version cannot be read."""

    resource_version: str
    message: str


class Source(Protocol):
    """Where objects come from; one for each kind or one for many."""

    @property
    def has_synced(self) -> bool:
        """Everything wanted has been handed over whole once."""
        ...

    @property
    def last_contact(self) -> float | None:
        """When the source last heard from its origin, by the agents' clock; None before that."""
        ...

    @property
    def stale_since(self) -> float | None:
        """Since when the origin cannot be followed; None while it can."""
        ...

    async def run(self) -> None:
        """Feed the sinks until cancelled."""
        ...
