"""kube-proxy's command line: the table of its flags, and a reader that takes what kube-proxy's takes.

A flag that stands for a field of the configuration file only names the field; what the field takes is said there.
Which flags a command has besides, and what it does with them, is not known here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fairway.config.proxy import kinds
from fairway.config.proxy.fields import BY_PATH
from fairway.values.errors import ConfigError, InvalidValueError


class Flag(NamedTuple):
    """One flag. Without `path` it is no field of the file, and `kind` says what it takes."""

    name: str
    help: str
    path: str = ""
    """The field it sets; `{section}` is `nftables` in nftables mode and `iptables` in all others."""
    kind: kinds.Kind | None = None
    short: str = ""
    is_hidden: bool = False
    """Deprecated: taken, but not in the help."""
    is_ignored: bool = False
    """Taken because kube-proxy takes it; does nothing here."""

    @property
    def value_kind(self) -> kinds.Kind:
        return self.kind or BY_PATH[self.path.format(section="iptables")].kind

    @property
    def is_switch(self) -> bool:
        """May stand without a value, which then is true; a value must follow after `=`."""
        return isinstance(self.value_kind, kinds.Bool)


_BOOL = kinds.Bool()
_TEXT = kinds.Text()
_PATH = kinds.Text("a path")
PORT = kinds.Int(0, 65535)

FLAGS: tuple[Flag, ...] = (
    Flag("bind-address", "Hint at the node's primary IP address; nothing is bound to it.", "bindAddress"),
    Flag("bind-address-hard-fail", "Exit when a server cannot listen, instead of trying again.", "bindAddressHardFail"),
    Flag("boot-id-file", "Accepted without effect.", kind=_PATH, is_ignored=True),
    Flag("cleanup", "Remove everything from the kernel that is Fairway's, and exit.", kind=_BOOL),
    Flag("cluster-cidr", "Pod addresses of the cluster: one CIDR block, or one of each family.", "clusterCIDR"),
    Flag("config", "The KubeProxyConfiguration file. Flags win over what it says.", kind=_PATH),
    Flag("config-sync-period", "Accepted without effect: nothing is listed anew by the clock.", "configSyncPeriod"),
    Flag("conntrack-max-per-core", "Tracked connections per CPU; 0 leaves the kernel's limit.", "conntrack.maxPerCore"),
    Flag("conntrack-min", "Tracked connections at least, whatever conntrack-max-per-core says.", "conntrack.min"),
    Flag("conntrack-tcp-be-liberal", "Set nf_conntrack_tcp_be_liberal.", "conntrack.tcpBeLiberal"),
    Flag(
        "conntrack-tcp-timeout-close-wait",
        "Tracking time of half-closed TCP; 0 leaves it.",
        "conntrack.tcpCloseWaitTimeout",
    ),
    Flag(
        "conntrack-tcp-timeout-established",
        "Tracking time of idle TCP; 0 leaves it.",
        "conntrack.tcpEstablishedTimeout",
    ),
    Flag("conntrack-udp-timeout", "Tracking time of unanswered UDP; 0 leaves it.", "conntrack.udpTimeout"),
    Flag("conntrack-udp-timeout-stream", "Tracking time of answered UDP; 0 leaves it.", "conntrack.udpStreamTimeout"),
    Flag("detect-local-mode", "How local pods are told from others.", "detectLocalMode"),
    Flag("feature-gates", "NAME=true,NAME=false: accepted without effect.", "featureGates"),
    Flag("healthz-bind-address", "Where /healthz and /livez are served; empty for nowhere.", "healthzBindAddress"),
    Flag("healthz-port", "Port of the health server; 0 for none.", kind=PORT, is_hidden=True),
    Flag("hostname-override", "The name of this node; its host name when unset.", "hostnameOverride"),
    Flag("init-only", "Do what needs all of root's rights, and exit.", kind=_BOOL),
    Flag(
        "iptables-localhost-nodeports",
        "Serve node ports on 127.0.0.0/8 (IPv4; not in ipvs mode).",
        "iptables.localhostNodePorts",
    ),
    Flag("iptables-masquerade-bit", "Bit of the packet mark (iptables and ipvs modes).", "iptables.masqueradeBit"),
    Flag("iptables-min-sync-period", "Time between two writes at least (iptables mode).", "{section}.minSyncPeriod"),
    Flag("iptables-sync-period", "Time between two full compares (all modes but ipvs).", "{section}.syncPeriod"),
    Flag("ipvs-exclude-cidrs", "Virtual servers that a clean-up leaves alone.", "ipvs.excludeCIDRs"),
    Flag("ipvs-min-sync-period", "Time between two writes at least (ipvs mode).", "ipvs.minSyncPeriod"),
    Flag("ipvs-scheduler", "Scheduler of the virtual servers; rr when unset.", "ipvs.scheduler"),
    Flag("ipvs-strict-arp", "Set arp_ignore to 1 and arp_announce to 2.", "ipvs.strictARP"),
    Flag("ipvs-sync-period", "Time between two full compares (ipvs mode).", "ipvs.syncPeriod"),
    Flag("ipvs-tcp-timeout", "IPVS time-out of idle TCP; 0 leaves it.", "ipvs.tcpTimeout"),
    Flag("ipvs-tcpfin-timeout", "IPVS time-out of closing TCP; 0 leaves it.", "ipvs.tcpFinTimeout"),
    Flag("ipvs-udp-timeout", "IPVS time-out of UDP; 0 leaves it.", "ipvs.udpTimeout"),
    Flag("kube-api-burst", "Accepted without effect.", "clientConnection.burst"),
    Flag("kube-api-content-type", "Accepted without effect: JSON is spoken.", "clientConnection.contentType"),
    Flag("kube-api-qps", "Accepted without effect.", "clientConnection.qps"),
    Flag("kubeconfig", "How to reach the API server; in-cluster when unset.", "clientConnection.kubeconfig"),
    Flag("log-flush-frequency", "Accepted without effect: logs are not held back.", "logging.flushFrequency"),
    Flag("log-json-info-buffer-size", "Accepted without effect.", "logging.options.json.infoBufferSize"),
    Flag("log-json-split-stream", "Accepted without effect.", "logging.options.json.splitStream"),
    Flag("log-text-info-buffer-size", "Accepted without effect.", "logging.options.text.infoBufferSize"),
    Flag("log-text-split-stream", "Accepted without effect.", "logging.options.text.splitStream"),
    Flag("logging-format", "text or json.", "logging.format"),
    Flag("machine-id-file", "Accepted without effect.", kind=_PATH, is_ignored=True),
    Flag("masquerade-all", "Masquerade all traffic to cluster IPs.", "{section}.masqueradeAll"),
    Flag("master", "URL of the API server; wins over the kubeconfig's.", kind=kinds.Text("a URL")),
    Flag("metrics-bind-address", "Where /metrics is served; empty for nowhere.", "metricsBindAddress"),
    Flag("metrics-port", "Port of the metrics server; 0 for none.", kind=PORT, is_hidden=True),
    Flag(
        "nodeport-addresses",
        "CIDR blocks, or primary, localhost, all: where node ports are served.",
        "nodePortAddresses",
    ),
    Flag("oom-score-adj", "What /proc/self/oom_score_adj is set to.", "oomScoreAdj"),
    Flag("pod-bridge-interface", "The bridge of detect-local-mode BridgeInterface.", "detectLocal.bridgeInterface"),
    Flag("pod-interface-name-prefix", "For detect-local-mode InterfaceNamePrefix.", "detectLocal.interfaceNamePrefix"),
    Flag("profiling", "Serve /debug/pprof with the metrics.", "enableProfiling"),
    Flag("proxy-mode", "The dataplane: nftables (default), iptables, ipvs, ebpf, userspace.", "mode"),
    Flag("show-hidden-metrics-for-version", "Accepted without effect.", "showHiddenMetricsForVersion"),
    Flag("v", "Verbosity of the log.", "logging.verbosity", short="v"),
    Flag("version", "Print the version, and exit.", kind=kinds.Version()),
    Flag("vmodule", "Accepted without effect.", "logging.vmodule"),
    Flag("write-config-to", "Write the configuration in effect to this file, and exit.", kind=_PATH),
)
_LISTS = {"strings", "mapStringBool", "pattern=N,..."}


def parse_flags(arguments: Sequence[str], table: Iterable[Flag] = FLAGS) -> dict[str, str]:
    """Flag name → text, as written; switches that are no field of the file become `true` or `false`.

    `table` may have more than kube-proxy's flags. As kube-proxy reads them: `--name=value`, `--name value`,
    `--switch`, `--switch=false`, `-v=4`, underscores for dashes. The last of several wins, but lists add up. Raises
    ConfigError that names all that is wrong.
    """
    names = {flag.name: flag for flag in table}
    shorts = {flag.short: flag for flag in names.values() if flag.short}
    values: dict[str, str] = {}
    wrong: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--" or not word.startswith("-") or word == "-":
            wrong += [
                f"{extra!r}: no argument is taken, only flags" for extra in ([word, *rest] if word != "--" else rest)
            ]
            break
        flag, value = _split(word, names, shorts)
        if flag is None:
            wrong.append(_unknown(word, names))
            continue
        if value is None and not flag.is_switch:
            if not rest:
                wrong.append(f"--{flag.name}: a value is missing; wanted: {flag.value_kind.wanted}")
                break
            value = rest.pop(0)
        text = "true" if value is None else value
        is_list = flag.value_kind.flag_type in _LISTS and values.get(flag.name)
        values[flag.name] = f"{values[flag.name]},{text}" if is_list else text
    values.update(_check_others(values, names, wrong))
    if wrong:
        raise ConfigError("\n".join(wrong))
    return values


def _check_others(values: dict[str, str], names: dict[str, Flag], wrong: list[str]) -> dict[str, str]:
    """Read the flags that stand for no field; those that do are read with the file. Returns switches, spelt one way."""
    switches = {}
    for flag in (names[name] for name in values):
        if flag.path:
            continue
        try:
            value = flag.value_kind.read_flag(values[flag.name])
        except InvalidValueError as error:
            wrong.append(f"--{flag.name}: {error}; wanted: {flag.value_kind.wanted}")
            continue
        if flag.is_switch:
            switches[flag.name] = "true" if value else "false"
    return switches


def _split(word: str, names: dict[str, Flag], shorts: dict[str, Flag]) -> tuple[Flag | None, str | None]:
    """The flag that a word names, and the value that stands in the same word."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return names.get(name.replace("_", "-")), value if equals else None
    flag = shorts.get(word[1])
    if flag is None or len(word) == 2:
        return flag, None
    return flag, word[2:].removeprefix("=")


def _unknown(word: str, names: dict[str, Flag]) -> str:
    name = word.partition("=")[0]
    close = difflib.get_close_matches(name.lstrip("-"), names, 1)
    return f"unknown flag: {name}" + (f" (did you mean --{close[0]}?)" if close else "")


def usage(table: Iterable[Flag] = FLAGS) -> str:
    """The flags with their types and what they do, one a line, sorted."""
    rows = []
    for flag in sorted(table):
        if not flag.is_hidden:
            short = f"-{flag.short}, " if flag.short else "    "
            rows.append((f"  {short}--{flag.name} {flag.value_kind.flag_type}".rstrip(), flag.help))
    width = max(len(left) for left, _ in rows) + 3
    return "\n".join(f"{left:<{width}}{text}" for left, text in rows)
