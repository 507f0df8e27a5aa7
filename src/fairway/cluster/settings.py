"""What a cluster is started with: read from flags, checked, kept in its state folder, turned into a topology.

Decides defaults, names and which ranges go together. Whether the machine has room for them is asked elsewhere.
"""

from __future__ import annotations

import re
from typing import Final
from zlib import crc32

import msgspec

from fairway.cluster.topology import Ranges, Topology, plan
from fairway.values.address import Address, Family, Prefix
from fairway.values.errors import ConfigError, InvalidValueError

DEFAULT_NAME: Final = "fairway"
DNS_PLACE: Final = 10
"""The cluster's DNS is the tenth address of the first service range, as kubeadm has it."""
RANGES: Final = {
    "underlay": ("10.245.0.0/24", "fd00:10:245::/64"),
    "pod_cidr": ("10.244.0.0/16", "fd00:10:244::/56"),
    "service_cidr": ("10.96.0.0/16", "fd00:10:96::/112"),
    "lb_cidr": ("10.97.0.0/24", "fd00:10:97::/112"),
}
"""Each range's default, IPv4 and IPv6."""
FAMILIES: Final = {
    "ipv4": (Family.IPV4,),
    "ipv6": (Family.IPV6,),
    "dual": (Family.IPV4, Family.IPV6),
}
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One cluster. Ranges are lists of CIDR blocks, the primary family first, all in the same order of families."""

    name: str = DEFAULT_NAME
    nodes: int = 3
    zones: int = 3
    underlay: tuple[str, ...] = ("10.245.0.0/24",)
    pod_cidr: tuple[str, ...] = ("10.244.0.0/16",)
    service_cidr: tuple[str, ...] = ("10.96.0.0/16",)
    lb_cidr: tuple[str, ...] = ("10.97.0.0/24",)
    mode: str = "nftables"
    api_port: int = 6443
    api: str = ""
    """Kubeconfig of an API server that takes the embedded one's place."""
    controllers: str = "*"
    """As kube-controller-manager's flag: which ones run here."""
    node_grace: float = 50.0
    """Seconds without a sign of life after which a node is not ready (node-monitor-grace-period)."""
    images: dict[str, str] = {}
    """Image name to the path of a program on this machine."""

    @property
    def prefix(self) -> str:
        """How everything of this cluster on the host is called, short enough for the names of interfaces."""
        return "fw" if self.name == DEFAULT_NAME else f"fw{crc32(self.name.encode()) & 0xFFFF:04x}"

    @property
    def topology(self) -> Topology:
        """Raises ConfigError, naming what does not fit."""
        ranges = Ranges(_prefixes(self.underlay), _prefixes(self.pod_cidr))
        return plan(self.nodes, ranges, zones=self.zones, prefix=self.prefix)

    @property
    def families(self) -> tuple[Family, ...]:
        """The primary one first."""
        return tuple(one.family for one in _prefixes(self.pod_cidr))

    @property
    def egress_table(self) -> str:
        """The host's nftables table for what leaves the cluster."""
        return f"{self.prefix}-egress"

    @property
    def pod_ranges(self) -> tuple[Prefix, ...]:
        return _prefixes(self.pod_cidr)

    @property
    def service_ranges(self) -> tuple[Prefix, ...]:
        return _prefixes(self.service_cidr)

    @property
    def balancer_ranges(self) -> tuple[Prefix, ...]:
        return _prefixes(self.lb_cidr)

    @property
    def client_addresses(self) -> tuple[Address, ...]:
        """Where the host's own requests to load-balancer addresses come from: the last usable one of each range.

        Outside the nodes' network, as clients of a cluster are: so a pod tells them from nodes. A range of fewer than
        four addresses has none to spare.
        """
        return tuple(one for network in self.balancer_ranges if (one := _last_usable(network)) is not None)

    @property
    def dns_addresses(self) -> tuple[Address, ...]:
        """Of the cluster's DNS, one a family."""
        return tuple(
            Address((int.from_bytes(one.address, "big") + DNS_PLACE).to_bytes(len(one.address), "big"))
            for one in self.service_ranges
        )


def make_settings(family: str, given: dict[str, str], **rest: object) -> ClusterSettings:
    """Settings from flags: `given` are ranges as written, by field; those that are not there have their defaults.

    Raises ConfigError that names flag and value.
    """
    families = FAMILIES.get(family)
    if families is None:
        raise ConfigError(f"--ip-family: {family!r} is none of {', '.join(FAMILIES)}")
    ranges = {field: _range(field, given.get(field, ""), families) for field in RANGES}
    settings = msgspec.convert({**ranges, **rest}, ClusterSettings)
    if not _NAME.fullmatch(settings.name):
        raise ConfigError(f"--name: {settings.name!r} is no name of small letters, digits and dashes")
    _check_apart(ranges)
    _ = settings.topology
    return settings


def _range(field: str, text: str, families: tuple[Family, ...]) -> tuple[str, ...]:
    flag = flag_of(field)
    defaults = {Prefix.parse(one).family: one for one in RANGES[field]}
    if not text:
        return tuple(defaults[one] for one in families)
    try:
        found = [Prefix.parse(one.strip()) for one in text.split(",")]
    except InvalidValueError as error:
        raise ConfigError(f"{flag}: {error}") from None
    if [one.family for one in found] != list(families):
        wanted = " and one of ".join(f"{one}" for one in families)
        raise ConfigError(f"{flag}: {text}: one range of {wanted} is wanted, in this order (--ip-family)")
    return tuple(str(one) for one in found)


def flag_of(field: str) -> str:
    """The flag that moves a range."""
    return f"--{field.replace('_', '-')}"


def _check_apart(ranges: dict[str, tuple[str, ...]]) -> None:
    every = [(field, Prefix.parse(one)) for field, texts in ranges.items() for one in texts]
    for place, (field, one) in enumerate(every):
        for other_field, other in every[place + 1 :]:
            if one.address in other or other.address in one:
                raise ConfigError(
                    f"{flag_of(field)} {one} and {flag_of(other_field)} {other} overlap: move one of them"
                )


def _last_usable(network: Prefix) -> Address | None:
    """IPv4's very last is for all."""
    width = network.family.width
    if width * 8 - network.length < 2:
        return None
    behind = 1 if network.family is Family.IPV4 else 0
    return Address((int.from_bytes(network.last, "big") - behind).to_bytes(width, "big"))


def _prefixes(texts: tuple[str, ...]) -> tuple[Prefix, ...]:
    return tuple(Prefix.parse(one) for one in texts)
