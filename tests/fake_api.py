"""A Kubernetes API server for tests: real HTTP on loopback, real storage with versions, faults on demand.

It answers as kube-apiserver does in all that a list-and-watch client can see (tests/io/kube/contract.py is run against
both): resourceVersions, paging with `continue`, watches from a version, bookmarks, streamed lists, a history that is
forgotten, 410. It runs in a thread of its own, so that synchronous and asynchronous tests use it alike:

    with FakeApi() as api:
        api.put(SERVICES, service)             # as if somebody had applied it
        ... client talks to api.url ...
        api.cut_watches()                      # a fault

Objects are plain dicts, collections the paths of the API.
"""

from __future__ import annotations

import asyncio
import copy
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from aiohttp import web

from fake_storage import Event, Key, Object, Served, StatusError, Storage, matcher, status
from fake_watch import Watcher, event_line, line_for, write_out

MERGE_TYPES = ("application/merge-patch+json", "application/strategic-merge-patch+json")
T = TypeVar("T")


class Request(NamedTuple):
    """What a client asked, and how it was answered."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int

    @property
    def is_watch(self) -> bool:
        """Whether it asked for a watch."""
        return self.query.get("watch") in ("1", "true")


@dataclass
class Fault:
    """Answer requests whose path begins so with an error instead; `times` of them, or all when it is negative."""

    path: str
    code: int
    reason: str
    times: int
    message: str = ""
    watches: bool | None = None
    """Only watches (True), all but watches (False), or both (None)."""
    retry_after: int = 0


class FakeApi:
    """The server. All methods may be called from any thread; each has taken effect when it returns."""

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-api", daemon=True)
        self._changed = threading.Condition()
        self._runner: web.AppRunner | None = None
        self._listeners: list[int] = []
        self._lists_open = asyncio.Event()
        self._lists_open.set()
        self._storage = Storage(self._tell_watchers)
        self._watchers: list[Watcher] = []
        self._faults: list[Fault] = []
        self.requests: list[Request] = []
        """Everything that was asked so far."""
        self.tokens: set[str] | None = None
        """When set, requests need one of these bearer tokens, else 401."""
        self.streams: bool | None = True
        """Whether sendInitialEvents is understood; False: 422 as from a server without it; None: ignored."""
        self.refuses_streams_by_event = False
        """Answer sendInitialEvents with 200 and then an ERROR event, as over an etcd that cannot tell its progress."""
        self._pages_to_fail = 0
        self._pages_to_cut = 0
        self.ignores_limit = False
        """Send everything at once, as a server does that lists from memory."""
        self.expires_by_event = True
        """An expired watch is told by an ERROR event in a 200 stream (kube-apiserver) or by HTTP 410."""

    # -- life

    def __enter__(self) -> FakeApi:
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._run(_end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def url(self) -> str:
        """Where the server answers; the port stays the same over `stop` and `start`."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Answer on the port (again)."""
        self._run(self._start())

    def stop(self) -> None:
        """Die: refuse connections and cut those there are. Storage stays."""
        self._run(self._stop())

    async def _start(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        # A handler ends when its client is gone, or watches of clients that left would count.
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        sockets = site._server.sockets  # type: ignore[union-attr]
        self.port = sockets[0].getsockname()[1]
        self._listeners = [one.fileno() for one in sockets]

    async def _stop(self) -> None:
        self._cut()
        self._lists_open.set()
        if self._runner is not None:
            # A connection that asyncio (3.11) has accepted and not yet taken up when its server is closed stays open,
            # and nobody ever reads it: accept no more, let those be taken up, then close.
            for listener in self._listeners:
                self._loop.remove_reader(listener)
            for _ in range(5):
                await asyncio.sleep(0)
            await self._runner.cleanup()
            self._runner = None

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _call(self, function: Callable[[], T]) -> T:
        async def inside() -> T:
            return function()

        return self._run(inside())  # type: ignore[no-any-return]

    # -- what somebody else does to the objects

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._storage.version

    def put(self, collection: str, one: Object) -> str:
        """Create or replace an object; returns its resourceVersion."""
        return str(self._call(lambda: self._storage.put(collection, one)["metadata"]["resourceVersion"]))

    def put_many(self, collection: str, objects: list[Object]) -> None:
        """Create or replace objects; watchers get the events in one write."""
        self._call(lambda: [self._storage.put(collection, one) for one in objects])

    def delete(self, collection: str, name: str, namespace: str = "default") -> None:
        """Delete an object, which must be there."""
        space = namespace if self._storage.kinds[collection].is_namespaced else ""
        self._call(lambda: self._storage.delete(collection, (space, name)))

    def objects(self, collection: str) -> list[Object]:
        """What is stored, sorted by namespace and name."""
        return self._call(lambda: copy.deepcopy(self._storage.select(collection, "", lambda _: True)))

    def _tell_watchers(self, event: Event) -> None:
        for watcher in self._watchers:
            if line := line_for(event, watcher):
                watcher.queue.put_nowait(line)

    # -- faults

    def fail(
        self,
        path: str,
        code: int,
        reason: str = "",
        *,
        times: int = 1,
        watches: bool | None = None,
        retry_after: int = 0,
    ) -> None:
        """Answer the next `times` requests to paths that begin with `path` with an error (for good: times=-1)."""
        self._call(lambda: self._faults.append(Fault(path, code, reason, times, "", watches, retry_after)))

    def heal(self) -> None:
        """Forget all faults of `fail`."""
        self._call(self._faults.clear)

    def unserve(self, collection: str) -> None:
        """Do not know a kind any more: 404."""
        self._call(lambda: self._storage.kinds.pop(collection))

    def serve(self, collection: str, api_version: str, kind: str, *, is_namespaced: bool = True) -> None:
        """Know one more kind."""
        self._call(lambda: self._storage.kinds.__setitem__(collection, Served(api_version, kind, is_namespaced)))

    def expire(self) -> None:
        """Forget the history and all pages: watches from an older version and continue tokens get 410."""
        self._call(self._storage.expire)

    def fail_pages(self, times: int) -> None:
        """Forget the pages behind the next `times` continue tokens that are brought back: 410."""
        self._pages_to_fail = times

    def cut_pages(self, times: int) -> None:
        """Cut the connection in the middle of the next `times` second and later pages."""
        self._pages_to_cut = times

    def restore(self, version: int = 1) -> None:
        """Put storage back to nothing and an old version, as after the loss of etcd's data."""

        self._call(lambda: self._storage.restore(version))

    def cut_watches(self, *, rest: bytes = b"") -> None:
        """Abort the connections of all watches, after a last piece of an event perhaps."""

        async def inside() -> None:
            for watcher in self._watchers:
                if rest:
                    await watcher.response.write(rest)
            self._cut()

        self._run(inside())

    def end_watches(self) -> None:
        """Close all watches in an orderly way, as when their time is up."""
        self._send(lambda _: None)

    def send_raw(self, collection: str, data: bytes) -> None:
        """Write bytes into the streams of a kind's watchers, whatever they are."""
        self._send(lambda w: data if w.collection == collection else b"")

    def bookmark(self) -> None:
        """Send a bookmark with the present version to all watches that allow it."""
        self._send(lambda w: self._bookmark(w) if w.bookmarks else b"")

    def _send(self, make: Callable[[Watcher], bytes | None]) -> None:
        def inside() -> None:
            for watcher in self._watchers:
                watcher.queue.put_nowait(make(watcher))

        self._call(inside)

    def hold_lists(self) -> None:
        """Let lists (without a field selector) wait until `release_lists` or `stop`."""
        self._call(self._lists_open.clear)

    def release_lists(self) -> None:
        """Answer held lists."""
        self._call(self._lists_open.set)

    def _cut(self) -> None:
        for watcher in self._watchers:
            watcher.queue.put_nowait(None)
            if watcher.request.transport is not None:
                watcher.request.transport.abort()

    # -- waiting

    @property
    def watch_count(self) -> int:
        """How many watches are open."""
        return len(self._watchers)

    def wait_for(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        """Return when a condition about requests or watches holds; a failure after that many seconds."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), f"not within {timeout} s; asked: {self.requests[-5:]}"

    async def until(self, condition: Callable[[], bool]) -> None:
        """`wait_for` that leaves the caller's event loop running."""
        await asyncio.to_thread(self.wait_for, condition)

    def asked(self, path: str, *, watch: bool | None = None) -> list[Request]:
        """The requests to a path so far."""
        return [r for r in list(self.requests) if r.path == path and watch in (None, r.is_watch)]

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # -- answering

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        response: web.StreamResponse
        try:
            self._check(request, query)
            response = await self._route(request, query)
        except StatusError as refused:
            response = _refuse(refused)
        except web.HTTPException as error:
            response = error
        if not query.get("watch") or response.status != 200:
            self._log(request, query, response.status)
        return response

    def _log(self, request: web.Request, query: dict[str, str], status: int) -> None:
        self.requests.append(Request(request.method, request.path, query, dict(request.headers), status))
        self._notify()

    def _check(self, request: web.Request, query: dict[str, str]) -> None:
        if self.tokens is not None:
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if token not in self.tokens:
                raise StatusError(401, "Unauthorized", "Unauthorized")
        for fault in self._faults:
            if not request.path.startswith(fault.path) or not fault.times:
                continue
            if fault.watches is not None and fault.watches != bool(query.get("watch")):
                continue
            fault.times -= 1
            raise StatusError(fault.code, fault.reason, fault.message or fault.reason, retry_after=fault.retry_after)

    async def _route(self, request: web.Request, query: dict[str, str]) -> web.StreamResponse:
        if request.path == "/version":
            return web.json_response({"major": "1", "minor": "36", "gitVersion": "v1.36.3"})
        collection, namespace, name = self._place(request.path)
        if request.method == "GET" and not name:
            if query.get("watch") in ("1", "true"):
                return await self._watch(request, query, collection, namespace)
            if "fieldSelector" not in query:
                await self._lists_open.wait()
            answer = self._list(query, collection, namespace)
            return await self._maybe_cut(answer, request, query)
        one = await self._object(request, collection, (namespace, name))
        return web.json_response(one, status=201 if request.method == "POST" else 200)

    async def _object(self, request: web.Request, collection: str, key: Key) -> Object:
        storage = self._storage
        match request.method:
            case "GET":
                return storage.get(collection, key)
            case "DELETE":
                return storage.delete(collection, key)
            case "POST":
                return storage.create(collection, key[0], await request.json())
            case "PUT":
                return storage.update(collection, key, await request.json())
            case "PATCH" if request.content_type in MERGE_TYPES:
                return storage.patch(collection, key, await request.json())
        raise StatusError(415, "UnsupportedMediaType", f"{request.method} {request.content_type}")

    def _place(self, path: str) -> tuple[str, str, str]:
        """Collection, namespace and name that a path means."""
        parts = path.strip("/").split("/")
        size = 2 if parts[0] == "api" else 3
        root, rest = "/" + "/".join(parts[:size]), parts[size:]
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        collection = f"{root}/{rest[0]}" if rest else root
        if collection not in self._storage.kinds:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        return collection, namespace, rest[1] if len(rest) > 1 else ""

    # -- lists

    def _list(self, query: dict[str, str], collection: str, namespace: str) -> web.Response:
        if self.ignores_limit:
            query = {**query, "limit": ""}
        if query.get("continue") and self._pages_to_fail:
            self._pages_to_fail -= 1
            raise StatusError(410, "Expired", "The provided continue parameter is too old")
        page = self._storage.page(collection, namespace, query)
        meta: Object = {"resourceVersion": str(page.version)}
        if page.continue_token:
            meta |= {"continue": page.continue_token, "remainingItemCount": page.remaining}
        served = self._storage.kinds[collection]
        body = {"kind": f"{served.kind}List", "apiVersion": served.api_version, "metadata": meta, "items": page.items}
        return web.json_response(body)

    async def _maybe_cut(self, answer: web.Response, request: web.Request, query: dict[str, str]) -> web.StreamResponse:
        if not self._pages_to_cut or "continue" not in query:
            return answer
        self._pages_to_cut -= 1
        body = answer.body
        assert isinstance(body, bytes)
        cut = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await cut.prepare(request)
        await cut.write(body[: len(body) // 2])
        assert request.transport is not None
        request.transport.close()
        return cut

    # -- watches

    async def _watch(
        self, request: web.Request, query: dict[str, str], collection: str, namespace: str
    ) -> web.StreamResponse:
        version, wants_stream = query.get("resourceVersion", ""), query.get("sendInitialEvents") == "true"
        if wants_stream and self.streams is False:
            raise StatusError(422, "Invalid", "sendInitialEvents is forbidden for watch unless WatchList is enabled")
        after = 0 if wants_stream else int(version or 0)
        is_old = 0 < after < self._storage.forgotten
        if is_old and not self.expires_by_event:
            raise StatusError(410, "Expired", f"too old resource version: {version} ({self._storage.forgotten})")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        bookmarks = query.get("allowWatchBookmarks") in ("1", "true")
        watcher = Watcher(collection, namespace, matcher(query), bookmarks, after, response, request)
        if is_old:
            expired = status(410, "Expired", f"too old resource version: {version} ({self._storage.forgotten})")
            await response.write(event_line("ERROR", expired))
            self._log(request, query, 200)
            return response
        if wants_stream and self.refuses_streams_by_event:
            refusal = status(504, "Timeout", "etcd cluster does not support RequestWatchProgress")
            await response.write(event_line("ERROR", refusal))
            self._log(request, query, 200)
            return response
        for line in self._backlog(watcher, wants_stream=wants_stream):
            watcher.queue.put_nowait(line)
        self._watchers.append(watcher)
        self._log(request, query, 200)
        try:
            async with asyncio.timeout(float(query.get("timeoutSeconds") or 0) or None):
                await write_out(watcher)
        except TimeoutError:
            pass
        finally:
            self._watchers.remove(watcher)
            self._notify()
        return response

    def _backlog(self, watcher: Watcher, *, wants_stream: bool) -> Iterator[bytes]:
        if wants_stream or not watcher.after:
            for one in self._storage.select(watcher.collection, watcher.namespace, watcher.matches):
                yield event_line("ADDED", one)
            if wants_stream and self.streams:
                yield self._bookmark(watcher, {"k8s.io/initial-events-end": "true"})
            return
        for event in self._storage.history:
            if line := line_for(event, watcher):
                yield line

    def _bookmark(self, watcher: Watcher, annotations: dict[str, str] | None = None) -> bytes:
        served = self._storage.kinds[watcher.collection]
        meta: Object = {"resourceVersion": str(self._storage.version), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        return event_line("BOOKMARK", {"kind": served.kind, "apiVersion": served.api_version, "metadata": meta})


async def _end_tasks() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _refuse(error: StatusError) -> web.Response:
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return web.json_response(error.status, status=error.status["code"], headers=headers)
