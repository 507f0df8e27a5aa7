"""What the loop does, as the metrics show it."""

from fairway.agents.family import WriteOutcome
from fairway.agents.metrics import ProxyMetrics
from fairway.agents.observer import CountedFlows, MetricsObserver
from fairway.config.proxy import Mode
from fairway.plan.stale import Flow
from fairway.reconcile.difference import Drift
from fairway.values.address import Address, Family

V4, V6 = Family.IPV4, Family.IPV6


class Table:
    """Every other entry was gone already."""

    def __init__(self):
        self.asked = []

    def find(self, queries, node):
        yield []

    def delete(self, flows):
        self.asked.append(flows)
        return (len(flows) + 1) // 2


def flow(address):
    return Flow(Address.parse(address) + b"\x005", b"", b"handle")


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def observed():
    metrics = ProxyMetrics(Mode.NFTABLES, Family, "0")
    return metrics, MetricsObserver(metrics, lambda: 1000.0)


def test_deleted_flows_are_counted_by_family_and_only_those_that_were_there():
    metrics, observer = observed()
    table = Table()
    flows = [flow("10.0.0.1"), flow("fd00::1"), flow("10.0.0.2"), flow("10.0.0.3")]
    assert CountedFlows(table, metrics).delete(flows) == 3
    assert CountedFlows(table, metrics).delete([]) == 0
    observer.cleaned(0.01, 3)
    name = "kubeproxy_conntrack_reconciler_deleted_entries_total"
    assert [value(metrics, name, ip_family=str(family)) for family in (V4, V6)] == [2, 1]
    rounds = "kubeproxy_conntrack_reconciler_sync_duration_seconds_count"
    assert [value(metrics, rounds, ip_family=str(family)) for family in (V4, V6)] == [1, 1]
    assert [len(asked) for asked in table.asked] == [3, 1]


def test_changes_stay_pending_until_no_family_is_refused():
    metrics, observer = observed()
    pending = "kubeproxy_sync_proxy_rules_service_changes_pending"
    observer.came_in("Service", 2)
    good = WriteOutcome(V4, 3, 1, (), ())
    lost = WriteOutcome(V6, 0, 1, (), (), is_lost=True)
    observer.wrote(0.01, [good, lost], is_full=False)
    assert value(metrics, pending) == 2
    observer.wrote(0.01, [good, good._replace(family=V6)], is_full=False)
    assert value(metrics, pending) == 0
    synced = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"
    assert value(metrics, synced, ip_family="IPv6") == 1000.0


def test_programming_latency_counts_what_happened_since_the_start():
    metrics, observer = observed()
    observer.programmed([(V4, 999.0), (V6, 1000.0), (V6, 1001.0)])
    name = "kubeproxy_network_programming_duration_seconds"
    assert [value(metrics, f"{name}_count", ip_family=str(family)) for family in (V4, V6)] == [0, 2]
    assert value(metrics, f"{name}_sum", ip_family="IPv6") == 0.0


def test_drift_is_counted_by_what_was_wrong():
    metrics, observer = observed()
    observer.drifted(V4, [Drift("m", 1, b"a", None), Drift("m", 2, None, b"b"), Drift("m", 3, b"a", b"b")])
    counts = {
        kind: value(metrics, "fairway_drift_repairs_total", ip_family="IPv4", container="m", kind=kind)
        for kind in ("missing", "foreign", "changed")
    }
    assert counts == {"missing": 1, "foreign": 1, "changed": 1}
