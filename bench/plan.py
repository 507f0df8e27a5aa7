"""How fast the pure half is: objects to state, plan, items and difference, without a kernel.

    python bench/plan.py [--services 44000x1 50000x5 …] [--changes 200]

Prints one line a size: decoding, cold plan, one endpoint changed (p50, p99), memory. Each size runs in a process of its
own, so that memory is its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from fairway.dataplanes.nftables.dataplane import NftablesDataplane
from fairway.kube import decode
from fairway.plan.planner import Planner, ServiceChange
from fairway.plan.view import DetectLocal, Detector, NodeView
from fairway.reconcile.difference import Difference
from fairway.state.tables import State, Writer
from fairway.values.address import Address, Family, Prefix
from fairway.values.names import ObjectName

SIZES = ("1000x5", "30000x4", "44000x1", "50000x5")
VIEW = NodeView(
    name="node-1",
    family=Family.IPV4,
    zone="zone-a",
    addresses=(Address.parse("127.0.0.1"), Address.parse("192.168.0.2")),
    primary=Address.parse("192.168.0.2"),
    node_port_addresses=(Address.parse("192.168.0.2"),),
    detector=Detector(DetectLocal.PREFIXES, prefixes=(Prefix.parse("10.0.0.0/8"),)),
    service_cidrs=(Prefix.parse("172.16.0.0/12"),),
)


class Figures(NamedTuple):
    """One size, measured."""

    services: int
    endpoints: int
    decode_seconds: float
    plan_seconds: float
    change_p50: float
    change_p99: float
    mebibytes: float


def service_json(number: int) -> bytes:
    """A ClusterIP Service as an API server sends it."""
    ip = f"172.{16 + number // 65536}.{number // 256 % 256}.{number % 256}"
    tree = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"service-{number}",
            "namespace": "bench",
            "uid": f"{number:08x}-0000-4000-8000-000000000000",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": ip,
            "clusterIPs": [ip],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
        },
        "status": {"loadBalancer": {}},
    }
    return json.dumps(tree).encode()


def slice_json(number: int, endpoints: int, generation: int = 0) -> bytes:
    """Its slice; another generation has another last endpoint."""
    first = number * 8
    places = [first + place for place in range(endpoints - 1)] + [first + endpoints - 1 + generation % 2]
    tree = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"service-{number}-abcde",
            "namespace": "bench",
            "labels": {"kubernetes.io/service-name": f"service-{number}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [f"10.{place // 65536}.{place // 256 % 256}.{place % 256}"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"node-{place % 100}",
                "targetRef": {"kind": "Pod", "name": f"pod-{place}", "namespace": "bench"},
            }
            for place in places
        ],
    }
    return json.dumps(tree).encode()


class Bench:
    """State, plan, items and difference of one family; a write always succeeds."""

    def __init__(self, services: int, endpoints: int) -> None:
        self.services, self.endpoints = services, endpoints
        self.state = State()
        self.writer = Writer(self.state)
        self.planner = Planner(self.state, VIEW)
        self.dataplane = NftablesDataplane()
        self.difference = Difference(self.dataplane.containers)

    def objects(self) -> Iterator[tuple[bytes, bytes]]:
        for number in range(self.services):
            yield service_json(number), slice_json(number, self.endpoints)

    def decode_all(self) -> float:
        """Seconds spent in decoding and in the state's tables."""
        spent = 0.0
        for service, one in self.objects():
            started = time.process_time()
            self.writer.put_service(decode.SERVICE.decode(service))
            self.writer.put_slice(decode.ENDPOINT_SLICE.decode(one))
            spent += time.process_time() - started
        return spent

    def plan(self, names: list[ObjectName]) -> None:
        """Plan, want, and pretend that the kernel took it."""
        self._want(self.planner.replan(names))
        self.difference.applied(self.difference.pending())

    def _want(self, changes: list[ServiceChange]) -> None:
        dataplane, difference = self.dataplane, self.difference
        for change in changes:
            difference.set_wanted(change.name, dataplane.service_items(change.after) if change.after else ())
            for port in change.ports:
                difference.set_wanted(port.name, dataplane.port_items(port.after) if port.after else ())

    def plan_all(self) -> float:
        """Seconds of CPU for the whole plan, in chunks as the agent does it."""
        self.writer.take_changes()
        names = list(self.state.service_names())
        started = time.process_time()
        for first in range(0, len(names), 250):
            self.plan(names[first : first + 250])
        self.difference.start_pruning()
        return time.process_time() - started

    def change(self, number: int, generation: int) -> float:
        """Seconds from the decoded slice to no pending operation, one endpoint replaced."""
        raw = slice_json(number, self.endpoints, generation)
        started = time.perf_counter()
        self.writer.put_slice(decode.ENDPOINT_SLICE.decode(raw))
        self.plan(list(self.writer.take_changes().services))
        return time.perf_counter() - started


def measure(services: int, endpoints: int, changes: int) -> Figures:
    """One size, in this process."""
    gc.disable()  # as the agent does: everything kept is acyclic
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bench = Bench(services, endpoints)
    decoded = bench.decode_all()
    planned = bench.plan_all()
    times = sorted(bench.change(n * 7919 % services, 1 + n // services) for n in range(changes))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    p99 = times[min(len(times) - 1, len(times) * 99 // 100)]
    return Figures(services, endpoints, decoded, planned, statistics.median(times), p99, grown / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", nargs="*", default=SIZES, help="sizes, as SERVICESxENDPOINTS")
    parser.add_argument("--changes", type=int, default=2000)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        services, endpoints = (int(part) for part in arguments.one.split("x"))
        sys.stdout.write(json.dumps(measure(services, endpoints, arguments.changes)) + "\n")
        return
    print("      services    decode  cold plan  services/s  change p50       p99    memory")
    for size in arguments.services:
        command = [sys.executable, __file__, "--one", size, "--changes", str(arguments.changes)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        f = Figures(*json.loads(done.stdout))
        print(
            f"{f'{f.services} x {f.endpoints}':>14} {f.decode_seconds:>7.2f} s {f.plan_seconds:>8.2f} s "
            f"{f.services / f.plan_seconds:>11.0f} {f.change_p50 * 1e6:>8.0f} µs {f.change_p99 * 1e6:>6.0f} µs "
            f"{f.mebibytes:>5.0f} MiB"
        )


if __name__ == "__main__":
    main()
