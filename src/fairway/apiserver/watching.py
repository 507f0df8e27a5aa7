"""Watches: initial state, then every change in order; objects that enter or leave a selector; bookmarks; errors.

A watcher keeps what its client has not taken yet; one that lets too much pile up is cut, and nobody else waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from fairway.apiserver import errors
from fairway.apiserver.accept import Shape
from fairway.apiserver.context import Call, encode
from fairway.apiserver.options import ListOptions
from fairway.apiserver.reading import Selection, check_version, event_renderer, prefix_of, selection
from fairway.apiserver.request import WatchStream
from fairway.apiserver.store import Change, Store, TooOldError

# Lines, and bytes of them, that a client may be behind before it is cut.
MOST_BEHIND, MOST_BYTES_BEHIND = 20_000, 48 << 20
# The server ends watches that name no timeout after half an hour to an hour, as the real one.
DEFAULT_TIMEOUT = 1800.0


class Watcher:
    """One client's queue of lines."""

    def __init__(self, call: Call, chosen: Selection, shape: Shape, prefix: str, key: str = "") -> None:
        self._store: Store = call.store
        self._resource = call.resource
        self._chosen = chosen
        self._prefix, self._key = prefix, key
        self._render = event_renderer(call, shape)
        self._lines: deque[bytes] = deque()
        self._waiting = 0  # bytes
        self._wake: Callable[[], None] | None = None
        self._first = True
        self._bookmarks = False
        self._shape = shape
        self.version = 0
        self.ended = False
        self._stop: Callable[[], None] = lambda: None

    def picks(self, data: bytes) -> bool:
        return self._chosen.picks(data)

    # ---- lines ------------------------------------------------------------------------------------------------
    def add(self, kind: bytes, data: bytes) -> None:
        body = self._render(data, self._first)
        self._first = False
        self._lines.append(b'{"type":"' + kind + b'","object":' + body + b"}\n")
        self._waiting += len(body)

    def add_bookmark(self, version: int, *, initial_end: bool = False) -> None:
        meta = {"resourceVersion": str(version)}
        note = {"annotations": {"k8s.io/initial-events-end": "true"}} if initial_end else {}
        self._lines.append(
            b'{"type":"BOOKMARK","object":'
            + self._bookmark_body(encode({"metadata": {**meta, **note}, **self._empty()}))
            + b"}\n"
        )

    def _empty(self) -> dict[str, object]:
        from fairway.apiserver.schema import zero

        return {k: v for k, v in zero(self._resource.type).items() if k != "metadata" and v is not None}

    def _bookmark_body(self, data: bytes) -> bytes:
        return self._render(data, self._first)

    def add_error(self, error: errors.ApiError) -> None:
        self._lines.append(b'{"type":"ERROR","object":' + encode(error.status()) + b"}\n")
        self.ended = True

    def pull(self) -> bytes:
        """Everything that waits to be sent."""
        out = b"".join(self._lines)
        self._lines.clear()
        self._waiting = 0
        return out

    def attach(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    # ---- changes ----------------------------------------------------------------------------------------------
    def start(self, *, bookmarks: bool) -> None:
        self._bookmarks = bookmarks
        self._stop = self._store.listen(self.hear)

    def close(self) -> None:
        self._stop()
        self._stop = lambda: None

    def bookmark(self) -> bool:
        """Called about once a minute: tell an idle client how far it is."""
        if self._bookmarks and not self.ended:
            self.add_bookmark(self._store.published)
            return True
        return False

    def hear(self, changes: Sequence[Change]) -> None:
        before = len(self._lines)
        for change in changes:
            self.offer(change)
        if len(self._lines) > MOST_BEHIND or self._waiting > MOST_BYTES_BEHIND:
            self._lines.clear()
            self.add_error(errors.expired("too old resource version: the client fell too far behind"))
            self.close()
        if len(self._lines) != before and self._wake is not None:
            self._wake()

    def offer(self, change: Change) -> None:
        """Turn a change of the store into what this client may see of it."""
        if change.resource != self._resource.key or not change.key.startswith(self._prefix):
            return
        if self._key and change.key != self._key:
            return
        was = change.previous is not None and self._chosen.picks(change.previous.data)
        now = not change.deleted and self._chosen.picks(change.data)
        if now:
            self.add(b"MODIFIED" if was else b"ADDED", change.data)
        elif was:
            assert change.previous is not None
            self.add(b"DELETED", change.data if change.deleted else _with_version(change))


def _with_version(change: Change) -> bytes:
    """The last state that fitted the selector, with the version of the change that ended that."""
    from fairway.apiserver.context import decode

    assert change.previous is not None
    obj = decode(change.previous.data)
    obj["metadata"]["resourceVersion"] = str(change.version)
    return encode(obj)


def watch(call: Call, options: ListOptions, shape: Shape, namespace: str, name: str = "") -> WatchStream:
    """Begin a watch; errors that the real server puts into the stream go there."""
    chosen = selection(call.resource, options)
    prefix = prefix_of(call.resource, namespace)
    watcher = Watcher(call, chosen, shape, prefix, call.key(name) if name else "")
    version = check_version(options.version, call.store.version, "watch")
    if options.initial:
        _initial(watcher, call, options, version or 0, name)
    elif version:
        try:
            for change in call.store.since(version):
                watcher.offer(change)
        except TooOldError:
            watcher.add_error(errors.expired(f"too old resource version: {version} ({call.store.compacted})"))
    elif options.initial is None or version == 0:
        _send_state(watcher, call, prefix, name)
    if not watcher.ended:
        watcher.start(bookmarks=options.bookmarks)
    timeout = options.timeout or DEFAULT_TIMEOUT * (1 + call.server.env.random(1)[0] / 256)
    return WatchStream(
        shape.content_type,
        timeout,
        watcher.pull,
        watcher.attach,
        watcher.close,
        watcher.bookmark,
        lambda: watcher.ended,
    )


def _send_state(watcher: Watcher, call: Call, prefix: str, name: str) -> None:
    for key, entry in call.store.entries(call.resource.key, prefix):
        if name and key != call.key(name):
            continue
        if watcher.picks(entry.data):
            watcher.add(b"ADDED", entry.data)


def _initial(watcher: Watcher, call: Call, options: ListOptions, version: int, name: str) -> None:
    """WatchList (KEP-3157): the state, then a bookmark that says so."""
    if version > call.store.version:
        raise errors.too_large_version(version, call.store.version)
    _send_state(watcher, call, prefix_of(call.resource, call.namespace), name)
    if options.bookmarks:
        watcher.add_bookmark(call.store.published, initial_end=True)
