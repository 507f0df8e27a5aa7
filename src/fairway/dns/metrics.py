"""Counts of answers, under the names of CoreDNS' metrics, and their text for Prometheus.

Knows names, labels and buckets; who counts and who serves the text is not known here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from fairway.dns.model import Reply, Request, Transport
from fairway.values.rrtypes import RRType, rcode_text

PROGRAMMING = tuple(0.001 * 2**i for i in range(20))
"""Bounds of the time from a change to the answer that tells of it."""
DURATIONS = tuple(0.00025 * 2**i for i in range(16))
SIZES = (0.0, 100.0, 200.0, 300.0, 400.0, 511.0, 1023.0, 2047.0, 4095.0, 8291.0, 16e3, 32e3, 48e3, 64e3)
KNOWN_TYPES = frozenset(
    [
        "AAAA",
        "A",
        "CNAME",
        "DNSKEY",
        "DS",
        "MX",
        "NSEC3",
        "NSEC",
        "NS",
        "PTR",
        "RRSIG",
        "SOA",
        "SRV",
        "TXT",
        "HTTPS",
        "ANY",
        "AXFR",
        "IXFR",
    ]
)
Labels: TypeAlias = tuple[tuple[str, str], ...]


class Count(NamedTuple):
    """What a plugin has counted, under the name that CoreDNS gives it."""

    name: str
    text: str
    labels: Labels
    """Of its own; server and view are added where they belong."""
    value: float
    has_server: bool = True
    has_view: bool = False
    kind: str = "counter"


@runtime_checkable
class Counting(Protocol):
    """A plugin that counts."""

    def counts(self) -> Iterable[Count]: ...


class Histogram:
    """Counts by upper bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def merge(self, counts: Sequence[int], total: float) -> None:
        """Add what was counted elsewhere with the same bounds."""
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]
        self.total += total


class Exposition:
    """Text in Prometheus' format, family by family."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def family(self, name: str, kind: str, text: str) -> None:
        self.lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]

    def value(self, name: str, labels: Labels, value: float) -> None:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
        self.lines.append(f"{name}{{{inside}}} {value:g}" if inside else f"{name} {value:g}")

    def simple(self, name: str, kind: str, text: str, values: Mapping[Labels, float]) -> None:
        """One family of plain values, in order of their labels."""
        self.family(name, kind, text)
        for labels in sorted(values):
            self.value(name, labels, values[labels])

    def histograms(self, name: str, text: str, values: Mapping[Labels, Histogram]) -> None:
        self.family(name, "histogram", text)
        for labels in sorted(values):
            histogram, running = values[labels], 0
            for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
                running += count
                text_bound = "+Inf" if bound == float("inf") else f"{bound:g}"
                self.value(f"{name}_bucket", (*labels, ("le", text_bound)), running)
            self.value(f"{name}_sum", labels, histogram.total)
            self.value(f"{name}_count", labels, running)

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@dataclass(slots=True)
class FastCounts:
    """What the fast path of one address has counted of answers with the same labels, in the same buckets."""

    requests: dict[tuple[int, str], int] = field(default_factory=dict)
    """By family (0 for IPv4) and type."""
    rcodes: list[int] = field(default_factory=lambda: [0] * 16)
    request_sizes: list[int] = field(default_factory=lambda: [0] * (len(SIZES) + 1))
    response_sizes: list[int] = field(default_factory=lambda: [0] * (len(SIZES) + 1))
    durations: list[int] = field(default_factory=lambda: [0] * (len(DURATIONS) + 1))
    do_requests: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    seconds: float = 0.0
    hits: list[int] = field(default_factory=lambda: [0, 0])
    """Of a cache: answers, denials."""
    stale: int = 0

    @property
    def total(self) -> int:
        return sum(self.rcodes)


class Metrics:
    """Hears of every answer of the slow path (`fairway.dns.server.Observer`); the fast path's counts are merged in."""

    def __init__(self) -> None:
        self.requests: dict[Labels, int] = {}
        self.responses: dict[Labels, int] = {}
        self.do_requests: dict[Labels, int] = {}
        self.durations: dict[Labels, Histogram] = {}
        self.request_sizes: dict[Labels, Histogram] = {}
        self.response_sizes: dict[Labels, Histogram] = {}
        self.lost: dict[Labels, int] = {}
        """Queries by UDP that found the plugins too far behind."""
        self._fast: dict[object, tuple[Labels, str, FastCounts]] = {}

    def set_fast(self, key: object, labels: tuple[str, str], plugin: str, counts: FastCounts) -> None:
        """What the fast path of an address has counted of one plugin's answers since it began."""
        self._fast[key] = ((("server", labels[0]), ("zone", labels[1]), ("view", "")), plugin, counts)

    def answered(self, labels: tuple[str, str], request: Request, reply: Reply, size: int, seconds: float) -> None:
        """Count one answer."""
        is_udp = request.transport is Transport.UDP
        where, asked, answered = _labels(
            labels, is_udp, len(request.client) == 4, request.type, (reply.rcode, reply.source)
        )
        self._count(self.requests, asked)
        self._count(self.responses, answered)
        if request.wants_dnssec:
            self._count(self.do_requests, where)
        self._histogram(self.durations, where, DURATIONS).add(seconds)
        sized = (*where, ("proto", "udp" if is_udp else "tcp"))
        self._histogram(self.request_sizes, sized, SIZES).add(request.size)
        self._histogram(self.response_sizes, sized, SIZES).add(size)

    @staticmethod
    def _count(counts: dict[Labels, int], labels: Labels, amount: int = 1) -> None:
        counts[labels] = counts.get(labels, 0) + amount

    @staticmethod
    def _histogram(histograms: dict[Labels, Histogram], labels: Labels, bounds: Sequence[float]) -> Histogram:
        found = histograms.get(labels)
        if found is None:
            found = histograms[labels] = Histogram(bounds)
        return found

    def total(self) -> Metrics:
        """Slow and fast path together."""
        whole = deepcopy(self)
        for where, plugin, counts in self._fast.values():
            whole._merge(where, plugin, counts)  # noqa: SLF001 - another of us
        return whole

    def _merge(self, where: Labels, plugin: str, counts: FastCounts) -> None:
        for (family, name), number in counts.requests.items():
            if number:
                labels = (*where, ("proto", "udp"), ("family", str(family + 1)), ("type", name))
                self._count(self.requests, labels, number)
        for rcode, number in enumerate(counts.rcodes):
            if number:
                labels = (*where, ("rcode", rcode_text(rcode)), ("plugin", plugin))
                self._count(self.responses, labels, number)
        if counts.do_requests:
            self._count(self.do_requests, where, counts.do_requests)
        sized = (*where, ("proto", "udp"))
        self._histogram(self.durations, where, DURATIONS).merge(counts.durations, counts.seconds)
        self._histogram(self.request_sizes, sized, SIZES).merge(counts.request_sizes, counts.request_bytes)
        self._histogram(self.response_sizes, sized, SIZES).merge(counts.response_sizes, counts.response_bytes)

    def write(self, out: Exposition) -> None:
        """All families of answers."""
        out.simple("coredns_dns_requests_total", "counter", "Counter of DNS requests made.",
                   self.requests)  # fmt: skip
        out.simple("coredns_dns_responses_total", "counter", "Counter of response status codes.", self.responses)
        out.simple(
            "fairway_dns_lost_total", "counter", "Queries by UDP that found the plugins too far behind.", self.lost
        )
        out.simple("coredns_dns_do_requests_total", "counter", "Counter of DNS requests with DO bit set per zone.",
                   self.do_requests)  # fmt: skip
        out.histograms("coredns_dns_request_duration_seconds", "Time each request took.", self.durations)
        out.histograms("coredns_dns_request_size_bytes", "Size of the EDNS0 UDP buffer in bytes (64K for TCP).",
                       self.request_sizes)  # fmt: skip
        out.histograms("coredns_dns_response_size_bytes", "Size of the reply in bytes.", self.response_sizes)


@lru_cache(maxsize=1024)
def _labels(
    labels: tuple[str, str], is_udp: bool, is_ipv4: bool, rtype: int, outcome: tuple[int, str]
) -> tuple[Labels, Labels, Labels]:
    """Of an answer at all, of its request, of its response. Few of them come again and again."""
    where: Labels = (("server", labels[0]), ("zone", labels[1]), ("view", ""))
    protocol, family = "udp" if is_udp else "tcp", "1" if is_ipv4 else "2"
    asked = (*where, ("proto", protocol), ("family", family), ("type", request_type(rtype)))
    return where, asked, (*where, ("rcode", rcode_text(outcome[0])), ("plugin", outcome[1]))


@lru_cache(maxsize=256)
def request_type(number: int) -> str:
    """The type's name, `other` for those that CoreDNS does not count apart."""
    try:
        name = RRType(number).name
    except ValueError:
        return "other"
    return name if name in KNOWN_TYPES else "other"


def joined(parts: Iterable[str]) -> str:
    """Zones as one label."""
    return ",".join(parts)
