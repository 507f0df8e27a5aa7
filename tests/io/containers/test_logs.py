from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

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
    assert text_of(log) == b"one\ntwo\nrest"


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
    assert text_of(log, ALL._replace(since_time="2026-01-01T02:00:01+02:00")) == b"b\nc\n"
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


@pytest.mark.parametrize("tail", [0, 1, 2, 3, 5, 9, 10, 11, 40_000])
def test_tail_is_the_last_lines_also_of_a_log_that_was_turned_over(tmp_path: Path, tail: int) -> None:
    lines = [b"line %d\n" % number for number in range(10)]
    log = Log(tmp_path / "log")
    for at, line in enumerate(lines):
        log.feed(line, "stdout")
        if at == 4:
            log.path.replace(log.path.with_suffix(".old"))
    log.close()
    assert text_of(log, ALL._replace(tail_lines=tail)) == b"".join(lines[max(10 - tail, 0) :])


def test_tail_of_a_long_log_is_found_from_its_end(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.feed(b"".join(b"line %d\n" % number for number in range(50_000)), "stdout")
    log.close()
    found = text_of(log, ALL._replace(tail_lines=20_000)).splitlines()
    assert (found[0], found[-1], len(found)) == (b"line 30000", b"line 49999", 20_000)


def test_following_goes_on_when_the_log_is_turned_over(tmp_path: Path) -> None:
    async def go() -> bytes:
        log = Log(tmp_path / "log")
        log.feed(b"a\n", "stdout")
        lines = log.read(ALL._replace(follow=True))
        found = await anext(lines)
        log.feed(b"b\n", "stdout")
        log.path.replace(log.path.with_suffix(".old"))
        log.feed(b"c\n", "stdout")
        log.close()
        return found + b"".join([chunk async for chunk in lines])

    assert asyncio.run(go()) == b"a\nb\nc\n"
