"""Writes as requests, refusals as what they mean, against the API in memory."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from controllers.memory_api import MemoryApi, RefusedError, Tree
from fairway.agents.controllers.performer import Effects, Performer
from fairway.controllers.view import View
from fairway.controllers.writes import (
    Create,
    Delete,
    EventType,
    Lookup,
    Patch,
    Record,
    Remaining,
    Write,
    reference_to,
)
from fairway.io.host.clock import SystemClock
from fairway.kube.objects import CONFIG_MAP, POD
from fairway.kube.status import ApiUnreachableError, status_error
from fairway.values.names import ObjectName

NAME = ObjectName("shop", "a")


class Api:
    """The API in memory, as the client gives it. `cut` ends that many answers on the way."""

    def __init__(self) -> None:
        self.memory = MemoryApi()
        self.requests: list[tuple[str, str]] = []
        self.cut = 0

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        content_type: str = "application/json",
    ) -> bytes:
        self.requests.append((method, path))
        await asyncio.sleep(0)
        if self.cut:
            self.cut -= 1
            raise ApiUnreachableError("connection reset")
        try:
            tree = self.memory.handle(method, path, json.loads(body) if body else None, content_type)
        except RefusedError as refused:
            causes = [{"reason": "NamespaceTerminating"}] if "terminated" in refused.message else []
            status = {
                "code": refused.code,
                "reason": refused.reason,
                "message": refused.message,
                "details": {"causes": causes},
            }
            raise status_error(msgspec.json.encode(status), refused.code) from None
        return msgspec.json.encode(tree)


class Scene:
    """A performer and what it works on."""

    def __init__(self) -> None:
        self.api = Api()
        self.view = View()
        clock = SystemClock()
        now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        self.performer = Performer(Effects(self.api, clock, lambda: now, lambda: 0.5), self.view)

    async def perform(self, *writes: Write) -> str:
        """What failed, if anything."""
        failure = await self.performer.perform(writes, "test")
        await self.performer.flush()
        return failure.message if failure else ""

    @property
    def events(self) -> list[str]:
        return [one["message"] for at, one in self.api.memory.objects.items() if at.plural == "events"]


def run(scenario: Callable[[Scene], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with asyncio.timeout(10):
            await scenario(Scene())

    asyncio.run(inside())


def config_map(name: str = "", **metadata: object) -> Tree:
    return {"metadata": {**({"name": name} if name else {}), **metadata}}


def announced(message: str) -> Record:
    return Record(reference_to(CONFIG_MAP, CONFIG_MAP.decode(config_map("owner"))), EventType.NORMAL, "Did", message)


def test_what_is_made_is_known_at_once_and_told_of_by_its_name() -> None:
    async def scenario(scene: Scene) -> None:
        made = Create(CONFIG_MAP, "shop", config_map(generateName="x-"), done=announced("Created {name}"))
        assert await scene.perform(made) == ""
        (known,) = scene.view.all(CONFIG_MAP)
        assert scene.events == [f"Created {known.metadata.name}"]

    run(scenario)


def test_what_exists_is_a_failure_unless_it_may_and_nobody_is_told() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.perform(Create(CONFIG_MAP, "shop", config_map("a")))
        again = Create(CONFIG_MAP, "shop", config_map("a"), failed=announced("Sad: {error}"))
        assert "already exists" in await scene.perform(again)
        assert await scene.perform(again._replace(may_exist=True)) == ""
        assert scene.events == []

    run(scenario)


def test_after_a_failure_nothing_more_is_tried() -> None:
    async def scenario(scene: Scene) -> None:
        stale = Patch(CONFIG_MAP, NAME, {"metadata": {"resourceVersion": "0"}}, failed=announced("Sad: {error}"))
        await scene.perform(Create(CONFIG_MAP, "shop", config_map("a")))
        failed = await scene.perform(stale, Create(CONFIG_MAP, "shop", config_map("b")))
        assert "modified" in failed
        assert len(list(scene.view.all(CONFIG_MAP))) == 1
        assert scene.events == [f"Sad: {failed}"]

    run(scenario)


def test_a_delete_of_what_is_gone_is_done() -> None:
    async def scenario(scene: Scene) -> None:
        assert await scene.perform(Delete(CONFIG_MAP, NAME, "uid")) == ""

    run(scenario)


def test_a_delete_that_waits_leaves_the_object_as_it_is_now() -> None:
    async def scenario(scene: Scene) -> None:
        pod = {"metadata": {"name": "a"}, "spec": {"nodeName": "n", "containers": []}}
        await scene.perform(Create(POD, "shop", pod))
        await scene.perform(Delete(POD, NAME))
        known = scene.view.get(POD, NAME)
        assert known is not None
        assert known.metadata.is_leaving

    run(scenario)


def test_a_namespace_that_ends_is_no_failure() -> None:
    async def scenario(scene: Scene) -> None:
        ends = RefusedError(403, "Forbidden", "because it is being terminated")
        scene.api.memory.refuse = lambda method, _path: ends if method == "POST" else None
        assert await scene.perform(Create(CONFIG_MAP, "shop", config_map("a"))) == ""

    run(scenario)


def test_many_creates_begin_slowly_and_stop_at_the_first_refusal() -> None:
    async def scenario(scene: Scene) -> None:
        scene.api.memory.refuse = lambda _method, _path: RefusedError(422, "Invalid", "no")
        creates = [Create(CONFIG_MAP, "shop", config_map(generateName="x-")) for _ in range(100)]
        assert await scene.perform(*creates) == "no"
        assert len(scene.api.requests) == 1

    run(scenario)


def test_many_creates_all_come_to_be() -> None:
    async def scenario(scene: Scene) -> None:
        creates = [Create(CONFIG_MAP, "shop", config_map(generateName="x-")) for _ in range(100)]
        assert await scene.perform(*creates) == ""
        assert len(list(scene.view.all(CONFIG_MAP))) == 100

    run(scenario)


def test_an_event_that_cannot_be_recorded_harms_nothing() -> None:
    async def scenario(scene: Scene) -> None:
        scene.api.cut = 1
        assert await scene.perform(announced("lost")) == ""
        assert scene.events == []

    run(scenario)


def test_an_answer_that_is_cut_is_a_failure() -> None:
    async def scenario(scene: Scene) -> None:
        scene.api.cut = 1
        assert await scene.perform(Create(CONFIG_MAP, "shop", config_map("a"))) == "connection reset"

    run(scenario)


def test_questions_are_answered_by_the_server_itself() -> None:
    async def scenario(scene: Scene) -> None:
        scene.api.memory.handle("POST", "/api/v1/namespaces/shop/configmaps", config_map("a"))
        there, absent = Lookup(CONFIG_MAP, NAME), Lookup(CONFIG_MAP, ObjectName("shop", "b"))
        remaining = Remaining(CONFIG_MAP, "shop")
        answers = await scene.performer.ask((there, absent, remaining))
        assert answers[there]["metadata"]["name"] == "a"
        assert answers[absent] is None
        assert [one["metadata"]["name"] for one in answers[remaining]] == ["a"]

    run(scenario)
