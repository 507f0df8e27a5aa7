"""The API server: writes, reads, watches, lists, memory and start, ours and the real kube-apiserver's in one run.

usage: api.py [--seconds N] [--pods N] [--no-table]
Needs `wrk`. kube-apiserver with etcd is measured where `make peers` has built them; kubectl lists where one is found.
The table goes to docs/performance.md. Memory is PSS, etcd's not included.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
PEERS = ROOT / ".peers" / "bin"
NAMESPACE = "/api/v1/namespaces/default"
EVENTS = 300
COLUMNS = (
    ("ready_s", "start to ready s"),
    ("idle_mib", "idle MiB"),
    ("writes", "writes/s"),
    ("reads", "reads/s"),
    ("watch_p50_ms", "watch p50 ms"),
    ("watch_p99_ms", "p99 ms"),
    ("get_ms", "kubectl get, one ms"),
    ("list_s", "kubectl get, all pods by 500 s"),
    ("whole_s", "in one piece s"),
    ("full_mib", "MiB then"),
)
OURS = (
    ("fairway", ("--controllers", "none")),
    ("fairway, durability full", ("--controllers", "none", "--durability", "full")),
    ("fairway, all controllers", ()),
)


class Running(NamedTuple):
    """A server that answers."""

    kubeconfig: Path
    process: int
    ready_s: float


class Client:
    """Requests of the kubeconfig's user, over one connection."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self.address = config["clusters"][0]["cluster"]["server"].removeprefix("https://")
        self.headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._connection = http.client.HTTPSConnection(self.address, context=context, timeout=120)

    def open(self, method: str, path: str, body: Any = None) -> http.client.HTTPResponse:
        data = json.dumps(body) if body is not None else None
        self._connection.request(method, path, data, {**self.headers, "Content-Type": "application/json"})
        return self._connection.getresponse()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.open(method, path, body)
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_ready(kubeconfig: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException, FileNotFoundError, TypeError):
            if Client(kubeconfig).open("GET", "/readyz").status == 200:
                return
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode}")
        time.sleep(0.02)
    raise SystemExit("the server did not become ready")


@contextlib.contextmanager
def fairway(folder: Path, options: tuple[str, ...]) -> Iterator[Running]:
    kubeconfig = folder / "kubeconfig"
    command = [str(ROOT / ".venv/bin/fairway"), "apiserver", "--data", str(folder / "data")]
    command += ["--listen", f"127.0.0.1:{free_port()}", "--kubeconfig", str(kubeconfig), *options]
    begin = time.monotonic()
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_ready(kubeconfig, process)
            yield Running(kubeconfig, process.pid, time.monotonic() - begin)
        finally:
            process.terminate()


def write_kubeconfig(path: Path, port: int) -> None:
    cluster = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": "bench"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(json.dumps(document))


@contextlib.contextmanager
def kube_apiserver(folder: Path) -> Iterator[Running]:
    """The real one over the real etcd, which syncs its log as it does in production."""
    store, other, port = free_port(), free_port(), free_port()
    url, peer, kubeconfig = f"http://127.0.0.1:{store}", f"http://127.0.0.1:{other}", folder / "kubeconfig"
    write_kubeconfig(kubeconfig, port)
    subprocess.run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True)
    (folder / "tokens").write_text('bench,admin,1,"system:masters"\n')
    etcd = [PEERS / "etcd", "--data-dir", folder / "etcd", "--listen-client-urls", url, "--advertise-client-urls", url]
    etcd += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    flags = {
        "etcd-servers": url,
        "secure-port": port,
        "bind-address": "127.0.0.1",
        "cert-dir": folder / "certificates",
        "service-account-key-file": folder / "sa.key",
        "service-account-signing-key-file": folder / "sa.key",
        "service-account-issuer": "https://bench",
        "token-auth-file": folder / "tokens",
        "service-cluster-ip-range": "10.96.0.0/16",
        "disable-admission-plugins": "ServiceAccount",
    }
    with (folder / "log").open("wb") as log, subprocess.Popen(etcd, stdout=log, stderr=log) as below:
        command = [PEERS / "kube-apiserver", *(f"--{name}={value}" for name, value in flags.items())]
        begin = time.monotonic()
        with subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                wait_ready(kubeconfig, process)
                yield Running(kubeconfig, process.pid, time.monotonic() - begin)
            finally:
                process.kill()
                below.kill()


def memory_mib(process: int) -> float:
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return round(int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1]) / 1024, 1)  # type: ignore[index]


def load(client: Client, path: str, seconds: float, script: str = "") -> int:
    """Requests a second of 16 connections. `script` is Lua that makes the requests."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write(script)
        lua.flush()
        command = ["wrk", "-t1", "-c16", f"-d{seconds:g}s", *(["-s", lua.name] if script else [])]
        for name, value in client.headers.items():
            command += ["-H", f"{name}: {value}"]
        command += ["-H", "Content-Type: application/json", f"https://{client.address}{path}"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if found is None or (bad and int(bad[1]) > 20):
        raise SystemExit(f"wrk {path}: {text}")
    return round(float(found[1]))


def posting(document: str, names: str) -> str:
    """Lua that posts a document under ever new names; NAME stands for the number."""
    head, tail = (part.replace("'", "\\'") for part in document.split("NAME"))
    return (
        f"local n = 0\nrequest = function()\n n = n + 1\n"
        f" return wrk.format('POST', nil, nil, '{head}{names}-' .. n .. '{tail}')\nend\n"
    )


CONFIG_MAP = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"NAME"},"data":{"a":"b"}}'
POD = (
    '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"NAME","labels":{"app":"bench"}},'
    '"spec":{"nodeName":"none","containers":[{"name":"c","image":"i"}]}}'
)


def watched(client: Client, kubeconfig: Path) -> tuple[float, float]:
    """Milliseconds from a write's beginning to its event, median and 99th percentile."""
    version = client.call("GET", f"{NAMESPACE}/secrets")["metadata"]["resourceVersion"]
    stream = Client(kubeconfig).open("GET", f"{NAMESPACE}/secrets?watch=1&resourceVersion={version}")
    sent: dict[str, float] = {}
    late: list[float] = []

    def read() -> None:
        while len(late) < EVENTS and (line := stream.readline()):
            now = time.monotonic()
            late.append(now - sent[json.loads(line)["object"]["metadata"]["name"]])

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for number in range(EVENTS):
        sent[f"s-{number}"] = time.monotonic()
        client.call("POST", f"{NAMESPACE}/secrets", {"metadata": {"name": f"s-{number}"}})
        time.sleep(0.005)
    reader.join(30)
    if len(late) < EVENTS:
        raise SystemExit(f"{EVENTS - len(late)} events are missing")
    late.sort()
    return round(late[EVENTS // 2] * 1e3, 2), round(late[EVENTS * 99 // 100] * 1e3, 2)


def make_pods(client: Client, count: int) -> None:
    seconds = 2.0
    for batch in range(50):
        load(client, f"{NAMESPACE}/pods", seconds, posting(POD, f"p{batch}"))
        listed = client.call("GET", f"{NAMESPACE}/pods?limit=1")
        surplus = listed["metadata"].get("remainingItemCount", 0) + 1 - count
        if surplus >= 0:
            drop_pods(client, surplus)
            return
    raise SystemExit(f"{count} pods could not be made")


def drop_pods(client: Client, count: int) -> None:
    for pod in client.call("GET", f"{NAMESPACE}/pods?limit={count}")["items"] if count else ():
        client.call("DELETE", f"{NAMESPACE}/pods/{pod['metadata']['name']}", {"gracePeriodSeconds": 0})


def kubectl() -> str | None:
    """The newest one that is not older than 1.29: a plain `kubectl`, or one with its version in its name."""
    found = sorted(Path("/usr/lib/google-cloud-sdk/bin").glob("kubectl.1.*"))
    return str(found[-1]) if found else shutil.which("kubectl")


def timed(command: list[str]) -> float:
    begin = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - begin


def measure(running: Running, options: argparse.Namespace) -> dict[str, Any]:
    client = Client(running.kubeconfig)
    row: dict[str, Any] = {"ready_s": round(running.ready_s, 2)}
    time.sleep(3)
    row["idle_mib"] = memory_mib(running.process)
    row["writes"] = load(client, f"{NAMESPACE}/configmaps", options.seconds, posting(CONFIG_MAP, "c"))
    row["reads"] = load(client, f"{NAMESPACE}/configmaps/c-100", options.seconds)
    row["watch_p50_ms"], row["watch_p99_ms"] = watched(client, running.kubeconfig)
    make_pods(client, options.pods)
    program = kubectl()
    if program is not None:
        command = [program, "--kubeconfig", str(running.kubeconfig), "get"]
        timed([*command, "configmap", "c-100"])
        row["get_ms"] = round(min(timed([*command, "configmap", "c-100"]) for _ in range(5)) * 1e3)
        row["list_s"] = round(min(timed([*command, "pods"]) for _ in range(2)), 2)
        row["whole_s"] = round(min(timed([*command, "pods", "--chunk-size=0"]) for _ in range(3)), 2)
    row["full_mib"] = memory_mib(running.process)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(["server", *(title for _, title in COLUMNS)]) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    lines += [
        "| " + " | ".join([row["server"], *(f"{row[k]:,}" if k in row else "-" for k, _ in COLUMNS)]) + " |"
        for row in rows
    ]
    return "\n".join(lines)


def write_page(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    block = f"<!-- api -->\n{text}\n<!-- /api -->"
    PAGE.write_text(re.sub(r"<!-- api -->.*<!-- /api -->", lambda _: block, page, flags=re.DOTALL), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--no-table", action="store_true", help="print only")
    options = parser.parse_args()
    rows = []
    for name, flags in OURS:
        with tempfile.TemporaryDirectory() as folder, fairway(Path(folder), flags) as running:
            rows.append({"server": name, **measure(running, options)})
        sys.stderr.write(f"{rows[-1]}\n")
    if (PEERS / "kube-apiserver").exists() and (PEERS / "etcd").exists():
        with tempfile.TemporaryDirectory() as folder, kube_apiserver(Path(folder)) as running:
            rows.append({"server": "kube-apiserver", **measure(running, options)})
        sys.stderr.write(f"{rows[-1]}\n")
    machine = f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    text = f"{machine}; lists of {options.pods:,} pods\n\n{table(rows)}"
    sys.stdout.write(text + "\n")
    if not options.no_table:
        write_page(text)


if __name__ == "__main__":
    main()
