"""Events: few, counted, and combined when there are too many."""

from __future__ import annotations

import datetime as dt

from fairway.controllers.events import BURST, EventBook
from fairway.controllers.writes import EventType, Record
from fairway.kube.objectmeta import ObjectReference

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ABOUT = ObjectReference("Pod", "shop", "web-0", "uid-1", "v1")


def record(message: str = "Created pod: x") -> Record:
    return Record(ABOUT, EventType.NORMAL, "SuccessfulCreate", message)


def test_the_first_is_made() -> None:
    request = EventBook().request(record(), "replicaset-controller", NOW)
    assert request is not None
    assert (request.method, request.path) == ("POST", "/api/v1/namespaces/shop/events")
    assert request.body is not None
    assert request.body["involvedObject"]["name"] == "web-0"
    assert request.body["source"] == {"component": "replicaset-controller"}


def test_the_same_again_is_counted() -> None:
    book = EventBook()
    made = book.request(record(), "c", NOW)
    again = book.request(record(), "c", NOW + dt.timedelta(seconds=9))
    assert made is not None
    assert again is not None
    assert made.body is not None
    assert again.method == "PATCH"
    assert again.path.endswith(made.body["metadata"]["name"])
    assert again.body == {"count": 2, "lastTimestamp": "2026-01-01T00:00:09Z", "message": "Created pod: x"}


def test_many_alike_become_one() -> None:
    book = EventBook()
    requests = [book.request(record(f"Created pod: {i}"), "c", NOW) for i in range(14)]
    bodies = [one.body for one in requests if one is not None and one.body is not None]
    assert [one["message"].startswith("(combined") for one in bodies] == [False] * 9 + [True] * 5


def test_too_many_about_one_object_are_left_out_until_time_passes() -> None:
    book = EventBook()
    told = [book.request(record(), "c", NOW) for _ in range(BURST + 5)]
    assert [one is not None for one in told] == [True] * BURST + [False] * 5
    assert book.request(record(), "c", NOW + dt.timedelta(seconds=301)) is not None


def test_one_that_is_gone_is_made_anew() -> None:
    book = EventBook()
    book.request(record(), "c", NOW)
    book.forget(record(), "c")
    request = book.request(record(), "c", NOW)
    assert request is not None
    assert request.method == "POST"


def test_an_object_without_a_namespace_has_its_events_in_default() -> None:
    about = Record(ObjectReference("Node", "", "node-a", "u", "v1"), EventType.NORMAL, "NodeReady", "ready")
    request = EventBook().request(about, "c", NOW)
    assert request is not None
    assert request.path == "/api/v1/namespaces/default/events"
