"""Cost of removing stale UDP flows from a table with many unrelated ones: time of a round, longest stall of the loop.

usage: python bench/conntrack.py [--entries 20000] [--rounds 20] [--no-table]     (root; in a namespace of its own)
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import netns
from conntrack_entries import Entry, insert
from fairway.agents.stale_flows import remove_stale_flows
from fairway.io.netlink.conntrack import Conntrack, bucket_count
from fairway.plan.model import (
    Frontend,
    FrontendKey,
    FrontendKind,
    PlannedPort,
    Scope,
    Selection,
    Treatment,
    Treatments,
    Verdict,
)
from fairway.plan.reasons import Reason
from fairway.plan.stale import StaleFlows
from fairway.values.address import Address, Family
from fairway.values.names import ObjectName, ServicePortName
from fairway.values.protocol import Protocol

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
MATCHES = 100


def unrelated(count: int, udp_percent: int) -> list[Entry]:
    """Of the UDP ones half are DNS to the outside, half anything else."""
    entries = []
    for n in range(count):
        port = (53, 4000 + n % 1000)[n % 2]
        protocol = "udp" if n % 100 < udp_percent else "tcp"
        source = f"10.{1 + n // 50_000}.0.9"
        entries.append(Entry(source, "8.8.8.8", port, "8.8.8.8", port, protocol, source_port=1000 + n % 50_000))
    return entries


def matching(frontends: int) -> list[Entry]:
    return [
        Entry("10.9.0.9", f"10.96.0.{1 + n % frontends}", 53 + n % frontends, "10.1.0.1", 5353, source_port=1000 + n)
        for n in range(MATCHES)
    ]


def queries(frontends: int) -> StaleFlows:
    """Service ports of which one endpoint has gone."""
    treatment = Treatment(Verdict.FORWARD, Scope.CLUSTER, masquerade=False, reasons=())
    nothing = Selection((), Reason.NOT_USED)
    ports = []
    for number in range(frontends):
        key = FrontendKey(Address.parse(f"10.96.0.{1 + number}"), Protocol.UDP, 53 + number)
        frontend = Frontend(key, FrontendKind.CLUSTER_IP, Treatments(treatment, treatment, treatment))
        name = ServicePortName(ObjectName("bench", str(number)), "", Protocol.UDP)
        serving = ((Address.parse("10.1.0.2"), 5353),)
        ports.append(PlannedPort(name, Family.IPV4, (frontend,), nothing, nothing, serving=serving))
    stale = StaleFlows()
    stale.note_all(ports)
    return stale


class Round(NamedTuple):
    """One round, in milliseconds."""

    total: float
    walking: float
    """CPU time of the thread that walks the table."""
    stall: float
    """The longest time that the loop did nothing else."""


async def one_round(table: Conntrack, stale: StaleFlows) -> Round:
    worst, stopping = 0.0, False

    async def heartbeat() -> None:
        nonlocal worst
        last = time.perf_counter()
        while not stopping:
            await asyncio.sleep(0)
            now = time.perf_counter()
            worst, last = max(worst, now - last), now

    beating = asyncio.create_task(heartbeat())
    await asyncio.sleep(0)
    start, elsewhere = time.perf_counter(), time.process_time() - time.thread_time()
    deleted = await remove_stale_flows(table, stale, ())
    total = time.perf_counter() - start
    elsewhere = time.process_time() - time.thread_time() - elsewhere
    stopping = True
    await beating
    if deleted != MATCHES:
        raise RuntimeError(f"{deleted} entries were deleted instead of {MATCHES}")
    return Round(total * 1e3, elsewhere * 1e3, worst * 1e3)


def measure(entries: int, rounds: int) -> str:
    """The table, as Markdown."""
    lines = [
        f"{entries:,} unrelated entries, {MATCHES} stale ones, {bucket_count():,} hash buckets;",
        f"milliseconds, of {rounds} rounds.",
        "",
        "| UDP among them | frontends changed | round, median | worst | CPU of walks | loop stalled, median | worst |",
        "|---|---|---|---|---|---|---|",
    ]
    for percent in (100, 10):
        with netns.private(), Conntrack() as table:
            insert(unrelated(entries, percent))
            insert(matching(1))
            asyncio.run(one_round(table, queries(100)))  # as at the start: a wide walk, which sees how many are UDP
            lines += [
                f"| {percent} % | {frontends} | {_figures(table, frontends, rounds)} |"
                for frontends in (1, 2, 4, 8, 100)
            ]
    return "\n".join(lines)


def _figures(table: Conntrack, frontends: int, rounds: int) -> str:
    rows = []
    for _ in range(rounds):
        insert(matching(frontends))
        rows.append(asyncio.run(one_round(table, queries(frontends))))
    totals, walks, stalls = zip(*rows, strict=True)
    median = statistics.median
    return f"{median(totals):.1f} | {max(totals):.1f} | {median(walks):.1f} | {median(stalls):.2f} | {max(stalls):.2f}"


def write_page(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    block = f"<!-- conntrack -->\n{text}\n<!-- /conntrack -->"
    page = re.sub(r"<!-- conntrack -->.*<!-- /conntrack -->", lambda _: block, page, flags=re.DOTALL)
    PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--no-table", action="store_true", help="print only")
    options = parser.parse_args()
    table = measure(options.entries, options.rounds)
    sys.stdout.write(table + "\n")
    if not options.no_table:
        write_page(table)


if __name__ == "__main__":
    main()
