"""Cost of removing stale UDP flows from a table with many unrelated ones: time of a round, longest stall of the loop.

usage: python bench/conntrack.py [--entries 20000] [--rounds 20]     (root; works in a network namespace of its own)
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import netns
from conntrack_entries import Entry, insert
from fairway.agents.stale_flows import remove_stale_flows
from fairway.io.netlink.conntrack import Conntrack
from fairway.plan.stale import Destination, StaleFlows, StaleQuery
from fairway.values.address import Address, Family

MATCHES = 100


def unrelated(count: int) -> list[Entry]:
    """Half DNS to the outside, half anything else, all UDP: the worst neighbours for a UDP query."""
    ports = [(53, 4000 + n % 1000)[n % 2] for n in range(count)]
    return [
        Entry(f"10.{1 + n // 50_000}.0.9", "8.8.8.8", port, "8.8.8.8", port, source_port=1000 + n % 50_000)
        for n, port in enumerate(ports)
    ]


def matching(frontends: int) -> list[Entry]:
    return [
        Entry("10.9.0.9", f"10.96.0.{1 + n % frontends}", 53 + n % frontends, "10.1.0.1", 5353, source_port=1000 + n)
        for n in range(MATCHES)
    ]


def queries(frontends: int) -> StaleFlows:
    stale = StaleFlows()
    for n in range(frontends):
        destination = Destination(Family.IPV4, Address.parse(f"10.96.0.{1 + n}"), 53 + n)
        stale.add(StaleQuery(destination, frozenset({(Address.parse("10.1.0.2"), 5353)})))
    return stale


async def one_round(table: Conntrack, stale: StaleFlows) -> tuple[float, float, int]:
    """(milliseconds in all, longest stall of the loop in milliseconds, deleted)"""
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
    start = time.perf_counter()
    deleted = await remove_stale_flows(table, stale, ())
    total = time.perf_counter() - start
    stopping = True
    await beating
    return total * 1e3, worst * 1e3, deleted


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    print(f"{arguments.entries} unrelated UDP entries, {MATCHES} stale ones, {arguments.rounds} rounds")
    print("frontends changed | median ms | worst ms | longest stall of the loop, median ms | worst ms | deleted")
    with netns.private(), Conntrack() as table:
        insert(unrelated(arguments.entries))
        for frontends in (1, 2, 4, 8, 100):
            rows = []
            for _ in range(arguments.rounds):
                insert(matching(frontends))
                rows.append(asyncio.run(one_round(table, queries(frontends))))
            totals, stalls, deleted = zip(*rows, strict=True)
            print(
                f"{frontends:17} | {statistics.median(totals):9.1f} | {max(totals):8.1f} | "
                f"{statistics.median(stalls):37.2f} | {max(stalls):8.2f} | {set(deleted)}"
            )


if __name__ == "__main__":
    main()
