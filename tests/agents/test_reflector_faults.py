"""The reflector under random changes and faults: it converges, and what was never deleted is never missing."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from fairway.agents.feed import Change, Feed
from fairway.agents.reflector import Reflector
from fairway.io.kube.client import ApiClient
from fairway.io.kube.connection import Connection
from fairway.kube.decode import SERVICE
from fairway.kube.service import Service
from fairway.values.names import ObjectName
from fake_api import FakeApi
from fake_storage import SERVICES
from feeds import RecordingSink

ANCHORS = {ObjectName("default", f"anchor-{i}") for i in range(3)}


class HurriedClock:
    """Real time, in which sleeping takes a hundredth."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


class AnchoredSink(RecordingSink[Service]):
    """Fails as soon as an object is missing that was there once and that nobody ever deleted."""

    seen: frozenset[ObjectName] = frozenset()

    def replace(self, objects: Sequence[Service], kept: Collection[ObjectName]) -> None:
        super().replace(objects, kept)
        self._check()

    def apply(self, changes: Sequence[Change[Service]]) -> None:
        super().apply(changes)
        self._check()

    def _check(self) -> None:
        self.seen |= ANCHORS & self.objects.keys()
        assert self.objects.keys() >= self.seen, f"lost {self.seen - self.objects.keys()}"


def service(name: str, port: int) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": port}]}}


class World:
    """An API server and somebody who changes its objects and hurts it, by a seed."""

    def __init__(self, api: FakeApi, seed: int) -> None:
        self._api = api
        self._random = random.Random(seed)
        self._port = 1
        for name in sorted(ANCHORS):
            api.put(SERVICES, service(name.name, 1))

    def step(self) -> None:
        """Change something, or do harm."""
        self._random.choice((self._put, self._put, self._put, self._delete, self._break, self._harm))()

    def _put(self) -> None:
        self._port = self._port % 60000 + 1
        name = self._random.choice([*"abcdefgh", "anchor-0"])
        self._api.put(SERVICES, service(name, self._port))

    def _break(self) -> None:
        """An object that cannot be read, in its present version."""
        self._api.put(SERVICES, service(self._random.choice([*"abcdefgh", "anchor-1"]), 99999))

    def _delete(self) -> None:
        names = [one["metadata"]["name"] for one in self._api.objects(SERVICES)]
        names = [name for name in names if not name.startswith("anchor")]
        if names:
            self._api.delete(SERVICES, self._random.choice(names))

    def _harm(self) -> None:
        api, rng = self._api, self._random
        harms = [
            api.cut_watches,
            lambda: api.cut_watches(rest=b'{"type":"MODI'),
            api.end_watches,
            api.expire,
            api.bookmark,
            lambda: api.send_raw(
                SERVICES, rng.choice([b"{\n", b"null\n", b'{"type":"ADDED","object":{"metadata":7}}\n'])
            ),
            lambda: api.fail(SERVICES, rng.choice([500, 503, 429, 410, 401, 403]), times=rng.randint(1, 3)),
            lambda: api.cut_pages(1),
            lambda: api.fail_pages(1),
            lambda: (api.stop(), api.start()),
        ]
        rng.choice(harms)()

    def heal(self) -> None:
        """Take all harm back, and repair all objects."""
        self._api.heal()
        for one in self._api.objects(SERVICES):
            if one["spec"]["ports"][0]["port"] == 99999:
                self._api.put(SERVICES, service(one["metadata"]["name"], 7))

    def ports(self) -> dict[str, int]:
        """What there is."""
        return {one["metadata"]["name"]: one["spec"]["ports"][0]["port"] for one in self._api.objects(SERVICES)}


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_reflector_converges_and_never_loses_what_was_never_deleted(seed: int, streams: bool) -> None:
    async def scenario(api: FakeApi) -> None:
        world = World(api, seed)
        sink = AnchoredSink(lambda s: s.name)
        async with ApiClient(Connection(api.url), qps=-1) as client:
            rng = random.Random(seed)
            reflector = Reflector(client, Feed(SERVICE, sink), HurriedClock(), rng.random, streams=streams)
            task = asyncio.create_task(reflector.run())
            for _ in range(150):
                await asyncio.to_thread(world.step)
                await asyncio.sleep(rng.random() * 0.006)  # not to wait for anything: to meet it in the middle
            await asyncio.to_thread(world.heal)
            wanted = await asyncio.to_thread(world.ports)
            converged = asyncio.create_task(
                sink.until(lambda: {n.name: s.ports[0].port for n, s in sink.objects.items()} == wanted, timeout=30)
            )
            await asyncio.wait((task, converged), return_when=asyncio.FIRST_COMPLETED)
            assert not task.done(), task.exception()
            await converged
            assert reflector.broken == {}
            assert reflector.stale_since is None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    with FakeApi() as api:
        asyncio.run(scenario(api))
