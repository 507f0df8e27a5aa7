"""How a cluster is, by its files, its namespaces and its API, and what to do about what is not well. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

STARTS_AGAIN = "the supervisor starts it again"
UP_MENDS = "`fairway up` starts what is missing and keeps what runs"


class PartFacts(NamedTuple):
    """One process."""

    name: str
    pid: int
    is_ready: bool
    starts: int
    """How often it was started."""
    last_end: str
    """How it ended last; empty: it never did."""


class ClusterFacts(NamedTuple):
    """All that is known."""

    parts: tuple[PartFacts, ...]
    """The supervisor first."""
    missing: tuple[str, ...]
    """Links and namespaces that should be there."""
    nodes: Mapping[str, str] | None
    """By name, why the API says that a node is not ready; empty when it is. None: the API does not answer."""
    api_error: str = ""


class Trouble(NamedTuple):
    """One thing that is not well."""

    what: str
    remedy: str


def troubles(facts: ClusterFacts) -> list[Trouble]:
    """Empty when the cluster is well."""
    return [*_parts(facts), *_host(facts), *_api(facts)]


def _parts(facts: ClusterFacts) -> Iterator[Trouble]:
    is_watched = facts.parts[0].pid > 0
    for part in facts.parts:
        if not part.pid:
            end = f" ({part.last_end})" if part.last_end else ""
            is_mended = is_watched and part is not facts.parts[0]
            yield Trouble(f"{part.name} does not run{end}", STARTS_AGAIN if is_mended else UP_MENDS)
        elif not part.is_ready:
            yield Trouble(
                f"{part.name} is not ready yet", f"its log tells why, if it stays so (started {part.starts}×)"
            )


def _host(facts: ClusterFacts) -> Iterator[Trouble]:
    for name in facts.missing:
        yield Trouble(f"{name} is gone", UP_MENDS)


def _api(facts: ClusterFacts) -> Iterator[Trouble]:
    if facts.nodes is None:
        if facts.parts[1].is_ready:
            yield Trouble(f"the API server does not answer: {facts.api_error}", "the log of control-plane tells why")
        return
    for part in facts.parts[2:]:
        why = facts.nodes.get(part.name, "it has not registered yet")
        if why:
            yield Trouble(f"node {part.name} is not ready: {why}", "its process tells the API when it is")
