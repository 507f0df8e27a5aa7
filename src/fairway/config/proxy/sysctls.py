"""Which kernel parameters the settings ask for, as kube-proxy sets them. What the kernel has now is not known here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from fairway.config.proxy.settings import Conntrack, Mode, ProxySettings

SYS = "/proc/sys/"
HASH_SIZE = "/sys/module/nf_conntrack/parameters/hashsize"
MAX_LIMIT = 1_048_576
"""Scaled by CPU, nf_conntrack_max stops here: more costs memory on machines with many cores."""


class Rule(Enum):
    EXACTLY = "exactly"
    AT_LEAST = "at least"
    """A larger value stays."""


class Sysctl(NamedTuple):
    """One kernel parameter."""

    value: int
    field: str
    """The setting that asks for it."""
    rule: Rule = Rule.EXACTLY
    after: str = ""
    """Only when this one holds: without the limit a larger table is of no use."""

    def is_met_by(self, value: int) -> bool:
        return value >= self.value if self.rule is Rule.AT_LEAST else value == self.value


def wanted_sysctls(settings: ProxySettings, cpus: int, *, localhost: bool) -> Mapping[str, Sysctl]:
    """Path → what it should be, in the order of writing. Settings of 0 ask for nothing.

    `localhost`: IPv4 node ports are served on loopback (`serves_localhost`). Then route_localnet opens 127.0.0.0/8 to
    neighbours too, and the dataplane has to drop what is not this node's own (CVE-2020-8558, rule 21).
    """
    wanted = dict(_conntrack(settings.conntrack, cpus))
    if localhost:
        wanted[f"{SYS}net/ipv4/conf/all/route_localnet"] = Sysctl(1, "iptables.localhostNodePorts")
    if settings.mode is Mode.IPVS:
        wanted.update(_ipvs(settings.ipvs.strict_arp))
    return wanted


def conntrack_max(settings: Conntrack, cpus: int) -> int:
    """The limit of tracked connections, or 0 for the kernel's own."""
    if not settings.max_per_core:
        return 0
    scaled = settings.max_per_core * cpus
    return MAX_LIMIT if scaled > MAX_LIMIT else max(scaled, settings.min)


def _conntrack(settings: Conntrack, cpus: int) -> Iterator[tuple[str, Sysctl]]:
    base = f"{SYS}net/netfilter/nf_conntrack_"
    if limit := conntrack_max(settings, cpus):
        yield f"{base}max", Sysctl(limit, "conntrack.maxPerCore")
        yield HASH_SIZE, Sysctl(limit // 4, "conntrack.maxPerCore", Rule.AT_LEAST, after=f"{base}max")
    for name, seconds, field in (
        ("tcp_timeout_established", settings.tcp_established_timeout, "tcpEstablishedTimeout"),
        ("tcp_timeout_close_wait", settings.tcp_close_wait_timeout, "tcpCloseWaitTimeout"),
        ("udp_timeout", settings.udp_timeout, "udpTimeout"),
        ("udp_timeout_stream", settings.udp_stream_timeout, "udpStreamTimeout"),
    ):
        if seconds > 0:
            yield f"{base}{name}", Sysctl(max(1, int(seconds)), f"conntrack.{field}")
    if settings.tcp_be_liberal:
        yield f"{base}tcp_be_liberal", Sysctl(1, "conntrack.tcpBeLiberal")


def _ipvs(strict_arp: bool) -> Iterator[tuple[str, Sysctl]]:
    """conn_reuse_mode is left alone: it only hurt before kernel 5.9, and the floor is 6.1."""
    for name in ("conntrack", "expire_nodest_conn", "expire_quiescent_template"):
        yield f"{SYS}net/ipv4/vs/{name}", Sysctl(1, "mode")
    yield f"{SYS}net/ipv4/ip_forward", Sysctl(1, "mode")
    if strict_arp:
        yield f"{SYS}net/ipv4/conf/all/arp_ignore", Sysctl(1, "ipvs.strictARP")
        yield f"{SYS}net/ipv4/conf/all/arp_announce", Sysctl(2, "ipvs.strictARP")
