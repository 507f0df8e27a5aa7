"""Which request comes next: every step with every outcome, as a table."""

from __future__ import annotations

import msgspec
import pytest

from fairway.agents.progress import CORRUPT_LIMIT, Progress, SilentStreamError, Step
from fairway.kube.status import ApiUnreachableError, CorruptAnswerError, status_error
from fairway.values.errors import FairwayError


def status(code: int, reason: str = "", cause: str = "") -> FairwayError:
    details = {"causes": [{"reason": cause}]} if cause else {}
    return status_error(msgspec.json.encode({"code": code, "reason": reason, "details": details}))


GONE = status(410, "Expired")
AHEAD = status(504, "Timeout", "ResourceVersionTooLarge")
INVALID = status(422, "Invalid")
UNAUTHORIZED = status(401, "Unauthorized")
BUSY = status(429, "TooManyRequests")
INTERNAL = status(500, "InternalError")
CUT = ApiUnreachableError("cut")
CORRUPT = CorruptAnswerError("corrupt")
SILENT = SilentStreamError("silent")

ANY = {"allowWatchBookmarks": "true", "watch": "1"}
STREAM = {**ANY, "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
CHECK = {"fieldSelector": "metadata.name=no.such.object", "resourceVersionMatch": "NotOlderThan"}


def at(step: Step, *, streams: bool = True) -> Progress:
    """Standing at a step, version 7 seen unless nothing was listed yet."""
    progress = Progress(streams or step is Step.STREAM)
    if step in (Step.WATCH, Step.CHECK):
        progress.listed("7")
    if step is Step.CHECK:
        progress.failed(CUT)
    if step is Step.LIST and streams:
        progress = Progress(streams=False)
    assert progress.step is step
    return progress


@pytest.mark.parametrize(
    ("step", "error", "then", "query"),
    [
        (Step.LIST, CUT, Step.LIST, {"resourceVersion": "0"}),
        (Step.LIST, INTERNAL, Step.LIST, {"resourceVersion": "0"}),
        (Step.LIST, UNAUTHORIZED, Step.LIST, {"resourceVersion": "0"}),
        (Step.LIST, CORRUPT, Step.LIST, {"resourceVersion": "0"}),
        (Step.LIST, GONE, Step.LIST, {}),
        (Step.LIST, AHEAD, Step.LIST, {}),
        (Step.STREAM, CUT, Step.STREAM, STREAM),
        (Step.STREAM, GONE, Step.STREAM, STREAM),
        (Step.STREAM, AHEAD, Step.STREAM, STREAM),
        (Step.STREAM, UNAUTHORIZED, Step.STREAM, STREAM),
        (Step.STREAM, BUSY, Step.STREAM, STREAM),
        (Step.STREAM, CORRUPT, Step.STREAM, STREAM),
        (Step.STREAM, INVALID, Step.LIST, {"resourceVersion": "0"}),
        (Step.STREAM, INTERNAL, Step.LIST, {"resourceVersion": "0"}),
        (Step.STREAM, SILENT, Step.LIST, {"resourceVersion": "0"}),
        (Step.WATCH, CUT, Step.CHECK, {**CHECK, "resourceVersion": "7"}),
        (Step.WATCH, CORRUPT, Step.CHECK, {**CHECK, "resourceVersion": "7"}),
        (Step.WATCH, INTERNAL, Step.WATCH, {**ANY, "resourceVersion": "7"}),
        (Step.WATCH, UNAUTHORIZED, Step.WATCH, {**ANY, "resourceVersion": "7"}),
        (Step.WATCH, GONE, Step.STREAM, {**STREAM, "resourceVersion": "7"}),
        (Step.WATCH, AHEAD, Step.STREAM, STREAM),
        (Step.CHECK, CUT, Step.CHECK, {**CHECK, "resourceVersion": "7"}),
        (Step.CHECK, INTERNAL, Step.CHECK, {**CHECK, "resourceVersion": "7"}),
        (Step.CHECK, GONE, Step.STREAM, {**STREAM, "resourceVersion": "7"}),
        (Step.CHECK, AHEAD, Step.STREAM, STREAM),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, FairwayError) else None,
)
def test_failure_leads_to(step: Step, error: FairwayError, then: Step, query: dict[str, str]) -> None:
    progress = at(step)
    progress.failed(error)
    assert progress.step is then
    assert progress.query() == query


def test_without_streams_an_expired_watch_lists_from_what_was_seen() -> None:
    progress = at(Step.WATCH, streams=False)
    progress.failed(GONE)
    assert (progress.step, progress.query()) == (Step.LIST, {"resourceVersion": "7"})
    progress.failed(AHEAD)
    assert progress.query() == {}
    progress.listed("3")
    assert (progress.step, progress.query()) == (Step.WATCH, {**ANY, "resourceVersion": "3"})


def test_refused_streams_are_not_asked_for_again() -> None:
    progress = at(Step.STREAM)
    progress.failed(INVALID)
    progress.listed("7")
    progress.failed(GONE)
    assert progress.step is Step.LIST


def test_events_and_bookmarks_move_the_version_and_empty_ones_do_not() -> None:
    progress = at(Step.WATCH)
    progress.seen("9")
    progress.seen("")
    assert progress.query()["resourceVersion"] == "9"


def test_a_server_that_was_asked_and_has_the_version_is_watched_again() -> None:
    progress = at(Step.CHECK)
    progress.checked()
    assert progress.query() == {**ANY, "resourceVersion": "7"}


@pytest.mark.parametrize(("step", "then"), [(Step.WATCH, Step.STREAM), (Step.STREAM, Step.LIST)])
def test_answers_that_stay_unreadable_are_asked_for_in_another_way(step: Step, then: Step) -> None:
    progress = at(step)
    for _ in range(CORRUPT_LIMIT):
        if progress.step is Step.CHECK:
            progress.checked()
        progress.failed(CORRUPT)
    assert progress.step is then


def test_an_event_in_between_forgets_unreadable_answers() -> None:
    progress = at(Step.WATCH)
    for _ in range(2 * CORRUPT_LIMIT):
        progress.failed(CORRUPT)
        progress.checked()
        progress.seen("8")
    assert progress.step is Step.WATCH
