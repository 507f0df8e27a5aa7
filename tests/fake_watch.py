"""The watches of the fake API server: who watches what, and what they are told of a change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from fake_storage import Event, Object


@dataclass
class Watcher:
    """One open watch."""

    collection: str
    namespace: str
    matches: Callable[[Object], bool]
    bookmarks: bool
    after: int
    """Only changes behind this version are sent, also when storage was put back before it: as kube-apiserver."""
    response: web.StreamResponse
    request: web.Request
    queue: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)


async def write_out(watcher: Watcher) -> None:
    """Send what is queued, as much at once as there is, until None is."""
    while True:
        lines = [await watcher.queue.get()]
        while not watcher.queue.empty():
            lines.append(watcher.queue.get_nowait())
        data = b"".join(line for line in lines if line)
        if data:
            await watcher.response.write(data)
        if None in lines:
            return


def event_line(kind: str, one: Object) -> bytes:
    """One event on the wire."""
    return json.dumps({"type": kind, "object": one}, separators=(",", ":")).encode() + b"\n"


def line_for(event: Event, watcher: Watcher) -> bytes:
    """What a watcher sees of a change: an object that stops matching its selector is deleted for it."""
    if event.collection != watcher.collection or event.version <= watcher.after:
        return b""
    if watcher.namespace not in ("", event.object["metadata"].get("namespace", "")):
        return b""
    now = event.type != "DELETED" and watcher.matches(event.object)
    before = event.before is not None and watcher.matches(event.before)
    if now:
        return event_line("MODIFIED" if before else "ADDED", event.object)
    return event_line("DELETED", event.object) if before else b""
