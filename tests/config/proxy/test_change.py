"""Which changed settings a running proxy can take."""

import pytest

from fairway.config.proxy import FIELDS, Change, Mode, difference, load, parse_flags


def settings(*flags):
    return load(None, parse_flags(flags)).settings


def test_equal_settings_differ_in_nothing():
    found = difference(settings(), settings())
    assert (found.live, found.refused, found.idle, found.is_applicable) == ((), (), (), True)


@pytest.mark.parametrize(
    "flag",
    [
        "--cluster-cidr=10.0.0.0/8",
        "--nodeport-addresses=all",
        "--masquerade-all",
        "--iptables-localhost-nodeports=false",
        "--conntrack-min=5",
        "--healthz-bind-address=127.0.0.1:1",
        "--v=5",
        "--iptables-sync-period=10s",
    ],
)
def test_what_decides_over_new_connections_only_is_applied_live(flag):
    found = difference(settings(), settings(flag))
    assert len(found.live) == 1
    assert found.is_applicable


@pytest.mark.parametrize("flag", ["--proxy-mode=iptables", "--hostname-override=b", "--kubeconfig=/b"])
def test_what_the_proxy_is_built_on_needs_a_restart(flag):
    assert not difference(settings(), settings(flag)).is_applicable


def test_a_setting_without_effect_in_this_mode_is_idle():
    found = difference(settings(), settings("--ipvs-scheduler=lc", "--kube-api-qps=50"))
    assert [str(change) for change in found.idle] == ["clientConnection.qps: 5 -> 50", "ipvs.scheduler: (empty) -> lc"]
    assert found.is_applicable


def test_only_settings_with_an_effect_somewhere_ask_for_a_restart():
    assert all(field.modes for field in FIELDS if field.change is Change.RESTART)
    assert {field.path for field in FIELDS if field.change is Change.RESTART and field.modes == frozenset(Mode)} == {
        "mode",
        "hostnameOverride",
        "clientConnection.kubeconfig",
    }
