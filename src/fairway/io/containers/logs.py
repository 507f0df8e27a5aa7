"""A container's log: lines with time and stream as the CRI has them, read back whole, from a time, or as it grows."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fairway.io.http.streams import LogOptions

LARGEST: Final = 10 << 20
"""Bytes after which a log is turned over; the one before it is kept (kubelet's containerLogMaxSize)."""
LONGEST_LINE: Final = 16 << 10


class Log:
    """One container's output."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self._now = now
        self._rests: dict[str, bytes] = {}
        self._grown = asyncio.Event()
        self.is_closed = False
        self.lost = 0
        """Lines that could not be written: the disk was full."""
        self.listeners: list[Callable[[bytes, str], None]] = []
        """Those attached to what runs; they hear the bytes and their stream, and at the end nothing."""

    def feed(self, data: bytes, stream: str) -> None:
        """Take what the container wrote."""
        for listener in self.listeners:
            listener(data, stream)
        *lines, rest = (self._rests.get(stream, b"") + data).split(b"\n")
        entries = [self._entry(line, stream, "F") for line in lines]
        while len(rest) >= LONGEST_LINE:
            entries.append(self._entry(rest[:LONGEST_LINE], stream, "P"))
            rest = rest[LONGEST_LINE:]
        self._rests[stream] = rest
        self._write(b"".join(entries), len(entries))

    def close(self) -> None:
        """Nothing will come any more."""
        for stream, rest in self._rests.items():
            if rest:
                self._write(self._entry(rest, stream, "F"), 1)
        self._rests.clear()
        self.is_closed = True
        for listener in self.listeners:
            listener(b"", "")
        self._wake()

    def _entry(self, line: bytes, stream: str, tag: str) -> bytes:
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        return b"%s %s %s %s\n" % (stamp.encode(), stream.encode(), tag.encode(), line)

    def _write(self, data: bytes, count: int) -> None:
        if not data:
            return
        try:
            if self.path.exists() and self.path.stat().st_size + len(data) > LARGEST:
                self.path.replace(self.path.with_suffix(".old"))
            with self.path.open("ab", buffering=0) as file:
                file.write(data)
        except OSError:
            # A full disk must not stop the container, which waits for its pipe to be read.
            self.lost += count
        self._wake()

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def read(self, options: LogOptions) -> AsyncIterator[bytes]:
        """What `kubectl logs` asks for."""
        since = _since(options, self._now())
        left = options.limit_bytes
        grown = self._grown
        chunk, at = self._from_start(options.tail_lines)
        while True:
            data = b"".join(_shown(line, since, options.timestamps) for line in chunk)
            if left is not None:
                data, left = data[:left], left - len(data[:left])
            if data:
                yield data
            if not options.follow or left == 0 or (self.is_closed and at >= _size(self.path)):
                return
            if at >= _size(self.path):
                await grown.wait()
            grown = self._grown
            chunk, at = self._from(at)

    def _from_start(self, tail: int | None) -> tuple[list[bytes], int]:
        old = self.path.with_suffix(".old")
        text = (old.read_bytes() if old.exists() else b"") + (self.path.read_bytes() if self.path.exists() else b"")
        lines = text.splitlines(keepends=True)
        return (lines if tail is None else list(deque(lines, maxlen=tail))), _size(self.path)

    def _from(self, at: int) -> tuple[list[bytes], int]:
        if _size(self.path) < at:
            at = 0  # turned over meanwhile
        if not self.path.exists():
            return [], 0
        with self.path.open("rb") as file:
            file.seek(at)
            text = file.read()
        return text.splitlines(keepends=True), at + len(text)


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _since(options: LogOptions, now: datetime) -> str:
    if options.since_seconds is not None:
        return datetime.fromtimestamp(now.timestamp() - options.since_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return options.since_time.removesuffix("Z")


def _shown(line: bytes, since: str, stamps: bool) -> bytes:
    stamp, _, rest = line.partition(b" ")
    if since and stamp.decode() < since:
        return b""
    _, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    text = text[:-1] if tag == b"P" else text
    return stamp + b" " + text if stamps else text
