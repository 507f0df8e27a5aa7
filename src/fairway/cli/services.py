"""`fairway services`: the table of frontends and backends as this node plans them."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from rich.table import Table

from fairway.cli.logs import set_up_logging
from fairway.cli.observe import OWN_FLAGS, Look, look
from fairway.cli.on_node import take_on
from fairway.cli.screen import screen
from fairway.cli.wiring import load_settings
from fairway.config.proxy import FLAGS, parse_flags, usage
from fairway.plan.model import Frontend, PlannedPort, Scope, Treatment, Verdict
from fairway.values.errors import ConfigError


class Row(NamedTuple):
    """One frontend of one service port."""

    service_port: str
    frontend: str
    kind: str
    outside: str
    """What happens to a packet from outside: the verdict, and how the source is treated."""
    inside: str
    """The same for local pods."""
    backends: tuple[str, ...]
    affinity_seconds: int
    source_ranges: tuple[str, ...]


def run(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    table = (*FLAGS, *OWN_FLAGS)
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(f"usage: fairway services [--on NODE] [FLAGS]\n\n{usage(table)}\n")
        return 0
    flags = parse_flags(take_on(arguments), table)
    output = flags.get("output", "text")
    if output not in ("text", "json"):
        raise ConfigError(f"--output: {output!r} is neither text nor json")
    set_up_logging(logging.WARNING)
    seen = asyncio.run(look(load_settings(flags).settings, {**flags, "offline": flags.get("offline", "false")}))
    rows = sorted(_rows(seen))
    if output == "json":
        sys.stdout.write(msgspec.json.encode([row._asdict() for row in rows]).decode() + "\n")
    else:
        screen().print(_table(rows))
    return 0


def _rows(seen: Look) -> Iterator[Row]:
    everything = (planned for one in seen.families.values() for planned in one.sync.planner.all_planned())
    for port in (port for planned in everything for port in planned.ports):
        for frontend in port.frontends:
            yield _row(port, frontend)


def _row(port: PlannedPort, frontend: Frontend) -> Row:
    outside, inside = frontend.treatments.outside, frontend.treatments.pod
    scope: Scope = outside.scope if outside.verdict is Verdict.FORWARD else Scope.CLUSTER
    return Row(
        service_port=str(port.name),
        frontend=str(frontend.key),
        kind=frontend.kind.value,
        outside=_treatment(outside),
        inside=_treatment(inside),
        backends=tuple(str(backend) for backend in port.backends(scope)),
        affinity_seconds=port.affinity_seconds,
        source_ranges=tuple(str(prefix) for prefix in frontend.source_ranges),
    )


def _treatment(treatment: Treatment) -> str:
    if treatment.verdict is not Verdict.FORWARD:
        return str(treatment.verdict.value)
    source = "masqueraded" if treatment.masquerade else "source kept"
    return f"{treatment.scope.name.lower()}, {source}"


def _table(rows: list[Row]) -> Table:
    table = Table("service port", "frontend", "kind", "from outside", "from pods", "backends", box=None)
    for row in rows:
        shown = row.backends[:3]
        more = f" +{len(row.backends) - 3}" if len(row.backends) > 3 else ""
        cells = (row.service_port, row.frontend, row.kind, row.outside, row.inside, ", ".join(shown) + more or "none")
        table.add_row(*cells)
    return table
