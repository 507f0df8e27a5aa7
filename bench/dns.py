"""The DNS server, and CoreDNS beside it if it is there, in one run: CPU time a query, memory, start, change to answer.

usage: bench/dns.py [--size 1000] [--size 10000+50000] [--seconds 5] [--peers .peers] [--write]
A size is a number of Services, perhaps with a number of pods, whose names are then verified. `--write` puts the table
into docs/performance.md.
Runs in a private network namespace with a stub API server; needs root and dnsperf. The server is pinned to one core and
dnsperf to another; CPU time a query is what compares, since dnsperf itself tops out near 120,000 a second.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlparse

HEADLESS = 10
"""Every tenth Service."""
ENDPOINTS = 5
API_PORT, DNS_PORT, UPSTREAM_PORT = 18001, 1053, 18053
KINDS = {
    "/api/v1/services": ("v1", "Service"),
    "/api/v1/namespaces": ("v1", "Namespace"),
    "/apis/discovery.k8s.io/v1/endpointslices": ("discovery.k8s.io/v1", "EndpointSlice"),
    "/api/v1/pods": ("v1", "Pod"),
}
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
COREFILE = """.:{port} {{
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        endpoint http://127.0.0.1:{api}
        pods {pods}
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    loadbalance
    forward . 127.0.0.1:{upstream}
}}
"""
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
MARK = re.compile(r"<!-- dns -->.*<!-- /dns -->", re.DOTALL)
OUTSIDE = 200
"""Names outside the cluster that are asked for: after the first time they are answered from the cache."""


def cluster_ip(number: int) -> str:
    return f"172.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def service(number: int) -> dict[str, Any]:
    address = "None" if number % HEADLESS == 0 else cluster_ip(number)
    ports = [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}]
    meta = {"name": f"svc-{number}", "namespace": "scale", "uid": f"u{number}", "resourceVersion": "1"}
    spec = {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": ports}
    return {"kind": "Service", "apiVersion": "v1", "metadata": meta, "spec": spec}


def endpoint(number: int, index: int, shift: int = 0) -> str:
    value = (number * ENDPOINTS + index) * 2 + shift
    return f"10.{value >> 16}.{value >> 8 & 255}.{value & 255}"


def slice_of(number: int, version: str = "1", shift: int = 0) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": f"svc-{number}"}
    meta = {"name": f"svc-{number}-x", "namespace": "scale", "uid": f"e{number}", "resourceVersion": version}
    addresses = [endpoint(number, 0, shift), *(endpoint(number, k) for k in range(1, ENDPOINTS))]
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": meta | {"labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
    }


def pod(number: int) -> dict[str, Any]:
    address = f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    meta = {"name": f"pod-{number}", "namespace": "scale", "uid": f"p{number}", "resourceVersion": "1"}
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "status": status}


def serve_upstream() -> None:
    """Every name has one address, for an hour."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 33, 4 * 1024 * 1024)  # SO_RCVBUFFORCE: it shall lose nothing
    sock.bind(("127.0.0.1", UPSTREAM_PORT))
    record = b"\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4\xc0\0\2\1"
    while True:
        data, client = sock.recvfrom(4096)
        end = data.index(b"\0", 12) + 5
        sock.sendto(data[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + data[12:end] + record, client)


class StubApi:
    """Lists and watches over plain HTTP."""

    def __init__(self, services: int, pods: int) -> None:
        objects = {
            "/api/v1/services": [service(i) for i in range(1, services + 1)],
            "/api/v1/namespaces": [_namespace(name) for name in ("default", "scale")],
            SLICES: [slice_of(i) for i in range(1, services + 1)],
            "/api/v1/pods": [pod(i) for i in range(1, pods + 1)],
        }
        self.bodies = {path: _list(path, items) for path, items in objects.items()}
        self.watchers: dict[str, list[Any]] = {path: [] for path in KINDS}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                url = urlparse(self.path)
                query = parse_qs(url.query)
                if url.path not in KINDS or query.get("sendInitialEvents"):
                    self.answer(404 if url.path not in KINDS else 422)
                elif not query.get("watch"):
                    self.answer(200, stub.bodies[url.path])
                else:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.wfile.flush()
                    stub.watchers[url.path].append(self.wfile)
                    threading.Event().wait(36000)

            def answer(self, code: int, body: bytes = b'{"kind":"Status","status":"Failure"}') -> None:
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        server = ThreadingHTTPServer(("127.0.0.1", API_PORT), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def change(self, one: dict[str, Any]) -> None:
        line = json.dumps({"type": "MODIFIED", "object": one}).encode() + b"\n"
        for watcher in self.watchers[SLICES]:
            watcher.write(b"%x\r\n%s\r\n" % (len(line), line))
            watcher.flush()


def _namespace(name: str) -> dict[str, Any]:
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name, "uid": name, "resourceVersion": "1"}}


def _list(path: str, items: list[Any]) -> bytes:
    version, kind = KINDS[path]
    whole = {"kind": f"{kind}List", "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": items}
    return json.dumps(whole).encode()


def ask(name: str) -> bytes:
    labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))
    query = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.connect(("127.0.0.1", DNS_PORT))
        sock.send(query)
        return sock.recv(65535)


class Program(NamedTuple):
    name: str
    command: list[str]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return round(int(found[1]) / 1024) if found else 0


def load(pid: int, lines: list[str], seconds: int) -> tuple[int, float]:
    """Queries a second, and the server's microseconds a query."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        before = cpu_seconds(pid)
        command = ["taskset", "-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", str(DNS_PORT), "-d", file.name]
        done = subprocess.run(
            [*command, "-l", str(seconds), "-c", "8", "-q", "400"], capture_output=True, text=True, check=True
        )
    spent = cpu_seconds(pid) - before
    rate = re.search(r"Queries per second:\s+([\d.]+)", done.stdout)
    count = re.search(r"Queries completed:\s+(\d+)", done.stdout)
    assert rate
    assert count
    return round(float(rate[1])), round(spent / int(count[1]) * 1e6, 1)


def questions(services: int) -> Iterator[tuple[str, list[str]]]:
    plain = [i for i in range(1, services + 1) if i % HEADLESS][:20000]
    headless = [i for i in range(1, services + 1) if i % HEADLESS == 0][:20000]
    suffix = "scale.svc.cluster.local"
    yield "A", [f"svc-{i}.{suffix} A" for i in plain]
    yield "NXDOMAIN", [f"svc-{i}.{suffix}.{suffix} A" for i in plain]
    yield "headless", [f"svc-{i}.{suffix} A" for i in headless]
    yield "SRV", [f"_http._tcp.svc-{i}.{suffix} SRV" for i in plain]
    yield "outside, cached", [f"host-{i}.example.org A" for i in range(OUTSIDE)]
    search = (f"{suffix}.", "svc.cluster.local.", "cluster.local.", "")
    yield "search list", [f"host-{i % OUTSIDE}.example.org.{end} A" for i in range(5000) for end in search]
    yield "outside, not cached", [f"new-{i}.example.net A" for i in range(400_000)]
    yield "PTR", [".".join(reversed(cluster_ip(i).split("."))) + ".in-addr.arpa PTR" for i in plain]


def until(check: Callable[[], bool], seconds: float) -> float:
    start = time.monotonic()
    while True:
        try:
            if check():
                return time.monotonic() - start
        except OSError:
            pass
        if time.monotonic() - start > seconds:
            sys.exit("the server does not answer")


def measure(program: Program, size: str, seconds: int) -> dict[str, Any]:
    """One server, one size."""
    services, pods = (int(text or 0) for text in size.partition("+")[::2])
    upstream = multiprocessing.Process(target=serve_upstream, daemon=True)
    upstream.start()
    api = StubApi(services, pods)
    found: dict[str, Any] = {"server": program.name, "size": size}
    with tempfile.TemporaryDirectory() as folder:
        corefile = Path(folder, "Corefile")
        mode = "verified" if pods else "insecure"
        corefile.write_text(COREFILE.format(port=DNS_PORT, api=API_PORT, pods=mode, upstream=UPSTREAM_PORT))
        command = ["taskset", "-c", "0", *(str(corefile) if word == "COREFILE" else word for word in program.command)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            last = services - 1 if services % HEADLESS == 0 else services
            found["start s"] = round(until(lambda: ask(f"svc-{last}.scale.svc.cluster.local")[7] == 1, 120), 2)
            time.sleep(2)
            found["MiB"] = resident_mib(process.pid)
            for name, lines in questions(services):
                for number in range(OUTSIDE) if name in {"outside, cached", "search list"} else ():
                    until(lambda name=f"host-{number}.example.org": ask(name)[7] == 1, 30)  # into the cache
                found[f"{name} QPS"], found[f"{name} µs"] = load(process.pid, lines, seconds)
            found["change ms"] = round(statistics.median(changes(api, services)) * 1e3, 2)
        finally:
            process.terminate()
            process.wait(20)
            upstream.kill()
    return found


def changes(api: StubApi, services: int) -> Iterator[float]:
    number = max(HEADLESS, services // 2 // HEADLESS * HEADLESS)
    for k in range(20):
        shift = (k + 1) % 2
        wanted, one = socket.inet_aton(endpoint(number, 0, shift)), slice_of(number, str(10 + k), shift)
        start = time.monotonic()
        api.change(one)
        until(lambda wanted=wanted: wanted in ask(f"svc-{number}.scale.svc.cluster.local"), 30)
        yield time.monotonic() - start
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", action="append")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--peers", default=".peers")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    programs = [Program("fairway", [str(Path(sys.executable).with_name("fairway")), "dns", "--conf", "COREFILE"])]
    coredns = Path(options.peers, "bin", "coredns")
    if coredns.exists():
        programs.append(Program("coredns", [str(coredns.resolve()), "-conf", "COREFILE"]))
    if options.inside:
        chosen = next(p for p in programs if p.name == options.inside[0])
        sys.stdout.write(json.dumps(measure(chosen, options.inside[1], options.seconds)) + "\n")
        sys.stdout.flush()
        os._exit(0)  # the stub's watchers wait for ever
    sizes = options.size or ("1000", "10000+50000", "50000")
    table = _table([_in_namespace(p, size, options) for size in sizes for p in programs])
    sys.stdout.write(table)
    if options.write:
        about = f"Linux {os.uname().release}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
        text = f"<!-- dns -->\n{about}; {options.seconds} s a row\n\n{table}<!-- /dns -->"
        PAGE.write_text(MARK.sub(lambda _: text, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def _in_namespace(program: Program, size: str, options: argparse.Namespace) -> dict[str, Any]:
    name = f"bench-dns-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        inside = ["--inside", program.name, size, "--seconds", str(options.seconds), "--peers", options.peers]
        command = ["ip", "netns", "exec", name, sys.executable, __file__, *inside]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def _table(rows: list[dict[str, Any]]) -> str:
    """A column for each server and size."""
    heads = [f"{row['server']} {row['size']}" for row in rows]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(rows) + 1) + "|"]
    lines += [f"| {key} | " + " | ".join(f"{row[key]:,}" for row in rows) + " |" for key in list(rows[0])[2:]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
