"""Noticing changes of files, with real files and the real inotify."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from fairway.io.host.inotify import Inotify, Mask
from fairway.io.host.tree import FileWatcher, ManifestFolder


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def inside() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(inside())


def replaced(path: Path, text: str) -> None:
    other = path.with_name(f".{path.name}.new")
    other.write_text(text)
    other.rename(path)


WRITES: dict[str, Callable[[Path], object]] = {
    "in place": lambda path: path.write_text("two"),
    "by rename": lambda path: replaced(path, "two"),
    "deleted and made anew": lambda path: (path.unlink(), path.write_text("two")),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_file_watcher_tells_when_there_is_other_content(tmp_path: Path, write: Callable[[Path], object]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("one")

    async def scenario() -> None:
        watcher = FileWatcher(path)
        waiting = asyncio.create_task(watcher.changed())
        await asyncio.sleep(0)
        write(path)
        await waiting
        assert path.read_text() == "two"
        watcher.close()

    run(scenario)


def test_file_watcher_follows_a_config_map_volume(tmp_path: Path) -> None:
    (tmp_path / "..1").mkdir()
    (tmp_path / "..1" / "config.yaml").write_text("one")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")

    async def scenario() -> None:
        watcher = FileWatcher(tmp_path / "config.yaml")
        for generation in ("2", "3"):
            waiting = asyncio.create_task(watcher.changed())
            await asyncio.sleep(0)
            (tmp_path / f"..{generation}").mkdir()
            (tmp_path / f"..{generation}" / "config.yaml").write_text(generation)
            (tmp_path / "..tmp").symlink_to(f"..{generation}")
            (tmp_path / "..tmp").rename(tmp_path / "..data")
            await waiting
            assert (tmp_path / "config.yaml").read_text() == generation
        watcher.close()

    run(scenario)


def test_file_watcher_follows_a_link_into_another_folder(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real.yaml").write_text("one")
    (tmp_path / "config.yaml").symlink_to("there/real.yaml")

    async def scenario() -> None:
        watcher = FileWatcher(tmp_path / "config.yaml")
        waiting = asyncio.create_task(watcher.changed())
        await asyncio.sleep(0)
        replaced(tmp_path / "there" / "real.yaml", "two")
        await waiting
        watcher.close()

    run(scenario)


def test_file_watcher_does_not_tell_of_other_files_or_of_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("one")

    async def scenario() -> None:
        watcher = FileWatcher(path)
        told: asyncio.Queue[str] = asyncio.Queue()

        async def follow() -> None:
            while True:
                await watcher.changed()
                told.put_nowait(path.read_text())

        waiting = asyncio.create_task(follow())
        await asyncio.sleep(0)
        listener = Inotify()  # a second listener on the same folder, to know when the first has heard
        listener.watch({tmp_path})
        (tmp_path / "other.yaml").write_text("x")
        path.unlink()
        while not any(e.name == path.name and e.mask & Mask.DELETE for e in await listener.wait()):
            pass
        replaced(path, "two")
        assert await told.get() == "two"
        assert told.empty()
        waiting.cancel()
        watcher.close()
        listener.close()

    run(scenario)


def test_closing_ends_without_noise_while_somebody_waits(tmp_path: Path) -> None:
    async def scenario() -> None:
        folder = ManifestFolder(tmp_path)
        folder.scan()
        waiting = asyncio.create_task(folder.changed())
        await asyncio.sleep(0)
        waiting.cancel()
        folder.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(scenario)


def test_scan_names_files_by_their_path_below_the_root(tmp_path: Path) -> None:
    for name in ("b.yaml", "a/z.yml", "a/b/c.json", "a/.hidden.yaml", ".git/x.yaml", "x.txt", "y.yaml~", "a.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    folder = ManifestFolder(tmp_path)
    assert sorted(folder.scan()) == ["a.yaml", "a/b/c.json", "a/z.yml", "b.yaml"]
    assert folder.read("a.yaml") == b""
    shutil.rmtree(tmp_path / "a")
    assert sorted(folder.scan()) == ["a.yaml", "b.yaml"]
    folder.close()


def test_scan_after_the_root_is_gone_is_an_error_not_an_empty_folder(tmp_path: Path) -> None:
    root = tmp_path / "m"
    root.mkdir()
    folder = ManifestFolder(root)
    folder.scan()
    root.rmdir()
    with pytest.raises(FileNotFoundError):
        folder.scan()
    folder.close()


def test_queue_overflow_makes_the_folder_be_looked_at_again(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())

    async def scenario() -> None:
        folder = ManifestFolder(tmp_path)
        folder.scan()
        for _ in range(limit // 2):
            (tmp_path / "x.txt").touch()
            (tmp_path / "y.txt").touch()
        (tmp_path / "a.yaml").write_text("")
        await folder.changed()
        assert sorted(folder.scan()) == ["a.yaml"]
        folder.close()

    run(scenario)
