"""`fairway up`, `down` and `gc` on a machine of their own: what stands in the way is named, nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from cluster_host import FAIRWAY, ClusterHost, until

pytestmark = pytest.mark.kernel
ONE = ("--nodes", "1")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ClusterHost]:
    with ClusterHost(tmp_path) as made:
        yield made


def shown(host: ClusterHost) -> str:
    """All of a machine that a cluster may change."""
    words = ["ip link", "ip -o addr", "ip route", "ip -6 route", "ip nexthop", "ip netns", "nft list ruleset"]
    words += [
        "sysctl -n net.ipv4.ip_forward",
        "grep -c ' /run/fairway' /proc/mounts",
        "ls -A /run",
        "ps -eo comm= | grep -vxE 'sh|ps|grep|sort' | sort",
    ]
    return host.run("sh", "-c", "; ".join(words))


def test_what_it_would_change_is_listed_and_nothing_is_changed(host: ClusterHost) -> None:
    before = shown(host)
    lines = host.fairway("up", *ONE, "--dry-run").stdout.splitlines()
    named = {
        "network namespace fw-switch",
        "network namespace fw-node-1",
        "interface fw-underlay (veth, its other end in fw-switch)",
        "address 10.245.0.1/24 on fw-underlay",
        "route 10.244.0.0/24 via 10.245.0.2 dev fw-underlay",
        "nftables table ip fw-egress: masquerades what pods send out",
        "sysctl net.ipv4.ip_forward = 1",
        "folder /run/fairway/fairway",
    }
    assert named <= set(lines)
    assert json.loads(host.fairway("up", *ONE, "--dry-run", "-o", "json").stdout)["changes"] == lines
    assert shown(host) == before


def test_all_that_stands_in_the_way_is_named_with_the_flag_that_moves_it(host: ClusterHost) -> None:
    host.run("ip", "addr", "add", "10.244.7.1/24", "dev", "lo")
    host.run("ip", "netns", "add", "fw-node-1")
    host.run("ip", "link", "add", "fw-underlay", "type", "veth")
    with subprocess.Popen(host.inside_machine("nc", "-l", "127.0.0.1", "6443"), stdin=subprocess.DEVNULL) as taker:
        until(lambda: "6443" in host.run("ss", "-ltn"), "the port is taken")
        before = shown(host)
        done = host.fairway("up", *ONE)
        taker.terminate()
    assert done.returncode == 5
    said = [line.strip() for line in done.stderr.splitlines()[1:]]
    gc = "`fairway gc` removes what a dead run left; --name gives this cluster other names"
    assert said == [
        f"an interface fw-underlay is there already: {gc}",
        f"a network namespace fw-node-1 is there already: {gc}",
        "10.244.0.0/16 overlaps the address 10.244.7.1/24 of lo: choose another range with --pod-cidr",
        "port 6443 of this machine is taken: choose another one with --api-port",
    ]
    assert "nc" in before.split()
    assert "fairway" not in host.run("ls", "-A", "/run").split()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--nodes", "0"), "--nodes: 0 is less than 1"),
        (("--ip-family", "ipx"), "--ip-family: 'ipx' is none of ipv4, ipv6, dual"),
        (("--pod-cidr", "10.96.0.0/14"), "--pod-cidr 10.96.0.0/14 and --service-cidr 10.96.0.0/16 overlap"),
        (("--service-cidr", "10.96.0.0"), "--service-cidr: '10.96.0.0' is not a CIDR block"),
        (("--ip-family", "dual", "--lb-cidr", "10.97.0.0/24"), "--lb-cidr: 10.97.0.0/24: one range of IPv4"),
        (("--name", "Fairway!"), "--name: 'Fairway!' is no name"),
        (("--image", "web"), "--image: 'web' is not NAME=PATH"),
        (("--mode", "ipvs"), "--mode: 'ipvs' is not there yet"),
        (("--controllers", "nobody"), "'nobody' is not in the list of known controllers"),
        (("--api", "/nowhere"), "--api: /nowhere: no such file"),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused(flags: tuple[str, ...], words: str) -> None:
    done = subprocess.run([FAIRWAY, "up", "--dry-run", *flags], capture_output=True, text=True, check=False)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_without_the_right_or_without_runc_it_says_so(host: ClusterHost) -> None:
    words = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--reuid", "65534", "--clear-groups"]
    done = host.attempt(*words, str(FAIRWAY), "up")
    assert done.returncode == 5
    assert "run it as root" in done.stderr
    done = host.attempt("env", "PATH=/nowhere", str(FAIRWAY), "up")
    assert done.returncode == 5
    assert "runc is missing: apt-get install runc" in done.stderr


def test_the_users_kubeconfig_gets_an_entry_and_loses_it_again(host: ClusterHost) -> None:
    config = host.home / "config"
    other = {"name": "other", "cluster": {"server": "https://192.0.2.1"}}
    config.write_text(json.dumps({"kind": "Config", "clusters": [other], "current-context": "other"}))
    environment = ["env", f"KUBECONFIG={config}"]
    host.run(*environment, str(FAIRWAY), "up", *ONE)
    assert host.run(*environment, "kubectl", "config", "current-context").strip() == "fairway"
    assert host.run(*environment, "kubectl", "get", "nodes", "-o", "name").split() == ["node/node-1"]
    host.run(str(FAIRWAY), "down")
    left = host.run(*environment, "kubectl", "config", "view", "-o", "json")
    assert [one["name"] for one in json.loads(left)["clusters"]] == ["other"]
    assert json.loads(left)["contexts"] is None or json.loads(left)["contexts"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_starts_it_leaves_nothing(host: ClusterHost, number: signal.Signals) -> None:
    before = shown(host)
    command = host.inside_machine(str(FAIRWAY), "up", *ONE)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        until(host.path("/run/fairway/fairway/cluster.json").exists, "it has begun")
        host.run("pkill", f"-{int(number)}", "-x", "fairway")
        assert "cleaning up" in started.stderr.read()
    assert started.returncode == 130
    assert shown(host) == before


@contextlib.contextmanager
def in_foreground(host: ClusterHost) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """`up --foreground`, which is up, and what it says from then on."""
    command = host.inside_machine(str(FAIRWAY), "up", *ONE, "--foreground")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        while "up until Ctrl-C" not in running.stderr.readline():
            assert running.poll() is None
        yield running, running.stderr


def test_in_the_foreground_it_keeps_its_supervisor_and_takes_all_down_at_the_end(host: ClusterHost) -> None:
    before = shown(host)
    with in_foreground(host) as (running, said):
        host.kill("supervisor")
        until(lambda: host.fairway("status").returncode == 0, "another supervisor is there")
        host.run("pkill", "-INT", "-x", "fairway")
        assert "taking it down" in said.read()
    assert running.returncode == 0
    assert shown(host) == before


def is_told_to_end(host: ClusterHost, process: str) -> bool:
    """Whether a stopped process has SIGTERM waiting."""
    status = dict(line.split(":", 1) for line in host.run("cat", f"/proc/{process}/status").splitlines())
    return bool(int(status["ShdPnd"], 16) >> (signal.SIGTERM - 1) & 1)


def test_a_second_ctrl_c_leaves_at_once_and_gc_cleans_up(host: ClusterHost) -> None:
    before = shown(host)
    with in_foreground(host) as (running, said):
        supervisor = str(host.parts()["supervisor"]["pid"])
        host.run("kill", "-STOP", supervisor)  # so that the end takes its time
        host.run("pkill", "-INT", "-x", "fairway")
        assert "Ctrl-C again leaves at once" in said.readline()
        until(lambda: is_told_to_end(host, supervisor), "the end has begun")
        host.run("pkill", "-INT", "-x", "fairway")
        assert running.wait(5) != 0
    assert shown(host) != before
    host.run("kill", "-CONT", supervisor)
    until(lambda: "removed the dead cluster" in host.fairway("gc").stderr, "all have ended, and gc sees it")
    assert shown(host) == before


def test_gc_removes_a_cluster_whose_processes_were_all_killed(host: ClusterHost) -> None:
    before = shown(host)
    host.up(*ONE)
    container = {"name": "shell", "image": "debian", "command": ["sleep", "1000"]}
    host.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [container]}})
    host.kubectl("wait", "pod/a", "--for=condition=Ready", "--timeout=30s")
    assert "nothing to remove" in host.fairway("gc").stderr
    for part in host.parts().values():
        host.run("kill", "-9", str(part["pid"]))
    status = host.fairway("status")
    assert status.returncode == 1
    assert "`fairway up` starts what is missing" in status.stdout
    assert "removed the dead cluster fairway" in host.fairway("gc").stderr
    until(lambda: shown(host) == before, "the machine is as it was")


def test_up_goes_on_with_a_cluster_whose_processes_were_all_killed(host: ClusterHost) -> None:
    host.up(*ONE)
    host.kubectl("create", "configmap", "kept")
    for part in host.parts().values():
        host.run("kill", "-9", str(part["pid"]))
    host.up()
    assert host.get("configmap", "kept")["metadata"]["name"] == "kept"
    assert host.fairway("status").returncode == 0


def test_no_process_imports_what_its_parent_could_share_with_it(host: ClusterHost) -> None:
    host.run("env", "PYTHONPROFILEIMPORTTIME=1", str(FAIRWAY), "up", *ONE)
    for name in ("control-plane", "node-1"):
        lines = host.run("cat", f"/run/fairway/fairway/logs/{name}.log").splitlines()
        own = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
        assert [one for one in own if one.startswith("fairway.")] == [], name


def test_every_process_can_be_started_alone(host: ClusterHost) -> None:
    host.up(*ONE)
    for part in host.parts().values():
        host.run("kill", "-9", str(part["pid"]))
    own = [host.inside_machine(str(FAIRWAY), *words) for words in (["control-plane"], ["node", "--name", "node-1"])]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in own]
    until(lambda: host.parts()["node-1"]["is_ready"], "the node is ready", 30)
    found = json.loads(host.fairway("status", "-o", "json").stdout)
    assert [one["what"] for one in found["troubles"]] == ["supervisor does not run"]
    refused = host.fairway("control-plane")
    assert (refused.returncode, "control-plane runs already, as process" in refused.stderr) == (1, True)
    host.down()
    assert [one.wait(10) for one in running] == [0, 0]


def test_a_cluster_may_speak_ipv6_alone(host: ClusterHost) -> None:
    host.up(*ONE, "--ip-family", "ipv6")
    container = {"name": "web", "image": "agnhost", "args": ["netexec", "--http-port=8080"]}
    meta = {"name": "web", "labels": {"app": "web"}}
    host.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}})
    host.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=30s")
    host.kubectl("expose", "pod", "web", "--port=80", "--target-port=8080")
    address = host.get("service", "web")["spec"]["clusterIP"]
    assert address.startswith("fd00:10:96::")
    asked = ("curl", "-sg", "--max-time", "2", f"http://[{address}]/hostname")
    until(lambda: host.attempt(*asked).stdout == "web", "the Service answers")
    said = host.inside("web", "curl", "-sk", "--max-time", "5", "https://kubernetes.default.svc.cluster.local/version")
    assert "gitVersion" in said or "Unauthorized" in said
    assert host.fairway("status").returncode == 0


def test_two_clusters_live_beside_each_other(host: ClusterHost) -> None:
    before = shown(host)
    ranges = ["--pod-cidr", "10.44.0.0/16", "--service-cidr", "10.46.0.0/16", "--lb-cidr", "10.47.0.0/24"]
    other = ["--name", "other", "--api-port", "6444", "--underlay", "10.45.0.0/24", *ranges]
    host.up(*ONE)
    host.up(*ONE, *other)
    for name in ("fairway", "other"):
        found = host.fairway("kubectl", "--name", name, "get", "nodes", "-o", "name").stdout
        assert found.split() == ["node/node-1"]
    host.fairway("down")
    assert host.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"
    assert host.fairway("status", "--name", "other").returncode == 0
    host.fairway("down", "--name", "other")
    assert shown(host) == before


def test_the_demonstration_shows_every_service_at_work(host: ClusterHost) -> None:
    done = host.fairway("up", "--demo")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith((" pod client", " this machine"))]
    assert len(rows) == 7
    assert sum("refused" in row for row in rows) == 1
    assert ["6×" in row for row in rows if "affinity" in row] == [True]
    assert "agreed: plan = items = kernel" in done.stdout
