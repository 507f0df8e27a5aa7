"""One measurement of one Service proxy at one size, in the network namespace it is started in; prints one JSON line.

Cold start: from the process's start until the first, the middle and the last Service answer. Change: from the write of
a watch event to a new connection that reaches the new endpoint. Burst: 1,000 changed slices until the last one's
Service answers anew. First connect: the time of connect() through a Service, against connect() to the pod itself.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from api_stub import NODES, SERVICE_CIDRS, SERVICES, SLICES, ApiStub, Object

BACKENDS = ("10.255.0.1", "10.255.0.2")
BURST = 1000
PORT = 8080


class Town:
    """The objects: `count` Services, of which three lead to servers that answer."""

    def __init__(self, count: int, endpoints: int) -> None:
        self.count, self.endpoints = count, endpoints
        self.probes = (1, max(2, count // 2), count)
        self.version = 10

    @staticmethod
    def address(index: int) -> str:
        return f"172.{16 + (index >> 16)}.{index >> 8 & 255}.{index & 255}"

    def pods(self, index: int) -> list[str]:
        if index in self.probes:
            return [BACKENDS[0]]
        first = index * self.endpoints
        return [f"10.{j >> 16}.{j >> 8 & 255}.{j & 255}" for j in range(first, first + self.endpoints)]

    def service(self, index: int) -> Object:
        ip = self.address(index)
        return {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {"name": f"svc-{index}", "namespace": "bench", "uid": f"u{index}", "resourceVersion": "1"},
            "spec": {
                "type": "ClusterIP",
                "clusterIP": ip,
                "clusterIPs": [ip],
                "ipFamilies": ["IPv4"],
                "internalTrafficPolicy": "Cluster",
                "sessionAffinity": "None",
                "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": PORT}],
            },
            "status": {"loadBalancer": {}},
        }

    def slice(self, index: int, addresses: list[str]) -> Object:
        self.version += 1
        ready = {"ready": True, "serving": True, "terminating": False}
        return {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": f"svc-{index}-x",
                "namespace": "bench",
                "uid": f"e{index}",
                "resourceVersion": str(self.version),
                "labels": {"kubernetes.io/service-name": f"svc-{index}"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "protocol": "TCP", "port": PORT}],
            "endpoints": [{"addresses": [a], "conditions": ready, "nodeName": "node-a"} for a in addresses],
        }

    def objects(self) -> dict[str, list[Object]]:
        node = {
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {"name": "node-a", "uid": "n", "resourceVersion": "1"},
            "spec": {"podCIDR": "10.0.0.0/8", "podCIDRs": ["10.0.0.0/8"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.2"}]},
        }
        cidr = {
            "kind": "ServiceCIDR",
            "apiVersion": "networking.k8s.io/v1",
            "metadata": {"name": "kubernetes", "uid": "c", "resourceVersion": "1"},
            "spec": {"cidrs": ["172.16.0.0/12"]},
        }
        indexes = range(1, self.count + 1)
        return {
            SERVICES: [self.service(i) for i in indexes],
            SLICES: [self.slice(i, self.pods(i)) for i in indexes],
            NODES: [node],
            SERVICE_CIDRS: [cidr],
        }


def serve(address: str) -> None:
    """Answer each connection with the last letter of the address."""
    listener = socket.create_server((address, PORT), backlog=4096)
    while True:
        connection, _ = listener.accept()
        connection.sendall(address[-1].encode())
        connection.close()


def ask(address: str, port: int = 80, patience: float = 0.5) -> tuple[float, str]:
    """Seconds that connect() took, and the answer."""
    with socket.socket() as client:
        client.settimeout(patience)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        started = time.perf_counter()
        client.connect((address, port))
        return time.perf_counter() - started, client.recv(1).decode()


def wait_for(address: str, answer: str, limit: float) -> None:
    """Return when the Service is answered by this backend; by any, when `answer` is empty."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            found = ask(address)[1]
            if not answer or found == answer:
                return
        except OSError:
            pass
        time.sleep(0.0005)
    raise TimeoutError(f"{address} is not answered by {answer!r} after {limit:.0f} s")


def connect_times(*targets: tuple[str, int]) -> list[float]:
    """Median µs of connect() to each target, asked in turns so that noise falls on all alike."""
    seen: list[list[float]] = [[] for _ in targets]
    for _ in range(1500):
        for times, target in zip(seen, targets, strict=True):
            times.append(ask(*target)[0])
    return [statistics.median(times) * 1e6 for times in seen]


def descendants(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    ticks = 0
    for one in descendants(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    total = 0
    for one in descendants(pid):
        line = next(x for x in Path(f"/proc/{one}/status").read_text().splitlines() if x.startswith("VmRSS"))
        total += int(line.split()[1])
    return total / 1024


def settle(pid: int) -> None:
    """Return when the proxy did nothing for two seconds."""
    quiet, before = 0, cpu_seconds(pid)
    while quiet < 4:
        time.sleep(0.5)
        now = cpu_seconds(pid)
        quiet = quiet + 1 if now - before < 0.05 else 0
        before = now


def measure_changes(town: Town, api: ApiStub, changes: int, gap: float) -> list[float]:
    """Seconds from event to connection, change by change."""
    times = []
    for k in range(changes):
        index, backend = town.probes[k % 3], BACKENDS[(k // 3 + 1) % 2]
        started = time.monotonic()
        api.push(SLICES, town.slice(index, [backend]))
        wait_for(town.address(index), backend[-1], 120)
        times.append(time.monotonic() - started)
        time.sleep(gap)
    return times


def measure_burst(town: Town, api: ApiStub) -> float:
    """Milliseconds until the last of many changed slices is in effect."""
    last = town.probes[2]
    now = ask(town.address(last))[1]
    backend = next(b for b in BACKENDS if b[-1] != now)
    others = [i for i in range(2, town.count) if i not in town.probes][: BURST - 1]
    objects = [town.slice(i, [f"10.200.{i >> 8 & 255}.{i & 255}"]) for i in others] + [town.slice(last, [backend])]
    started = time.monotonic()
    api.push(SLICES, *objects)
    wait_for(town.address(last), backend[-1], 120)
    return (time.monotonic() - started) * 1e3


def configuration(kubeconfig: Path) -> Object:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": "node-a",
        "clusterCIDR": "10.0.0.0/8",
        "bindAddress": "0.0.0.0",
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clientConnection": {"kubeconfig": str(kubeconfig), "contentType": "application/json"},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nftables": {"minSyncPeriod": "1ms"},
    }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    town = Town(options.services, options.endpoints)
    api = ApiStub(town.objects())
    kubeconfig, config = folder / "kubeconfig", folder / "config"
    kubeconfig.write_text(json.dumps(api.kubeconfig))
    config.write_text(json.dumps(configuration(kubeconfig)))
    context = multiprocessing.get_context("fork")
    servers = [context.Process(target=serve, args=(address,), daemon=True) for address in BACKENDS]
    for server in servers:
        server.start()
    command = shlex.split(options.proxy.format(config=config))
    with (folder / "log").open("wb") as log:
        started = time.monotonic()
        proxy = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for index in reversed(town.probes):
                wait_for(town.address(index), "", options.limit)
            cold = time.monotonic() - started
            settle(proxy.pid)
            before = cpu_seconds(proxy.pid)
            times = sorted(measure_changes(town, api, options.changes, options.gap))
            cpu = cpu_seconds(proxy.pid) - before
            memory = memory_mib(proxy.pid)
            burst = measure_burst(town, api)
            direct, through = connect_times((BACKENDS[0], PORT), (town.address(town.probes[1]), 80))
        finally:
            proxy.terminate()
            proxy.wait(30)
            for server in servers:
                server.terminate()
    return {
        "services": options.services,
        "endpoints": options.endpoints,
        "cold_start_s": round(cold, 2),
        "change_p50_ms": round(statistics.median(times) * 1e3, 2),
        "change_p99_ms": round(times[int(len(times) * 0.99)] * 1e3, 2),
        "change_cpu_ms": round(cpu / len(times) * 1e3, 2),
        "burst_ms": round(burst, 1),
        "memory_mib": round(memory),
        "connect_us": round(through, 1),
        "direct_us": round(direct, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, required=True)
    parser.add_argument("--endpoints", type=int, default=1)
    parser.add_argument("--changes", type=int, default=30)
    parser.add_argument("--gap", type=float, default=0.3, help="seconds between changes")
    parser.add_argument("--limit", type=float, default=300, help="seconds to wait for the first answers")
    parser.add_argument("--proxy", required=True, help="command; {config} is its configuration file")
    with tempfile.TemporaryDirectory() as folder:
        result = measure(parser.parse_args(), Path(folder))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
