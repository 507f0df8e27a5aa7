from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from fairway.io.containers.logs import LONGEST_LINE, Log
from fairway.io.http.streams import LogOptions

ALL = LogOptions(False, False, False, None, None, None, "")


def text_of(log: Log, options: LogOptions = ALL) -> bytes:
    async def read() -> bytes:
        return b"".join([chunk async for chunk in log.read(options)])

    return asyncio.run(read())


def filled(path: Path, *lines: bytes) -> Log:
    seconds = iter(range(60))
    log = Log(path / "log", lambda: datetime(2026, 1, 1, 0, 0, next(seconds), tzinfo=UTC))
    for line in lines:
        log.feed(line, "stdout")
    log.close()
    return log


def test_lines_are_stored_with_time_and_stream_and_read_back_without(tmp_path: Path) -> None:
    log = filled(tmp_path, b"one\ntw", b"o\n", b"rest")
    assert log.path.read_bytes().splitlines()[0] == b"2026-01-01T00:00:00.000000000Z stdout F one"
    assert text_of(log) == b"one\ntwo\nrest\n"


def test_streams_do_not_mix_within_a_line(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.feed(b"ou", "stdout")
    log.feed(b"err\n", "stderr")
    log.feed(b"t\n", "stdout")
    assert text_of(log) == b"err\nout\n"


def test_a_very_long_line_is_whole_again(tmp_path: Path) -> None:
    line = b"x" * (3 * LONGEST_LINE + 5) + b"\n"
    assert text_of(filled(tmp_path, line[:-1], b"\n")) == line


def test_tail_limit_since_and_timestamps(tmp_path: Path) -> None:
    log = filled(tmp_path, b"a\n", b"b\n", b"c\n")
    assert text_of(log, ALL._replace(tail_lines=1)) == b"c\n"
    assert text_of(log, ALL._replace(tail_lines=0)) == b""
    assert text_of(log, ALL._replace(limit_bytes=3)) == b"a\nb"
    assert text_of(log, ALL._replace(since_time="2026-01-01T00:00:01Z")) == b"b\nc\n"
    assert text_of(log, ALL._replace(timestamps=True, tail_lines=1)) == b"2026-01-01T00:00:02.000000000Z c\n"


def test_following_ends_when_the_container_has_ended(tmp_path: Path) -> None:
    async def go() -> list[bytes]:
        log = Log(tmp_path / "log")
        log.feed(b"a\n", "stdout")
        lines = log.read(ALL._replace(follow=True))
        found = [await anext(lines)]
        log.feed(b"b\n", "stdout")
        found.append(await anext(lines))
        log.close()
        return [*found, *[chunk async for chunk in lines]]

    assert asyncio.run(go()) == [b"a\n", b"b\n"]


def test_a_disk_that_cannot_be_written_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    log = Log(tmp_path / "gone" / "log")
    log.feed(b"a\nb\n", "stdout")
    assert log.lost == 2
