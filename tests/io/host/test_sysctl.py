"""Kernel parameters of a real network namespace, and of a folder where the kernel's are not ours to change."""

from pathlib import Path

import pytest

import netns
from fairway.config.proxy.sysctls import HASH_SIZE, Rule, Sysctl
from fairway.io.host.sysctl import SysctlChange, apply_sysctls, available_families, online_cpus, set_oom_score_adj
from fairway.values.address import Family

CLOSE_WAIT = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait"
LIBERAL = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"
LOCALNET = "/proc/sys/net/ipv4/conf/all/route_localnet"
MAX = "/proc/sys/net/netfilter/nf_conntrack_max"


@pytest.fixture
def namespace():
    with netns.private():
        netns.run("nft", "add table inet t { chain c { type filter hook input priority 0; ct state new; }; }")
        yield


def read(path):
    return int(Path(path).read_text())


@pytest.mark.kernel
@pytest.mark.usefixtures("namespace")
def test_parameters_of_a_namespace_are_written_where_they_differ_and_only_there():
    before = read(CLOSE_WAIT)
    wanted = {CLOSE_WAIT: Sysctl(before + 7, "f"), LIBERAL: Sysctl(read(LIBERAL), "f"), LOCALNET: Sysctl(1, "f")}
    first = apply_sysctls(wanted)
    assert first.changed == (
        SysctlChange("net.netfilter.nf_conntrack_tcp_timeout_close_wait", before, before + 7),
        SysctlChange("net.ipv4.conf.all.route_localnet", 0, 1),
    )
    assert (read(CLOSE_WAIT), read(LOCALNET)) == (before + 7, 1)
    assert apply_sysctls(wanted) == ((), ())


@pytest.mark.kernel
@pytest.mark.usefixtures("namespace")
def test_a_parameter_that_a_namespace_refuses_is_one_warning_and_the_rest_is_written():
    hash_size = read(HASH_SIZE)
    outcome = apply_sysctls(
        {
            MAX: Sysctl(read(MAX) + 1, "conntrack.maxPerCore"),
            HASH_SIZE: Sysctl(hash_size * 2, "conntrack.maxPerCore", Rule.AT_LEAST, after=MAX),
            LOCALNET: Sysctl(1, "f"),
        }
    )
    assert [change.name for change in outcome.changed] == ["net.ipv4.conf.all.route_localnet"]
    assert len(outcome.warnings) == 1
    assert outcome.warnings[0].startswith("net.netfilter.nf_conntrack_max cannot be set to")
    assert read(HASH_SIZE) == hash_size


def folder(root, **values):
    for name, value in values.items():
        path = root / "proc/sys/net" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)


def test_at_least_raises_and_never_lowers(tmp_path):
    folder(tmp_path, low="10\n", high="99\n")
    outcome = apply_sysctls(
        {f"/proc/sys/net/{name}": Sysctl(50, "f", Rule.AT_LEAST) for name in ("low", "high")}, root=tmp_path
    )
    assert outcome.changed == (SysctlChange("net.low", 10, 50),)
    assert (tmp_path / "proc/sys/net/high").read_text() == "99\n"


def test_exactly_lowers_as_kube_proxy_does(tmp_path):
    folder(tmp_path, high="99\n")
    apply_sysctls({"/proc/sys/net/high": Sysctl(50, "f")}, root=tmp_path)
    assert (tmp_path / "proc/sys/net/high").read_text() == "50"


@pytest.mark.parametrize(("name", "why"), [("absent", "No such file or directory"), ("odd", "is not a number")])
def test_what_cannot_be_read_is_one_warning_that_says_why(tmp_path, name, why):
    folder(tmp_path, odd="x y\n")
    outcome = apply_sysctls({f"/proc/sys/net/{name}": Sysctl(1, "conntrack.min")}, root=tmp_path)
    assert outcome.changed == ()
    assert len(outcome.warnings) == 1
    assert f"net.{name} cannot be set to 1 (conntrack.min): " in outcome.warnings[0]
    assert why in outcome.warnings[0]


def test_oom_score_of_this_process_is_set_and_a_refusal_is_a_warning(tmp_path):
    path = "/proc/self/oom_score_adj"
    before = read(path)
    try:
        assert set_oom_score_adj(before + 1) is None
        assert read(path) == before + 1
    finally:
        Path(path).write_text(str(before))
    warning = set_oom_score_adj(5, str(tmp_path / "absent"))
    assert warning == "oom_score_adj cannot be set to 5 (oomScoreAdj): No such file or directory"


@pytest.mark.parametrize(("online", "count"), [("0\n", 1), ("0-3\n", 4), ("0-3,8,10-11\n", 7)])
def test_cpus_are_those_of_the_machine(tmp_path, online, count):
    (tmp_path / "online").write_text(online)
    assert online_cpus(str(tmp_path / "online")) == count


@pytest.mark.kernel
@pytest.mark.usefixtures("namespace")
def test_ipv6_is_there_until_it_is_switched_off():
    assert available_families() == (Family.IPV4, Family.IPV6)
    Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
    assert available_families() == (Family.IPV4,)


def test_a_kernel_without_ipv6_has_ipv4_alone(tmp_path):
    assert available_families(tmp_path) == (Family.IPV4,)


def test_cpus_without_that_file_are_what_the_process_sees(tmp_path):
    assert online_cpus(str(tmp_path / "absent")) >= 1
