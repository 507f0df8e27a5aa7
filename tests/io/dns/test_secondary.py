"""BIND as a secondary of our zones: it gets them whole, and anew as soon as it is told of a change."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.exception
import dns.query
import dns.zone
import pytest

import netns
from dns_scenarios import OBJECTS, service
from fake_api import FakeApi
from fake_storage import SERVICES

pytestmark = pytest.mark.kernel
FAIRWAY = Path(sys.executable).with_name("fairway")
NAMED = Path(sys.executable).with_name("named")
OURS, BIND, STRANGER = "10.9.0.1", "10.9.0.2", "10.9.0.3"
COREFILE = """.:53 {
    bind 10.9.0.1
    log
    transfer cluster.local {
        to 10.9.0.2
        source 10.9.0.1
    }
    transfer zone.test {
        to 10.9.0.2:53
        source 10.9.0.1
    }
    kubernetes cluster.local {
        endpoint %s
    }
    file db.zone zone.test {
        reload 0.2s
    }
}
"""
ZONE = "$ORIGIN zone.test.\n$TTL 60\n@ SOA ns a 1 7200 1800 86400 30\n@ NS ns\nns A 10.7.0.1\n"
NAMED_CONF = """options {
    directory "%s";
    pid-file none;
    session-keyfile none;
    listen-on port 53 { 10.9.0.2; };
    listen-on-v6 { none; };
    recursion no;
    dnssec-validation no;
    max-records-per-type 0;
    allow-transfer { any; };
    transfer-source 10.9.0.2;
    use-alt-transfer-source no;
};
controls { };
zone "cluster.local" { type secondary; primaries { 10.9.0.1; }; file "cluster"; };
zone "zone.test" { type secondary; primaries { 10.9.0.1; }; file "zone"; };
"""


class Pair:
    """Both servers, running."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self.api = api
        self.folder = folder

    def records(self, zone: str, server: str, source: str) -> set[str]:
        """All of a zone, as one of the two hands it over. Raises DNSException."""
        transfer = dns.query.xfr(server, zone, timeout=20, relativize=False, source=source)
        found = dns.zone.from_xfr(transfer, relativize=False)
        return {f"{name} {ttl} {rdata}" for name, ttl, rdata in found.iterate_rdatas()}

    def ask(self, name: str) -> list[str]:
        """What BIND answers."""
        command = ["dig", "+short", "+tries=1", "+time=2", f"@{BIND}", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        return sorted(line for line in done.stdout.splitlines() if not line.startswith(";"))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.05)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with netns.private(), FakeApi() as api:
        for address in (OURS, BIND, STRANGER):
            netns.run("ip", "address", "add", f"{address}/32", "dev", "lo")
        for collection, objects in OBJECTS.items():
            api.put_many(collection, objects)
        (tmp_path / "Corefile").write_text(COREFILE % api.url)
        (tmp_path / "db.zone").write_text(ZONE)
        (tmp_path / "named.conf").write_text(NAMED_CONF % tmp_path)
        with (tmp_path / "log").open("wb") as log:
            commands = [[NAMED, "-g", "-c", tmp_path / "named.conf"], [FAIRWAY, "dns", "--conf", "Corefile"]]
            running = [subprocess.Popen(c, cwd=tmp_path, stdout=log, stderr=log) for c in commands]
        try:
            yield Pair(api, tmp_path)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(20)


def test_bind_has_the_zones_whole_and_hears_of_changes(pair: Pair) -> None:
    pair.wait_for(lambda: pair.ask("web.default.svc.cluster.local") == ["10.96.0.2"])
    pair.wait_for(lambda: pair.ask("ns.zone.test") == ["10.7.0.1"])
    for zone in ("cluster.local", "zone.test"):
        assert pair.records(zone, BIND, BIND) == pair.records(zone, OURS, BIND)
        with pytest.raises(dns.exception.DNSException):
            pair.records(zone, OURS, STRANGER)
    # One after the other as fast as they are taken: each needs a serial of its own.
    for number in range(1, 4):
        pair.api.put_many(SERVICES, [service(f"new-{number}", f"10.96.9.{number}")])
        pair.wait_for(lambda n=number: pair.ask(f"new-{n}.default.svc.cluster.local") == [f"10.96.9.{n}"])  # type: ignore[misc]
    (pair.folder / "db.zone").write_text(ZONE.replace(" 1 7200", " 2 7200") + "www A 10.7.0.9\n")
    pair.wait_for(lambda: pair.ask("www.zone.test") == ["10.7.0.9"])
    for zone in ("cluster.local", "zone.test"):
        assert pair.records(zone, BIND, BIND) == pair.records(zone, OURS, BIND)
