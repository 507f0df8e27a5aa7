"""The table of KubeProxyConfiguration's fields: each one's kind, default, where it takes effect, how it changes.

Reading, writing, comparing and the reference in docs/configuration.md all go by this table. The defaults are those
of kube-proxy 1.36, but for `mode`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import reduce
from typing import Any, NamedTuple

from fairway.config.duration import parse_duration
from fairway.config.proxy import kinds
from fairway.config.proxy.settings import LocalMode, LogFormat, Mode, NodePortKeyword, ProxySettings, SocketAddress
from fairway.values.address import LOOPBACK6, Address, Family
from fairway.values.errors import InvalidValueError

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"
GROUP = "kubeproxy.config.k8s.io"


class Change(Enum):
    """What a new value of a field asks for while the proxy runs."""

    LIVE = "applied at once; no connection is touched"
    RESTART = "needs a restart"


EVERY = frozenset(Mode)
NOWHERE: frozenset[Mode] = frozenset()


def _but(*modes: Mode) -> frozenset[Mode]:
    return EVERY - frozenset(modes)


class Field(NamedTuple):
    """One field of the configuration file."""

    path: str
    kind: kinds.Kind
    default: Any
    """A value, or a function of the values above it in the table."""
    zero_is_unset: bool = False
    """An empty text, 0 or 0s stands for the default, as in kube-proxy (files made by kubeadm are full of them)."""
    modes: frozenset[Mode] = EVERY
    """Where it has an effect; elsewhere it is accepted, with a warning when it differs from the default."""
    change: Change = Change.LIVE
    done_anyway: tuple[Any, ...] = ()
    """Values that ask for what is done without being asked: no warning."""
    attribute: str = ""
    """Its place in `ProxySettings`, where that does not follow from the path."""

    @property
    def place(self) -> str:
        return self.attribute or _snake(self.path)

    def read(self, value: Any) -> Any:
        """The typed value, or None for "take the default". Raises InvalidValueError."""
        if value is None or (self.zero_is_unset and self._is_zero(value)):
            return None
        return self.kind.read(value)

    def default_after(self, above: Mapping[str, Any]) -> Any:
        return self.default(above) if callable(self.default) else self.default

    def of(self, settings: ProxySettings) -> Any:
        """This field's value."""
        return reduce(getattr, self.place.split("."), settings)

    def _is_zero(self, value: Any) -> bool:
        kind = self.kind
        if isinstance(kind, kinds.Duration):
            return _is_no_time(value) or (kind.takes_nanoseconds and _is_number_zero(value))
        if isinstance(kind, kinds.Int | kinds.Number):
            return _is_number_zero(value)
        return bool(value == []) if isinstance(kind, kinds.Cidrs) else bool(value == "")


def _is_number_zero(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and value == 0


def _is_no_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and parse_duration(value) == 0
    except InvalidValueError:
        return False


def _snake(path: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", path).lower()


def _interface_name(text: str) -> bool:
    """What the kernel takes as an interface name, or the start of one (IFNAMSIZ is 16); empty is unset."""
    return len(text) < 16 and "/" not in text and not any(c.isspace() or not c.isprintable() for c in text)


_INTERFACE = kinds.Text(
    "an interface name (at most 15 characters, no blank, no slash), or its beginning", _interface_name
)
_VERSION = kinds.Text("MAJOR.MINOR, such as 1.35", lambda text: re.fullmatch(r"(\d+\.\d+)?", text) is not None)
_SCHEDULER = kinds.Text("the name of a scheduler", lambda text: re.fullmatch(r"[a-z0-9_-]{0,15}", text) is not None)
NO_DELAY = 1e-9
"""A minSyncPeriod of 0. A file cannot say 0, which reads as unset, but it can say 1ns."""
_BIT = kinds.Int(0, 31)
_COUNT = kinds.Int(0)
_PERIOD = kinds.Duration(0, above=True)
_TIME = kinds.Duration()
_MODE_HINT = " (empty: nftables)"


def _listen(everywhere: bool, port: int) -> Callable[[Mapping[str, Any]], SocketAddress]:
    def default(above: Mapping[str, Any]) -> SocketAddress:
        is_v4 = above["bindAddress"].family is Family.IPV4
        if everywhere:
            return SocketAddress(Address(bytes(4 if is_v4 else 16)), port)
        return SocketAddress(Address.parse("127.0.0.1") if is_v4 else LOOPBACK6, port)

    return default


def _node_ports(above: Mapping[str, Any]) -> tuple[NodePortKeyword, ...]:
    return (NodePortKeyword.PRIMARY,) if above["mode"] is Mode.NFTABLES else ()


FIELDS: tuple[Field, ...] = (
    Field("mode", kinds.OneOf(Mode, _MODE_HINT), Mode.NFTABLES, True, change=Change.RESTART),
    Field("bindAddress", kinds.IpAddress(), Address(bytes(4)), True),
    Field("healthzBindAddress", kinds.Socket(10256), _listen(True, 10256), True),
    Field("metricsBindAddress", kinds.Socket(10249), _listen(False, 10249), True),
    Field("bindAddressHardFail", kinds.Bool(), False),
    Field("enableProfiling", kinds.Bool(), False),
    Field("showHiddenMetricsForVersion", _VERSION, "", modes=NOWHERE),
    Field("hostnameOverride", kinds.Text(), "", change=Change.RESTART),
    Field("featureGates", kinds.FeatureGates(), (), modes=NOWHERE),
    Field("clientConnection.kubeconfig", kinds.Text("a path"), "", change=Change.RESTART),
    Field("clientConnection.acceptContentTypes", kinds.Text(), "", modes=NOWHERE, done_anyway=("application/json",)),
    Field(
        "clientConnection.contentType",
        kinds.Text(),
        "application/vnd.kubernetes.protobuf",
        True,
        NOWHERE,
        done_anyway=("application/json",),
    ),
    Field("clientConnection.qps", kinds.Number(), 5.0, True, NOWHERE),
    Field("clientConnection.burst", _COUNT, 10, True, NOWHERE),
    Field("logging.format", kinds.OneOf(LogFormat), LogFormat.TEXT, True),
    Field("logging.flushFrequency", kinds.Duration(0, above=True, takes_nanoseconds=True), 5.0, True, NOWHERE),
    Field("logging.verbosity", _COUNT, 0),
    Field("logging.vmodule", kinds.VModules(), (), modes=NOWHERE),
    Field(
        "logging.options.text.splitStream", kinds.Bool(), False, modes=NOWHERE, attribute="logging.text_split_stream"
    ),
    Field(
        "logging.options.text.infoBufferSize",
        kinds.Quantity(),
        "0",
        modes=NOWHERE,
        attribute="logging.text_info_buffer_size",
    ),
    Field(
        "logging.options.json.splitStream", kinds.Bool(), False, modes=NOWHERE, attribute="logging.json_split_stream"
    ),
    Field(
        "logging.options.json.infoBufferSize",
        kinds.Quantity(),
        "0",
        modes=NOWHERE,
        attribute="logging.json_info_buffer_size",
    ),
    Field("detectLocalMode", kinds.OneOf(LocalMode, " (empty: ClusterCIDR)"), LocalMode.CLUSTER_CIDR, True),
    Field("detectLocal.bridgeInterface", _INTERFACE, ""),
    Field("detectLocal.interfaceNamePrefix", _INTERFACE, ""),
    Field("clusterCIDR", kinds.ClusterCidrs(), (), attribute="cluster_cidrs"),
    Field("nodePortAddresses", kinds.NodePorts(), _node_ports, True),
    Field("oomScoreAdj", kinds.Int(-1000, 1000), -999),
    Field("configSyncPeriod", _PERIOD, 900.0, True, NOWHERE),
    Field("conntrack.maxPerCore", _COUNT, 32768),
    Field("conntrack.min", _COUNT, 131072),
    Field("conntrack.tcpEstablishedTimeout", _TIME, 86400.0),
    Field("conntrack.tcpCloseWaitTimeout", _TIME, 3600.0),
    Field("conntrack.tcpBeLiberal", kinds.Bool(), False),
    Field("conntrack.udpTimeout", _TIME, 0.0),
    Field("conntrack.udpStreamTimeout", _TIME, 0.0),
    Field("iptables.masqueradeBit", _BIT, 14, modes=frozenset({Mode.IPTABLES, Mode.IPVS}), change=Change.RESTART),
    Field("iptables.masqueradeAll", kinds.Bool(), False, modes=_but(Mode.NFTABLES)),
    Field("iptables.localhostNodePorts", kinds.Bool(), True, modes=_but(Mode.IPVS)),
    Field("iptables.syncPeriod", _PERIOD, 30.0, True, _but(Mode.NFTABLES, Mode.IPVS)),
    Field("iptables.minSyncPeriod", _TIME, 1.0, True, frozenset({Mode.IPTABLES})),
    Field("ipvs.syncPeriod", _PERIOD, 30.0, True, frozenset({Mode.IPVS})),
    Field("ipvs.minSyncPeriod", _TIME, 0.0, True, frozenset({Mode.IPVS})),
    Field("ipvs.scheduler", _SCHEDULER, "", modes=frozenset({Mode.IPVS}), change=Change.RESTART),
    Field("ipvs.excludeCIDRs", kinds.Cidrs(), (), True, frozenset({Mode.IPVS}), attribute="ipvs.exclude_cidrs"),
    Field("ipvs.strictARP", kinds.Bool(), False, modes=frozenset({Mode.IPVS}), attribute="ipvs.strict_arp"),
    Field("ipvs.tcpTimeout", _TIME, 0.0, modes=frozenset({Mode.IPVS})),
    Field("ipvs.tcpFinTimeout", _TIME, 0.0, modes=frozenset({Mode.IPVS})),
    Field("ipvs.udpTimeout", _TIME, 0.0, modes=frozenset({Mode.IPVS})),
    Field("nftables.masqueradeBit", _BIT, 14, modes=NOWHERE),
    Field("nftables.masqueradeAll", kinds.Bool(), False, modes=frozenset({Mode.NFTABLES})),
    Field("nftables.syncPeriod", _PERIOD, 30.0, True, frozenset({Mode.NFTABLES})),
    Field("nftables.minSyncPeriod", _TIME, 1.0, True, NOWHERE, done_anyway=(NO_DELAY,)),
    Field("winkernel.networkName", kinds.Text(), "", modes=NOWHERE),
    Field("winkernel.sourceVip", kinds.Text(), "", modes=NOWHERE),
    Field("winkernel.enableDSR", kinds.Bool(), False, modes=NOWHERE, attribute="winkernel.enable_dsr"),
    Field("winkernel.rootHnsEndpointName", kinds.Text(), "", modes=NOWHERE),
    Field("winkernel.forwardHealthCheckVip", kinds.Bool(), False, modes=NOWHERE),
    Field("portRange", kinds.Text(), "", modes=NOWHERE),
    Field("windowsRunAsService", kinds.Bool(), False, modes=NOWHERE),
)
BY_PATH: dict[str, Field] = {field.path: field for field in FIELDS}
SECTIONS: frozenset[str] = frozenset(
    ".".join(parts[:n]) for parts in (path.split(".") for path in BY_PATH) for n in range(1, len(parts))
)
