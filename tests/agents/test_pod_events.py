from __future__ import annotations

import asyncio
import json
from typing import Any

from fairway.agents.pod_events import BURST, REFILL, EventTeller
from fairway.kube.status import ApiUnreachableError, NotFoundError, WireStatus
from fairway.pods.lifecycle import Happening
from pod_objects import pod

POD = pod()
BACK_OFF = Happening("Warning", "BackOff", "again", "spec.containers{main}")


class Api:
    """Keeps events by name."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.events: dict[str, dict[str, Any]] = {}
        self.is_down = False
        self.teller = EventTeller("node-a", self, lambda: self.now)

    async def request(
        self, method: str, path: str, query: Any = None, body: bytes = b"", *, content_type: str = ""
    ) -> bytes:
        if self.is_down:
            raise ApiUnreachableError("down")
        tree = json.loads(body)
        name = path.rpartition("/")[2]
        if method == "POST":
            assert path == "/api/v1/namespaces/shop/events"
            self.events[tree["metadata"]["name"]] = tree
        elif name not in self.events:
            raise NotFoundError(WireStatus(code=404, reason="NotFound"))
        else:
            self.events[name] |= tree
        await asyncio.sleep(0)
        return b"{}"

    async def tell(self, *happenings: Happening) -> None:
        await asyncio.gather(*(self.teller.tell(POD, one) for one in happenings))

    def seen(self) -> list[tuple[str, str, int]]:
        return [(one["reason"], one["message"], one["count"]) for one in self.events.values()]


def test_an_event_says_what_kubelet_says() -> None:
    async def story(api: Api) -> None:
        await api.tell(BACK_OFF)
        (event,) = api.events.values()
        assert event["involvedObject"]["fieldPath"] == "spec.containers{main}"
        assert event["source"] == {"component": "kubelet", "host": "node-a"}
        assert event["firstTimestamp"] == event["lastTimestamp"] == "1970-01-12T13:46:40Z"

    asyncio.run(story(Api()))


def test_the_same_again_counts_up_and_anything_else_is_new() -> None:
    async def story(api: Api) -> None:
        await api.tell(BACK_OFF, BACK_OFF)
        api.now += 60
        await api.tell(BACK_OFF, BACK_OFF._replace(message="other"))
        assert api.seen() == [("BackOff", "again", 3), ("BackOff", "other", 1)]
        first = next(iter(api.events.values()))
        assert (first["firstTimestamp"], first["lastTimestamp"]) == ("1970-01-12T13:46:40Z", "1970-01-12T13:47:40Z")

    asyncio.run(story(Api()))


def test_an_event_that_somebody_deleted_is_written_anew() -> None:
    async def story(api: Api) -> None:
        await api.tell(BACK_OFF)
        api.events.clear()
        await api.tell(BACK_OFF)
        assert api.seen() == [("BackOff", "again", 1)]

    asyncio.run(story(Api()))


def test_a_pod_that_says_too_much_is_heard_less() -> None:
    async def story(api: Api) -> None:
        for _ in range(BURST + 5):
            await api.tell(BACK_OFF)
        assert api.seen() == [("BackOff", "again", BURST)]
        api.now += REFILL
        await api.tell(BACK_OFF, BACK_OFF)
        assert api.seen() == [("BackOff", "again", BURST + 1)]

    asyncio.run(story(Api()))


def test_a_server_that_is_away_loses_an_event_and_nothing_else() -> None:
    async def story(api: Api) -> None:
        api.is_down = True
        await api.tell(BACK_OFF)
        api.is_down = False
        await api.tell(BACK_OFF)
        assert api.seen() == [("BackOff", "again", 1)]

    asyncio.run(story(Api()))
