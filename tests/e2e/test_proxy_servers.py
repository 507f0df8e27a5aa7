"""A running `fairway proxy`: its servers, and what a changed configuration file does to them."""

from pathlib import Path

import pytest

import netns
from fake_api import FakeApi
from fake_storage import NODES, SERVICES, SLICES
from peer_proxy import NODE_IP, endpoints, load_balancer, node, proxy_process

pytestmark = pytest.mark.kernel
HEALTH, METRICS, CHECK = 10256, 10249, 30010
TAINT = {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}


def weight(proxy):
    return proxy.ask(CHECK, "/", NODE_IP).headers["X-Load-Balancing-Endpoint-Weight"]


def test_servers_tell_what_the_node_does(tmp_path):
    with proxy_process(tmp_path) as proxy:
        proxy.until(lambda: proxy.status(CHECK, "/", NODE_IP) == 200)
        assert proxy.status(HEALTH, "/healthz") == 200
        assert proxy.ask(HEALTH, "/healthz").json["apiServer"]["stale"] is False
        assert proxy.ask(METRICS, "/proxyMode").text == "nftables"
        assert weight(proxy) == "2"
        assert proxy.status(CHECK, "/") is None  # nftables mode: on the primary address alone

        proxy.api.put(SLICES, endpoints())
        proxy.until(lambda: proxy.status(CHECK, "/", NODE_IP) == 503)
        proxy.api.put(SLICES, endpoints("10.0.0.1"))
        proxy.until(lambda: weight(proxy) == "1")
        proxy.api.put(SERVICES, load_balancer(30011))
        proxy.until(lambda: proxy.status(30011, "/", NODE_IP) == 200)
        assert proxy.status(CHECK, "/", NODE_IP) is None

        proxy.api.put(NODES, node(taints=[TAINT]))
        proxy.until(lambda: proxy.status(HEALTH, "/healthz") == 503)
        assert proxy.status(HEALTH, "/livez") == 200
        proxy.api.put(NODES, node())
        proxy.until(lambda: proxy.status(HEALTH, "/healthz") == 200)

        metrics = proxy.ask(METRICS, "/metrics").text
        assert 'fairway_kernel_items{container="frontends",ip_family="IPv4"} 3.0' in metrics
        assert 'kubeproxy_proxy_healthz_total{code="503"}' in metrics


def test_an_api_server_that_goes_away_is_shown_and_harms_nothing(tmp_path):
    with proxy_process(tmp_path) as proxy:
        proxy.until(lambda: proxy.status(CHECK, "/", NODE_IP) == 200)
        proxy.api.stop()
        proxy.until(lambda: proxy.ask(HEALTH, "/healthz").json["apiServer"]["stale"])
        assert proxy.status(HEALTH, "/healthz") == 200
        assert proxy.status(CHECK, "/", NODE_IP) == 200
        proxy.api.start()
        proxy.until(lambda: not proxy.ask(HEALTH, "/healthz").json["apiServer"]["stale"])


def test_localhost_is_opened_only_when_the_kernel_has_the_rules_that_guard_it(tmp_path):
    def is_open():
        return Path("/proc/sys/net/ipv4/conf/all/route_localnet").read_text().strip() == "1"

    with proxy_process(tmp_path, nodePortAddresses=["primary", "localhost"], before=FakeApi.hold_lists) as proxy:
        proxy.until(lambda: proxy.status(HEALTH, "/livez") == 200)
        assert not is_open()
        proxy.api.release_lists()
        proxy.until(is_open)
        assert "localhost node ports, would let these in" in netns.run("nft", "list", "table", "ip", "fairway")


def test_settings_that_fit_no_family_are_warned_of(tmp_path):
    with proxy_process(tmp_path, clusterCIDR="fd00::/8") as proxy:
        proxy.until(lambda: "clusterCIDR: no block of the primary family, IPv4" in proxy.log.read_text())


def test_a_changed_file_is_applied_live_or_refused_whole(tmp_path):
    def in_effect(field):
        return proxy.ask(METRICS, "/configz").json["kubeproxy.config.k8s.io"][field]

    with proxy_process(tmp_path) as proxy:
        proxy.until(lambda: proxy.status(CHECK, "/", NODE_IP) == 200)
        proxy.write_config(nodePortAddresses=["127.0.0.0/8"], healthzBindAddress="127.0.0.1:10300")
        proxy.until(lambda: proxy.status(10300, "/healthz") == 200)
        proxy.until(lambda: proxy.status(CHECK, "/") == 200)
        assert proxy.status(HEALTH, "/healthz") is None
        assert proxy.status(CHECK, "/", NODE_IP) is None
        assert in_effect("nodePortAddresses") == ["127.0.0.0/8"]

        proxy.write_config(nodePortAddresses=["all"], hostnameOverride="other")
        refused = 'fairway_config_reloads_total{result="refused"} 1.0'
        proxy.until(lambda: refused in proxy.ask(METRICS, "/metrics").text)
        assert in_effect("nodePortAddresses") == ["127.0.0.0/8"]
        assert "hostnameOverride: node-a -> other" in proxy.log.read_text()

        proxy.write_config(nodePortAddresses=["nonsense"])
        proxy.until(lambda: "nodePortAddresses: 'nonsense' is not" in proxy.log.read_text())
        proxy.write_config(nodePortAddresses=["all"])
        proxy.until(lambda: proxy.status(CHECK, "/", NODE_IP) == 200)
        assert in_effect("nodePortAddresses") == ["all"]
