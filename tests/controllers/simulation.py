"""Controllers on the API in memory: every change is told, every key looked at, every write made, one after another.

Time is counted and only moves when asked. `delay` holds back what the watches tell, so that caches are behind.
"""

from __future__ import annotations

import datetime as dt
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from controllers.memory_api import KINDS, MemoryApi, Place, RefusedError, Tree
from fairway.controllers.controller import Controller, Key, Turn
from fairway.controllers.events import EventBook
from fairway.controllers.requests import question_request, request_for
from fairway.controllers.things import ResourceType
from fairway.controllers.view import View
from fairway.controllers.writes import Create, Delete, DeleteAll, Failure, Post, Record, Write
from fairway.kube import objects
from fairway.kube.decode import Kind
from fairway.values.names import ObjectName

ALL_KINDS: dict[str, Kind[Any]] = {
    one.plural: one for one in vars(objects).values() if isinstance(one, Kind) and one.plural in KINDS
}
LIMIT = 100_000


class Told(NamedTuple):
    """One change, as a reflector tells it."""

    name: ObjectName
    object: Any


class Simulation:
    """The cluster's controllers, without a network and without threads."""

    def __init__(self, controllers: Sequence[Controller], api: MemoryApi | None = None) -> None:
        self.api = api or MemoryApi()
        self.view = View()
        verbs = frozenset({"list", "watch", "delete", "deletecollection"})
        self.view.types = tuple(ResourceType(kind, verbs) for kind in ALL_KINDS.values())
        self.delays: set[str] = set()
        """Kinds (plural) whose news is held back until `deliver`."""
        self.events: list[Record] = []
        self.failures: list[str] = []
        self._held: list[tuple[Kind[Any], Told]] = []
        self._controllers = list(controllers)
        self._book = EventBook()
        self._ready: OrderedDict[tuple[int, Key], None] = OrderedDict()
        self._later: list[tuple[dt.datetime, int, tuple[int, Key]]] = []
        self._serial = itertools.count()
        self._memory: dict[tuple[int, Key], object] = {}
        self._failed: dict[tuple[int, Key], Failure] = {}
        self._tries: dict[tuple[int, Key], int] = {}
        for number, controller in enumerate(self._controllers):
            kinds = ALL_KINDS.values() if controller.follows_everything else controller.kinds
            for kind in kinds:
                self._listen(number, kind)
        for kind in ALL_KINDS.values():
            listed = [kind.decode(msgspec.json.encode(tree)) for tree in self.api.handle("GET", kind.path)["items"]]
            self.view.cache(kind).replace(listed, ())
        self.api.listeners.append(self._tell)

    def _listen(self, number: int, kind: Kind[Any]) -> None:
        def changed(kind: Kind[Any], old: Any, new: Any) -> None:
            for key in self._controllers[number].concerned(kind, old, new, self.view):
                self._ready[number, key] = None

        self.view.cache(kind).listen(changed)

    def _tell(self, event: str, place: Place, tree: Tree) -> None:
        kind = ALL_KINDS[place.plural]
        name = ObjectName(place.namespace, place.name)
        told = Told(name, None if event == "DELETED" else kind.decode(msgspec.json.encode(tree)))
        if place.plural in self.delays:
            self._held.append((kind, told))
        else:
            self.view.cache(kind).apply([told])

    @property
    def has_news(self) -> bool:
        """Something is held back."""
        return bool(self._held)

    def deliver(self) -> None:
        """Tell what was held back, in order."""
        held, self._held = self._held, []
        for kind, told in held:
            self.view.cache(kind).apply([told])

    # -- running

    def settle(self) -> None:
        """Work until nothing is left to do now."""
        for _ in range(LIMIT):
            self._move_due()
            if not self._ready:
                return
            item, _none = self._ready.popitem(last=False)
            self._look(item)
        raise AssertionError(f"the controllers do not come to rest: {item}")

    def pass_time(self, seconds: float) -> None:
        """Let time go by, doing what falls due on the way."""
        end = self.api.now + dt.timedelta(seconds=seconds)
        self.settle()
        while self._later and self._later[0][0] <= end:
            self.api.now = max(self.api.now, self._later[0][0])
            self.settle()
        self.api.now = end
        self.settle()

    def _move_due(self) -> None:
        while self._later and self._later[0][0] <= self.api.now:
            self._ready[heapq.heappop(self._later)[2]] = None

    def _look(self, item: tuple[int, Key]) -> None:
        number, key = item
        controller = self._controllers[number]
        answers: dict[Any, Any] = {}
        while True:
            turn = Turn(key, self.api.now, lambda: 0.5, self._memory.get(item), self._failed.get(item), answers)
            outcome = controller.sync(turn, self.view)
            failure = self._perform(outcome.writes, controller.component)
            if failure is not None or not outcome.questions:
                break
            answers = {one: self._answer(one) for one in outcome.questions}
        if failure is not None:
            self._failed[item] = failure
            self.failures.append(failure.message)
            return self._retry(item)
        self._failed.pop(item, None)
        self._memory[item] = outcome.memory
        if outcome.retry:
            self._retry(item)
        else:
            self._tries.pop(item, None)
        if outcome.again_in is not None:
            self._after(item, outcome.again_in)
        return None

    def _retry(self, item: tuple[int, Key]) -> None:
        tries = self._tries[item] = self._tries.get(item, 0) + 1
        self._after(item, 0.005 * 2 ** min(tries, 14))

    def _after(self, item: tuple[int, Key], seconds: float) -> None:
        heapq.heappush(self._later, (self.api.now + dt.timedelta(seconds=seconds), next(self._serial), item))

    def _answer(self, question: Any) -> Any:
        request = question_request(question)
        try:
            tree = self.api.handle(request.method, request.path)
        except RefusedError as refused:
            if refused.code == 404:
                return None
            raise
        return tree.get("items", tree)

    def _perform(self, writes: Sequence[Write], component: str) -> Failure | None:
        for write in writes:
            if isinstance(write, Record):
                self._record(write, component)
                continue
            request = request_for(write)
            try:
                answer = self.api.handle(request.method, request.path, request.body, request.content_type)
            except RefusedError as refused:
                failure = self._refused(write, refused, component)
                if failure is not None:
                    return failure
                continue
            self._note(write, answer)
            if write.done is not None:
                name = answer["metadata"].get("name", "") if answer["kind"] != "Status" else write.name.name
                self._record(write.done._replace(message=write.done.message.replace("{name}", name)), component)
        return None

    def _note(self, write: Write, answer: Tree) -> None:
        if isinstance(write, (Record, DeleteAll, Post)):
            return
        cache = self.view.cache(write.kind)
        if isinstance(write, Delete) and answer["kind"] == "Status":
            cache.note_deleted(write.name, write.uid)
        else:
            cache.note_written(write.kind.decode(msgspec.json.encode(answer)), self.api.now.timestamp())

    def _refused(self, write: Any, refused: RefusedError, component: str) -> Failure | None:
        if refused.code == 404 and isinstance(write, Delete):
            self.view.cache(write.kind).note_deleted(write.name, write.uid)
            return None
        if isinstance(write, Post) and write.may_be_late and refused.code in (404, 409):
            return None
        if refused.reason == "AlreadyExists" and isinstance(write, Create) and write.may_exist:
            return None
        if write.failed is not None:
            said = write.failed.message.replace("{error}", refused.message)
            self._record(write.failed._replace(message=said), component)
        return Failure(write, refused.message, refused.reason)

    def _record(self, record: Record, component: str) -> None:
        if self._book.request(record, component, self.api.now) is not None:
            self.events.append(record)
