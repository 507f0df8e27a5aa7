"""`fairway proxy` as people run it: a process, a real kernel in a namespace of its own, real files and sockets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import netns
from fairway.io.netlink import nftables_reader as reader
from proxy_process import Folder, Proxy, answers, eventually, fairway, get, nft

pytestmark = pytest.mark.kernel

OTHERS = "table ip theirs {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n}\n"
QUESTION = "10.244.0.99 -> svc/shop/web:http/tcp"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with netns.private():
        subprocess.run(["ip", "address", "add", "192.168.77.10/24", "dev", "lo"], check=True)
        yield Folder(tmp_path)


def frontends() -> str:
    return nft("list", "map", "ip", "fairway", "frontends")


def test_once_returns_when_the_kernel_holds_the_plan(folder: Folder) -> None:
    done = fairway("proxy", *folder.flags, "--once")
    assert done.returncode == 0, done.stderr
    assert "10.96.0.80 . tcp . 80" in frontends()
    status = fairway("proxy", "status", *folder.flags)
    assert (status.returncode, "the kernel holds the plan" in status.stdout) == (0, True), status.stdout


def test_dry_run_says_what_would_change_and_changes_nothing(folder: Folder) -> None:
    done = fairway("proxy", *folder.flags, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "IPv4 add frontends[10.96.0.80 . tcp . 80]" in done.stdout
    assert nft("list", "ruleset") == ""


def test_cleanup_leaves_the_ruleset_of_others_as_it_was(folder: Folder) -> None:
    subprocess.run(["nft", "-f", "-"], input=OTHERS, text=True, check=True)
    before = nft("list", "ruleset")
    assert fairway("proxy", *folder.flags, "--once").returncode == 0
    assert nft("list", "ruleset") != before
    assert fairway("proxy", "--cleanup").returncode == 0
    assert nft("list", "ruleset") == before


def test_an_edited_manifest_takes_effect(folder: Folder, tmp_path: Path) -> None:
    with Proxy(tmp_path, *folder.flags):
        folder.edit("10-web.yaml", "port: 80,", "port: 81,")
        eventually(lambda: "10.96.0.80 . tcp . 81" in frontends(), "the new port in the kernel")
        assert "10.96.0.80 . tcp . 80" not in frontends()


def test_a_broken_manifest_is_named_and_harms_nothing(folder: Folder, tmp_path: Path) -> None:
    with Proxy(tmp_path, *folder.flags) as proxy:
        folder.edit("10-web.yaml", "port: 80,", "port: 80000,")
        eventually(lambda: "80000 is not a port" in proxy.log, "the error in the log")
        assert "Service shop/web: spec.ports[0].port" in proxy.log
        folder.edit("20-api.yaml", "nodePort: 30090", "nodePort: 30091")
        eventually(lambda: "192.168.77.10 . tcp . 30091" in frontends(), "another object's change")
        assert "10.96.0.80 . tcp . 80" in frontends()


def test_a_changed_configuration_is_applied_or_refused_whole(folder: Folder, tmp_path: Path) -> None:
    with Proxy(tmp_path, *folder.flags) as proxy:
        folder.edit_config("clusterCIDR: 10.244.0.0/16", "clusterCIDR: 10.0.0.0/8")
        eventually(lambda: "10.0.0.0/8" in nft("list", "set", "ip", "fairway", "pods"), "the new pod range")
        folder.edit_config("clusterCIDR: 10.0.0.0/8", "clusterCIDR: nonsense\nmetricsBindAddress: 127.0.0.1:1")
        eventually(lambda: "config refused" in proxy.log, "the refusal")
        assert "'nonsense'" in proxy.log
        assert "10.0.0.0/8" in nft("list", "set", "ip", "fairway", "pods")
        assert get("http://127.0.0.1:10249/proxyMode") == (200, "nftables")


def test_health_metrics_and_health_check_node_ports_answer(folder: Folder, tmp_path: Path) -> None:
    with Proxy(tmp_path, *folder.flags):
        assert get("http://127.0.0.1:10256/healthz")[0] == 200
        assert get("http://127.0.0.1:10256/livez")[0] == 200
        assert "kubeproxy_sync_proxy_rules_duration_seconds_count" in get("http://127.0.0.1:10249/metrics")[1]
        configz = json.loads(get("http://127.0.0.1:10249/configz")[1])
        assert configz["kubeproxy.config.k8s.io"]["clusterCIDR"] == "10.244.0.0/16"
        status, body = eventually(lambda: _try("http://192.168.77.10:32100/"), "the health check node port")
        assert (status, json.loads(body)["localEndpoints"]) == (200, 1)
        folder.edit("30-store.yaml", "nodeName: node-a", "nodeName: node-b")
        eventually(lambda: get("http://192.168.77.10:32100/")[0] == 503, "no local endpoint any more")


def _try(url: str) -> tuple[int, str] | None:
    try:
        return get(url)
    except OSError:
        return None


def test_a_leaving_node_is_not_healthy_but_alive(folder: Folder, tmp_path: Path) -> None:
    with Proxy(tmp_path, *folder.flags):
        taint = "spec:\n  taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]\n  podCIDR"
        folder.edit("00-node.yaml", "spec:\n  podCIDR", taint)
        eventually(lambda: get("http://127.0.0.1:10256/healthz")[0] == 503, "a node that is leaving")
        assert get("http://127.0.0.1:10256/livez")[0] == 200


def test_drift_is_repaired_within_a_moment(folder: Folder, tmp_path: Path) -> None:
    with Proxy(tmp_path, *folder.flags) as proxy:
        nft("flush", "map", "ip", "fairway", "backends")
        eventually(lambda: "10.244.0.11" in nft("list", "map", "ip", "fairway", "backends"), "the backends again")
        assert "found='backends[0 . svc" in proxy.log
        nft("delete", "table", "ip", "fairway")
        eventually(lambda: "10.96.0.80" in nft("list", "ruleset"), "the table again")


def test_a_killed_proxy_finds_everything_again_and_writes_nothing(folder: Folder, tmp_path: Path) -> None:
    with Proxy(tmp_path, *folder.flags) as proxy:
        before = nft("list", "ruleset")
        proxy.end(signal.SIGKILL)
    generation = reader.generation()
    with Proxy(tmp_path, *folder.flags) as proxy:
        assert reader.generation() == generation, "a transaction, though nothing was to be done"
        filled = [line for line in proxy.log.splitlines() if " filled " in line]
        assert "operations=0 " in filled[1]
        assert nft("list", "ruleset") == before


def test_explain_agrees_and_names_what_somebody_changed(folder: Folder) -> None:
    assert fairway("proxy", *folder.flags, "--once").returncode == 0
    ask = ("explain", *folder.flags, "-o", "json", "-")
    (answer,) = answers(fairway(*ask, stdin=QUESTION).stdout)
    assert (answer["verdict"], answer["agrees"], len(answer["backends"])) == ("forward", True, 3)
    nft("flush", "map", "ip", "fairway", "backends")
    (answer,) = answers(fairway(*ask, stdin=QUESTION).stdout)
    assert not answer["agrees"]
    assert answer["disagreement"]["what"].startswith("backends[0 . svc")


def test_an_element_added_behind_its_back_is_named(folder: Folder) -> None:
    assert fairway("proxy", *folder.flags, "--once").returncode == 0
    nft("add", "element", "ip", "fairway", "cluster-ips", "{ 10.96.0.250 }")
    done = fairway("explain", *folder.flags, "-o", "json", "10.244.0.99 -> 10.96.0.250:80/tcp")
    (answer,) = answers(done.stdout)
    assert (answer["verdict"], answer["agrees"], done.returncode) == ("drop", False, 1)
    assert "cluster-ips" in answer["disagreement"]["what"]


def test_without_the_right_it_says_which_and_ends_with_5(folder: Folder) -> None:
    command = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    done = subprocess.run(
        [*command, sys.executable, "-m", "fairway.cli.main", "proxy", *folder.flags, "--once"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "CAP_NET_ADMIN" in done.stderr) == (5, True)


def test_an_unknown_field_is_a_warning_and_an_error_when_strict(folder: Folder) -> None:
    folder.edit_config("mode: nftables", "mode: nftables\nhovercraft: full")
    tolerant = fairway("proxy", *folder.flags, "--dry-run")
    assert (tolerant.returncode, "hovercraft" in tolerant.stderr) == (0, True)
    strict = fairway("proxy", *folder.flags, "--dry-run", "--strict-config")
    assert (strict.returncode, "hovercraft" in strict.stderr) == (2, True)


def test_the_configuration_in_effect_is_written_and_means_the_same_when_read(folder: Folder, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    assert fairway("proxy", *folder.flags, "--cluster-cidr=10.9.0.0/16", f"--write-config-to={first}").returncode == 0
    assert "clusterCIDR: 10.9.0.0/16" in first.read_text()
    assert nft("list", "ruleset") == ""
    assert fairway("proxy", "--config", str(first), f"--write-config-to={second}").returncode == 0
    assert second.read_text() == first.read_text()


def test_usage_errors_end_with_2_and_name_the_flag(folder: Folder) -> None:
    done = fairway("proxy", *folder.flags, "--no-such-flag")
    assert (done.returncode, "--no-such-flag" in done.stderr) == (2, True)


def test_explain_tells_which_backend_a_client_keeps(folder: Folder) -> None:
    assert fairway("proxy", *folder.flags, "--once").returncode == 0
    question = "10.244.0.99 -> svc/shop/cart:http/tcp"
    assert "this client is new" in fairway("explain", *folder.flags, question).stdout
    ids = nft("list", "map", "ip", "fairway", "backend-ids")
    svc = next(line for line in ids.splitlines() if "elements" in line).split(".")[1].split(":")[0].strip()
    element = f"{{ {svc} . 10.244.0.99 timeout 600s : 0x0 . 0x1 }}"
    nft("add", "element", "ip", "fairway", "affinity", element)
    assert "this client keeps 10.244.0.41:8080" in fairway("explain", *folder.flags, question).stdout


ENDPOINTS = """\
apiVersion: v1
kind: Endpoints
metadata: {name: idle, namespace: shop}
subsets:
  - addresses: [{ip: 10.244.0.51}]
    ports: [{name: http, port: 8080}]
"""


def test_a_folder_may_have_endpoints_instead_of_slices(folder: Folder, tmp_path: Path) -> None:
    with Proxy(tmp_path, *folder.flags):
        path = folder.manifests / "60-endpoints.yaml"
        path.write_text(ENDPOINTS)
        eventually(lambda: "10.244.0.51" in nft("list", "map", "ip", "fairway", "backends"), "the address in use")
        path.unlink()
        eventually(lambda: "10.244.0.51" not in nft("list", "map", "ip", "fairway", "backends"), "the address gone")
