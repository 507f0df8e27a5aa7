"""The server as a process before an API server: what it says before it knows, while it is reloaded, and as it goes."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from certificates import Authority
from dns_process import DnsProcess, eventually, serving
from dns_scenarios import OBJECTS, service
from dns_upstream import free_port
from fake_api import FakeApi
from fake_storage import SERVICES, SLICES

WEB = "web.default.svc.cluster.local"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as one:
        for collection, objects in OBJECTS.items():
            one.put_many(collection, objects)
        yield one


def corefile(pages: int, options: str, more: str = "") -> str:
    return (
        f".:$PORT {{\n bind 127.0.0.1\n errors\n ready 127.0.0.1:{pages}\n health 127.0.0.1:{pages + 1} {{\n"
        f"  lameduck 1s\n }}\n kubernetes cluster.local {{\n{options}\n }}\n{more}\n}}\n"
    )


def status(port: int) -> int:
    """Of the page that says whether the server is ready; 0 while nobody serves it."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_what_is_not_known_yet_is_a_failure_and_no_denial(tmp_path: Path, api: FakeApi) -> None:
    pages = free_port()
    api.fail(SLICES, 503, times=-1)
    with serving(tmp_path, corefile(pages, f"endpoint {api.url}\nstartup_timeout 0s")) as server:
        eventually(lambda: status(pages), "the page is not served")
        assert status(pages) == 503
        assert server.texts("nosuch.default.svc.cluster.local") == ["SERVFAIL"]
        reply = server.ask("svc.cluster.local")
        assert reply is not None
        assert reply.rcode() == dns.rcode.NOERROR  # exists whatever there is
        api.heal()
        eventually(lambda: status(pages) == 200, "never ready")
        assert server.texts("10-1-0-1.web.default.svc.cluster.local") == ["10.1.0.1"]
        assert server.texts("nosuch.default.svc.cluster.local") == ["NXDOMAIN"]


def test_the_start_waits_for_what_is_known_as_long_as_it_may(tmp_path: Path, api: FakeApi) -> None:
    api.fail(SLICES, 503, times=-1)
    threading.Timer(0.5, api.heal).start()
    options = f"kubeconfig {kubeconfig(tmp_path, api)} here\nstartup_timeout 20s"
    with serving(tmp_path / "dns", corefile(free_port(), options)) as server:
        # The first answer there is, is right.
        assert server.texts("peer-0.peers.default.svc.cluster.local") == ["10.1.1.1", "10.1.1.4"]


def kubeconfig(folder: Path, api: FakeApi) -> Path:
    """With two contexts, of which the current one leads nowhere."""
    path = folder / "kubeconfig"
    clusters = [
        {"name": "a", "cluster": {"server": "http://127.0.0.1:1"}},
        {"name": "b", "cluster": {"server": api.url}},
    ]
    contexts = [
        {"name": "nowhere", "context": {"cluster": "a", "user": "u"}},
        {"name": "here", "context": {"cluster": "b", "user": "u"}},
    ]
    users = [{"name": "u", "user": {}}]
    path.write_text(
        json.dumps({"clusters": clusters, "contexts": contexts, "users": users, "current-context": "nowhere"})
    )
    return path


def test_the_api_is_asked_over_tls_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    authority = Authority()
    server, client = authority.server("127.0.0.1"), authority.client("coredns")
    files = {
        "ca.pem": authority.pem,
        "server.pem": server.certificate,
        "server.key": server.key,
        "client.pem": client.certificate,
        "client.key": client.key,
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    with FakeApi(tls=context) as api:
        for collection, objects in OBJECTS.items():
            api.put_many(collection, objects)
        paths = " ".join(str(tmp_path / name) for name in ("client.pem", "client.key", "ca.pem"))
        options = f"endpoint {api.url}\ntls {paths}\nstartup_timeout 20s"
        with serving(tmp_path / "dns", corefile(free_port(), options)) as running:
            assert running.texts(WEB) == ["10.96.0.2"]


class Load:
    """Asks all the time, one question after the other on a socket of its own, and counts what stays unanswered."""

    def __init__(self, port: int, name: str) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self._query = dns.message.make_query(name, "A").to_wire()
        self._port = port
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(3)
            sock.connect(("127.0.0.1", self._port))
            while not self._is_over.is_set():
                try:
                    sock.send(self._query)
                    reply = dns.message.from_wire(sock.recv(4096))
                except OSError as error:
                    self.lost.append(repr(error))
                    continue
                self.answered += 1
                if reply.rcode() or not reply.answer:
                    self.lost.append(dns.rcode.to_text(reply.rcode()))

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()


@pytest.mark.parametrize("cached", ["", "cache 30"])
def test_reloads_and_changes_under_load_lose_nothing(tmp_path: Path, api: FakeApi, cached: str) -> None:
    pages, options = free_port(), f"endpoint {api.url}"
    with serving(tmp_path, corefile(pages, options, cached)) as server:
        names = [WEB, "10-1-0-1.web.default.svc.cluster.local"]  # from the finished answers, and from the plugins
        loads = [Load(server.port, name) for name in names for _ in range(2)]
        try:
            for number in range(8):
                # Another ttl needs other finished answers, another label selector another watch.
                more = f"ttl {30 + number}" + ("\nendpoint_pod_names" if number % 2 else "")
                server.write(corefile(pages, f"{options}\n{more}", cached))
                server.process.send_signal(signal.SIGUSR1)
                api.put(SERVICES, service(f"new-{number}", f"10.96.8.{number}"))
                eventually(lambda n=30 + number: has_taken(server, n), f"not taken: {number}")  # type: ignore[misc]
        finally:
            for load in loads:
                load.end()
    assert [load.lost for load in loads] == [[]] * 4
    assert min(load.answered for load in loads) > 20


def has_taken(server: DnsProcess, ttl: int) -> bool:
    """A SOA record is asked of the plugins, and tells the TTL that is in force, however long it was kept."""
    reply = server.ask("cluster.local", "SOA")
    return reply is not None and bool(reply.answer) and reply.answer[0][0].minimum == ttl


def test_a_signal_to_reload_is_heard_during_the_start(tmp_path: Path, api: FakeApi) -> None:
    api.fail(SLICES, 503, times=-1)
    options = f"endpoint {api.url}\nstartup_timeout 20s"
    (tmp_path / "dns").mkdir()
    server = DnsProcess(tmp_path / "dns", corefile(free_port(), options))
    try:
        api.wait_for(lambda: len(api.asked(SLICES)) > 0)
        server.write(corefile(free_port(), f"{options}\nttl 77"))
        server.process.send_signal(signal.SIGUSR1)
        api.heal()
        eventually(lambda: has_taken(server, 77), "not taken")
    finally:
        server.process.terminate()
        server.process.wait(20)


def test_a_lame_duck_answers_and_is_not_ready(tmp_path: Path, api: FakeApi) -> None:
    pages = free_port()
    with serving(tmp_path, corefile(pages, f"endpoint {api.url}")) as server:
        eventually(lambda: status(pages) == 200, "never ready")
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: status(pages) == 503, "still ready")
        assert server.texts(WEB) == ["10.96.0.2"]
        assert server.process.wait(20) == 0
        assert time.monotonic() - start >= 1.0
