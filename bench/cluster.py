"""`fairway up` from nothing: until it is ready, until the demonstration is over, memory at rest, 100 pods, a new pod.

usage: bench/cluster.py [--rounds 3] [--pods 100] [--new 20] [--no-table]
Runs as root on a machine of its own (network, mounts and processes in new namespaces). *Memory* is the sum of PSS over
the cluster's own processes. *A new pod*: from the request that makes it, with a web server in it, to the first
connection from the host through its Service. The table goes to docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
FAIRWAY = [sys.executable, "-m", "fairway.cli.main"]
INSIDE = "FAIRWAY_BENCH_INSIDE"
REST_SECONDS = 10.0
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def fairway(*words: str) -> float:
    """Run a command to its end; the seconds it took."""
    began = time.perf_counter()
    done = subprocess.run([*FAIRWAY, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"fairway {' '.join(words)}: {done.stderr}{done.stdout}")
    return time.perf_counter() - began


def parts() -> list[dict[str, Any]]:
    done = subprocess.run([*FAIRWAY, "status", "-o", "json"], capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)["parts"]
    return found


def memory() -> dict[str, float]:
    """PSS in MiB, by process."""
    found = {}
    for part in parts():
        text = Path(f"/proc/{part['pid']}/smaps_rollup").read_text()
        found[part["name"]] = int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0]) / 1024
    return found


def cpu(pids: list[int]) -> float:
    """Seconds of processor time."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def cluster() -> Iterator[float]:
    """A cluster of three nodes; how long it took."""
    took = fairway("up")
    try:
        yield took
    finally:
        fairway("down")


async def many_pods(api: Any, count: int) -> float:
    """Seconds until so many pods of one Deployment are ready."""
    labels = {"app": "many"}
    container = {"name": "pause", "image": "registry.k8s.io/pause:3.10"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}
    spec = {"replicas": count, "selector": {"matchLabels": labels}, "template": template}
    began = time.perf_counter()
    await api.create(DEPLOYMENTS, json.dumps({"metadata": {"name": "many"}, "spec": spec}).encode())
    query = {"fieldSelector": "metadata.name=many", "timeoutSeconds": "300"}
    async with api.open_watch(DEPLOYMENTS, query) as events:
        async for batch in events:
            for event in batch:
                if json.loads(bytes(event.object)).get("status", {}).get("readyReplicas", 0) >= count:
                    return time.perf_counter() - began
    raise SystemExit(f"{count} pods are not ready after 300 s")


async def new_pod(api: Any, number: int) -> float:
    """Seconds from the request for a pod to the first connection through its Service."""
    name = f"new-{number}"
    service = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    made = json.loads(await api.create(SERVICES, json.dumps({"metadata": {"name": name}, "spec": service}).encode()))
    container = {"name": "web", "image": "agnhost", "args": ["netexec", "--http-port=8080", "--udp-port=-1"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    began = time.perf_counter()
    await api.create(PODS, json.dumps({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}).encode())
    while not connects(made["spec"]["clusterIP"]):
        pass
    took = time.perf_counter() - began
    await api.delete(f"{PODS}/{name}")
    return took


def connects(address: str) -> bool:
    try:
        socket.create_connection((address, 80), 0.02).close()
    except OSError:
        time.sleep(0.005)
        return False
    return True


async def with_pods(count: int, new: int) -> tuple[float, float, list[float]]:
    from fairway.io.kube.client import ApiClient
    from fairway.io.kube.kubeconfig import Kubeconfig

    connection = Kubeconfig.read([Path("/run/fairway/fairway/kubeconfig")]).connection()
    async with ApiClient(connection, qps=-1.0) as api:
        times = [await new_pod(api, number) for number in range(new)]
        seconds = await many_pods(api, count)
        return seconds, sum(memory().values()), times


def measure(rounds: int, count: int, new: int) -> str:
    ups, used = [], []
    busy = os.getloadavg()[0]
    for _ in range(rounds - 1):
        with cluster() as took:
            ups.append(took)
            used.append(cpu([part["pid"] for part in parts()]))
    demo = fairway("up", "--demo")
    fairway("down")
    with cluster() as took:
        ups.append(took)
        used.append(cpu([part["pid"] for part in parts()]))
        time.sleep(REST_SECONDS)
        rest, pids = memory(), [part["pid"] for part in parts()]
        before = cpu(pids)
        time.sleep(REST_SECONDS)
        load = (cpu(pids) - before) / REST_SECONDS
        seconds, loaded, times = asyncio.run(with_pods(count, new))
    median = statistics.median(times)
    shown = ", ".join(f"{name} {mib:.0f}" for name, mib in rest.items())
    rows = [
        (
            "`fairway up` with 3 nodes, until all is ready",
            f"{statistics.median(ups):.1f} s (worst {max(ups):.1f})",
            "5 s",
        ),
        ("processor time of that", f"{statistics.median(used):.1f} s", ""),
        ("`fairway up --demo`, to its end", f"{demo:.1f} s", "15 s"),
        ("memory of the cluster at rest", f"{sum(rest.values()):.0f} MiB ({shown})", "300 MiB"),
        ("processor at rest", f"{load:.1%} of one", ""),
        ("pod created → reachable through its Service, median", f"{median:.2f} s (worst {max(times):.2f})", "1 s"),
        (f"a Deployment of {count} pods, until all are ready", f"{seconds:.1f} s", ""),
        (f"memory of the cluster with {count} pods", f"{loaded:.0f} MiB", ""),
    ]
    machine = f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    head = f"{machine}; medians of {rounds} rounds and of {new} pods; {busy:.1f} others wanted a CPU meanwhile\n\n"
    return head + "\n".join(
        ["| what | measured | limit |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    )


def write_page(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    block = f"<!-- cluster -->\n{text}\n<!-- /cluster -->"
    page = re.sub(r"<!-- cluster -->.*<!-- /cluster -->", lambda _: block, page, flags=re.DOTALL)
    PAGE.write_text(page, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pods", type=int, default=100)
    parser.add_argument("--new", type=int, default=20)
    parser.add_argument("--no-table", action="store_true", help="print only")
    options = parser.parse_args()
    if INSIDE not in os.environ:
        spaces = ["unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        first = 'mount -t tmpfs tmpfs /run && mkdir /run/home && ip link set lo up && exec "$@"'
        command = [*spaces, "--mount-proc", "sh", "-c", first, "sh", sys.executable, *sys.argv]
        return subprocess.run(command, env={**os.environ, INSIDE: "1", "HOME": "/run/home"}, check=False).returncode
    os.environ.pop("KUBECONFIG", None)
    table = measure(options.rounds, options.pods, options.new)
    sys.stdout.write(table + "\n")
    if not options.no_table:
        write_page(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
