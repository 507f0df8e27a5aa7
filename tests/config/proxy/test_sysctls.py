"""Which kernel parameters the settings ask for."""

import pytest

from fairway.config.proxy import load, parse_flags
from fairway.config.proxy.sysctls import HASH_SIZE, Rule, Sysctl, wanted_sysctls

NF = "/proc/sys/net/netfilter/nf_conntrack_"
QUIET = ("--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0")


def wanted(*flags, cpus=4, localhost=False):
    return wanted_sysctls(load(None, parse_flags(flags)).settings, cpus, localhost=localhost)


def values(*flags, **options):
    return {path.replace("/proc/sys/", ""): sysctl.value for path, sysctl in wanted(*QUIET, *flags, **options).items()}


def test_defaults_are_kube_proxys():
    assert wanted() == {
        f"{NF}max": Sysctl(131072, "conntrack.maxPerCore"),
        HASH_SIZE: Sysctl(32768, "conntrack.maxPerCore", Rule.AT_LEAST, after=f"{NF}max"),
        f"{NF}tcp_timeout_established": Sysctl(86400, "conntrack.tcpEstablishedTimeout"),
        f"{NF}tcp_timeout_close_wait": Sysctl(3600, "conntrack.tcpCloseWaitTimeout"),
    }


@pytest.mark.parametrize(
    ("per_core", "least", "cpus", "expected"),
    [
        (32768, 131072, 2, 131072),
        (32768, 131072, 4, 131072),
        (32768, 131072, 8, 262144),
        (32768, 131072, 32, 1048576),
        (32768, 131072, 33, 1048576),
        (32768, 2000000, 4, 2000000),
        (32768, 2000000, 64, 1048576),
        (0, 131072, 8, None),
        (100, 0, 3, 300),
    ],
)
def test_the_limit_follows_cpus_and_the_minimum(per_core, least, cpus, expected):
    got = wanted(f"--conntrack-max-per-core={per_core}", f"--conntrack-min={least}", cpus=cpus)
    assert (got[f"{NF}max"].value if f"{NF}max" in got else None) == expected
    assert (HASH_SIZE in got) is (expected is not None)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), {}),
        (("--conntrack-tcp-timeout-established=1h",), {"net/netfilter/nf_conntrack_tcp_timeout_established": 3600}),
        (("--conntrack-tcp-timeout-close-wait=90s",), {"net/netfilter/nf_conntrack_tcp_timeout_close_wait": 90}),
        (("--conntrack-udp-timeout=1500ms",), {"net/netfilter/nf_conntrack_udp_timeout": 1}),
        (("--conntrack-udp-timeout-stream=2m",), {"net/netfilter/nf_conntrack_udp_timeout_stream": 120}),
        (("--conntrack-udp-timeout=10ms",), {"net/netfilter/nf_conntrack_udp_timeout": 1}),
        (("--conntrack-tcp-be-liberal",), {"net/netfilter/nf_conntrack_tcp_be_liberal": 1}),
    ],
)
def test_zero_asks_for_nothing_and_all_else_for_itself(flags, expected):
    assert values(*flags) == expected


def test_route_localnet_is_set_for_localhost_node_ports_only():
    assert values(localhost=True) == {"net/ipv4/conf/all/route_localnet": 1}


def test_ipvs_has_its_own_and_strict_arp():
    assert values("--proxy-mode=ipvs", "--ipvs-strict-arp") == {
        "net/ipv4/vs/conntrack": 1,
        "net/ipv4/vs/expire_nodest_conn": 1,
        "net/ipv4/vs/expire_quiescent_template": 1,
        "net/ipv4/ip_forward": 1,
        "net/ipv4/conf/all/arp_ignore": 1,
        "net/ipv4/conf/all/arp_announce": 2,
    }
