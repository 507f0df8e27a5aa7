"""Every field: what it takes, what it refuses and how it says so; what is written reads back."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fairway.config.proxy import FIELDS, InvalidConfigError, ProxySettings, as_object, configz, load, write_config
from fairway.config.proxy.fields import API_VERSION, BY_PATH, KIND

BOOL = ([True, False], ["true", 1, 0, [], {}])
TEXT = (["x", ""], [1, True, [], {}])
COUNT = ([0, 5, 2**31 - 1], [-1, 2**31, 1.5, "5", True, []])
BIT = ([0, 31], [-1, 32, "1", 1.0])
TIME = (["0s", "1.5s", "1h0m0s"], ["-1s", "x", "", 5, True, "1d"])
LEAST = (["0s", "1.5s", "20s"], ["-1s", "x", "", 5])
PERIOD = (["20s", "1h0m0s", "0s"], ["-1s", "x", 5])
SOCKET = (
    ["10.0.0.1:80", "[::1]:80", "fd00::1", "10.0.0.1", "0.0.0.0:0", ""],
    ["x", "a:1", "1.2.3.4:x", "[::1]", ":1", 80, "1.2.3.4:70000"],
)
CIDRS = ([["10.0.0.0/8"], ["fd00::/64", "10.0.0.0/8"], []], ["10.0.0.0/8", ["x"], ["10.0.0.0/33"], [1], {}])
INTERFACE = (["cni0", ""], ["x" * 16, "a b", "a/b", 1])
QUANTITY = (["512", "4Ki", 4096], ["x", "-1", "4 K", True, []])

TAKES_AND_REFUSES = {
    "mode": (["nftables", "iptables", "ipvs", "ebpf", "userspace", ""], ["Nftables", "kernelspace", 1, []]),
    "bindAddress": (["10.0.0.1", "::", "010.0.0.1", ""], ["x", "10.0.0", 1, "10.0.0.1/8"]),
    "healthzBindAddress": SOCKET,
    "metricsBindAddress": SOCKET,
    "bindAddressHardFail": BOOL,
    "enableProfiling": BOOL,
    "showHiddenMetricsForVersion": (["", "1.35"], ["1", "x", "1.35.0", 1.35]),
    "hostnameOverride": TEXT,
    "featureGates": ([{"A": True}, {}], [{"A": "true"}, [], "A=true"]),
    "clientConnection.kubeconfig": TEXT,
    "clientConnection.acceptContentTypes": TEXT,
    "clientConnection.contentType": TEXT,
    "clientConnection.qps": ([1, 1.5, -1, 0], ["5", True, 1e39]),
    "clientConnection.burst": COUNT,
    "logging.format": (["text", "json", ""], ["xml", 1]),
    "logging.flushFrequency": (["5s", 1000000000, 0], ["-1s", "x", True, 1.5]),
    "logging.verbosity": COUNT,
    "logging.vmodule": (
        [[{"filePattern": "a*", "verbosity": 3}], []],
        [
            "a=3",
            [{"filePattern": "", "verbosity": 1}],
            [{"filePattern": "a=b"}],
            [{"x": 1}],
            [{"filePattern": "a", "verbosity": -1}],
        ],
    ),
    "logging.options.text.splitStream": BOOL,
    "logging.options.text.infoBufferSize": QUANTITY,
    "logging.options.json.splitStream": BOOL,
    "logging.options.json.infoBufferSize": QUANTITY,
    "detectLocalMode": (["ClusterCIDR", "NodeCIDR", ""], ["clusterCIDR", "None", 1]),
    "detectLocal.bridgeInterface": INTERFACE,
    "detectLocal.interfaceNamePrefix": INTERFACE,
    "clusterCIDR": (
        ["10.0.0.0/8", "10.0.0.0/8,fd00::/8", "fd00::/8, 10.0.0.0/8", ""],
        ["x", "10.0.0.0/8,11.0.0.0/8", "10.0.0.0/8,fd00::/8,fd01::/8", "10.0.0.0", ["10.0.0.0/8"], "10.0.0.0/8,"],
    ),
    "nodePortAddresses": (
        [["primary"], ["localhost", "all"], ["primary", "10.0.0.0/8"], ["fd00::/64"], []],
        ["primary", ["Primary"], ["10.0.0.1"], [1], {}],
    ),
    "oomScoreAdj": ([-1000, 0, 1000], [-1001, 1001, "0"]),
    "configSyncPeriod": PERIOD,
    "conntrack.maxPerCore": COUNT,
    "conntrack.min": COUNT,
    "conntrack.tcpEstablishedTimeout": TIME,
    "conntrack.tcpCloseWaitTimeout": TIME,
    "conntrack.tcpBeLiberal": BOOL,
    "conntrack.udpTimeout": TIME,
    "conntrack.udpStreamTimeout": TIME,
    "iptables.masqueradeBit": BIT,
    "iptables.masqueradeAll": BOOL,
    "iptables.localhostNodePorts": BOOL,
    "iptables.syncPeriod": PERIOD,
    "iptables.minSyncPeriod": LEAST,
    "ipvs.syncPeriod": PERIOD,
    "ipvs.minSyncPeriod": LEAST,
    "ipvs.scheduler": (["", "lc", "mh"], ["l c", "LC", "x" * 16, 1]),
    "ipvs.excludeCIDRs": CIDRS,
    "ipvs.strictARP": BOOL,
    "ipvs.tcpTimeout": TIME,
    "ipvs.tcpFinTimeout": TIME,
    "ipvs.udpTimeout": TIME,
    "nftables.masqueradeBit": BIT,
    "nftables.masqueradeAll": BOOL,
    "nftables.syncPeriod": PERIOD,
    "nftables.minSyncPeriod": LEAST,
    "winkernel.networkName": TEXT,
    "winkernel.sourceVip": TEXT,
    "winkernel.enableDSR": BOOL,
    "winkernel.rootHnsEndpointName": TEXT,
    "winkernel.forwardHealthCheckVip": BOOL,
    "portRange": TEXT,
    "windowsRunAsService": BOOL,
}
GOOD = [(path, value) for path, (good, _) in TAKES_AND_REFUSES.items() for value in good]
BAD = [(path, value) for path, (_, bad) in TAKES_AND_REFUSES.items() for value in bad]


def document(path, value, **others):
    root = {"apiVersion": API_VERSION, "kind": KIND, "mode": "iptables", **others}
    node = root
    *sections, name = path.split(".")
    for section in sections:
        node = node.setdefault(section, {})
    node[name] = value
    return json.dumps(root)


def test_the_tables_have_every_field():
    assert set(TAKES_AND_REFUSES) == set(BY_PATH)


@pytest.mark.parametrize(("path", "value"), GOOD)
def test_a_good_value_is_taken_and_reads_back_from_what_is_written(path, value):
    settings = load(document(path, value)).settings
    assert load(write_config(settings)).settings == settings


@pytest.mark.parametrize("path", TAKES_AND_REFUSES)
def test_null_is_the_default(path):
    mode = None if path == "mode" else "iptables"
    with_null, without = load(document(path, None, mode=mode)), load(document("portRange", None, mode=mode))
    assert with_null.settings == without.settings
    assert str(with_null.origins[path]) == "default"


@pytest.mark.parametrize(("path", "value"), BAD)
def test_a_bad_value_is_refused_with_its_field_itself_and_what_is_wanted(path, value):
    with pytest.raises(InvalidConfigError) as caught:
        load(document(path, value), source="kp.json")
    (problem,) = caught.value.problems
    assert problem.path == path
    assert str(problem).startswith(f"kp.json: {path}: ")
    assert f"; wanted: {BY_PATH[path].kind.wanted}" in str(problem)


def test_all_errors_of_a_file_are_reported_in_the_order_of_its_lines():
    bad = {path: bad[0] for path, (_, bad) in TAKES_AND_REFUSES.items()}
    lines = [f"{path}: {json.dumps(value)}" for path, value in bad.items() if "." not in path]
    text = "\n".join([f"apiVersion: {API_VERSION}", f"kind: {KIND}", *reversed(lines)])
    with pytest.raises(InvalidConfigError) as caught:
        load(text)
    assert [problem.path for problem in caught.value.problems] == [line.partition(":")[0] for line in reversed(lines)]


@pytest.mark.parametrize("section", ["conntrack", "iptables", "logging", "logging.options.text", "detectLocal"])
@pytest.mark.parametrize("value", [[], "x", 5])
def test_a_section_that_is_no_mapping_is_refused(section, value):
    with pytest.raises(InvalidConfigError, match=f"{section}: .* is not a mapping"):
        load(document(section, value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f: kind: the file is empty; wanted: KubeProxyConfiguration, with apiVersion kubeproxy.config"),
        ("mode: nftables", "f: kind: found None; wanted: KubeProxyConfiguration"),
        ("kind: ConfigMap\n---\n- 1\n", "f: kind: found 'ConfigMap', no mapping; wanted: KubeProxyConfiguration"),
        (
            "kind: KubeProxyConfiguration\napiVersion: v1",
            "f:2: apiVersion: 'v1' is not known; wanted: kubeproxy.config.k8s.io/v1alpha1",
        ),
        (f"kind: {KIND}\n---\nkind: {KIND}\n", "f: kind: 2 documents of kind KubeProxyConfiguration; one is wanted"),
        ("just text", "f: kind: found no mapping; wanted: KubeProxyConfiguration"),
    ],
)
def test_a_file_of_another_kind_is_refused(text, said):
    with pytest.raises(InvalidConfigError) as caught:
        load(text, source="f")
    assert str(caught.value).startswith(said)


def test_the_right_document_is_found_among_others_as_in_kubeadms_files():
    text = f"kind: ClusterConfiguration\n---\nkind: {KIND}\napiVersion: {API_VERSION}\noomScoreAdj: 7\n"
    assert load(text).settings.oom_score_adj == 7


@pytest.mark.parametrize(
    ("mode", "section"), [("nftables", "nftables"), ("iptables", "iptables"), ("ipvs", "ipvs"), ("ebpf", "iptables")]
)
def test_a_sync_period_below_the_least_is_refused_in_the_section_in_use(mode, section):
    periods = {name: {"syncPeriod": "1s", "minSyncPeriod": "2s"} for name in ("nftables", "iptables", "ipvs")}
    with pytest.raises(InvalidConfigError) as caught:
        load(json.dumps({"apiVersion": API_VERSION, "kind": KIND, "mode": mode, **periods}))
    assert [problem.path for problem in caught.value.problems] == [f"{section}.syncPeriod"]


@pytest.mark.parametrize("mode", ["BridgeInterface", "InterfaceNamePrefix"])
def test_detect_local_by_interface_needs_the_name(mode):
    with pytest.raises(InvalidConfigError, match=f"'' is not allowed with detectLocalMode {mode}"):
        load(document("detectLocalMode", mode))


def test_configz_wraps_what_is_written():
    settings = load(None).settings
    assert configz(settings) == {"kubeproxy.config.k8s.io": as_object(settings)}
    assert yaml.safe_load(write_config(settings)) == as_object(settings)
    assert write_config(settings).splitlines()[0] == f"apiVersion: {API_VERSION}"


def settings_of(values) -> ProxySettings | None:
    root = {"apiVersion": API_VERSION, "kind": KIND}
    for path, value in values.items():
        node = root
        *sections, name = path.split(".")
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    try:
        return load(json.dumps(root)).settings
    except InvalidConfigError:
        return None  # fields that do not fit one another


@given(
    st.fixed_dictionaries({}, optional={path: st.sampled_from(good) for path, (good, _) in TAKES_AND_REFUSES.items()})
)
def test_any_settings_written_read_back_the_same(values):
    settings = settings_of(values)
    if settings is not None:
        again = load(write_config(settings))
        assert again.settings == settings
        assert write_config(again.settings) == write_config(settings)


NAMES = st.sampled_from([*BY_PATH, "foo", "conntrack", "conntrack.foo", "kind", "apiVersion"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, ANYTHING, max_size=6))
def test_any_values_are_taken_or_refused_with_problems(values):
    root = {"apiVersion": API_VERSION, "kind": KIND}
    for path, value in values.items():
        section, dot, name = path.partition(".")
        if dot and isinstance(root.setdefault(section, {}), dict):
            root[section][name] = value
        else:
            root[section] = value
    try:
        load(json.dumps(root))
    except InvalidConfigError as error:
        assert error.problems  # noqa: PT017 - other exceptions must pass through


def test_every_field_has_a_place_in_the_settings():
    settings = load(None).settings
    assert all(field.of(settings) == field.of(load(None).settings) for field in FIELDS)
