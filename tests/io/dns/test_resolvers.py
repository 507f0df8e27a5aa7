"""Real resolvers ask a running server: dig, nslookup, glibc's and musl's `getaddrinfo` with a pod's resolv.conf."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dns.query
import dns.zone
import pytest

import netns
from dns_scenarios import OBJECTS
from dns_upstream import TextUpstream, upstream
from fake_api import FakeApi

pytestmark = pytest.mark.kernel
FAIRWAY = Path(sys.executable).with_name("fairway")
RESOLV_CONF = """nameserver 127.0.0.1
search default.svc.cluster.local svc.cluster.local cluster.local
options ndots:5 timeout:2 attempts:2
"""
COREFILE = """.:53 {
    errors
    ready 127.0.0.1:8181
    transfer {
        to *
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        endpoint %s
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
    forward . 127.0.0.1:%d {
        max_fails 1
        health_check 0.2s
    }
    cache 30
}
"""
CROWD = 600


class Pod:
    """Runs programs where names are resolved as in a pod."""

    def __init__(self, folder: Path, upstream_server: TextUpstream) -> None:
        self.folder = folder
        self.upstream = upstream_server
        (folder / "resolv.conf").write_text(RESOLV_CONF)
        (folder / "nsswitch.conf").write_text("hosts: dns\n")

    def run(self, *command: str) -> str:
        mounts = " && ".join(f"mount --bind {self.folder / n} /etc/{n}" for n in ("resolv.conf", "nsswitch.conf"))
        script = f"{mounts} && exec {shlex.join(command)}"
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout

    def resolver(self, compiler: str) -> Path:
        """`resolve.c`, built with one of the C libraries."""
        program = self.folder / f"resolve-{compiler}"
        source = Path(__file__).with_name("resolve.c")
        subprocess.run([compiler, "-o", program, source], check=True)
        return program


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    folder = tmp_path_factory.mktemp("pod")
    with netns.private(), upstream() as outside, FakeApi() as api:
        for collection, objects in OBJECTS.items():
            api.put_many(collection, objects)
        netns.run("ip", "address", "add", "10.9.0.2/32", "dev", "lo")  # what others know the server by
        (folder / "Corefile").write_text(COREFILE % (api.url, outside.port))
        process = subprocess.Popen([FAIRWAY, "dns", "--conf", folder / "Corefile"], stdout=subprocess.DEVNULL)
        one = Pod(folder, outside)
        try:
            api.wait_for(lambda: "10.96.0.2" in one.run("dig", "+short", "+tries=1", "web.default.svc.cluster.local"))
            yield one
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
def test_the_c_libraries_find_what_a_pod_asks_for(pod: Pod, compiler: str) -> None:
    wanted = {
        "web": {"10.96.0.2", "fd00::2"},
        "one": {"10.96.0.3"},
        "six": {"fd00::6"},
        "web.prod": {"10.96.2.2"},
        "peer-0.peers": {"10.1.1.1", "10.1.1.4"},
        "kube-dns.kube-system.svc.cluster.local": {"10.96.0.10"},
        "ext": {"192.0.2.1", "192.0.2.2", "2001:db8::1"},
        "ext-chain": {"10.96.0.2", "fd00::2"},
        "www.up.test": {"192.0.2.1", "192.0.2.2", "2001:db8::1"},
        "v4.up.test.": {"192.0.2.9"},
        "10-1-0-1.default.pod": {"10.1.0.1"},
        "nosuch": {"NONAME"},
        "nothing.up.test": {"NONAME"},
        "unready": {"NONAME"},
    }
    said = pod.run(str(pod.resolver(compiler)), *wanted)
    found = {line.split()[0]: set(line.split()[1:]) for line in said.splitlines()}
    if compiler == "gcc":
        # glibc tells a name that exists without addresses from one that does not.
        found = {n: {"NONAME"} if "No address associated with hostname" in " ".join(v) else v for n, v in found.items()}
    assert found == wanted


def test_an_answer_that_does_not_fit_a_datagram_comes_by_tcp(pod: Pod) -> None:
    said = pod.run(str(pod.resolver("gcc")), "crowd")
    assert len(set(said.split()[1:])) == CROWD


def test_dig_and_nslookup(pod: Pod) -> None:
    assert pod.run("dig", "+short", "+search", "one").split() == ["10.96.0.3"]
    assert pod.run("dig", "+short", "-x", "10.96.0.3").split() == ["one.default.svc.cluster.local."]
    srv = pod.run("dig", "+short", "SRV", "_pg._tcp.db.default.svc.cluster.local").splitlines()
    assert sorted(srv) == [
        "0 50 5432 10-1-2-2.db.default.svc.cluster.local.",
        "0 50 5432 db-0.db.default.svc.cluster.local.",
    ]
    assert "status: NXDOMAIN" in pod.run("dig", "nosuch.default.svc.cluster.local")
    assert "Address: 10.96.0.3" in pod.run("nslookup", "one.default")
    assert "name = one.default.svc.cluster.local." in pod.run("nslookup", "10.96.0.3")


def test_a_zone_comes_over_whole(pod: Pod) -> None:
    zone = dns.zone.from_xfr(
        dns.query.xfr("127.0.0.1", "cluster.local", timeout=20, relativize=False), relativize=False
    )
    zone.check_origin()
    addresses = {str(r) for r in zone.find_rdataset("web.default.svc.cluster.local.", "A")}
    assert addresses == {"10.96.0.2"}
    assert len(zone.find_rdataset("crowd.default.svc.cluster.local.", "A")) == CROWD
    assert "Transfer failed" not in pod.run("dig", "+tcp", "AXFR", "cluster.local")


def test_while_the_upstream_is_dead_the_clusters_names_stay(pod: Pod) -> None:
    pod.upstream.close()
    assert "status: SERVFAIL" in pod.run("dig", "+tries=1", "+timeout=7", "fresh.up.test")
    assert pod.run("dig", "+short", "one.default.svc.cluster.local").split() == ["10.96.0.3"]
