"""The store against the simplest model: every change once, in order, through rollbacks, windows and restarts."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fairway.apiserver.store import Change, Row, Store, TooOldError, Window

KEYS = st.sampled_from(["a/x", "a/y", "b/x", "b/y", "c/z"])
RESOURCES = st.sampled_from(["pods", "services"])


class StoreMachine(RuleBasedStateMachine):
    """Writes, commits that succeed or fail, restarts from the journal, and a listener that must hear all of it."""

    @initialize(changes=st.integers(1, 30))
    def begin(self, changes: int) -> None:
        self.window = Window(changes=changes)
        self.rows: dict[int, Row] = {}
        self.compacted = 0
        self.time = 0.0
        self.heard: list[Change] = []
        self.model: dict[tuple[str, str], int] = {}
        self.committed = dict(self.model)
        self.snapshots: dict[int, dict[tuple[str, str], int]] = {}
        self.store = Store(self.window)
        self.store.listen(self.heard.extend)

    @rule(resource=RESOURCES, key=KEYS)
    def put(self, resource: str, key: str) -> None:
        entry = self.store.put(resource, key, f"{self.store.next_version()}".encode(), self.time)
        self.model[resource, key] = entry.version

    @rule(resource=RESOURCES, key=KEYS)
    def delete(self, resource: str, key: str) -> None:
        if (resource, key) in self.model:
            del self.model[resource, key]
            self.store.delete(resource, key, b"gone", self.time)

    @rule()
    def commit(self) -> None:
        self.time += 1
        changes, forgotten = self.store.take_pending(self.time)
        for c in changes:
            self.rows[c.version] = Row(c.version, c.resource, c.key, c.data, c.deleted, c.at)
        for version in forgotten:
            del self.rows[version]
        if forgotten:
            self.compacted = self.store.compacted
        self.store.publish(changes)
        self.committed = dict(self.model)
        self.snapshots[self.store.version] = dict(self.model)

    @rule()
    def commit_fails(self) -> None:
        changes, forgotten = self.store.take_pending(self.time)
        self.store.rollback(changes, forgotten)
        self.model = dict(self.committed)

    @precondition(lambda self: not self.store.dirty)
    @rule()
    def restart(self) -> None:
        self.store = Store(self.window)
        self.store.restore((self.rows[v] for v in sorted(self.rows)), self.compacted)
        self.store.listen(self.heard.extend)

    @rule(at=st.integers(0, 20))
    def list_at_an_older_version(self, at: int) -> None:
        versions = sorted(self.snapshots)
        if not versions:
            return
        version = versions[at % len(versions)]
        for resource in ("pods", "services"):
            try:
                found = self.store.entries_at(version, resource)
            except TooOldError:
                assert version < self.store.compacted
                continue
            wanted = {k: v for (r, k), v in self.snapshots[version].items() if r == resource}
            assert {k: e.version for k, e in found} == wanted

    @rule(back=st.integers(0, 30))
    def resume_a_watch(self, back: int) -> None:
        since = max(0, self.store.published - back)
        try:
            seen = [c.version for c in self.store.since(since)]
        except TooOldError:
            assert since < self.store.compacted
            return
        assert seen == [c.version for c in self.heard if c.version > since]

    @invariant()
    def reads_see_the_last_write(self) -> None:
        if not hasattr(self, "store"):
            return
        for resource in ("pods", "services"):
            wanted = sorted((k, v) for (r, k), v in self.model.items() if r == resource)
            assert [(k, e.version) for k, e in self.store.entries(resource)] == wanted
            assert self.store.keys(resource, "a/") == [k for k, _ in wanted if k.startswith("a/")]

    @invariant()
    def nothing_is_heard_twice_or_out_of_order(self) -> None:
        versions = [c.version for c in getattr(self, "heard", [])]
        assert versions == sorted(set(versions))


TestStore: Any = StoreMachine.TestCase
TestStore.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
