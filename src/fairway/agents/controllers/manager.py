"""Runs a set of controllers in one process: one reflector a kind, one cache for all, one loop a controller."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from fairway.agents.api import ApiReader
from fairway.agents.controllers.catalog import read_catalog
from fairway.agents.controllers.loop import ControllerLoop
from fairway.agents.controllers.performer import ApiWriter, Effects, Performer
from fairway.agents.feed import Feed
from fairway.agents.reflector import Reflector
from fairway.controllers.controller import Controller
from fairway.controllers.registry import Settings, make_controllers
from fairway.controllers.view import View
from fairway.controllers.writes import AnyKind
from fairway.kube.objects import NAMESPACE
from fairway.reconcile.backoff import Backoff
from fairway.values.errors import FairwayError

log = logging.getLogger(__name__)

HOUSEKEEPING = 60.0
CATALOG_PERIOD = 30.0
UNSEEN_LIMIT = 300.0
"""After so long, an object that was made here and that no watch told of is taken for gone (as expectations expire)."""


class Api(ApiReader, ApiWriter, Protocol):
    """Both directions of the Kubernetes API."""


class Manager:
    """The controllers of one process. `run` until cancelled."""

    def __init__(self, controllers: Sequence[Controller], api: Api, effects: Effects) -> None:
        self._effects = effects
        self._api = api
        self.view = View()
        self._performer = Performer(effects, self.view)
        self.loops = [ControllerLoop(one, self.view, self._performer, effects) for one in controllers]
        self._reflectors: dict[str, Reflector[Any]] = {}
        for one in controllers:
            for kind in one.kinds:
                self._reflectors.setdefault(kind.path, self._reflector(kind))
        self._needs_catalog = any(one.follows_everything or NAMESPACE in one.kinds for one in controllers)
        self.has_started = asyncio.Event()
        """Set when every controller has seen all there is and works."""

    def _reflector(self, kind: AnyKind) -> Reflector[Any]:
        feed = Feed(kind, self.view.cache(kind), is_optional=True)
        return Reflector(self._api, feed, self._effects.clock, self._effects.random)

    async def run(self) -> None:
        """Follow, look, write, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors.values():
                group.create_task(reflector.run())
            group.create_task(self._keep_house())
            if self._needs_catalog:
                await self._refresh_until_known(group)
                group.create_task(self._keep_catalog(group))
            for one in list(self._reflectors.values()):
                await one.wait_synced()
            for loop in self.loops:
                loop.open()
                group.create_task(loop.run())
            log.info("msg='controllers work' names=%s", ",".join(loop.controller.name for loop in self.loops))
            self.has_started.set()

    # -- kinds that the server serves

    async def _refresh_until_known(self, group: asyncio.TaskGroup) -> None:
        backoff = Backoff()
        while True:
            try:
                return await self._refresh_catalog(group)
            except FairwayError as error:
                delay = backoff.failed(self._effects.random())
                log.warning("msg='what the server serves is not known' error='%s' retry_in=%.1fs", error, delay)
                await self._effects.clock.sleep(delay)

    async def _keep_catalog(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._effects.clock.sleep(CATALOG_PERIOD)
            try:
                await self._refresh_catalog(group)
            except FairwayError as error:
                log.warning("msg='what the server serves could not be asked' error='%s'", error)

    async def _refresh_catalog(self, group: asyncio.TaskGroup) -> None:
        self.view.types = await read_catalog(self._api, self.view.types)
        curious = [loop for loop in self.loops if loop.controller.follows_everything]
        if not curious:
            return
        for one in self.view.types:
            if one.is_collectable:
                if one.kind.path not in self._reflectors:
                    reflector = self._reflectors[one.kind.path] = self._reflector(one.kind)
                    group.create_task(reflector.run())
                for loop in curious:
                    loop.follow(self.view.cache(one.kind).kind)

    async def _keep_house(self) -> None:
        while True:
            await self._effects.clock.sleep(HOUSEKEEPING)
            for cache in self.view.caches():
                cache.forget_unseen(self._effects.clock.now() - UNSEEN_LIMIT)

    @property
    def is_idle(self) -> bool:
        """No controller has anything to do now."""
        return self.has_started.is_set() and all(loop.queue.is_idle for loop in self.loops)


class Running:
    """Controllers at work in the background."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self._task = asyncio.create_task(manager.run(), name="controllers")

    @property
    def task(self) -> asyncio.Task[None]:
        """Ends only with a defect, or when stopped."""
        return self._task

    async def wait_started(self) -> None:
        """Return when every controller has seen all there is."""
        started = asyncio.ensure_future(self.manager.has_started.wait())
        try:
            await asyncio.wait((started, self._task), return_when=asyncio.FIRST_COMPLETED)
            if self._task.done():
                self._task.result()
        finally:
            started.cancel()

    async def stop(self) -> None:
        """End all loops. Writes that are under way are cut."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def start(names: Sequence[str], api: Api, effects: Effects, settings: Settings | None = None) -> Running:
    """Run the named controllers (`fairway.controllers.registry.select_controllers`) in the background."""
    return Running(Manager(make_controllers(names, settings or Settings()), api, effects))
