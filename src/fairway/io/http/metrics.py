"""The metrics server: what kube-proxy serves on port 10249, with the values handed in as functions.

`/metrics` (Prometheus text, or OpenMetrics when asked for), `/healthz`, `/proxyMode`, `/configz`, `/flagz`,
`/statusz`, and with profiling `/debug/pprof/`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from fairway.io.http.message import Answer, Handler, Request, by_path
from fairway.io.http.profile import profile_handlers


class Facts(NamedTuple):
    """What the server tells of the proxy; asked anew for each request."""

    registry: CollectorRegistry
    mode: Callable[[], str]
    configz: Callable[[], Mapping[str, Any]]
    flags: Callable[[], Mapping[str, str]]
    """The flags given, and their values."""
    version: str
    before_scrape: Callable[[], None] = lambda: None
    """Called before the metrics are read: to set gauges that nobody keeps up to date."""


def add_process_metrics(registry: CollectorRegistry) -> None:
    """`process_*`, and the interpreter's own, for this process. Once a process and registry."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)


def metrics_handler(facts: Facts, *, with_profiling: bool) -> Handler:
    """The server's handler."""
    started = time.time()

    def metrics(request: Request) -> Answer:
        facts.before_scrape()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Answer(200, encode(facts.registry), content_type)

    handlers: dict[str, Handler] = {
        "/metrics": metrics,
        "/healthz": lambda _: Answer.text(200, "ok"),
        "/proxyMode": lambda _: Answer.text(200, facts.mode()),
        "/configz": lambda _: Answer.json(200, facts.configz()),
        "/flagz": lambda _: Answer.text(200, _flagz(facts)),
        "/statusz": lambda _: Answer.text(200, _statusz(facts, sorted(handlers), started)),
    }
    if with_profiling:
        handlers.update(profile_handlers())
    return by_path(handlers)


_WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees "
    "and is for debugging purposes only.\n"
)


def _flagz(facts: Facts) -> str:
    flags = "".join(f"{name}:{value}\n" for name, value in sorted(facts.flags().items()))
    return f"\nfairway proxy flagz\n{_WARNING}\n{flags}"


def _statusz(facts: Facts, paths: list[str], started: float) -> str:
    up = int(time.time() - started)
    return (
        f"\nfairway proxy statusz\n{_WARNING}\n"
        f"Started= {time.strftime('%a %b %d %H:%M:%S UTC %Y', time.gmtime(started))}\n"
        f"Up= {up // 3600} hr {up // 60 % 60:02} min {up % 60:02} sec\n"
        f"Binary version= {facts.version}\n"
        f"Paths= {' '.join(paths)}\n"
    )
