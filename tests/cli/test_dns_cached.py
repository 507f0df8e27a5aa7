"""The server as a process before an upstream: what it keeps is given, counted, fetched ahead, and outlives things."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import dns.query
import pytest

from dns_upstream import TextUpstream, free_port
from fairway.io.dns.fast import load

_SO_RCVBUFFORCE = 33
FAIRWAY = Path(sys.executable).with_name("fairway")
pytestmark = pytest.mark.skipif(load() is None, reason="the C part was not built: no compiler")


def eventually(check: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not check():
        assert time.monotonic() < end, what
        time.sleep(0.02)


class Running:
    def __init__(self, folder: Path, up: TextUpstream) -> None:
        self.up, self.port, self.metrics_port = up, free_port(), free_port()
        self.corefile = folder / "Corefile"
        self.write("cache 30")
        command = [FAIRWAY, "dns", "--conf", str(self.corefile)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def write(self, cache: str) -> None:
        self.corefile.write_text(
            f".:{self.port} {{\n bind 127.0.0.1\n errors\n prometheus 127.0.0.1:{self.metrics_port}\n {cache}\n"
            f" forward . 127.0.0.1:{self.up.port}\n}}\n"
        )

    def take(self, cache: str) -> None:
        """Have another cache, and wait until it is in force."""
        before = self.value("coredns_reload_version_info")
        self.write(cache)
        self.process.send_signal(signal.SIGUSR1)
        eventually(lambda: self.value("coredns_reload_version_info") != before, "the new Corefile")

    def ask(self, name: str, timeout: float = 3.0) -> dns.message.Message:
        return dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", port=self.port, timeout=timeout)

    def value(self, start: str) -> str:
        """The lines of the metrics that begin so."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return "\n".join(line for line in lines if line.startswith(start))

    def number(self, start: str) -> int:
        return sum(int(float(line.split()[-1])) for line in self.value(start).splitlines())


@contextlib.contextmanager
def started(folder: Path, up: TextUpstream) -> Iterator[Running]:
    """A server before an upstream, which both are gone afterwards."""
    one = Running(folder, up)
    try:
        eventually(lambda: is_answered(one), "an answer")
        yield one
    finally:
        one.process.terminate()
        one.process.wait(20)
        up.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with started(tmp_path, TextUpstream()) as one:
        yield one


def is_answered(one: Running) -> bool:
    try:
        return one.ask("ready.up.test", 0.5).answer is not None
    except (OSError, dns.exception.Timeout):
        return False


def test_what_the_fast_path_gives_is_counted_as_the_cache_s(running: Running) -> None:
    before = running.number('coredns_cache_hits_total{server="dns://:%d",type="success"' % running.port)  # noqa: UP031
    requests = running.number("coredns_cache_requests_total")
    for _ in range(20):
        assert running.ask("www.up.test").answer
    assert [q for q in running.up.asked if q[0] == "www.up.test."] == [("www.up.test.", "A", "udp")]
    assert running.number('coredns_cache_hits_total{server="dns://:%d",type="success"' % running.port) == before + 19  # noqa: UP031
    assert running.number("coredns_cache_requests_total") == requests + 20
    rows = running.value("coredns_dns_responses_total")
    mine = [row for row in rows.splitlines() if 'plugin="forward"' in row and 'rcode="NOERROR"' in row]
    assert [row.split()[-1] for row in mine] == ["20"], rows


def test_a_name_asked_for_often_is_fetched_ahead_by_way_of_the_plugins(running: Running) -> None:
    running.take("cache {\n success 100 1 1\n prefetch 1 1m 90%\n }")
    eventually(
        lambda: bool(running.ask("www.up.test").answer) and running.number("coredns_cache_prefetch_total") >= 2, ""
    )
    # Only fetched ahead: nobody ever waited for a second answer.
    assert running.number("coredns_cache_misses_total") == 1


def test_kept_answers_outlive_their_upstream(running: Running) -> None:
    running.take("cache {\n success 100 1 1\n serve_stale 1h\n }")
    for _ in range(3):
        assert running.ask("www.up.test").answer
    running.up.close()
    eventually(lambda: running.ask("www.up.test").answer[0].ttl == 0, "a stale answer")
    for _ in range(20):
        assert running.ask("www.up.test").answer
    assert running.number("coredns_cache_served_stale_total") >= 20


def test_reloads_under_load_lose_no_query_and_empty_the_cache(running: Running) -> None:
    failed, stop, asked = [], threading.Event(), [0]

    def work() -> None:
        while not stop.is_set():
            try:
                asked[0] += bool(running.ask("www.up.test", 5).answer)
            except (OSError, dns.exception.Timeout) as error:
                failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(5):
        running.take(f"cache {31 + number}")
        reached = asked[0] + 20
        eventually(lambda: asked[0] >= reached, "answers after a reload")  # noqa: B023 - called at once
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert 6 <= sum(q[0] == "www.up.test." for q in running.up.asked) <= 6 * 3


def test_questions_that_an_upstream_never_answers_hold_up_no_other(running: Running) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(200):
            query = dns.message.make_query("mute.up.test", "A", id=number + 1)
            sock.sendto(query.to_wire(), ("127.0.0.1", running.port))
        eventually(lambda: ("mute.up.test.", "A", "udp") in running.up.asked, "the mute name")
        for name in ("www", "v4", "alias", "mx1", "nothing"):  # none of them is in the cache
            running.ask(f"{name}.up.test", 1.5)


class QuickUpstream(TextUpstream):
    """Answers everything with nothing, at once."""

    def answer(self, data: bytes, transport: str) -> bytes | None:
        del transport
        return data[:2] + b"\x81\x80" + data[4:] if data else None


def test_a_burst_of_names_that_nobody_asked_for_before_is_answered_to_the_last(tmp_path: Path) -> None:
    up = QuickUpstream()
    up.udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
    with started(tmp_path, up) as running, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
        sock.settimeout(10)
        for number in range(600):
            query = dns.message.make_query(f"burst-{number}.test", "A", id=number)
            sock.sendto(query.to_wire(), ("127.0.0.1", running.port))
        replies = [sock.recv(4096) for _ in range(600)]
        assert running.value("fairway_dns_lost_total").split()[-1] == "0"
    assert {int.from_bytes(reply[:2], "big") for reply in replies} == set(range(600))
    assert {reply[3] & 15 for reply in replies} == {0}
