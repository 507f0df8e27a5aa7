"""The proxy's metrics: kube-proxy's by name, type and labels, and what each observation does to them."""

from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fairway.agents.metrics import PROGRAMMING_BUCKETS, ProxyMetrics
from fairway.config.proxy import Mode
from fairway.values.address import Family

V4, V6 = Family.IPV4, Family.IPV6
THEIRS = [
    line.split()
    for line in (Path(__file__).parent / "kube_proxy_1_36_metrics.txt").read_text().splitlines()
    if line[0] != "#"
]
WITHOUT_MEANING_HERE = {
    "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total",  # no chains to clean up later
    "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",  # every write is one
}


@pytest.fixture
def metrics():
    return ProxyMetrics(Mode.NFTABLES, [V4, V6], "1.2.3")


def served(metrics):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())
        for sample in family.samples
    }


def everything_happens(metrics, mode):
    metrics.healthz(200)
    metrics.livez(503)
    metrics.set_objects("Service", 1)
    metrics.set_api_contact(1.0, is_stale=True)
    metrics.set_health_check_ports({"open": 1, "failed": 0})
    metrics.reloaded("applied")
    for family in (V4, V6):
        ours = metrics.family(family)
        ours.repaired("endpoints", "missing")
        ours.set_items("endpoints", 1)
        if mode is Mode.IPTABLES:
            ours.set_iptables_rules("nat", 10, 1)


@pytest.mark.parametrize("mode", Mode)
def test_kube_proxys_metrics_are_there_with_type_and_labels(mode):
    metrics = ProxyMetrics(mode, [V4, V6], "1.2.3")
    everything_happens(metrics, mode)
    ours = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        if family.name.startswith("kubeproxy_"):
            labels = sorted({name for sample in family.samples for name in sample.labels} - {"le"})
            suffix = "_total" if family.type == "counter" else ""
            ours[family.name.removesuffix("_total") + suffix if suffix else family.name] = (family.type, labels)
    theirs = {
        name: (kind, [] if labels == "-" else labels.split(","))
        for their_mode, name, kind, labels in THEIRS
        if their_mode in {"all", mode.value} and name not in WITHOUT_MEANING_HERE
    }
    assert {name: ours.get(name) for name in theirs} == theirs


def test_a_sync_is_counted_as_full_or_partial(metrics):
    metrics.family(V4).queued(99.0)
    metrics.family(V4).synced(0.003, 100.0, is_full=False)
    metrics.family(V4).synced(2.0, 101.0, is_full=True)
    got = served(metrics)
    count = "kubeproxy_sync_{}proxy_rules_duration_seconds_count"
    assert [got[count.format(kind), "IPv4"] for kind in ("", "full_", "partial_")] == [2, 1, 1]
    assert got[count.format(""), "IPv6"] == 0
    assert got["kubeproxy_sync_proxy_rules_last_timestamp_seconds", "IPv4"] == 101.0
    assert got["kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "IPv4"] == 99.0


def test_changes_are_pending_until_written(metrics):
    metrics.service_changed()
    metrics.endpoints_changed()
    metrics.endpoints_changed()
    names = [
        f"kubeproxy_sync_proxy_rules_{kind}_changes_{what}"
        for kind in ("service", "endpoint")
        for what in ("pending", "total")
    ]
    assert [served(metrics)[(name,)] for name in names] == [1, 1, 2, 2]
    metrics.changes_written()
    assert [served(metrics)[(name,)] for name in names] == [0, 1, 0, 2]


def test_what_fairway_adds(metrics):
    metrics.set_api_contact(9.0, is_stale=True)
    ours = metrics.family(V6)
    ours.wrote(2, 30)
    ours.failed()
    ours.changed(0.0004)
    ours.set_pending(7)
    ours.set_items("frontends", 12)
    ours.repaired("endpoints", "missing", 3)
    ours.conntrack_cleaned(0.01)
    ours.conntrack_deleted(5)
    ours.set_no_local_endpoints(1, 2)
    got = served(metrics)
    assert {
        "transactions": got["fairway_transactions_total", "IPv6"],
        "operations": got["fairway_operations_total", "IPv6"],
        "refused": got["fairway_refused_transactions_total", "IPv6"],
        "failures": got["kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "IPv6"],
        "pending": got["fairway_pending_operations", "IPv6"],
        "items": got["fairway_kernel_items", "IPv6", "frontends"],
        "drift": got["fairway_drift_repairs_total", "IPv6", "endpoints", "missing"],
        "deleted": got["kubeproxy_conntrack_reconciler_deleted_entries_total", "IPv6"],
        "internal": got["kubeproxy_sync_proxy_rules_no_local_endpoints_total", "IPv6", "internal"],
        "external": got["kubeproxy_sync_proxy_rules_no_local_endpoints_total", "IPv6", "external"],
        "contact": got[("fairway_api_last_contact_timestamp_seconds",)],
        "stale": got[("fairway_api_is_stale",)],
        "build": got["fairway_build_info", "1.2.3"],
    } == {
        "transactions": 2,
        "operations": 30,
        "refused": 1,
        "failures": 1,
        "pending": 7,
        "items": 12,
        "drift": 3,
        "deleted": 5,
        "internal": 1,
        "external": 2,
        "contact": 9,
        "stale": 1,
        "build": 1,
    }
    assert ("fairway_change_duration_seconds_bucket", "0.0005", "IPv6") in got


def test_programming_latency_has_kube_proxys_buckets():
    assert len(PROGRAMMING_BUCKETS) == 2 + 59 + 12 + 7
    assert (PROGRAMMING_BUCKETS[0], PROGRAMMING_BUCKETS[-1]) == (0.25, 300)


def test_two_proxies_may_live_in_one_process(metrics):
    other = ProxyMetrics(Mode.NFTABLES, [V4], "1.2.3")
    other.family(V4).wrote(1, 1)
    assert served(metrics)["fairway_transactions_total", "IPv4"] == 0
