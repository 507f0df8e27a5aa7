"""The loop that every controller runs in: failures and defects are tried again, with what was remembered."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest

from agents.controllers.test_performer import Api
from fairway.agents.controllers.loop import ControllerLoop
from fairway.agents.controllers.performer import Effects, Performer
from fairway.controllers.controller import Key, Turn
from fairway.controllers.view import View
from fairway.controllers.writes import AnyKind, Create, Lookup, Outcome
from fairway.io.host.clock import SystemClock
from fairway.kube.objects import CONFIG_MAP
from fairway.values.names import ObjectName

A = ObjectName("shop", "a")


class Told(NamedTuple):
    name: ObjectName
    object: Any


class Scripted:
    """A controller that does what its script says, look by look, and keeps what it was handed."""

    name = component = "scripted"
    kinds: tuple[AnyKind, ...] = (CONFIG_MAP,)
    follows_everything = False

    def __init__(self, *script: Outcome | Exception) -> None:
        self.script = list(script)
        self.turns: list[Turn] = []

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        return {(new or old).metadata.object_name}

    def sync(self, turn: Turn, view: View) -> Outcome:
        self.turns.append(turn)
        step = self.script.pop(0) if self.script else Outcome()
        if isinstance(step, Exception):
            raise step
        return step


class Scene:
    def __init__(self, controller: Scripted) -> None:
        self.controller = controller
        self.api = Api()
        self.view = View()
        now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        effects = Effects(self.api, SystemClock(), lambda: now, lambda: 0.5)
        self.loop = ControllerLoop(controller, self.view, Performer(effects, self.view), effects)

    async def looks(self, count: int) -> None:
        """Work until the controller was asked so often and nothing is left to do."""
        self.loop.open()
        self.loop.queue.add(A)
        task = asyncio.ensure_future(self.loop.run(workers=3))
        # Two conditions in other tasks: no event says when both hold.
        while len(self.controller.turns) < count or not self.loop.queue.is_idle:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def play(*script: Outcome | Exception, looks: int) -> Scene:
    async def inside() -> Scene:
        scene = Scene(Scripted(*script))
        async with asyncio.timeout(10):
            await scene.looks(looks)
        return scene

    return asyncio.run(inside())


def test_what_is_remembered_is_handed_in_again() -> None:
    scene = play(Outcome(memory="one", again_in=0), Outcome(), looks=2)
    assert [turn.memory for turn in scene.controller.turns] == [None, "one"]


def test_a_failed_write_is_told_to_the_next_look() -> None:
    invalid = Create(CONFIG_MAP, "shop", {"metadata": {"name": "a"}})
    scene = play(Outcome((invalid, invalid)), looks=2)
    failure = scene.controller.turns[1].failure  # a third look may follow: what was made concerns the key, too
    assert failure is not None
    assert failure.reason == "AlreadyExists"


def test_what_a_failed_look_wanted_remembered_is_not() -> None:
    invalid = Create(CONFIG_MAP, "shop", {"metadata": {"name": "a"}})
    scene = play(Outcome((invalid, invalid), memory="too soon"), Outcome(memory="now"), looks=2)
    assert scene.controller.turns[1].memory is None


def test_a_defect_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    scene = play(ValueError("oops"), looks=2)
    assert len(scene.controller.turns) == 2
    assert "oops" in caplog.text


def test_a_key_that_asks_to_be_looked_at_again_is() -> None:
    scene = play(Outcome(retry="not yet"), Outcome(retry="not yet"), looks=3)
    assert len(scene.controller.turns) == 3


def test_questions_are_asked_and_the_key_looked_at_with_the_answers() -> None:
    question = Lookup(CONFIG_MAP, A)
    scene = play(Outcome(questions=(question,)), looks=2)
    assert [dict(turn.answers) for turn in scene.controller.turns] == [{}, {question: None}]


def test_questions_without_end_wait_in_between() -> None:
    question = Lookup(CONFIG_MAP, A)
    scene = play(*[Outcome(questions=(question,))] * 30, looks=31)
    assert [index for index, turn in enumerate(scene.controller.turns) if not turn.answers] == [0, 11, 22]


def test_changes_before_everything_is_listed_are_looked_at_once_it_is() -> None:
    async def inside() -> None:
        scene = Scene(Scripted())
        scene.view.cache(CONFIG_MAP).apply(
            [Told(A, CONFIG_MAP.decode({"metadata": {"name": "a", "namespace": "shop"}}))]
        )
        assert scene.loop.queue.is_idle
        scene.loop.open()
        assert not scene.loop.queue.is_idle

    asyncio.run(inside())


def test_an_own_write_is_looked_at_like_any_change() -> None:
    made = Create(CONFIG_MAP, "shop", {"metadata": {"name": "b"}})
    scene = play(Outcome((made,)), looks=2)
    assert [turn.key.name for turn in scene.controller.turns] == ["a", "b"]
