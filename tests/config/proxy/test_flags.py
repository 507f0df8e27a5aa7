"""kube-proxy's command line."""

from pathlib import Path

import pytest

from fairway.config.proxy import FIELDS, FLAGS, InvalidConfigError, Mode, load, parse_flags, usage
from fairway.config.proxy.flags import Flag
from fairway.config.proxy.kinds import Bool, Text
from fairway.values.errors import ConfigError

GOLDEN = (Path(__file__).parent / "kube_proxy_1_36_flags.txt").read_text()
THEIRS = dict(line.split() for line in GOLDEN.splitlines() if not line.startswith("#"))
SAME_TYPE = {"bool": "", "LocalMode": "string", "ProxyMode": "string", "Level": "int32", "version[=true]": ""}
DEPRECATED = {"healthz-port", "metrics-port"}
OWN = (Flag("manifests", "A folder.", kind=Text("a path")), Flag("once", "Once.", kind=Bool()))


def test_every_flag_of_kube_proxy_is_known_with_its_type():
    ours = {flag.name: flag.value_kind.flag_type for flag in FLAGS if not flag.is_hidden}
    theirs = {name: SAME_TYPE.get(kind, kind) for name, kind in THEIRS.items() if name != "help"}
    assert ours == theirs


def test_deprecated_flags_are_taken_and_not_shown():
    assert {flag.name for flag in FLAGS if flag.is_hidden} == DEPRECATED
    assert not any(f"--{name} " in usage() for name in DEPRECATED)


def test_every_flag_that_names_a_field_names_one_that_there_is():
    paths = {field.path for field in FIELDS}
    assert {
        flag.path.format(section=section) for flag in FLAGS if flag.path for section in ("iptables", "nftables")
    } <= paths


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--cluster-cidr=10.0.0.0/8"], {"cluster-cidr": "10.0.0.0/8"}),
        (["--cluster-cidr", "10.0.0.0/8"], {"cluster-cidr": "10.0.0.0/8"}),
        (["--cluster_cidr", "a"], {"cluster-cidr": "a"}),
        (["--masquerade-all"], {"masquerade-all": "true"}),
        (["--masquerade-all=false"], {"masquerade-all": "false"}),
        (["--cleanup=1", "--init-only=F"], {"cleanup": "true", "init-only": "false"}),
        (["--version=raw"], {"version": "true"}),
        (["-v=4"], {"v": "4"}),
        (["-v4"], {"v": "4"}),
        (["-v", "4"], {"v": "4"}),
        (["--v=4"], {"v": "4"}),
        (["--proxy-mode=a", "--proxy-mode=b"], {"proxy-mode": "b"}),
        (["--nodeport-addresses=a", "--nodeport-addresses", "b,c"], {"nodeport-addresses": "a,b,c"}),
        (["--healthz-bind-address="], {"healthz-bind-address": ""}),
        (["--hostname-override", "-x"], {"hostname-override": "-x"}),
        (["--once", "--manifests=/m", "--"], {"once": "true", "manifests": "/m"}),
        ([], {}),
    ],
)
def test_flags_are_read_as_kube_proxy_reads_them(words, values):
    assert parse_flags(words, (*FLAGS, *OWN)) == values


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cluser-cidr=a"], "unknown flag: --cluser-cidr (did you mean --cluster-cidr?)"),
        (["-x"], "unknown flag: -x"),
        (["--config"], "--config: a value is missing; wanted: a path"),
        (["serve"], "'serve': no argument is taken, only flags"),
        (["--", "a"], "'a': no argument is taken, only flags"),
        (["--cleanup=maybe"], "--cleanup: 'maybe' is not a boolean; wanted: true or false"),
        (["--healthz-port=99999"], "--healthz-port: 99999 is out of range; wanted: a whole number from 0 to 65535"),
        (["--foo", "--bar=1"], "unknown flag: --foo\nunknown flag: --bar"),
    ],
)
def test_wrong_flags_are_all_named(words, said):
    with pytest.raises(ConfigError) as caught:
        parse_flags(words)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("mode", "section"), [("nftables", "nftables"), ("iptables", "iptables"), ("userspace", "iptables")]
)
def test_masquerade_all_and_sync_period_are_for_the_mode_in_use(mode, section):
    flags = [f"--proxy-mode={mode}", "--masquerade-all", "--iptables-sync-period=7s"]
    loaded = load(None, parse_flags(flags))
    assert (loaded.settings.masquerade_all, loaded.settings.sync_period) == (True, 7.0)
    assert str(loaded.origins[f"{section}.syncPeriod"]) == "--iptables-sync-period"


def test_the_mode_of_the_file_decides_too():
    text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"
    settings = load(text, parse_flags(["--ipvs-sync-period=9s", "--iptables-sync-period=7s"])).settings
    assert (settings.mode, settings.sync_period) == (Mode.IPVS, 9.0)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (
            "--conntrack-min=x",
            "--conntrack-min: 'x' is not a whole number; wanted: a whole number from 0 to 2147483647",
        ),
        ("--proxy-mode=kernelspace", "--proxy-mode: 'kernelspace' is not known; wanted: one of nftables, "),
        ("--feature-gates=A", "--feature-gates: 'A' is not NAME=true or NAME=false; wanted: "),
        ("--iptables-sync-period=0", "--iptables-sync-period: 0s is too small; wanted: "),
        (
            "--detect-local-mode=BridgeInterface",
            "--detect-local-mode: detectLocal.bridgeInterface: '' is not allowed",
        ),
    ],
)
def test_a_wrong_value_names_the_flag_the_value_and_what_is_wanted(flag, said):
    with pytest.raises(InvalidConfigError) as caught:
        load(None, parse_flags([flag]))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(("text", "number"), [("0x10", 16), ("010", 8), ("7", 7), ("0", 0)])
def test_numbers_are_read_in_gos_bases(text, number):
    assert load(None, parse_flags([f"--conntrack-min={text}"])).settings.conntrack.min == number


def test_help_has_a_line_for_each_flag_with_its_type():
    lines = usage((*FLAGS, *OWN)).splitlines()
    assert [line.split()[0] for line in lines if "--cluster-cidr" in line] == ["--cluster-cidr"]
    assert any(line.startswith("  -v, --v int32") for line in lines)
    assert any(line.startswith("      --once  ") for line in lines)
    assert len(lines) == len([flag for flag in (*FLAGS, *OWN) if not flag.is_hidden])
