"""The server as a process: starts, answers, takes a changed Corefile and keeps the old one when that is bad, ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest

FAIRWAY = Path(sys.executable).with_name("fairway")


def free_ports(count: int) -> list[int]:
    socks = [socket.socket() for _ in range(count)]
    try:
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]
    finally:
        for sock in socks:
            sock.close()


def eventually(check: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, what
        time.sleep(0.02)


class Running:
    """A server that answers from the lines of its own `hosts` blocks."""

    def __init__(self, folder: Path) -> None:
        self.port, self.health, self.ready, self.metrics = free_ports(4)
        self.corefile = folder / "Corefile"
        self.write("10.0.0.1 a.test")
        command = [FAIRWAY, "dns", "--conf", str(self.corefile)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def write(self, line: str) -> None:
        self.corefile.write_text(
            f".:{self.port} {{\n bind 127.0.0.1\n errors\n health 127.0.0.1:{self.health}\n"
            f" ready 127.0.0.1:{self.ready}\n prometheus 127.0.0.1:{self.metrics}\n hosts {{\n  {line}\n }}\n}}\n"
        )

    def ask(self, name: str, *, tcp: bool = False) -> dns.message.Message | None:
        ask = dns.query.tcp if tcp else dns.query.udp
        try:
            return ask(dns.message.make_query(name, "A"), "127.0.0.1", port=self.port, timeout=2)
        except (OSError, dns.exception.Timeout):
            return None

    def answers(self, name: str, address: str) -> bool:
        reply = self.ask(name)
        return reply is not None and address in str(reply.answer)

    def serves(self, port: int) -> bool:
        try:
            return self.get(port, "/")[0] == 404
        except OSError:
            return False

    def get(self, port: int, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    server = Running(tmp_path)
    try:
        eventually(lambda: server.answers("a.test", "10.0.0.1"), "the server does not answer")
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def test_a_changed_corefile_is_taken_and_a_bad_one_changes_nothing(running: Running) -> None:
    running.write("10.0.0.2 b.test")
    running.process.send_signal(signal.SIGUSR1)
    eventually(lambda: running.answers("b.test", "10.0.0.2"), "the new file is not taken")
    running.corefile.write_text(".:53 {\n nonsense\n}\n")
    running.process.send_signal(signal.SIGUSR1)
    eventually(
        lambda: "coredns_reload_failed_total 1" in running.get(running.metrics, "/metrics")[1], "nothing was counted"
    )
    assert running.answers("b.test", "10.0.0.2")


def test_health_readiness_and_metrics_under_corednss_names(running: Running) -> None:
    eventually(lambda: running.get(running.health, "/health") == (200, "OK"), "no health")
    assert running.get(running.ready, "/ready") == (200, "OK")
    assert running.ask("a.test", tcp=True) is not None
    text = running.get(running.metrics, "/metrics")[1]
    labels = f'server="dns://127.0.0.1:{running.port}",zone=".",view=""'
    assert f'coredns_dns_requests_total{{{labels},proto="tcp",family="1",type="A"}} 1' in text
    assert f'coredns_dns_responses_total{{{labels},rcode="NOERROR",plugin="hosts"}}' in text
    assert "coredns_dns_request_duration_seconds_bucket" in text


def test_after_a_reload_pages_are_served_where_the_new_file_says(running: Running) -> None:
    old, (running.ready,) = running.ready, free_ports(1)
    running.write("10.0.0.1 a.test")
    running.process.send_signal(signal.SIGUSR1)
    eventually(lambda: running.serves(running.ready), "not served at the new address")
    eventually(lambda: not running.serves(old), "still served at the old address")
    assert running.serves(running.health)


def test_explain_says_what_a_running_server_answers(running: Running) -> None:
    command = [
        FAIRWAY,
        "explain",
        "dns",
        "--conf",
        running.corefile,
        "--server",
        f"127.0.0.1:{running.port}",
        "a.test.",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"127.0.0.1:{running.port} answers the same" in done.stdout
    running.write("10.0.0.9 a.test")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert f"127.0.0.1:{running.port} answers NOERROR; A 10.0.0.1" in done.stdout


def test_reloading_under_load_loses_no_query(running: Running) -> None:
    for number in range(12):
        running.write(f"10.0.0.1 a.test\n  10.0.1.{number} c{number}.test")
        running.process.send_signal(signal.SIGUSR1)
        for _ in range(20):
            assert running.answers("a.test", "10.0.0.1")
    eventually(lambda: running.answers("c11.test", "10.0.1.11"), "the last file is not taken")


def test_the_server_ends_when_told(running: Running) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(20) == 0


def test_a_bad_corefile_ends_the_start_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "Corefile"
    path.write_text(".:53 {\n  kubernets\n}\n")
    done = subprocess.run([FAIRWAY, "dns", "--conf", path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{path}:2: unknown directive 'kubernets'" in done.stderr


@pytest.mark.parametrize(
    ("plugin", "problem"),
    [
        ("file db a.test", "db: zone a.test.: no SOA record at its origin"),
        ("file gone a.test", "gone: No such file or directory"),
        ("loadbalance weighted weights", "weights:1: 10.0.0.1 stands before the first name"),
        (
            'template IN A {\n answer "{{ nonsense }}"\n}',
            "Corefile:2: template: '{{ nonsense }}': 'nonsense' is not known",
        ),
        ("kubernetes a.b {\n labels a=b=c\n}", "Corefile:2: kubernetes: labels: "),
        ("autopath gone", "Corefile:2: autopath: gone: No such file or directory"),
        ("forward . /gone", "Corefile:2: forward: '/gone' is neither an address, a host nor a file"),
    ],
)
def test_a_check_finds_what_only_the_machine_shows(tmp_path: Path, plugin: str, problem: str) -> None:
    (tmp_path / "Corefile").write_text(f".:1053 {{\n{plugin}\n}}\n")
    (tmp_path / "db").write_text("@ 60 NS ns\n")
    (tmp_path / "weights").write_text("10.0.0.1 5\n")
    done = subprocess.run([FAIRWAY, "dns", "--check"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert problem in done.stderr


def test_a_forwarding_loop_is_detected_and_said(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    path = tmp_path / "Corefile"
    path.write_text(f".:{port} {{\n bind 127.0.0.1\n loop\n forward . 127.0.0.1:{port}\n}}\n")
    done = subprocess.run([FAIRWAY, "dns", "--conf", path], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "Loop (" in done.stderr
