"""How fast a Service proxy follows the cluster, by size, ours and the real kube-proxy's in one run; writes the table.

usage: sync.py [--quick] [--sizes 1000x1,50000x5] [--no-table]
kube-proxy is measured where `make peers` has built it, up to 10,000 Services. The table goes to docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
SIZES = "1000x1,5000x1,10000x1,20000x1,44000x1,50000x5"
KUBE_PROXY = ROOT / ".peers" / "bin" / "kube-proxy"
KUBE_PROXY_MOST = 10_000
NAMESPACE = f"fwbench{os.getpid()}"
COLUMNS = (
    ("services", "Services"),
    ("endpoints", "endpoints each"),
    ("cold_start_s", "cold start s"),
    ("change_p50_ms", "change p50 ms"),
    ("change_p99_ms", "p99 ms"),
    ("change_cpu_ms", "CPU ms a change"),
    ("burst_ms", "1,000 changes ms"),
    ("memory_mib", "memory MiB"),
    ("connect_us", "connect µs"),
    ("direct_us", "direct µs"),
)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def build() -> None:
    """A node with a way out, and two addresses for the servers behind the probed Services."""
    ip("netns", "add", NAMESPACE)
    ip("-n", NAMESPACE, "link", "set", "lo", "up")
    ip("-n", NAMESPACE, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    ip("-n", NAMESPACE, "address", "add", "192.168.0.2/24", "dev", "eth0")
    for device in ("eth0", "eth1"):
        ip("-n", NAMESPACE, "link", "set", device, "up")
    ip("-n", NAMESPACE, "route", "add", "default", "via", "192.168.0.1")
    for address in ("10.255.0.1", "10.255.0.2"):
        ip("-n", NAMESPACE, "address", "add", f"{address}/32", "dev", "lo")


def run(services: int, endpoints: int, proxy: str, options: argparse.Namespace) -> dict[str, Any]:
    """One measurement in a namespace of its own."""
    build()
    try:
        command = ["ip", "netns", "exec", NAMESPACE, sys.executable, str(ROOT / "bench" / "sync_run.py")]
        command += ["--services", str(services), "--endpoints", str(endpoints), "--proxy", proxy]
        command += ["--changes", str(12 if options.quick else 60)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        ip("netns", "delete", NAMESPACE)
    if done.returncode:
        raise SystemExit(f"{proxy} at {services}: {done.stderr[-600:]}")
    return dict(json.loads(done.stdout))


def table(rows: list[dict[str, Any]]) -> str:
    names = ["proxy", *(title for _, title in COLUMNS)]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join([row["proxy"], *(f"{row[key]:,}" for key, _ in COLUMNS)]) + " |" for row in rows]
    return "\n".join(lines)


def ratios(rows: list[dict[str, Any]]) -> list[str]:
    """Sentences that hold within this run, whatever the machine's speed."""
    ours = [row for row in rows if row["proxy"] == "fairway"]
    first, last = ours[0], ours[-1]
    size = f"{last['services']:,} × {last['endpoints']} against {first['services']:,}"
    said = [
        f"change p50 at {size}: {last['change_p50_ms'] / first['change_p50_ms']:.2f}×",
        f"connect through a Service at {size}: {last['connect_us'] / first['connect_us']:.2f}×",
    ]
    for row in rows:
        twin = next((o for o in ours if (o["services"], o["endpoints"]) == (row["services"], row["endpoints"])), None)
        if row["proxy"] != "fairway" and twin:
            change, cold = (row[key] / twin[key] for key in ("change_p50_ms", "cold_start_s"))
            size = f"{row['services']:,} Services"
            said.append(f"kube-proxy against Fairway at {size}: change {change:.0f}×, cold start {cold:.1f}×")
    return said


def write_page(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    block = f"<!-- sync -->\n{text}\n<!-- /sync -->"
    PAGE.write_text(re.sub(r"<!-- sync -->.*<!-- /sync -->", lambda _: block, page, flags=re.DOTALL), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer changes")
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--no-table", action="store_true", help="print only")
    options = parser.parse_args()
    ours = f"{ROOT / '.venv/bin/fairway'} proxy --config {{config}}"
    rows = []
    for size in options.sizes.split(","):
        services, endpoints = (int(number) for number in size.split("x"))
        rows.append({"proxy": "fairway", **run(services, endpoints, ours, options)})
        sys.stderr.write(f"{rows[-1]}\n")
        if KUBE_PROXY.exists() and services <= KUBE_PROXY_MOST:
            theirs = run(services, endpoints, f"{KUBE_PROXY} --config {{config}}", options)
            rows.append({"proxy": "kube-proxy", **theirs})
            sys.stderr.write(f"{rows[-1]}\n")
    machine = f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    text = f"{machine}\n\n{table(rows)}\n\n" + "\n".join(f"- {line}" for line in ratios(rows))
    sys.stdout.write(text + "\n")
    if not options.no_table:
        write_page(text)


if __name__ == "__main__":
    main()
