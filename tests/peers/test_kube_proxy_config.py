"""Our reading of KubeProxyConfiguration and flags beside the real kube-proxy's (--write-config-to shows its own).

Every difference is named here with its reason; docs/configuration.md tells them to operators.
"""

import json
import re
import subprocess

import pytest

from fairway.config.proxy import FLAGS, ProxySettings, difference, load, parse_flags, write_config
from fairway.values.errors import ConfigError
from peer import peer

pytestmark = pytest.mark.peers
KUBE_PROXY = peer("kube-proxy")

SAMPLES = {
    "bindAddress": ["0.0.0.0", "::", "010.0.0.1", "", "x", None, "1.2.3"],
    "healthzBindAddress": [
        "0.0.0.0:1",
        "10.0.0.1",
        "[::1]:99",
        "fd00::1",
        "x:1",
        "1.2.3.4:x",
        "1.2.3.4:70000",
        "",
        "[::1]",
        ":1",
    ],
    "metricsBindAddress": ["0.0.0.0:1", "localhost:1", "1.2.3.4:010"],
    "bindAddressHardFail": [True, "true", 1, None],
    "hostnameOverride": ["a", " A ", 1, None],
    "clientConnection": [
        {"qps": 1.5},
        {"qps": 0},
        {"qps": "5"},
        {"burst": -1},
        {"burst": 1.5},
        {"burst": 2**31},
        [],
        None,
    ],
    "logging": [
        {"format": "json"},
        {"format": "x"},
        {"verbosity": 5},
        {"verbosity": -1},
        {"flushFrequency": 1000},
        {"flushFrequency": "0s"},
        {"flushFrequency": "-1s"},
        {"vmodule": [{"filePattern": "a", "verbosity": 1}]},
        {"vmodule": [{"filePattern": "a=b", "verbosity": 1}]},
    ],
    "detectLocalMode": ["NodeCIDR", "BridgeInterface", "", "clustercidr"],
    "detectLocal": [{"bridgeInterface": "cni0"}, {"bridgeInterface": 1}],
    "clusterCIDR": [
        "10.0.0.1/8",
        "10.0.0.0/8,fd00::/8",
        "10.0.0.0/8,11.0.0.0/8",
        "a",
        "",
        "10.0.0.0/33",
        "10.0.0.0/8,",
    ],
    "nodePortAddresses": [["primary"], ["10.0.0.1/8", "fd00::/8"], [], None, ["x"], "10.0.0.0/8", ["010.0.0.0/8"]],
    "oomScoreAdj": [0, -1001, None, "5"],
    "configSyncPeriod": ["0s", "5m", "-1s", "1", 300],
    "conntrack": [
        {"maxPerCore": 0},
        {"maxPerCore": -1},
        {"min": None},
        {"tcpEstablishedTimeout": "0s"},
        {"tcpEstablishedTimeout": "-1s"},
        *({"udpTimeout": text} for text in ("1.5s", "x", "", "1d", ".5s", "+5s", "1h1h", "100us", "9999999h")),
    ],
    "iptables": [
        {"masqueradeBit": 0},
        {"masqueradeBit": 32},
        {"localhostNodePorts": False},
        {"localhostNodePorts": None},
    ],
    "winkernel": [{"networkName": "x"}, {"enableDSR": True}],
    "featureGates": [{"ContextualLogging": True}, {"ContextualLogging": "x"}, []],
}
IN_THEIR_MODE = {
    "iptables": [
        {"masqueradeAll": True},
        {"syncPeriod": "0s"},
        {"minSyncPeriod": "0s"},
        {"syncPeriod": "10s", "minSyncPeriod": "20s"},
    ],
    "ipvs": [
        {"scheduler": "lc"},
        {"excludeCIDRs": ["10.0.0.0/8"]},
        {"excludeCIDRs": ["x"]},
        {"strictARP": True},
        {"syncPeriod": "5s"},
    ],
    "nftables": [{"masqueradeBit": 33}, {"masqueradeAll": True}, {"syncPeriod": "-1s"}, {"minSyncPeriod": "2s"}],
}
FILES = [("iptables", field, value) for field, values in SAMPLES.items() for value in values]
FILES += [(mode, mode, value) for mode, values in IN_THEIR_MODE.items() for value in values]

MORE_LENIENT = {
    "healthzBindAddress": ["1.2.3.4:0"],  # 0 is no server
    "clusterCIDR": [" 10.0.0.0/8", "fd00::/8, 10.0.0.0/8"],  # blanks
    "nodePortAddresses": [["primary", "10.0.0.0/8"]],  # combined, as from 1.37 on
    "showHiddenMetricsForVersion": ["1.20"],
    "featureGates": [{"NoSuchGate": True}],
    "logging": [{"options": {"text": {"infoBufferSize": "4Ki"}}}],  # an alpha feature there
}
STRICTER = {
    "detectLocal": [{"bridgeInterface": "x" * 16}],  # no interface has such a name
    "ipvs": [{"scheduler": "l c"}, {"excludeCIDRs": ["x"]}, {"tcpTimeout": "-5s"}],  # not looked at in other modes
    "nftables": [{"masqueradeBit": 33}],
}
FLAG_SAMPLES = {
    "bind-address": ["10.0.0.1", "x", ""],
    "cluster-cidr": ["10.0.0.0/8,fd00::/8", "x"],
    "config-sync-period": ["5m", "0s", "5"],
    "conntrack-max-per-core": ["5", "0", "-1", "0x10", "010", "x", ""],
    "conntrack-tcp-timeout-established": ["1h", "0", "-1s"],
    "detect-local-mode": ["NodeCIDR", "x", ""],
    "feature-gates": ["ContextualLogging=true", "ContextualLogging"],
    "healthz-bind-address": ["1.2.3.4:9", "[::1]:9", "x"],
    "iptables-localhost-nodeports": ["false", "0", "F", "maybe", ""],
    "iptables-masquerade-bit": ["5", "33"],
    "iptables-min-sync-period": ["5s"],
    "iptables-sync-period": ["0", "5s", "-1s"],
    "ipvs-exclude-cidrs": ["10.0.0.0/8,fd00::/8", ""],
    "kube-api-burst": ["3", "-1"],
    "kube-api-qps": ["1.5", "x"],
    "log-flush-frequency": ["1s", "0s"],
    "logging-format": ["json", "x"],
    "masquerade-all": ["true", "x"],
    "nodeport-addresses": ["primary", "10.0.0.0/8,fd00::/8", "", "x"],
    "oom-score-adj": ["5", "1001"],
    "pod-bridge-interface": ["cni0"],
    "profiling": ["true"],
    "proxy-mode": ["nftables", "x"],
    "v": ["4", "-1", "x"],
    "vmodule": ["a=1,b=2", "a", "a=x"],
}
FLAG_CASES = [(name, value) for name, values in FLAG_SAMPLES.items() for value in values]


def document(mode, field, value):
    head = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": mode}
    return json.dumps({**head, field: value})


def theirs(folder, *flags, text=None) -> ProxySettings | None:
    """What kube-proxy makes of it; None when it refuses."""
    written = written_by_kube_proxy(folder, *flags, text=text)
    return None if written is None else load(written).settings


def written_by_kube_proxy(folder, *flags, text=None) -> str | None:
    config, written = folder / "config", folder / "written"
    if text is not None:
        config.write_text(text)
        flags = (f"--config={config}", *flags)
    command = [KUBE_PROXY, f"--write-config-to={written}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return written.read_text() if done.returncode == 0 else None


def ours(flags=(), text=None) -> ProxySettings | None:
    try:
        return load(text, parse_flags(flags)).settings
    except ConfigError:
        return None


def differences(one, other):
    """What differs in effect. kube-proxy writes the sections of other modes as it likes."""
    if one is None or other is None:
        return [] if one is other else [f"kube-proxy: {one}", f"fairway: {other}"]
    found = difference(one, other)
    return [str(change) for change in (*found.live, *found.refused, *found.idle)]


@pytest.mark.parametrize(("mode", "field", "value"), FILES)
def test_a_file_means_the_same_to_both(tmp_path, mode, field, value):
    text = document(mode, field, value)
    assert differences(theirs(tmp_path, text=text), ours(text=text)) == []


@pytest.mark.parametrize(("name", "value"), FLAG_CASES)
def test_a_flag_means_the_same_to_both(tmp_path, name, value):
    flags = [f"--{name}={value}"] if name == "proxy-mode" else ["--proxy-mode=iptables", f"--{name}={value}"]
    assert differences(theirs(tmp_path, *flags), ours(flags)) == []


@pytest.mark.parametrize(("field", "value"), [(field, v) for field, values in MORE_LENIENT.items() for v in values])
def test_what_only_fairway_takes_is_known(tmp_path, field, value):
    text = document("iptables", field, value)
    assert (theirs(tmp_path, text=text) is None, ours(text=text) is None) == (True, False)


@pytest.mark.parametrize(("field", "value"), [(field, v) for field, values in STRICTER.items() for v in values])
def test_what_only_kube_proxy_takes_is_known(tmp_path, field, value):
    text = document("iptables", field, value)
    assert (written_by_kube_proxy(tmp_path, text=text) is None, ours(text=text) is None) == (False, True)


def test_kube_proxy_reads_what_fairway_writes(tmp_path):
    settings = ours(["--proxy-mode=nftables", "--cluster-cidr=10.0.0.0/8,fd00::/8", "--conntrack-udp-timeout=1.5s"])
    assert settings is not None
    assert theirs(tmp_path, text=write_config(settings)) == settings


def test_every_flag_of_its_help_is_known():
    text = subprocess.run([KUBE_PROXY, "--help"], capture_output=True, text=True, check=True).stdout
    found = set(re.findall(r"^ +(?:-\w, )?--([a-z0-9-]+)", text, re.MULTILINE))
    assert found - {"help"} == {flag.name for flag in FLAGS if not flag.is_hidden}
