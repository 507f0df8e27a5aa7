"""What the plugins of all server blocks have counted, as text for Prometheus, under CoreDNS' names."""

from __future__ import annotations

from collections.abc import Sequence

from fairway.dns.chain import Chain
from fairway.dns.metrics import DURATIONS, Count, Exposition, Histogram, Labels
from fairway.values.domain import to_text


def write_plugins(out: Exposition, chains: Sequence[Chain]) -> None:
    """All families of plugins."""
    _write_counts(out, chains)
    _write_caches(out, chains)
    _write_forwards(out, chains)


def server_labels(chain: Chain) -> Labels:
    """Server, zone and view of a block."""
    key = chain.settings.keys[0]
    return (("server", f"dns://:{key.port}"), ("zone", to_text(key.zone)), ("view", ""))


def _write_counts(out: Exposition, chains: Sequence[Chain]) -> None:
    found: dict[str, tuple[Count, dict[Labels, float]]] = {}
    for chain in chains:
        server, _zone, view = server_labels(chain)
        for plugin in chain.counting:
            for one in plugin.counts():
                labels = (*((server,) if one.has_server else ()), *one.labels, *((view,) if one.has_view else ()))
                values = found.setdefault(one.name, (one, {}))[1]
                values[labels] = values.get(labels, 0) + one.value
    for name, (one, values) in sorted(found.items()):
        out.simple(name, one.kind, one.text, values)


def _write_caches(out: Exposition, chains: Sequence[Chain]) -> None:
    rows: dict[str, dict[Labels, float]] = {}

    def put(name: str, labels: Labels, value: float) -> None:
        rows.setdefault(name, {})[labels] = value

    for chain in chains:
        server = server_labels(chain)[0]
        for cache in chain.caches:
            counted = cache.statistics
            rest: Labels = (("zones", ",".join(map(to_text, cache.settings.zones))), ("view", ""))
            for kind in ("success", "denial"):
                put("entries", (server, ("type", kind), *rest), len(cache.items[kind]))
                put("hits_total", (server, ("type", kind), *rest), counted.hits[kind])
                put("evictions_total", (server, ("type", kind), *rest), counted.evictions[kind])
            put("requests_total", (server, *rest), counted.requests)
            put("misses_total", (server, *rest), counted.misses)
            put("prefetch_total", (server, *rest), counted.prefetches)
            put("served_stale_total", (server, *rest), counted.served_stale)
    for name, values in sorted(rows.items()):
        kind = "gauge" if name == "entries" else "counter"
        out.simple(f"coredns_cache_{name}", kind, f"The cache's {name.removesuffix('_total')}.", values)


def _write_forwards(out: Exposition, chains: Sequence[Chain]) -> None:
    forwards = [forward for chain in chains for forward in chain.forwards]
    if not forwards:
        return
    rejected = sum(f.statistics.max_concurrent_rejects for f in forwards)
    out.simple("coredns_forward_max_concurrent_rejects_total", "counter",
               "Counter of the number of queries rejected because the concurrent queries were at maximum.",
               {(): rejected})  # fmt: skip
    out.simple("coredns_forward_healthcheck_broken_total", "counter",
               "Counter of the number of complete failures of the healthchecks.",
               {(): sum(f.statistics.healthcheck_broken for f in forwards)})  # fmt: skip
    durations: dict[Labels, Histogram] = {}
    failures: dict[Labels, float] = {}
    for forward in forwards:
        for (to, rcode), histogram in forward.statistics.durations.items():
            labels: Labels = (("proxy_name", "forward"), ("rcode", rcode), ("to", to))
            durations.setdefault(labels, Histogram(DURATIONS)).merge(histogram.counts, histogram.total)
        for host in forward.hosts:
            labels = (("proxy_name", "forward"), ("to", host.upstream.name))
            failures[labels] = failures.get(labels, 0) + host.healthcheck_failures
    out.histograms("coredns_proxy_request_duration_seconds", "Histogram of the time each request took.", durations)
    out.simple("coredns_proxy_healthcheck_failures_total", "counter",
               "Counter of the number of failed healthchecks.", failures)  # fmt: skip
