"""What an API server promises to whoever lists and watches: run against the fake one and against kube-apiserver.

Each promise takes a client and a prefix that its objects' names begin with, so that all can share one server.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from fairway.agents.api import WatchEvent
from fairway.agents.pager import read_list
from fairway.io.kube.client import ApiClient, object_path
from fairway.kube.status import (
    AlreadyExistsError,
    ApiStatusError,
    BadRequestError,
    ConflictError,
    GoneError,
    NotFoundError,
    status_error,
)

FOLDER = "/api/v1/namespaces/default/configmaps"
FUTURE = "1000000"
decode = msgspec.json.decode


class Subject(NamedTuple):
    """A server under test: a client, and names of one's own."""

    client: ApiClient
    prefix: str

    def path(self, name: str) -> str:
        """Of one object."""
        return object_path("/api/v1/configmaps", f"{self.prefix}-{name}", "default")

    async def put(self, name: str, **labels: str) -> str:
        """Create or change an object; returns its version."""
        body = {"metadata": {"name": f"{self.prefix}-{name}", "labels": {"of": self.prefix, **labels}}}
        data = json.dumps(body).encode()
        try:
            made = await self.client.create(FOLDER, data)
        except AlreadyExistsError:
            made = await self.client.update(self.path(name), data)
        return version_of(decode(made))

    async def delete(self, name: str) -> None:
        """Delete an object."""
        await self.client.delete(self.path(name))

    def query(self, **more: str) -> dict[str, str]:
        """Parameters that mean this subject's objects only."""
        return {"labelSelector": f"of={self.prefix}", **more}


def version_of(one: Any) -> str:
    """An object's resourceVersion."""
    return str(one["metadata"]["resourceVersion"])


async def page(subject: Subject, **query: str) -> tuple[list[str], str, str]:
    """Names on one page, its version and the next page's token."""
    names: list[str] = []
    async with subject.client.open_list(FOLDER, subject.query(**query)) as stream:
        async for items in stream:
            names += [decode(raw)["metadata"]["name"].removeprefix(f"{subject.prefix}-") for raw in items]
    return names, stream.resource_version, stream.continue_token


async def events(subject: Subject, count: int, **query: str) -> list[WatchEvent]:
    """The first events of a watch."""
    found: list[WatchEvent] = []
    async with asyncio.timeout(20), subject.client.open_watch(FOLDER, subject.query(**query)) as stream:
        async for batch in stream:
            found += batch
            if len(found) >= count:
                break
    return found


def told(some: list[WatchEvent]) -> list[tuple[str, str]]:
    """Types and names, the prefix left out."""
    return [(e.type, decode(e.object)["metadata"]["name"].rpartition("-")[2]) for e in some]


async def refusal(work: Awaitable[object]) -> ApiStatusError:
    """The error that a request ends with."""
    try:
        await work
    except ApiStatusError as error:
        return error
    raise AssertionError("the request was granted")


async def pages_hold_one_snapshot(subject: Subject) -> None:
    for name in "abcde":
        await subject.put(name)
    first, version, token = await page(subject, limit="2")
    await subject.put("aa")
    await subject.delete("e")
    second, same, token = await page(subject, limit="2", **{"continue": token})
    third, again, end = await page(subject, limit="2", **{"continue": token})
    assert first + second + third == ["a", "b", "c", "d", "e"]
    assert version == same == again
    assert end == ""


async def a_token_and_a_version_together_are_refused(subject: Subject) -> None:
    for name in "abc":
        await subject.put(name)
    _, version, token = await page(subject, limit="1")
    error = await refusal(page(subject, limit="1", resourceVersion=version, **{"continue": token}))
    assert isinstance(error, BadRequestError)


async def watch_tells_what_happened_after_its_version(subject: Subject) -> None:
    await subject.put("before")
    _, version, _ = await page(subject)
    await subject.put("a")
    await subject.put("a", x="1")
    await subject.delete("a")
    found = await events(subject, 3, resourceVersion=version)
    assert told(found) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    versions = [int(version_of(decode(e.object))) for e in found]
    assert int(version) < versions[0] < versions[1] < versions[2]


async def watch_without_a_version_begins_with_what_is_there(subject: Subject) -> None:
    await subject.put("a")
    await subject.put("b")
    for query in ({}, {"resourceVersion": "0"}):
        assert sorted(told(await events(subject, 2, **query))) == [("ADDED", "a"), ("ADDED", "b")]


async def object_that_stops_matching_is_deleted_for_the_watcher(subject: Subject) -> None:
    version = await subject.put("a", tier="front")
    await subject.put("a", tier="back")
    await subject.put("a", tier="front")
    query = {"labelSelector": f"of={subject.prefix},tier=front"}
    async with asyncio.timeout(20), subject.client.open_watch(FOLDER, {**query, "resourceVersion": version}) as stream:
        found: list[WatchEvent] = []
        while len(found) < 2:
            found += await anext(stream)
    assert told(found) == [("DELETED", "a"), ("ADDED", "a")]


async def field_selector_names_one_object(subject: Subject) -> None:
    await subject.put("a")
    await subject.put("b")
    names, _, _ = await page(subject, fieldSelector=f"metadata.name={subject.prefix}-b")
    assert names == ["b"]
    names, version, _ = await page(subject, fieldSelector="metadata.name=no.such.object")
    assert names == []
    assert int(version) > 0


async def streamed_list_is_marked_at_its_end_and_goes_on(subject: Subject) -> None:
    await subject.put("a")
    last = await subject.put("b")
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with asyncio.timeout(20), subject.client.open_watch(FOLDER, subject.query(**query)) as stream:
        found: list[WatchEvent] = []
        while not found or found[-1].type != "BOOKMARK":
            found += await anext(stream)
        assert sorted(told(found[:-1])) == [("ADDED", "a"), ("ADDED", "b")]
        meta = decode(found[-1].object)["metadata"]
        assert meta["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(meta["resourceVersion"]) >= int(last)
        await subject.put("c")
        assert told(await anext(stream)) == [("ADDED", "c")]


async def watch_ends_in_order_when_its_time_is_up(subject: Subject) -> None:
    version = await subject.put("a")
    assert await events(subject, 1, resourceVersion=version, timeoutSeconds="1") == []


async def list_from_the_future_is_refused(subject: Subject) -> None:
    await subject.put("a")
    error = await refusal(page(subject, resourceVersion=FUTURE, fieldSelector="metadata.name=no.such.object"))
    assert error.is_version_ahead
    assert error.code == 504


async def watch_from_the_future_stays_open_and_silent(subject: Subject) -> None:
    """Why `fairway.agents.progress` has a step CHECK."""
    query = subject.query(resourceVersion=FUTURE, timeoutSeconds="2")
    async with asyncio.timeout(20), subject.client.open_watch(FOLDER, query) as stream:
        await subject.put("a")
        assert await anext(stream, None) is None


async def refusals_have_their_reasons(subject: Subject) -> None:
    assert isinstance(await refusal(subject.client.get(subject.path("none"))), NotFoundError)
    assert isinstance(await refusal(subject.client.get("/api/v1/nonsense")), NotFoundError)
    await subject.put("a")
    old = await subject.client.get(subject.path("a"))
    await subject.put("a", x="1")
    assert isinstance(await refusal(subject.client.create(FOLDER, old)), ApiStatusError)
    assert isinstance(await refusal(subject.client.update(subject.path("a"), old)), ConflictError)
    error = await refusal(subject.client.get(FOLDER, {"labelSelector": "a in"}))
    assert isinstance(error, BadRequestError)


PROMISES: list[Callable[[Subject], Awaitable[None]]] = [
    pages_hold_one_snapshot,
    a_token_and_a_version_together_are_refused,
    watch_tells_what_happened_after_its_version,
    watch_without_a_version_begins_with_what_is_there,
    object_that_stops_matching_is_deleted_for_the_watcher,
    field_selector_names_one_object,
    streamed_list_is_marked_at_its_end_and_goes_on,
    watch_ends_in_order_when_its_time_is_up,
    list_from_the_future_is_refused,
    watch_from_the_future_stays_open_and_silent,
    refusals_have_their_reasons,
]


async def forgets(subject: Subject, forget: Callable[[], Awaitable[None]]) -> None:
    """What is said of versions and tokens that the server has forgotten; `forget` makes it forget."""
    for name in "abc":
        version = await subject.put(name)
    _, _, token = await page(subject, limit="1")
    await subject.put("d")
    await forget()
    (error,) = await events(subject, 1, resourceVersion=version)
    assert error.type == "ERROR"
    assert isinstance(status_error(error.object), GoneError)
    assert isinstance(await refusal(page(subject, limit="1", **{"continue": token})), GoneError)
    names: list[str] = []
    await read_list(
        subject.client,
        FOLDER,
        subject.query(),
        lambda items: names.extend(bytes(i).decode() for i in items),
        names.clear,
    )
    assert len(names) == 4
