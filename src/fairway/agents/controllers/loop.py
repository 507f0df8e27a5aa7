"""Runs one controller: changes become keys, keys are looked at by a few workers, what comes out is done.

The same for every controller. A key is never worked on twice at a time; a look whose writes failed is repeated with
back-off, on what is known by then.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fairway.agents.controllers.performer import Effects, Performer
from fairway.agents.controllers.queue import WorkQueue
from fairway.controllers.controller import Controller, Key, Turn
from fairway.controllers.view import View
from fairway.controllers.writes import Answers, AnyKind, Failure, Outcome
from fairway.values.errors import FairwayError

log = logging.getLogger(__name__)

WORKERS = 5
MOST_ROUNDS = 10
"""Of questions and answers in one look, before it waits for the next one."""


class ControllerLoop:
    """One controller at work."""

    def __init__(self, controller: Controller, view: View, performer: Performer, effects: Effects) -> None:
        self.controller = controller
        self.queue = WorkQueue(effects.clock, effects.random)
        self._view = view
        self._performer = performer
        self._effects = effects
        self._memory: dict[Key, object] = {}
        self._failures: dict[Key, Failure] = {}
        self._is_open = False
        self._followed: dict[str, AnyKind] = {}
        for kind in controller.kinds:
            self.follow(kind)

    @property
    def has_synced(self) -> bool:
        """Everything that the controller reads has been listed once."""
        return all(self._view.cache(kind).has_synced for kind in self.controller.kinds)

    def follow(self, kind: AnyKind) -> None:
        """Be told of this kind's changes from here on."""
        if kind.path not in self._followed:
            self._followed[kind.path] = kind
            self._view.cache(kind).listen(self._changed)

    def _changed(self, kind: AnyKind, old: Any, new: Any) -> None:
        if self._is_open:
            for key in self.controller.concerned(kind, old, new, self._view):
                self.queue.add(key)

    def open(self) -> None:
        """Everything is listed: look at all there is, and from here on at what changes."""
        self._is_open = True
        for kind in self._followed.values():
            for one in self._view.cache(kind).all():
                for key in self.controller.concerned(kind, None, one, self._view):
                    self.queue.add(key)

    async def run(self, workers: int = WORKERS) -> None:
        """Work until cancelled. Call `open` first."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self.queue.take()
            try:
                await self.look(key)
            finally:
                self.queue.done(key)

    async def look(self, key: Key) -> None:
        """Look at one key and do what it needs."""
        component = self.controller.component
        try:
            outcome = self._sync(key, {})
            failure = await self._performer.perform(outcome.writes, component)
            rounds = 0
            while outcome.questions and failure is None and rounds < MOST_ROUNDS:
                rounds += 1
                outcome = self._sync(key, await self._performer.ask(outcome.questions))
                failure = await self._performer.perform(outcome.writes, component)
        except FairwayError as error:
            delay = self.queue.retry(key)
            log.warning("controller=%s key=%s error='%s' retry_in=%.3fs", self.controller.name, key, error, delay)
            return
        except Exception:
            # A defect in one controller must neither end the others nor be hidden.
            delay = self.queue.retry(key)
            log.exception("controller=%s key=%s msg='unexpected' retry_in=%.3fs", self.controller.name, key, delay)
            return
        self._settle(key, outcome, failure)

    def _sync(self, key: Key, answers: Answers) -> Outcome:
        turn = Turn(
            key,
            self._effects.wall(),
            self._effects.random,
            self._memory.get(key),
            self._failures.get(key),
            answers,
        )
        return self.controller.sync(turn, self._view)

    def _settle(self, key: Key, outcome: Outcome, failure: Failure | None) -> None:
        """Keep what is to be remembered, and plan the next look."""
        if failure is not None:
            self._failures[key] = failure
            delay = self.queue.retry(key)
            log.info(
                "controller=%s key=%s error='%s' retry_in=%.3fs", self.controller.name, key, failure.message, delay
            )
            return
        self._failures.pop(key, None)
        if outcome.memory is None:
            self._memory.pop(key, None)
        else:
            self._memory[key] = outcome.memory
        if outcome.retry or outcome.questions:
            self.queue.retry(key)
        else:
            self.queue.forget(key)
        if outcome.again_in is not None:
            self.queue.add_after(key, outcome.again_in)
