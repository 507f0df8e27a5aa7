"""The settings of a Service proxy: KubeProxyConfiguration v1alpha1 as frozen, typed values.

Says what each setting means to Fairway. Where a value came from, what is allowed, and what it does to the
kernel is not known here. Durations are seconds.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import msgspec

from fairway.values.address import Address, Family, Prefix


class Mode(Enum):
    """The dataplane. `ebpf` and `userspace` are Fairway's own; kube-proxy knows the first three."""

    NFTABLES = "nftables"
    IPTABLES = "iptables"
    IPVS = "ipvs"
    EBPF = "ebpf"
    USERSPACE = "userspace"


class LocalMode(Enum):
    """How a local pod's traffic is told from others'."""

    CLUSTER_CIDR = "ClusterCIDR"
    NODE_CIDR = "NodeCIDR"
    BRIDGE_INTERFACE = "BridgeInterface"
    INTERFACE_NAME_PREFIX = "InterfaceNamePrefix"


class NodePortKeyword(Enum):
    """Words that stand for addresses in nodePortAddresses."""

    PRIMARY = "primary"
    LOCALHOST = "localhost"
    ALL = "all"


class LogFormat(Enum):
    TEXT = "text"
    JSON = "json"


class SocketAddress(NamedTuple):
    """Where a server listens. Port 0 means that it does not run."""

    address: Address
    port: int

    def __str__(self) -> str:
        return self.address.with_port(self.port)


class VModule(NamedTuple):
    """Log verbosity of source files that match a pattern."""

    pattern: str
    verbosity: int


class ClientConnection(msgspec.Struct, frozen=True, kw_only=True):
    kubeconfig: str
    accept_content_types: str
    content_type: str
    qps: float
    burst: int


class Logging(msgspec.Struct, frozen=True, kw_only=True):
    format: LogFormat
    flush_frequency: float
    verbosity: int
    vmodule: tuple[VModule, ...]
    text_split_stream: bool
    text_info_buffer_size: str
    json_split_stream: bool
    json_info_buffer_size: str


class Conntrack(msgspec.Struct, frozen=True, kw_only=True):
    """Connection tracking; 0 leaves the kernel's value."""

    max_per_core: int
    min: int
    tcp_established_timeout: float
    tcp_close_wait_timeout: float
    tcp_be_liberal: bool
    udp_timeout: float
    udp_stream_timeout: float


class Iptables(msgspec.Struct, frozen=True, kw_only=True):
    masquerade_bit: int
    masquerade_all: bool
    localhost_node_ports: bool
    sync_period: float
    min_sync_period: float


class Ipvs(msgspec.Struct, frozen=True, kw_only=True):
    sync_period: float
    min_sync_period: float
    scheduler: str
    exclude_cidrs: tuple[Prefix, ...]
    strict_arp: bool
    tcp_timeout: float
    tcp_fin_timeout: float
    udp_timeout: float


class Nftables(msgspec.Struct, frozen=True, kw_only=True):
    masquerade_bit: int
    masquerade_all: bool
    sync_period: float
    min_sync_period: float


class Winkernel(msgspec.Struct, frozen=True, kw_only=True):
    """Windows only; kept so that a file written out again is whole."""

    network_name: str
    source_vip: str
    enable_dsr: bool
    root_hns_endpoint_name: str
    forward_health_check_vip: bool


class DetectLocal(msgspec.Struct, frozen=True, kw_only=True):
    bridge_interface: str
    interface_name_prefix: str


class ProxySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, defaults filled in."""

    mode: Mode
    hostname_override: str
    bind_address: Address
    """A hint at the node's primary IP; nothing is bound to it. Unspecified (0.0.0.0, ::) is no hint."""
    healthz_bind_address: SocketAddress
    metrics_bind_address: SocketAddress
    bind_address_hard_fail: bool
    enable_profiling: bool
    show_hidden_metrics_for_version: str
    feature_gates: tuple[tuple[str, bool], ...]
    client_connection: ClientConnection
    logging: Logging
    detect_local_mode: LocalMode
    detect_local: DetectLocal
    cluster_cidrs: tuple[Prefix, ...]
    """One, or one of each family."""
    node_port_addresses: tuple[Prefix | NodePortKeyword, ...]
    """Empty means all. See `node_port_addresses()`."""
    oom_score_adj: int
    conntrack: Conntrack
    config_sync_period: float
    iptables: Iptables
    ipvs: Ipvs
    nftables: Nftables
    winkernel: Winkernel
    port_range: str
    windows_run_as_service: bool

    @property
    def _section(self) -> Iptables | Nftables:
        """The section that speaks for this mode, where both have a say: kube-proxy's own rule."""
        return self.nftables if self.mode is Mode.NFTABLES else self.iptables

    @property
    def masquerade_all(self) -> bool:
        return self._section.masquerade_all

    @property
    def sync_period(self) -> float:
        """Seconds between full compares with the kernel; the proxy is unhealthy when a change waits twice as long."""
        return self.ipvs.sync_period if self.mode is Mode.IPVS else self._section.sync_period

    @property
    def min_sync_period(self) -> float:
        return self.ipvs.min_sync_period if self.mode is Mode.IPVS else self._section.min_sync_period

    @property
    def masquerade_bit(self) -> int:
        """The packet mark bit of the iptables and ipvs modes; the others use no mark."""
        return self._section.masquerade_bit

    @property
    def localhost_node_ports(self) -> bool:
        """Node ports on 127.0.0.0/8. One switch for all modes, under its historic name."""
        return self.iptables.localhost_node_ports

    @property
    def primary_hint(self) -> Address | None:
        """The node IP that bindAddress names, if it names one."""
        return self.bind_address if any(self.bind_address) else None

    @property
    def hint_family(self) -> Family:
        """The family of bindAddress, unspecified or not: where servers listen when nothing else is said."""
        return self.bind_address.family
