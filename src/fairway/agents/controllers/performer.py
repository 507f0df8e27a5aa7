"""Makes the writes that a controller wants: in order, up to the first that fails, each noted where controllers read.

Decides what a refusal means (done already, try again, hopeless); what is wanted is the controllers' decision.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from fairway.agents.clock import Clock
from fairway.controllers.events import EventBook
from fairway.controllers.requests import JSON, Request, question_request, request_for
from fairway.controllers.view import View
from fairway.controllers.writes import (
    Create,
    Delete,
    DeleteAll,
    Failure,
    Lookup,
    Patch,
    Post,
    Question,
    Record,
    Write,
)
from fairway.kube.objectmeta import ObjectMeta
from fairway.kube.status import (
    AlreadyExistsError,
    ApiStatusError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
)
from fairway.values.errors import FairwayError, ObjectError

log = logging.getLogger(__name__)

NAMESPACE_ENDS = "NamespaceTerminating"


class ApiWriter(Protocol):
    """Sends one request (`fairway.io.kube.client.ApiClient`). Raises errors of `fairway.kube.status`."""

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        content_type: str = JSON,
    ) -> bytes: ...


class Effects(NamedTuple):
    """What the loops need of the outside."""

    api: ApiWriter
    clock: Clock
    wall: Callable[[], datetime]
    """The time of day."""
    random: Callable[[], float]
    """Uniform in [0, 1)."""


class Performer:
    """Makes writes for all controllers of a process."""

    def __init__(self, effects: Effects, view: View) -> None:
        self._effects = effects
        self._view = view
        self._book = EventBook()
        self._telling: set[asyncio.Task[None]] = set()

    async def perform(self, writes: Sequence[Write], component: str) -> Failure | None:
        """Make the writes; returns the first failure, after which nothing more was tried.

        Objects of one kind to be made one after another are made together: one first, then twice as many each time, so
        that what cannot succeed is not tried a hundred times.
        """
        left = list(writes)
        batch = 1
        while left:
            group = self._next_group(left, batch)
            del left[: len(group)]
            batch = batch * 2 if len(group) == batch and isinstance(group[0], Create) else 1
            results = await asyncio.gather(*(self._perform_one(write, component) for write in group))
            failure = next((one for one in results if one is not None), None)
            if failure is not None:
                return failure
        return None

    @staticmethod
    def _next_group(left: Sequence[Write], most: int) -> list[Write]:
        first = left[0]
        group = [first]
        if not isinstance(first, (Create, Delete, DeleteAll, Post)):
            return group
        limit = most if isinstance(first, Create) else len(left)
        for write in left[1:limit]:
            if not isinstance(write, (Create, Delete, DeleteAll, Post)) or type(write) is not type(first):
                break
            if write.kind is not first.kind and not isinstance(write, DeleteAll):
                break
            group.append(write)
        return group

    async def _perform_one(self, write: Write, component: str) -> Failure | None:
        if isinstance(write, Record):
            self.tell(write, component)
            return None
        try:
            answer = await self._send(request_for(write))
        except FairwayError as error:
            return self._refused(write, error, component)
        name = self._note(write, answer)
        if write.done is not None:
            self.tell(write.done._replace(message=write.done.message.replace("{name}", name)), component)
        return None

    async def _send(self, request: Request) -> bytes:
        body = msgspec.json.encode(request.body) if request.body is not None else b""
        return await self._effects.api.request(
            request.method, request.path, None, body, content_type=request.content_type
        )

    def _note(self, write: Create | Patch | Delete | DeleteAll | Post, answer: bytes) -> str:
        """Put what the server answered where controllers read it; returns the object's name."""
        if isinstance(write, (DeleteAll, Post)):
            return "" if isinstance(write, DeleteAll) else write.name.name
        try:
            new = write.kind.decode(answer)
        except ObjectError:
            new = None
        cache = self._view.cache(write.kind)
        if isinstance(write, Delete):
            if new is not None and _still_there(new.metadata) and _is_kind(answer, write.kind.name):
                cache.note_written(new, self._effects.clock.now())
            else:
                cache.note_deleted(write.name, write.uid)
            return write.name.name
        if new is not None:
            cache.note_written(new, self._effects.clock.now())
        return new.metadata.name if new is not None else ""

    def _refused(
        self, write: Create | Patch | Delete | DeleteAll | Post, error: FairwayError, component: str
    ) -> Failure | None:
        if isinstance(error, NotFoundError) and isinstance(write, (Delete, DeleteAll)):
            if isinstance(write, Delete):
                self._view.cache(write.kind).note_deleted(write.name, write.uid)
            return None
        if isinstance(error, AlreadyExistsError) and isinstance(write, Create) and write.may_exist:
            return None
        if isinstance(error, (NotFoundError, ConflictError)) and isinstance(write, Post) and write.may_be_late:
            return None
        if isinstance(error, ForbiddenError) and NAMESPACE_ENDS in error.causes:
            return None  # nothing can be made in it any more; everything in it goes
        text = error.text if isinstance(error, ApiStatusError) else str(error)
        if write.failed is not None and not isinstance(error, AlreadyExistsError):  # as upstream, no event of that
            self.tell(write.failed._replace(message=write.failed.message.replace("{error}", text)), component)
        return Failure(write, text, error.reason if isinstance(error, ApiStatusError) else "")

    # -- questions

    async def ask(self, questions: Sequence[Question]) -> dict[Question, Any]:
        """The answers. Raises what the API client raises, but for an object that is not there."""
        answers = await asyncio.gather(*(self._answer(one) for one in questions))
        return dict(zip(questions, answers, strict=True))

    async def _answer(self, question: Question) -> Any:
        try:
            tree = msgspec.json.decode(await self._send(question_request(question)))
        except NotFoundError:
            return None if isinstance(question, Lookup) else []
        return tree if isinstance(question, Lookup) else tree.get("items") or []

    # -- events

    def tell(self, record: Record, component: str) -> None:
        """Record an Event in the background; one that cannot be recorded is lost, as the API promises no more."""
        request = self._book.request(record, component, self._effects.wall())
        if request is not None:
            task = asyncio.ensure_future(self._tell(request, record, component))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, request: Request, record: Record, component: str) -> None:
        try:
            await self._send(request)
        except NotFoundError:
            self._book.forget(record, component)
        except FairwayError as error:
            log.info(
                "msg='event not recorded' reason=%s about=%s error='%s'", record.reason, record.regarding.name, error
            )

    async def flush(self) -> None:
        """Wait until every Event that was to be recorded is, or is lost."""
        while self._telling:
            await asyncio.gather(*self._telling, return_exceptions=True)


def _still_there(meta: ObjectMeta) -> bool:
    """Whether the answer to a delete is an object that waits, for its grace period or its finalizers."""
    return meta.is_leaving and bool(meta.deletion_grace_period_seconds or meta.finalizers)


class _Head(msgspec.Struct):
    kind: str = ""


def _is_kind(answer: bytes, kind: str) -> bool:
    return msgspec.json.decode(answer, type=_Head).kind == kind
