"""The proxy's health and metrics servers, put together; they move when the configuration says so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from fairway import __version__
from fairway.agents.health import ProxyHealth
from fairway.agents.metrics import ProxyMetrics
from fairway.config.proxy import ProxySettings, SocketAddress, configz
from fairway.io.host.clock import SystemClock
from fairway.io.http.health import Clock, health_handler
from fairway.io.http.message import Handler
from fairway.io.http.metrics import Facts, add_process_metrics, metrics_handler
from fairway.io.http.server import ListenError, serve

log = logging.getLogger("fairway.proxy")


class Subjects(NamedTuple):
    """What the servers tell of."""

    health: ProxyHealth
    metrics: ProxyMetrics
    flags: Mapping[str, str]
    before_scrape: Callable[[], None]


class Servers:
    """Both servers, at the addresses that the settings name."""

    def __init__(self, subjects: Subjects, settings: Callable[[], ProxySettings]) -> None:
        """`settings` gives those in effect, which may be others than when a server was opened."""
        self._subjects = subjects
        self._settings = settings
        self._changed = asyncio.Event()
        add_process_metrics(subjects.metrics.registry)

    def settings_changed(self) -> None:
        """Look at the settings again."""
        self._changed.set()

    async def run(self) -> None:
        """Serve until cancelled; a server whose settings changed is opened anew."""
        running: dict[str, tuple[object, asyncio.Task[None]]] = {}
        try:
            while True:
                self._changed.clear()
                await self._place(self._settings(), running)
                changed = asyncio.ensure_future(self._changed.wait())
                done, _ = await asyncio.wait(
                    (changed, *(task for _, task in running.values())), return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
        finally:
            await _end(task for _, task in running.values())

    async def _place(self, settings: ProxySettings, running: dict[str, tuple[object, asyncio.Task[None]]]) -> None:
        hard = settings.bind_address_hard_fail
        for name, place, handler in (
            ("health", settings.healthz_bind_address, self._health_handler),
            ("metrics", settings.metrics_bind_address, self._metrics_handler),
        ):
            wanted = (place, settings.enable_profiling, hard)
            if name in running and running[name][0] == wanted:
                continue
            if name in running:
                await _end([running.pop(name)[1]])
            if place.port:
                running[name] = (wanted, asyncio.create_task(_serve(place, handler(settings), hard)))

    def _health_handler(self, settings: ProxySettings) -> Handler:
        subjects, clock = self._subjects, SystemClock()
        return health_handler(
            subjects.health.assess,
            lambda: Clock(clock.now(), time.time()),
            healthz=subjects.metrics.healthz,
            livez=subjects.metrics.livez,
        )

    def _metrics_handler(self, settings: ProxySettings) -> Handler:
        facts = Facts(
            registry=self._subjects.metrics.registry,
            mode=lambda: self._settings().mode.value,
            configz=lambda: configz(self._settings()),
            flags=lambda: self._subjects.flags,
            version=__version__,
            before_scrape=self._subjects.before_scrape,
        )
        return metrics_handler(facts, with_profiling=settings.enable_profiling)


async def _serve(place: SocketAddress, handler: Handler, is_hard: bool) -> None:
    await serve(handler, place.address, place.port, is_hard=is_hard, report=_report)


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _report(error: ListenError) -> None:
    log.warning("listen error=%r", str(error))
