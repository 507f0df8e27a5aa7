"""The reflector against a real server on loopback: every way in which a list or a watch can go, and go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fairway.agents.feed import Feed
from fairway.agents.reflector import ABSENT_RETRY, SILENCE, Reflector
from fairway.io.host.clock import SystemClock
from fairway.io.kube.client import ApiClient
from fairway.io.kube.connection import Connection
from fairway.kube.decode import SERVICE, SERVICE_CIDR
from fairway.kube.service import Service
from fairway.values.names import ObjectName
from fake_api import FakeApi, Request
from fake_storage import NODES, SERVICE_CIDRS, SERVICES
from feeds import ManualClock, RecordingSink


def service(name: str, port: int = 80, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": [{"port": port, "protocol": "TCP"}]},
    }


def broken(name: str) -> dict[str, Any]:
    return service(name, port=99999)


def lists(api: FakeApi) -> list[Request]:
    """The lists asked for, without the question whether the server has reached a version."""
    return [r for r in api.asked(SERVICES, watch=False) if "fieldSelector" not in r.query]


class Following:
    """A running reflector of Services with all that a test looks at."""

    def __init__(self, api: FakeApi, client: ApiClient, *, streams: bool, labels: str, manual: bool) -> None:
        self.api = api
        self.clock = ManualClock() if manual else None
        self.sink: RecordingSink[Service] = RecordingSink(lambda s: s.name)
        feed = Feed(SERVICE, self.sink, labels=labels)
        self.reflector = Reflector(client, feed, self.clock or SystemClock(), lambda: 0.5, streams=streams)

    async def synced(self) -> None:
        async with asyncio.timeout(20):
            await self.reflector.wait_synced()

    async def watching(self, count: int = 1) -> None:
        """Until so many watches have been opened in all, and one is open."""
        await self.api.until(lambda: len(self.api.asked(SERVICES, watch=True)) >= count and self.api.watch_count > 0)

    async def sees(self, *names: str) -> None:
        await self.sink.until(lambda: self.sink.names == [f"default/{n}" for n in names])


@contextlib.asynccontextmanager
async def following(
    api: FakeApi, *, streams: bool = False, labels: str = "", manual: bool = False
) -> AsyncIterator[Following]:
    async with ApiClient(Connection(api.url), qps=-1) as client:
        f = Following(api, client, streams=streams, labels=labels, manual=manual)
        task = asyncio.create_task(f.reflector.run())
        try:
            yield f
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def run(test: Any, **settings: Any) -> None:
    """Run an asynchronous test with a server of its own."""

    async def inside() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(inside())


@pytest.mark.parametrize("streams", [False, True])
def test_lists_once_then_follows_changes(streams: bool) -> None:
    async def scenario() -> None:
        api.put(SERVICES, service("a"))
        async with following(api, streams=streams) as f:
            await f.synced()
            assert f.sink.calls == [("replace", ["default/a"])]
            await f.watching()
            api.put(SERVICES, service("b"))
            await f.sees("a", "b")
            api.put(SERVICES, service("b", port=81))
            await f.sink.until(lambda: f.sink.objects[ObjectName("default", "b")].ports[0].port == 81)
            api.delete(SERVICES, "a")
            await f.sees("b")
            assert len(f.sink.calls_of("replace")) == 1
            assert f.reflector.resource_version == str(api.version)
            assert f.reflector.stale_since is None
        assert len(lists(api)) == (0 if streams else 1)

    with FakeApi() as api:
        run(scenario)


def test_pages_are_followed_to_the_end_before_anything_is_handed_over() -> None:
    async def scenario() -> None:
        api.put_many(SERVICES, [service(f"s{i:04}") for i in range(1201)])
        async with following(api) as f:
            await f.synced()
            assert len(f.sink.objects) == 1201
            assert len(f.sink.calls) == 1
        queries = [r.query for r in lists(api)]
        assert [q["limit"] for q in queries] == ["500"] * 3
        assert ["resourceVersion" in q for q in queries] == [True, False, False]
        assert ["continue" in q for q in queries] == [False, True, True]

    with FakeApi() as api:
        run(scenario)


def test_continue_token_that_expires_starts_the_list_over() -> None:
    async def scenario() -> None:
        api.put_many(SERVICES, [service(f"s{i:04}") for i in range(700)])
        api.fail_pages(1)
        async with following(api) as f:
            await f.synced()
            assert len(f.sink.objects) == 700
            assert len(f.sink.calls) == 1
        assert [r.status for r in lists(api)] == [200, 410, 200, 200]

    with FakeApi() as api:
        run(scenario)


def test_continue_token_that_expires_again_asks_for_everything_at_once() -> None:
    async def scenario() -> None:
        api.put_many(SERVICES, [service(f"s{i:04}") for i in range(700)])
        api.fail_pages(2)
        async with following(api) as f:
            await f.synced()
            assert len(f.sink.objects) == 700
        assert "limit" not in lists(api)[-1].query

    with FakeApi() as api:
        run(scenario)


def test_watch_that_ends_is_resumed_from_the_last_event() -> None:
    async def scenario() -> None:
        async with following(api) as f:
            await f.watching()
            last = api.put(SERVICES, service("a"))
            await f.sees("a")
            api.end_watches()
            await f.watching(2)
            api.put(SERVICES, service("b"))
            await f.sees("a", "b")
        assert api.asked(SERVICES, watch=True)[1].query["resourceVersion"] == last
        assert len(lists(api)) == 1

    with FakeApi() as api:
        run(scenario)


def test_bookmark_moves_the_version_that_a_watch_resumes_from() -> None:
    async def scenario() -> None:
        async with following(api) as f:
            await f.watching()
            api.put(NODES, {"metadata": {"name": "n"}})
            version = str(api.version)
            api.bookmark()
            api.end_watches()
            await f.watching(2)
            assert api.asked(SERVICES, watch=True)[1].query["resourceVersion"] == version
            assert f.sink.calls == [("replace", [])]

    with FakeApi() as api:
        run(scenario)


@pytest.mark.parametrize("by_event", [True, False])
@pytest.mark.parametrize("streams", [True, False])
def test_expired_watch_lists_anew_and_removes_only_then(by_event: bool, streams: bool) -> None:
    async def scenario() -> None:
        api.expires_by_event = by_event
        api.put_many(SERVICES, [service("a"), service("b")])
        async with following(api, streams=streams) as f:
            await f.watching()
            await f.sees("a", "b")
            api.stop()
            api.delete(SERVICES, "a")
            api.put(SERVICES, service("c"))
            api.expire()
            assert f.sink.names == ["default/a", "default/b"]
            api.start()
            await f.sees("b", "c")
            assert len(f.sink.calls_of("replace")) == 2
            await f.watching()
            api.put(SERVICES, service("d"))
            await f.sees("b", "c", "d")

    with FakeApi() as api:
        run(scenario)


@pytest.mark.parametrize("rest", [b"", b'{"type":"MODIFIED","object":{"meta'])
def test_cut_stream_is_resumed_without_a_list(rest: bytes) -> None:
    async def scenario() -> None:
        async with following(api) as f:
            await f.watching()
            api.put(SERVICES, service("a"))
            await f.sees("a")
            api.cut_watches(rest=rest)
            api.put(SERVICES, service("b"))
            await f.sees("a", "b")
        assert len(lists(api)) == 1

    with FakeApi() as api:
        run(scenario)


@pytest.mark.parametrize(
    "garbage", [b"{\n", b"<html>\n", b'{"type":"NEWS","object":{}}\n', b'{"type":"ADDED"}\n', b"\xff\xfe\n", b"[]\n"]
)
def test_corrupt_line_keeps_what_came_before_it_and_resumes_there(garbage: bytes) -> None:
    async def scenario() -> None:
        async with following(api) as f:
            await f.watching()
            good = api.put(SERVICES, service("a"))
            api.send_raw(SERVICES, garbage)
            await f.sees("a")
            await f.watching(2)
            api.put(SERVICES, service("b"))
            await f.sees("a", "b")
            assert api.asked(SERVICES, watch=True)[1].query["resourceVersion"] == good
        assert len(lists(api)) == 1

    with FakeApi() as api:
        run(scenario)


def test_stream_that_stays_corrupt_is_given_up_for_a_list() -> None:
    async def scenario() -> None:
        async with following(api, manual=True) as f:
            for n in range(1, 4):
                await f.watching(n)
                api.send_raw(SERVICES, b"{\n")
                if n < 3:
                    await f.clock.skip()
            await api.until(lambda: len(lists(api)) == 2)

    with FakeApi() as api:
        run(scenario)


def test_server_that_goes_away_leaves_everything_and_says_stale() -> None:
    async def scenario() -> None:
        api.put_many(SERVICES, [service("a"), service("b")])
        async with following(api, manual=True) as f:
            await f.watching()
            await f.synced()
            contact = f.reflector.last_contact
            api.stop()
            await f.clock.sleeper()
            assert contact is not None
            assert f.reflector.stale_since == contact
            assert f.sink.names == ["default/a", "default/b"]
            assert f.reflector.has_synced
            api.delete(SERVICES, "a")
            api.start()
            await f.clock.skip()
            await f.sees("b")
            assert f.reflector.stale_since is None
            assert len(f.sink.calls_of("replace")) == 1

    with FakeApi() as api:
        run(scenario)


def test_storage_put_back_to_an_older_version_is_listed_anew() -> None:
    async def scenario() -> None:
        api.put_many(SERVICES, [service(n) for n in "abcdef"])
        async with following(api) as f:
            await f.watching()
            api.stop()
            api.restore()
            api.put(SERVICES, service("new"))
            api.start()
            await f.sees("new")

    with FakeApi() as api:
        run(scenario)


def test_errors_are_retried_ever_later_and_success_forgets_them() -> None:
    async def scenario() -> None:
        api.fail(SERVICES, 500, "InternalError", times=6)
        async with following(api, manual=True) as f:
            waits = [await f.clock.skip() for _ in range(6)]
            assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4])
            await f.watching()
            assert f.reflector.has_synced
            assert f.reflector.stale_since is None
            f.clock.advance(5)
            api.cut_watches()
            assert await f.clock.skip() == pytest.approx(0.2)

    with FakeApi() as api:
        run(scenario)


def test_back_off_is_capped() -> None:
    async def scenario() -> None:
        api.fail(SERVICES, 503, "ServiceUnavailable", times=-1)
        async with following(api, manual=True) as f:
            waits = [await f.clock.skip() for _ in range(12)]
            assert max(waits) == pytest.approx(30)

    with FakeApi() as api:
        run(scenario)


def test_server_that_asks_to_wait_is_given_that_time() -> None:
    async def scenario() -> None:
        api.fail(SERVICES, 429, "TooManyRequests", retry_after=7)
        async with following(api, manual=True) as f:
            assert await f.clock.skip() == pytest.approx(7)
            await f.synced()

    with FakeApi() as api:
        run(scenario)


def test_watch_closed_at_once_is_not_hammered() -> None:
    async def scenario() -> None:
        async with following(api, manual=True) as f:
            waits = []
            for n in range(1, 4):
                await f.watching(n)
                api.end_watches()
                waits.append(await f.clock.skip())
            assert waits == pytest.approx([0.2, 0.4, 0.8])

    with FakeApi() as api:
        run(scenario)


def test_error_event_that_is_no_expiry_resumes_later() -> None:
    async def scenario() -> None:
        async with following(api, manual=True) as f:
            await f.watching()
            status = {"kind": "Status", "code": 500, "reason": "InternalError", "message": "etcd is unwell"}
            api.send_raw(SERVICES, json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
            assert await f.clock.skip() == pytest.approx(0.2)
            await f.watching(2)
            assert len(lists(api)) == 1

    with FakeApi() as api:
        run(scenario)


def test_server_without_streamed_lists_is_asked_for_a_plain_one_at_once() -> None:
    async def scenario() -> None:
        api.streams = False
        api.put(SERVICES, service("a"))
        async with following(api, streams=True, manual=True) as f:
            await f.sees("a")
            await f.watching(2)
            assert f.clock.slept == []
        kinds = [(r.is_watch, r.status) for r in api.asked(SERVICES)]
        assert kinds == [(True, 422), (False, 200), (True, 200)]

    with FakeApi() as api:
        run(scenario)


def test_streamed_list_answered_by_an_error_event_falls_back_to_a_plain_list() -> None:
    """As kube-apiserver does when its etcd cannot tell its progress (before 3.4.31 and 3.5.13)."""

    async def scenario() -> None:
        api.put(SERVICES, service("a"))
        api.refuses_streams_by_event = True
        async with following(api, streams=True) as f:
            await f.sees("a")
            assert len(f.sink.calls_of("replace")) == 1

    with FakeApi() as api:
        run(scenario)


def test_server_that_ignores_streamed_lists_is_noticed_by_its_silence() -> None:
    async def scenario() -> None:
        api.streams = None
        api.put(SERVICES, service("a"))
        async with following(api, streams=True, manual=True) as f:
            await f.watching()
            await f.clock.sleeps(2)  # before the first object and behind it
            f.clock.advance(SILENCE)
            await f.sees("a")
            await api.until(lambda: len(lists(api)) == 1)

    with FakeApi() as api:
        run(scenario)


def test_changes_during_a_streamed_list_are_part_of_it() -> None:
    async def scenario() -> None:
        api.streams = None  # no mark of the end is sent: the test writes it
        api.put(SERVICES, service("a"))
        async with following(api, streams=True) as f:
            await f.watching()
            api.put(SERVICES, service("b"))
            api.delete(SERVICES, "a")
            assert f.sink.calls == []
            end = {"metadata": {"resourceVersion": "77", "annotations": {"k8s.io/initial-events-end": "true"}}}
            api.send_raw(SERVICES, json.dumps({"type": "BOOKMARK", "object": end}).encode() + b"\n")
            await f.synced()
            assert f.sink.calls == [("replace", ["default/b"])]
            assert f.reflector.resource_version == "77"

    with FakeApi() as api:
        run(scenario)


def test_events_that_arrive_together_are_delivered_together() -> None:
    async def scenario() -> None:
        async with following(api) as f:
            await f.watching()
            api.put_many(SERVICES, [service(f"s{i}") for i in range(50)])
            await f.sink.until(lambda: len(f.sink.objects) == 50)
            assert len(f.sink.calls_of("apply")) == 1

    with FakeApi() as api:
        run(scenario)


def test_selector_goes_to_the_server_and_unlabelled_objects_leave() -> None:
    async def scenario() -> None:
        api.put_many(SERVICES, [service("a"), service("h", headless="yes")])
        async with following(api, labels="!headless") as f:
            await f.synced()
            await f.watching()
            assert f.sink.names == ["default/a"]
            api.put(SERVICES, service("a", headless="yes"))
            await f.sees()
            api.put(SERVICES, service("h"))
            await f.sees("h")

    with FakeApi() as api:
        run(scenario)


@pytest.mark.parametrize("streams", [False, True])
def test_unreadable_object_keeps_its_last_good_version_and_harms_nobody(
    streams: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        api.put_many(SERVICES, [service("a"), broken("bad"), service("c")])
        async with following(api, streams=streams) as f:
            await f.synced()
            assert f.sink.names == ["default/a", "default/c"]
            assert "99999" in f.reflector.broken[ObjectName("default", "bad")].message
            await f.watching()
            api.put(SERVICES, broken("a"))
            api.put(SERVICES, service("d"))
            await f.sees("a", "c", "d")
            assert f.sink.objects[ObjectName("default", "a")].ports[0].port == 80
            assert set(f.reflector.broken) == {ObjectName("default", "a"), ObjectName("default", "bad")}
            # A full list in between changes nothing about that.
            api.stop()
            api.expire()
            api.delete(SERVICES, "bad")
            api.expire()
            api.start()
            await f.sink.until(lambda: len(f.sink.calls_of("replace")) == 2)
            assert f.sink.names == ["default/a", "default/c", "default/d"]
            assert set(f.reflector.broken) == {ObjectName("default", "a")}
            await f.watching()
            api.put(SERVICES, service("a", port=81))
            await f.sink.until(lambda: f.sink.objects[ObjectName("default", "a")].ports[0].port == 81)
            assert f.reflector.broken == {}

    with caplog.at_level(logging.ERROR), FakeApi() as api:
        run(scenario)
    told = [r.getMessage() for r in caplog.records if "99999" in r.getMessage()]
    assert len(told) == 2
    assert "Service default/bad: spec.ports[0].port: 99999" in told[0]


def test_unreadable_object_that_is_deleted_goes() -> None:
    async def scenario() -> None:
        api.put(SERVICES, service("a"))
        async with following(api) as f:
            await f.watching()
            api.put(SERVICES, broken("a"))
            api.delete(SERVICES, "a")
            await f.sees()
            assert f.reflector.broken == {}

    with FakeApi() as api:
        run(scenario)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("code", [403, 404])
def test_optional_kind_that_is_not_served_counts_as_listed_said_once(
    code: int, streams: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        api.fail(SERVICE_CIDRS, code, "NotFound" if code == 404 else "Forbidden", times=-1)
        sink = RecordingSink(lambda c: ObjectName("", c.name))
        clock = ManualClock()
        async with ApiClient(Connection(api.url), qps=-1) as client:
            reflector = Reflector(
                client, Feed(SERVICE_CIDR, sink, is_optional=True), clock, lambda: 0.5, streams=streams
            )
            task = asyncio.create_task(reflector.run())
            await reflector.wait_synced()
            assert sink.calls == [("replace", [])]
            assert reflector.stale_since is None
            assert await clock.skip() == pytest.approx(ABSENT_RETRY)
            await clock.sleeper()  # refused again
            api.heal()
            api.put(SERVICE_CIDRS, {"metadata": {"name": "k"}, "spec": {"cidrs": ["10.96.0.0/16"]}})
            await clock.skip()
            await sink.until(lambda: len(sink.objects) == 1)
            task.cancel()

    with caplog.at_level(logging.INFO), FakeApi() as api:
        run(scenario)
    assert len([r for r in caplog.records if "not served" in r.getMessage()]) == 1


def test_optional_kind_that_was_served_and_is_forbidden_keeps_its_objects_and_is_stale() -> None:
    async def scenario() -> None:
        api.put(SERVICE_CIDRS, {"metadata": {"name": "k"}, "spec": {"cidrs": ["10.96.0.0/16"]}})
        sink = RecordingSink(lambda c: ObjectName("", c.name))
        clock = ManualClock()
        async with ApiClient(Connection(api.url), qps=-1) as client:
            feed = Feed(SERVICE_CIDR, sink, is_optional=True)
            reflector = Reflector(client, feed, clock, lambda: 0.5, streams=False)
            task = asyncio.create_task(reflector.run())
            await api.until(lambda: api.watch_count == 1)
            api.fail(SERVICE_CIDRS, 403, "Forbidden", times=-1)
            api.cut_watches()
            await clock.skip()
            await clock.sleeper()
            assert sink.names == ["k"]
            assert reflector.stale_since is not None
            task.cancel()

    with FakeApi() as api:
        run(scenario)


def test_required_kind_that_is_forbidden_is_never_taken_as_empty() -> None:
    async def scenario() -> None:
        api.fail(SERVICES, 403, "Forbidden", times=2)
        api.put(SERVICES, service("a"))
        async with following(api, manual=True) as f:
            await f.clock.skip()
            assert not f.reflector.has_synced
            assert f.reflector.stale_since is not None
            await f.clock.skip()
            await f.sees("a")

    with FakeApi() as api:
        run(scenario)


def test_half_a_list_is_never_handed_over() -> None:
    async def scenario() -> None:
        api.put_many(SERVICES, [service(f"s{i:04}") for i in range(900)])
        async with following(api, manual=True) as f:
            await f.synced()
            await f.watching()
            api.stop()
            api.delete(SERVICES, "s0000")
            api.expire()
            api.delete(SERVICES, "s0001")
            api.cut_pages(1)
            api.start()
            await f.clock.skip()
            assert await f.clock.sleeper() > 0  # the second page was cut
            assert len(lists(api)) == 4
            assert len(f.sink.objects) == 900
            await f.clock.skip()
            await f.sink.until(lambda: len(f.sink.calls_of("replace")) == 2)
            assert len(f.sink.objects) == 898

    with FakeApi() as api:
        run(scenario)
