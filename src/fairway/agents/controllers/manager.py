"""Runs a set of controllers in one process: one reflector a kind, one cache for all, one loop a controller."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from fairway.agents.api import ApiReader
from fairway.agents.controllers.loop import ControllerLoop
from fairway.agents.controllers.performer import ApiWriter, Effects, Performer
from fairway.agents.feed import Feed
from fairway.agents.reflector import Reflector
from fairway.controllers.controller import Controller
from fairway.controllers.registry import Settings, make_controllers
from fairway.controllers.view import View
from fairway.controllers.writes import AnyKind

log = logging.getLogger(__name__)

HOUSEKEEPING = 60.0
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
        self._kinds: dict[str, AnyKind] = {kind.path: kind for one in controllers for kind in one.kinds}
        self._reflectors = [self._reflector(kind) for kind in self._kinds.values()]
        self.has_started = asyncio.Event()
        """Set when every controller has seen all there is and works."""

    def _reflector(self, kind: AnyKind) -> Reflector[Any]:
        feed = Feed(kind, self.view.cache(kind), is_optional=True)
        return Reflector(self._api, feed, self._effects.clock, self._effects.random)

    async def run(self) -> None:
        """Follow, look, write, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors:
                group.create_task(reflector.run())
            group.create_task(self._keep_house())
            for one in self._reflectors:
                await one.wait_synced()
            for loop in self.loops:
                loop.open()
                group.create_task(loop.run())
            log.info("msg='controllers work' names=%s", ",".join(loop.controller.name for loop in self.loops))
            self.has_started.set()

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
