"""What following an API server costs: a list read and split, a watch event from the socket to the sink, a burst.

    python bench/listwatch.py [--services 50000] [--endpoints 5] [--events 500] [--uvloop]

A server in a process of its own sends ready-made bytes over loopback: the whole list in one body, as kube-apiserver
does when it lists from memory, and chunked watch events. An event's time runs from just before the server's `send` to
the sink's `apply`, so that it holds the kernel, the event loop, HTTP, splitting and decoding.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import multiprocessing.connection
import random
import resource
import socket
import statistics
import sys
import time
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

import msgspec

from fairway.agents.feed import Change, Feed
from fairway.agents.pager import read_list
from fairway.agents.reflector import Reflector
from fairway.io.host.clock import SystemClock
from fairway.io.kube.client import ApiClient
from fairway.io.kube.connection import Connection
from fairway.kube.decode import ENDPOINT_SLICE, SERVICE
from fairway.kube.endpointslice import EndpointSlice
from fairway.values.names import ObjectName


def service(number: int) -> dict[str, Any]:
    """A ClusterIP Service as an API server sends it."""
    ip = f"172.{16 + number // 65536}.{number // 256 % 256}.{number % 256}"
    return {
        "metadata": {"name": f"svc-{number}", "namespace": "scale", "uid": f"u{number}", "resourceVersion": "1"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": ip,
            "clusterIPs": [ip],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "selector": {"app": f"a{number}"},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
        },
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(number: int, endpoints: int, version: int = 1) -> dict[str, Any]:
    """A slice of that Service."""
    labels = {"kubernetes.io/service-name": f"svc-{number}"}
    name = {"name": f"svc-{number}-x", "namespace": "scale", "uid": f"e{number}", "resourceVersion": str(version)}
    return {
        "metadata": {**name, "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [
            {
                "addresses": [f"10.{k}.{number // 256 % 256}.{number % 256}"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"node-{k}",
            }
            for k in range(endpoints)
        ],
    }


def serve(listener: socket.socket, pipe: multiprocessing.connection.Connection, services: int, endpoints: int) -> None:
    """Answer lists with one body and watches with what the pipe asks for: so many events, in one write."""

    def body(items: list[dict[str, Any]]) -> bytes:
        return json.dumps({"metadata": {"resourceVersion": "1"}, "items": items}, separators=(",", ":")).encode()

    lists = {
        SERVICE.path: body([service(i) for i in range(services)]),
        ENDPOINT_SLICE.path: body([endpoint_slice(i, endpoints) for i in range(services)]),
    }
    pipe.send(sum(map(len, lists.values())))
    watch = None
    while watch is None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while head := connection.recv(65536):
            target = head.split(b" ", 2)[1].decode()
            if "watch=" in target:
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                watch = connection
                break
            data = lists[target.partition("?")[0]]
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    lists.clear()
    version = 2
    while count := pipe.recv():
        chunks = []
        for i in range(count):
            line = json.dumps({"type": "MODIFIED", "object": endpoint_slice(i, endpoints, version)}).encode() + b"\n"
            chunks.append(b"%x\r\n%s\r\n" % (len(line), line))
            version += 1
        data = b"".join(chunks)
        begin = time.monotonic()
        watch.sendall(data)
        pipe.send(begin)


class Sink:
    """Notes when changes arrived."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[float, int]] = asyncio.Queue()
        self.count = 0

    def replace(self, objects: Sequence[EndpointSlice], _kept: Collection[ObjectName]) -> None:
        """As a sink."""
        self.count = len(objects)

    def apply(self, changes: Sequence[Change[EndpointSlice]]) -> None:
        """As a sink."""
        self.arrived.put_nowait((time.monotonic(), len(changes)))


def mebibytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def read_raw(client: ApiClient, path: str) -> int:
    """Read and split a list without decoding an object."""
    counts: list[int] = []

    def take(items: list[msgspec.Raw]) -> None:
        counts.append(len(items))

    await read_list(client, path, {}, take, counts.clear)
    return sum(counts)


async def measure(url: str, pipe: multiprocessing.connection.Connection, events: int) -> None:
    """Print the figures."""
    async with ApiClient(Connection(url), qps=-1) as client:
        before = mebibytes()
        for path in (SERVICE.path, ENDPOINT_SLICE.path):
            cpu, wall = time.process_time(), time.perf_counter()
            count = await read_raw(client, path)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            print(f"{path}: {count} objects split, CPU {cpu * 1e3:.0f} ms, wall {wall * 1e3:.0f} ms")
        print(f"memory for that: {mebibytes() - before:.1f} MiB over what there was")
        sink = Sink()
        cpu = time.process_time()
        reflector = Reflector(client, Feed(ENDPOINT_SLICE, sink), SystemClock(), random.random, streams=False)
        following = asyncio.create_task(reflector.run())
        await reflector.wait_synced()
        print(f"slices listed and decoded: {sink.count}, CPU {(time.process_time() - cpu) * 1e3:.0f} ms")
        await asyncio.sleep(0.2)
        await event_times(sink, pipe, events)
        following.cancel()


async def event_times(sink: Sink, pipe: multiprocessing.connection.Connection, events: int) -> None:
    """One event at a time, then a thousand at once."""
    times = []
    cpu = time.process_time()
    for _ in range(events):
        pipe.send(1)
        arrived, _ = await sink.arrived.get()
        times.append((arrived - pipe.recv()) * 1e6)
        await asyncio.sleep(0.002)
    cpu = (time.process_time() - cpu) / events * 1e6
    times.sort()
    p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
    print(f"watch event to sink: p50 {p50:.0f} µs, p99 {p99:.0f} µs, CPU {cpu:.0f} µs with the measuring")
    pipe.send(1000)
    batches: list[int] = []
    arrived = 0.0
    while sum(batches) < 1000:
        arrived, count = await sink.arrived.get()
        batches.append(count)
    print(f"1000 events in one write: {(arrived - pipe.recv()) * 1e3:.1f} ms, in batches of {batches}")


def main() -> None:
    """Parse flags, start the server, measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--services", type=int, default=50_000)
    parser.add_argument("--endpoints", type=int, default=5)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--uvloop", action="store_true")
    flags = parser.parse_args()
    context = multiprocessing.get_context("fork")
    listener = socket.create_server(("127.0.0.1", 0))
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(listener, theirs, flags.services, flags.endpoints), daemon=True)
    server.start()
    print(f"bodies: {ours.recv() / 1e6:.0f} MB")
    work: Coroutine[Any, Any, None] = measure(f"http://127.0.0.1:{listener.getsockname()[1]}", ours, flags.events)
    if flags.uvloop:
        import uvloop

        uvloop.run(work)
    else:
        asyncio.run(work)
    server.terminate()


if __name__ == "__main__":
    sys.exit(main())
