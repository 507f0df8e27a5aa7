"""What the proxy counts: kube-proxy's metrics by their names, and Fairway's own.

Agents call methods that say what happened; each costs about a microsecond. How the numbers are served is not known
here. Nothing is registered with prometheus_client's process-wide registry, so several may live in one process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from fairway.config.proxy import Mode
from fairway.values.address import Family

disable_created_metrics()  # type: ignore[no-untyped-call]

SYNC_BUCKETS = tuple(0.001 * 2**n for n in range(15))
PROGRAMMING_BUCKETS = (0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))
CHANGE_BUCKETS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)

_FAMILY = ("ip_family",)
_KUBE = "kubeproxy"
_OURS = "fairway"


class ProxyMetrics:
    """All metrics of one proxy. `family(f)` has those of one IP family."""

    def __init__(self, mode: Mode, families: Iterable[Family], version: str) -> None:
        self.registry = registry = CollectorRegistry()
        self._kube = _Maker(registry, _KUBE)
        self._ours = _Maker(registry, _OURS)
        self._healthz = self._kube.counter("proxy_healthz_total", "Answers of /healthz by status", "code")
        self._livez = self._kube.counter("proxy_livez_total", "Answers of /livez by status", "code")
        self._endpoint_pending = self._kube.gauge(
            "sync_proxy_rules_endpoint_changes_pending", "EndpointSlice changes not yet in the kernel"
        )
        self._service_pending = self._kube.gauge(
            "sync_proxy_rules_service_changes_pending", "Service changes not yet in the kernel"
        )
        self._endpoint_changes = self._kube.counter(
            "sync_proxy_rules_endpoint_changes_total", "EndpointSlice changes seen"
        )
        self._service_changes = self._kube.counter("sync_proxy_rules_service_changes_total", "Service changes seen")
        self._objects = self._ours.gauge("objects", "Objects held, by kind", "kind")
        self._contact = self._ours.gauge("api_last_contact_timestamp_seconds", "When the API server last said anything")
        self._is_stale = self._ours.gauge("api_is_stale", "1 while the API server cannot be followed")
        self._ports = self._ours.gauge(
            "health_check_node_ports", "Health check node ports by state: open, failed", "state"
        )
        self._reloads = self._ours.counter(
            "config_reloads_total", "Changed configuration files by result: applied, refused", "result"
        )
        self._ours.gauge("build_info", "Always 1; the version is the label", "version").labels(version).set(1)
        shared = _FamilyVectors(self._kube, self._ours, mode)
        self._families = {family: FamilyMetrics(shared, family) for family in families}

    def family(self, family: Family) -> FamilyMetrics:
        return self._families[family]

    def healthz(self, status: int) -> None:
        self._healthz.labels(str(status)).inc()

    def livez(self, status: int) -> None:
        self._livez.labels(str(status)).inc()

    def service_changed(self, count: int = 1) -> None:
        """Service events that the kernel does not know of yet."""
        self._service_changes.inc(count)
        self._service_pending.inc(count)

    def endpoints_changed(self, count: int = 1) -> None:
        """EndpointSlice events that the kernel does not know of yet."""
        self._endpoint_changes.inc(count)
        self._endpoint_pending.inc(count)

    def changes_written(self) -> None:
        """Every change seen so far is in the kernel, in all families."""
        self._service_pending.set(0)
        self._endpoint_pending.set(0)

    def set_objects(self, kind: str, count: int) -> None:
        self._objects.labels(kind).set(count)

    def set_api_contact(self, wall_time: float, *, is_stale: bool) -> None:
        """When the API server last said anything (0: never), and whether it can be followed now."""
        self._contact.set(wall_time)
        self._is_stale.set(is_stale)

    def set_health_check_ports(self, states: Mapping[str, int]) -> None:
        for state, count in states.items():
            self._ports.labels(state).set(count)

    def reloaded(self, result: str) -> None:
        """A changed configuration file was `applied` or `refused`."""
        self._reloads.labels(result).inc()


class FamilyMetrics:
    """The metrics of one IP family, labels resolved once."""

    def __init__(self, shared: _FamilyVectors, family: Family) -> None:
        name = str(family)
        self._shared = shared
        self._name = name
        self._sync = shared.sync.labels(name)
        self._full = shared.full.labels(name)
        self._partial = shared.partial.labels(name)
        self._programming = shared.programming.labels(name)
        self._queued = shared.queued.labels(name)
        self._synced = shared.synced.labels(name)
        self._failures = shared.failures.labels(name) if shared.failures else None
        self._conntrack = shared.conntrack.labels(name)
        self._conntrack_deleted = shared.conntrack_deleted.labels(name)
        self._change = shared.change.labels(name)
        self._operations = shared.operations.labels(name)
        self._transactions = shared.transactions.labels(name)
        self._refused = shared.refused.labels(name)
        self._pending = shared.pending.labels(name)
        self._no_local = {policy: shared.no_local.labels(name, policy) for policy in ("internal", "external")}

    def queued(self, wall_now: float) -> None:
        """A change came in."""
        self._queued.set(wall_now)

    def synced(self, seconds: float, wall_now: float, *, is_full: bool) -> None:
        """A write (`is_full`: a compare with everything in the kernel) succeeded after so many seconds."""
        self._sync.observe(seconds)
        (self._full if is_full else self._partial).observe(seconds)
        self._synced.set(wall_now)

    def failed(self) -> None:
        """A transaction was refused by the kernel."""
        self._refused.inc()
        if self._failures is not None:
            self._failures.inc()

    def wrote(self, transactions: int, operations: int) -> None:
        self._transactions.inc(transactions)
        self._operations.inc(operations)

    def changed(self, seconds: float) -> None:
        """From the watch event, or the file's change, to the kernel."""
        self._change.observe(seconds)

    def programmed(self, seconds: float) -> None:
        """From the pod's change (annotation endpoints.kubernetes.io/last-change-trigger-time) to the kernel."""
        self._programming.observe(seconds)

    def set_pending(self, operations: int) -> None:
        self._pending.set(operations)

    def set_items(self, container: str, count: int) -> None:
        """Items that a kernel container (a map, a set, a chain …) holds."""
        self._shared.items.labels(self._name, container).set(count)

    def repaired(self, container: str, kind: str, count: int = 1) -> None:
        """Items that had drifted: `missing`, `changed` or `foreign`."""
        self._shared.drift.labels(self._name, container, kind).inc(count)

    def set_no_local_endpoints(self, internal: int, external: int) -> None:
        """Service ports that drop because a Local policy finds no local endpoint."""
        self._no_local["internal"].set(internal)
        self._no_local["external"].set(external)

    def conntrack_cleaned(self, seconds: float) -> None:
        """A round of cleaning, which covers all families."""
        self._conntrack.observe(seconds)

    def conntrack_deleted(self, count: int) -> None:
        self._conntrack_deleted.inc(count)

    def set_iptables_rules(self, table: str, total: int, written: int) -> None:
        """iptables mode: rules of one table, and how many the last write wrote."""
        assert self._shared.iptables_total is not None
        assert self._shared.iptables_last is not None
        self._shared.iptables_total.labels(table, self._name).set(total)
        self._shared.iptables_last.labels(table, self._name).set(written)


class _FamilyVectors:
    """The metrics that carry `ip_family`; which of them exist depends on the mode, as in kube-proxy."""

    def __init__(self, kube: _Maker, ours: _Maker, mode: Mode) -> None:
        self.sync = kube.histogram("sync_proxy_rules_duration_seconds", "Time of a write to the kernel", SYNC_BUCKETS)
        self.full = kube.histogram("sync_full_proxy_rules_duration_seconds", "Time of a full compare", SYNC_BUCKETS)
        self.partial = kube.histogram(
            "sync_partial_proxy_rules_duration_seconds", "Time of the write of a change", SYNC_BUCKETS
        )
        self.programming = kube.histogram(
            "network_programming_duration_seconds", "From the change of a pod to the kernel", PROGRAMMING_BUCKETS
        )
        self.queued = kube.gauge(
            "sync_proxy_rules_last_queued_timestamp_seconds", "When a change last came in", *_FAMILY
        )
        self.synced = kube.gauge("sync_proxy_rules_last_timestamp_seconds", "When a write last succeeded", *_FAMILY)
        self.no_local = kube.gauge(
            "sync_proxy_rules_no_local_endpoints_total",
            "Service ports that drop for want of local endpoints",
            *_FAMILY,
            "traffic_policy",
        )
        self.conntrack = kube.histogram(
            "conntrack_reconciler_sync_duration_seconds", "Time of a conntrack cleaning", SYNC_BUCKETS
        )
        self.conntrack_deleted = kube.counter(
            "conntrack_reconciler_deleted_entries_total", "Stale conntrack entries deleted", *_FAMILY
        )
        self._of_mode(kube, mode)
        self.change = ours.histogram("change_duration_seconds", "From a change's arrival to the kernel", CHANGE_BUCKETS)
        self.operations = ours.counter("operations_total", "Item operations written", *_FAMILY)
        self.transactions = ours.counter("transactions_total", "Transactions written", *_FAMILY)
        self.refused = ours.counter("refused_transactions_total", "Transactions that the kernel refused", *_FAMILY)
        self.pending = ours.gauge("pending_operations", "Item operations not yet in the kernel", *_FAMILY)
        self.items = ours.gauge("kernel_items", "Items in the kernel by container", *_FAMILY, "container")
        self.drift = ours.counter(
            "drift_repairs_total", "Items found drifted, and repaired", *_FAMILY, "container", "kind"
        )

    def _of_mode(self, kube: _Maker, mode: Mode) -> None:
        self.failures: Counter | None = None
        self.iptables_total: Gauge | None = None
        self.iptables_last: Gauge | None = None
        if mode is Mode.NFTABLES:
            self.failures = kube.counter(
                "sync_proxy_rules_nftables_sync_failures_total", "Refused nftables writes", *_FAMILY
            )
        elif mode in {Mode.IPTABLES, Mode.IPVS}:
            self.failures = kube.counter(
                "sync_proxy_rules_iptables_restore_failures_total", "Refused iptables writes", *_FAMILY
            )
        if mode is Mode.IPTABLES:
            self.iptables_total = kube.gauge(
                "sync_proxy_rules_iptables_total", "Rules in the kernel", "table", *_FAMILY
            )
            self.iptables_last = kube.gauge("sync_proxy_rules_iptables_last", "Rules written last", "table", *_FAMILY)


class _Maker:
    """Makes metrics with one name prefix in one registry."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self._registry = registry
        self._prefix = prefix

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{self._prefix}_{name}", text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{self._prefix}_{name}", text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(f"{self._prefix}_{name}", text, _FAMILY, registry=self._registry, buckets=tuple(buckets))
