"""A container's log: lines with time and stream as the CRI has them, read back whole, from a time, or as it grows."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from fairway.io.http.streams import LogOptions

LARGEST: Final = 10 << 20
"""Bytes after which a log is turned over; the one before it is kept (kubelet's containerLogMaxSize)."""
LONGEST_LINE: Final = 16 << 10
PIECE: Final = 256 << 10
"""Bytes that are read at a time."""


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

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in (self.path, self.path.with_suffix(".old")) if path.exists())

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
                self._write(self._entry(rest, stream, "P"), 1)  # no line end was written, so none is shown
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

    def remove(self) -> None:
        """Nobody will ask for it any more."""
        for path in (self.path, self.path.with_suffix(".old")):
            path.unlink(missing_ok=True)

    async def finished(self) -> None:
        """Wait until all has been said."""
        while not self.is_closed:
            await self._grown.wait()

    def last(self, count: int) -> bytes:
        """The last lines."""
        if not self.path.exists():
            return b""
        with self.path.open("rb") as file:
            file.seek(_tail(self.path, count)[0])
            return b"".join(_shown(line, "", False) for line in file)

    async def read(self, options: LogOptions) -> AsyncIterator[bytes]:
        """What `kubectl logs` asks for, piece by piece: a log is never in memory as a whole."""
        since = _since(options, self._now())
        left = options.limit_bytes
        async for lines in self._pieces(options):
            data = b"".join(_shown(line, since, options.timestamps) for line in lines)
            if left is not None:
                data, left = data[:left], left - len(data[:left])
            if data:
                yield data
            if left == 0:
                return

    async def _pieces(self, options: LogOptions) -> AsyncIterator[list[bytes]]:
        """Lines of the log turned over before, then of this one, then as they come."""
        old = self.path.with_suffix(".old")
        if options.tail_lines is None:
            places = [(old, 0), (self.path, 0)]
        else:
            in_this, rest = _tail(self.path, options.tail_lines)
            places = [(old, _tail(old, rest)[0]), (self.path, in_this)]
        cursor = _Cursor(self.path)
        try:
            for path, at in places:
                cursor.open(path, at)
                while lines := cursor.read():
                    yield lines
            while options.follow:
                grown = self._grown
                if lines := cursor.read_on():
                    yield lines
                elif self.is_closed:
                    return
                else:
                    await grown.wait()
        finally:
            cursor.close()


class _Cursor:
    """Reads a log to its end, and on from there when the file has grown or was turned over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def open(self, path: Path, at: int) -> None:
        self.close()
        with contextlib.suppress(FileNotFoundError):
            self._file = path.open("rb")
            self._file.seek(at)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self) -> list[bytes]:
        return self._file.readlines(PIECE) if self._file is not None else []

    def read_on(self) -> list[bytes]:
        if (lines := self.read()) or self._is_current():
            return lines
        self.open(self._path, 0)
        return self.read()

    def _is_current(self) -> bool:
        """Is it still the file of that name?"""
        with contextlib.suppress(FileNotFoundError):
            return self._file is not None and os.fstat(self._file.fileno()).st_ino == self._path.stat().st_ino
        return True


def _tail(path: Path, wanted: int) -> tuple[int, int]:
    """Where the last lines of a file begin, and how many are still to be found before it."""
    if not path.exists():
        return 0, wanted
    with path.open("rb") as file:
        end = at = file.seek(0, os.SEEK_END)
        if wanted == 0:
            return end, 0
        left = wanted + 1  # the last line's own end does not count
        while at > 0:
            size = min(PIECE, at)
            at -= size
            file.seek(at)
            block = file.read(size)
            found = block.count(b"\n")
            if found >= left:
                for _ in range(left):
                    size = block.rindex(b"\n", 0, size)
                return at + size + 1, 0
            left -= found
    return 0, left - 1 if left <= wanted else wanted


def _since(options: LogOptions, now: datetime) -> str:
    """The first moment to show, as the log writes moments; empty for all."""
    if options.since_seconds is not None:
        first = datetime.fromtimestamp(now.timestamp() - options.since_seconds, UTC)
    elif options.since_time:
        try:
            first = datetime.fromisoformat(options.since_time).astimezone(UTC)
        except ValueError:
            raise OSError(f"sinceTime: {options.since_time!r} is no time") from None
    else:
        return ""
    return first.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def _shown(line: bytes, since: str, stamps: bool) -> bytes:
    stamp, _, rest = line.partition(b" ")
    if since and stamp.decode() < since:
        return b""
    _, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    text = text[:-1] if tag == b"P" else text
    return stamp + b" " + text if stamps else text
