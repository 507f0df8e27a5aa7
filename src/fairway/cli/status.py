"""`fairway proxy status` and `--dry-run`: what this node should hold against what its kernel holds."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec
from rich.table import Table

from fairway.cli.logs import set_up_logging
from fairway.cli.observe import OWN_FLAGS, FamilyLook, Look, look
from fairway.cli.on_node import take_on
from fairway.cli.screen import screen
from fairway.cli.wiring import load_settings
from fairway.config.proxy import FLAGS, ProxySettings, parse_flags, usage
from fairway.dataplanes.nftables.show import show_key, show_value
from fairway.reconcile.items import Action, Operation
from fairway.values.address import Family
from fairway.values.errors import ConfigError


class ContainerStatus(NamedTuple):
    """One container of one family: items wanted, right, missing, with another value, and wanted by nobody."""

    family: str
    container: str
    desired: int
    programmed: int
    missing: int
    differing: int
    unwanted: int


def run(arguments: list[str]) -> int:
    """`fairway proxy status`; exit code 1 when the kernel does not hold the plan."""
    table = (*FLAGS, *OWN_FLAGS)
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(f"usage: fairway proxy status [--on NODE] [FLAGS]\n\n{usage(table)}\n")
        return 0
    flags = parse_flags(take_on(arguments), table)
    if flags.get("output", "text") not in ("text", "json"):
        raise ConfigError(f"--output: {flags['output']!r} is neither text nor json")
    set_up_logging(logging.WARNING)
    seen = asyncio.run(look(load_settings(flags).settings, flags))
    rows = list(_statuses(seen))
    wrong = [f"{family}: {line}" for family, one in seen.families.items() for line in one.wrong_rules]
    if flags.get("output") == "json":
        _show_json(rows, wrong)
    else:
        _show_table(rows, wrong)
    return 1 if wrong or any(row.programmed < row.desired or row.unwanted for row in rows) else 0


def dry_run(settings: ProxySettings, flags: Mapping[str, str]) -> int:
    """Print each step that would be taken, one a line."""
    set_up_logging(logging.WARNING)
    seen = asyncio.run(look(settings, flags))
    count = 0
    for family, one in seen.families.items():
        for line in one.wrong_rules:
            sys.stdout.write(f"{family} rules: {line}\n")
            count += 1
        for action, (container, key, value) in _pending(one):
            shown = "" if action is Action.REMOVE else f" = {show_value(container, value)}"
            sys.stdout.write(f"{family} {action.value} {container}[{show_key(container, key)}]{shown}\n")
            count += 1
    sys.stdout.write(f"{count} changes\n")
    return 0


def _pending(one: FamilyLook) -> list[Operation]:
    one.sync.difference.start_pruning()
    return one.sync.difference.pending()


def _statuses(seen: Look) -> Iterator[ContainerStatus]:
    for family, one in seen.families.items():
        counts: dict[str, dict[Action, int]] = {}
        for action, item in _pending(one):
            of = counts.setdefault(item.container, {})
            of[action] = of.get(action, 0) + 1
        for container, desired in one.sync.difference.counts().items():
            yield _status(family, container, desired, counts.get(container, {}))


def _status(family: Family, container: str, desired: int, counts: Mapping[Action, int]) -> ContainerStatus:
    missing, differing = counts.get(Action.ADD, 0), counts.get(Action.REPLACE, 0)
    return ContainerStatus(
        family=str(family),
        container=container,
        desired=desired,
        programmed=desired - missing - differing,
        missing=missing,
        differing=differing,
        unwanted=counts.get(Action.REMOVE, 0),
    )


def _show_json(rows: list[ContainerStatus], wrong: list[str]) -> None:
    document = {"schema": "fairway.status/v1", "rules": wrong, "containers": [row._asdict() for row in rows]}
    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")


def _show_table(rows: list[ContainerStatus], wrong: list[str]) -> None:
    console = screen()
    table = Table("family", "container", "desired", "programmed", "missing", "differing", "unwanted", box=None)
    for row in rows:
        if row.desired or row.unwanted:
            table.add_row(*(str(cell) for cell in row))
    console.print(table)
    for line in wrong:
        console.print(f"rules: {line}", markup=False)
    is_right = not wrong and all(row.programmed == row.desired and not row.unwanted for row in rows)
    console.print("the kernel holds the plan" if is_right else "the kernel does NOT hold the plan")
