"""KubeProxyConfiguration text and flags → settings, warnings and errors."""

from pathlib import Path

import pytest

from fairway.config.proxy import (
    FIELDS,
    InvalidConfigError,
    LogFormat,
    Mode,
    NodePortKeyword,
    SocketAddress,
    load,
    parse_flags,
    write_config,
)
from fairway.values.address import Address

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
KUBE_PROXY_DEFAULTS = (Path(__file__).parent / "kube_proxy_1_36_defaults.yaml").read_text()


def test_defaults_are_those_that_kube_proxy_writes_but_for_the_mode():
    theirs = load(KUBE_PROXY_DEFAULTS)
    ours = load(HEAD + "mode: iptables\n")
    assert ours.settings == theirs.settings
    assert theirs.warnings == ()
    assert load(HEAD).settings.mode is Mode.NFTABLES


def test_without_file_and_flags_every_value_is_a_default():
    loaded = load(None)
    assert set(loaded.origins) == {field.path for field in FIELDS}
    assert {str(origin) for origin in loaded.origins.values()} == {"default"}
    assert loaded.settings.node_port_addresses == (NodePortKeyword.PRIMARY,)


def test_flags_win_over_the_file_and_each_value_keeps_its_origin():
    text = HEAD + "clusterCIDR: 10.0.0.0/8\noomScoreAdj: -5\n"
    loaded = load(text, parse_flags(["--cluster-cidr=10.9.0.0/16"]), source="kp.yaml")
    assert str(loaded.settings.cluster_cidrs[0]) == "10.9.0.0/16"
    assert loaded.settings.oom_score_adj == -5
    origins = {path: str(loaded.origins[path]) for path in ("clusterCIDR", "oomScoreAdj", "mode")}
    assert origins == {"clusterCIDR": "--cluster-cidr", "oomScoreAdj": "kp.yaml:4", "mode": "default"}


def test_unknown_and_repeated_fields_are_one_warning_in_kube_proxy_s_words():
    text = HEAD + "mode: nftables\nmode: iptables\nMode: x\nconntrack: {mun: 1}\nfoo: 1\n"
    loaded = load(text, source="kp.yaml")
    assert loaded.settings.mode is Mode.IPTABLES
    said = (
        "kp.yaml: Using lenient decoding as strict decoding failed: strict decoding error: "
        'line 4: key "mode" already set in map, unknown field "Mode" (did you mean mode?), '
        'unknown field "conntrack.mun" (did you mean conntrack.min?), unknown field "foo"'
    )
    assert loaded.warnings == (said,)


def test_strict_refuses_unknown_fields_together_with_all_other_errors():
    with pytest.raises(InvalidConfigError) as caught:
        load(HEAD + "foo: 1\noomScoreAdj: 2000\n", source="kp.yaml", strict=True)
    assert str(caught.value).splitlines() == [
        'kp.yaml: strict decoding error: unknown field "foo"',
        "kp.yaml:4: oomScoreAdj: 2000 is out of range; wanted: a whole number from -1000 to 1000",
    ]


def test_what_has_no_effect_is_one_warning_that_lists_it():
    text = HEAD + "portRange: 1-2\nwinkernel: {enableDSR: true}\nipvs: {strictARP: true, scheduler: ''}\n"
    loaded = load(text, parse_flags(["--machine-id-file=/x"]))
    idle = "--machine-id-file, ipvs.strictARP, winkernel.enableDSR, portRange"
    assert loaded.warnings == (f"without effect in nftables mode, and ignored: {idle}",)


@pytest.mark.parametrize("flag", ["--kube-api-content-type=application/json", "--iptables-min-sync-period=0"])
def test_what_is_done_anyway_needs_no_warning(flag):
    assert load(None, parse_flags([flag])).warnings == ()


KUBEADM = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
"""
"""What kubeadm writes into the ConfigMap kube-proxy: nothing but two values is said."""


def test_kubeadms_file_means_the_defaults_and_is_no_reason_to_warn():
    loaded = load(KUBEADM)
    said = ["--kubeconfig=/var/lib/kube-proxy/kubeconfig.conf", "--cluster-cidr=10.244.0.0/16"]
    assert loaded.settings == load(None, parse_flags(said)).settings
    assert loaded.warnings == ()


def test_zero_in_a_file_is_unset_but_by_flag_it_is_meant():
    text = HEAD + "mode: iptables\niptables: {minSyncPeriod: 0s, syncPeriod: 0s}\n"
    assert load(text).settings.min_sync_period == 1.0
    by_flag = load(text, parse_flags(["--iptables-min-sync-period=0"]))
    assert by_flag.settings.min_sync_period < 1e-6
    assert load(write_config(by_flag.settings)).settings == by_flag.settings


@pytest.mark.parametrize(
    ("flags", "listens"),
    [
        ([], "0.0.0.0:10256"),
        (["--bind-address=fd00::1"], "[::]:10256"),
        (["--healthz-bind-address=10.0.0.1"], "10.0.0.1:10256"),
        (["--healthz-bind-address=[::1]:99"], "[::1]:99"),
        (["--healthz-bind-address="], "0.0.0.0:0"),
        (["--healthz-port=0"], "0.0.0.0:0"),
        (["--healthz-port=99"], "0.0.0.0:99"),
        (["--healthz-port=99", "--healthz-bind-address=10.0.0.1:77"], "10.0.0.1:77"),
    ],
)
def test_health_address_takes_every_form_that_kube_proxy_s_flags_have(flags, listens):
    settings = load(None, parse_flags(flags)).settings
    assert str(settings.healthz_bind_address) == listens
    assert load(write_config(settings)).settings == settings


def test_metrics_stay_on_loopback_of_the_bind_address_s_family():
    assert load(HEAD + "bindAddress: '::'").settings.metrics_bind_address == SocketAddress(Address.parse("::1"), 10249)


def test_json_is_read_too():
    text = '{"apiVersion":"kubeproxy.config.k8s.io/v1alpha1","kind":"KubeProxyConfiguration","mode":"a","mode":"ipvs"}'
    loaded = load(text)
    assert loaded.settings.mode is Mode.IPVS
    assert 'duplicate field "mode"' in loaded.warnings[0]


def test_feature_gates_of_flags_and_file_add_up():
    loaded = load(
        HEAD + "featureGates: {A: true, B: true}", parse_flags(["--feature-gates=B=false", "--feature-gates", "C=1"])
    )
    assert loaded.settings.feature_gates == (("A", True), ("B", False), ("C", True))


def test_log_settings_are_read():
    text = (
        HEAD
        + "logging: {format: json, verbosity: 3, flushFrequency: 1000000000, vmodule: [{filePattern: a, verbosity: 2}]}"
    )
    logging = load(text).settings.logging
    assert (logging.format, logging.verbosity, logging.flush_frequency) == (LogFormat.JSON, 3, 1.0)
    assert logging.vmodule == (("a", 2),)
