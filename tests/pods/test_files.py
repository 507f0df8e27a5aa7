from __future__ import annotations

import pytest

from fairway.pods.files import Resolver, hosts_file, read_resolv_conf, resolv_conf
from pod_objects import pod

NODE = Resolver(("10.96.0.10",), "cluster.local", ("192.0.2.53",), ("example.com",), ("timeout:1",))
CLUSTER = """\
search shop.svc.cluster.local svc.cluster.local cluster.local example.com
nameserver 10.96.0.10
options ndots:5
"""
HOST = "search example.com\nnameserver 192.0.2.53\noptions timeout:1\n"


@pytest.mark.parametrize(
    ("policy", "host_network", "expected"),
    [
        ("ClusterFirst", False, CLUSTER),
        ("ClusterFirst", True, HOST),
        ("ClusterFirstWithHostNet", True, CLUSTER),
        ("Default", False, HOST),
        ("None", False, ""),
    ],
)
def test_the_dns_policy_decides_the_resolver(policy: str, *, host_network: bool, expected: str) -> None:
    assert resolv_conf(pod(dnsPolicy=policy, hostNetwork=host_network), NODE) == expected


def test_dns_config_adds_and_replaces_options_by_name() -> None:
    config = {
        "nameservers": ["192.0.2.1", "10.96.0.10"],
        "searches": ["corp.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    assert resolv_conf(pod(dnsConfig=config), NODE) == (
        "search shop.svc.cluster.local svc.cluster.local cluster.local example.com corp.example\n"
        "nameserver 10.96.0.10\nnameserver 192.0.2.1\noptions ndots:2 edns0\n"
    )


def test_at_most_three_name_servers() -> None:
    config = {"nameservers": [f"192.0.2.{n}" for n in range(1, 6)]}
    assert resolv_conf(pod(dnsPolicy="None", dnsConfig=config), NODE).count("nameserver") == 3


def test_the_machines_resolv_conf_is_read_back() -> None:
    assert read_resolv_conf("# x\n" + HOST) == (("192.0.2.53",), ("example.com",), ("timeout:1",))


def test_hosts_names_the_pod_by_its_subdomain_and_adds_aliases() -> None:
    one = pod(hostname="web-0", subdomain="web", hostAliases=[{"ip": "192.0.2.7", "hostnames": ["a", "b"]}])
    text = hosts_file(one, ["10.0.0.2"], "cluster.local")
    assert "10.0.0.2\tweb-0.web.shop.svc.cluster.local\tweb-0\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n192.0.2.7\ta\tb\n")
