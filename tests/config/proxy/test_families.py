"""What settings mean in one family: families served, pod detection, node port addresses."""

import json
from pathlib import Path

import pytest

from fairway.config.proxy import LocalMode, ProxySettings, load, parse_flags
from fairway.config.proxy.families import (
    LocalDetection,
    detect_families,
    local_detection,
    node_port_addresses,
    serves_localhost,
)
from fairway.values.address import Address, Family, Prefix
from fairway.values.errors import UnavailableError

FLOWS = json.loads((Path(__file__).parent / "node_port_flows.json").read_text())
OWN = [Address.parse(a.partition("/")[0]) for addresses in FLOWS["interfaces"].values() for a in addresses]
BOTH = (Family.IPV4, Family.IPV6)


def settings(*flags: str) -> ProxySettings:
    return load(None, parse_flags(flags)).settings


def ip(text: str) -> Address:
    return Address.parse(text)


def ips(*texts: str) -> tuple[Address, ...]:
    return tuple(map(ip, texts))


@pytest.mark.parametrize("mode", ["nftables", "iptables", "ebpf", "userspace"])
@pytest.mark.parametrize("case", FLOWS["cases"], ids=lambda case: case["id"])
def test_node_ports_are_served_where_kube_proxys_packet_tests_say(case, mode):
    config = case["config"]
    listed = config["nodePortAddresses"]
    if mode == "nftables" and config["backend"] != "nftables" and not listed:
        listed = ["0.0.0.0/0", "::/0"]  # the cases of the iptables tests mean every address
    chosen = settings(
        f"--proxy-mode={mode}",
        f"--nodeport-addresses={','.join(listed)}",
        f"--iptables-localhost-nodeports={config['localhostNodePorts']}",
    )
    family = Family.IPV4 if config["ipFamily"] == "IPv4" else Family.IPV6
    served = node_port_addresses(chosen, family, OWN, ip(FLOWS["primary"][config["ipFamily"]]))
    assert {a: ip(a) in served for a in case["served"]} == case["served"]


V4 = ("127.0.0.1", "192.168.0.2", "192.168.1.2", "192.168.99.11")
V6 = ("2001:db8::1", "2001:db8:1::2")


@pytest.mark.parametrize(
    ("mode", "listed", "v4", "v6"),
    [
        ("nftables", "", V4[1:2], V6[:1]),
        ("iptables", "", V4, V6),
        ("ipvs", "", V4[1:], V6),
        ("nftables", "all", V4, V6),
        ("nftables", "localhost", V4[:1], ()),
        ("nftables", "primary,localhost", V4[:2], V6[:1]),
        ("nftables", "primary,192.168.99.0/24", (V4[1], V4[3]), V6[:1]),
        ("iptables", "192.168.0.0/16", V4[1:], V6),
        ("iptables", "2001:db8:1::/64", V4, V6[1:]),
        ("iptables", "127.0.0.0/8,::1/128", V4[:1], ()),
        ("iptables", "10.0.0.0/8,fd00::/8", (), ()),
        ("ipvs", "localhost", (), ()),
    ],
)
def test_node_port_addresses_are_those_selected(mode, listed, v4, v6):
    chosen = settings(f"--proxy-mode={mode}", f"--nodeport-addresses={listed}")
    got = {f: node_port_addresses(chosen, f, OWN, ip(FLOWS["primary"][str(f)])) for f in BOTH}
    assert got == {Family.IPV4: tuple(sorted(ips(*v4))), Family.IPV6: tuple(sorted(ips(*v6)))}


def test_link_local_ipv6_addresses_never_serve_node_ports_but_ipv4_ones_do():
    own = ips("fe80::1", "2001:db8::1", "169.254.20.10")
    every = settings("--nodeport-addresses=all")
    assert node_port_addresses(every, Family.IPV6, own, None) == ips("2001:db8::1")
    assert node_port_addresses(every, Family.IPV4, own, None) == ips("169.254.20.10")


@pytest.mark.parametrize("primary", [None, ip("127.0.0.1")])
def test_primary_of_an_unknown_node_ip_means_every_address_as_in_kube_proxy(primary):
    assert node_port_addresses(settings(), Family.IPV4, OWN, primary) == tuple(sorted(ips(*V4)))


@pytest.mark.parametrize(
    ("flags", "served"),
    [
        (["--proxy-mode=iptables"], True),
        (["--proxy-mode=iptables", "--iptables-localhost-nodeports=false"], False),
        (["--proxy-mode=iptables", "--nodeport-addresses=10.0.0.0/8"], False),
        (["--proxy-mode=iptables", "--nodeport-addresses=10.0.0.0/8,127.0.0.0/8"], True),
        (["--proxy-mode=iptables", "--nodeport-addresses=fd00::/8"], True),
        (["--proxy-mode=ipvs"], False),
        (["--proxy-mode=nftables"], False),
        (["--proxy-mode=nftables", "--nodeport-addresses=primary,localhost"], True),
        (["--proxy-mode=nftables", "--nodeport-addresses=0.0.0.0/0"], True),
    ],
)
def test_localhost_is_served_only_when_switched_on_and_selected(flags, served):
    assert serves_localhost(settings(*flags), ip("192.168.0.2")) is served


@pytest.mark.parametrize(
    ("flags", "node_ips", "primary", "known"),
    [
        ([], (), Family.IPV4, {}),
        ([], ("fd00::1", "10.0.0.1"), Family.IPV6, {Family.IPV6: "fd00::1", Family.IPV4: "10.0.0.1"}),
        ([], ("10.0.0.1", "10.0.0.2"), Family.IPV4, {Family.IPV4: "10.0.0.1"}),
        (["--bind-address=fd00::9"], ("10.0.0.1",), Family.IPV6, {Family.IPV4: "10.0.0.1", Family.IPV6: "fd00::9"}),
        (["--bind-address=::"], ("10.0.0.1",), Family.IPV4, {Family.IPV4: "10.0.0.1"}),
    ],
)
def test_primary_family_follows_bind_address_then_the_node(flags, node_ips, primary, known):
    families = detect_families(settings(*flags), ips(*node_ips), BOTH)
    assert families.primary is primary
    assert families.served[0] is primary
    assert set(families.served) == set(BOTH)
    assert families.node_ips == {family: ip(text) for family, text in known.items()}


def test_a_kernel_without_ipv6_serves_ipv4_alone():
    assert detect_families(settings(), ips("10.0.0.1"), [Family.IPV4]).served == (Family.IPV4,)


def test_a_kernel_without_the_primary_family_is_an_error_that_says_what_to_do():
    with pytest.raises(UnavailableError, match=r"primary IP family is IPv6.*set bindAddress"):
        detect_families(settings(), ips("fd00::1"), [Family.IPV4])


@pytest.mark.parametrize(
    ("flags", "node_ips", "available", "warned"),
    [
        (["--cluster-cidr=10.0.0.0/8"], ("10.0.0.1",), BOTH, None),
        (["--cluster-cidr=10.0.0.0/8"], (), BOTH, "the node's IP is not known"),
        ([], ("10.0.0.1",), BOTH, "clusterCIDR: no block of the primary family, IPv4"),
        (["--cluster-cidr=fd00::/8"], ("10.0.0.1",), BOTH, "clusterCIDR: no block of the primary family, IPv4"),
        (["--cluster-cidr=10.0.0.0/8,fd00::/8"], ("10.0.0.1",), [Family.IPV4], "fd00::/8 is IPv6, which this node"),
        (["--cluster-cidr=10.0.0.0/8", "--nodeport-addresses=10.0.0.0/8"], ("10.0.0.1",), BOTH, "no block is IPv6"),
    ],
)
def test_settings_that_fit_no_family_are_warned_of(flags, node_ips, available, warned):
    warnings = detect_families(settings(*flags), ips(*node_ips), available).warnings
    assert (not warnings) if warned is None else any(warned in warning for warning in warnings)


@pytest.mark.parametrize(
    ("flags", "family", "expected"),
    [
        (
            ["--cluster-cidr=10.0.0.0/8"],
            Family.IPV4,
            LocalDetection(LocalMode.CLUSTER_CIDR, (Prefix.parse("10.0.0.0/8"),)),
        ),
        (["--cluster-cidr=10.0.0.0/8"], Family.IPV6, LocalDetection()),
        (
            ["--cluster-cidr=10.0.0.0/8,fd00::/8"],
            Family.IPV6,
            LocalDetection(LocalMode.CLUSTER_CIDR, (Prefix.parse("fd00::/8"),)),
        ),
        (
            ["--detect-local-mode=NodeCIDR"],
            Family.IPV4,
            LocalDetection(LocalMode.NODE_CIDR, (Prefix.parse("10.1.2.0/24"),)),
        ),
        (["--detect-local-mode=NodeCIDR"], Family.IPV6, LocalDetection()),
        (
            ["--detect-local-mode=BridgeInterface", "--pod-bridge-interface=cni0"],
            Family.IPV6,
            LocalDetection(LocalMode.BRIDGE_INTERFACE, interface="cni0"),
        ),
        (
            ["--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=veth"],
            Family.IPV4,
            LocalDetection(LocalMode.INTERFACE_NAME_PREFIX, interface="veth"),
        ),
    ],
)
def test_pods_are_told_by_the_mode_s_setting_in_each_family(flags, family, expected):
    pod_cidrs = [Prefix.parse("10.1.2.0/24"), Prefix.parse("10.1.3.0/24")]
    assert local_detection(settings(*flags), family, pod_cidrs) == expected
