"""A folder of manifests as a source: real files, real inotify, every way in which files change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from fairway.agents.feed import Feed
from fairway.agents.manifests import ManifestSource
from fairway.io.host.tree import ManifestFolder
from fairway.kube.decode import NODE, SERVICE
from fairway.kube.manifests import read_manifest
from fairway.kube.service import Service
from fairway.values.errors import ConfigError
from fairway.values.names import ObjectName
from feeds import ManualClock, RecordingSink


def service(name: str, port: object = 80, labels: str = "{}") -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, labels: {labels}}}\n"
        f"spec: {{clusterIP: 10.96.0.1, ports: [{{port: {port}}}]}}\n"
    )


def documents(*texts: str) -> str:
    return "---\n".join(texts)


class Following:
    """A running source of Services from a folder."""

    def __init__(self, folder: ManifestFolder, labels: str) -> None:
        self.sink: RecordingSink[Service] = RecordingSink(lambda s: s.name)
        self.clock = ManualClock()
        self.source = ManifestSource(folder, [Feed(SERVICE, self.sink, labels=labels)], self.clock)

    async def sees(self, *names: str) -> None:
        await self.sink.until(lambda: self.sink.names == [f"default/{n}" for n in names])

    async def sees_port(self, name: str, port: int) -> None:
        await self.sink.until(lambda: self.port(name) == port)

    def port(self, name: str) -> int:
        return self.sink.objects[ObjectName("default", name)].ports[0].port


@contextlib.asynccontextmanager
async def following(root: Path, labels: str = "") -> AsyncIterator[Following]:
    folder = ManifestFolder(root)
    f = Following(folder, labels)
    task = asyncio.create_task(f.source.run())
    try:
        await f.sink.until(lambda: f.source.has_synced)
        yield f
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        folder.close()


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def inside() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(inside())


def test_folder_is_handed_over_whole_and_then_by_changes(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(documents(service("a"), service("b")))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.json").write_text('{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"},"spec":{}}')
    (tmp_path / "d.yml").write_text(service("d"))
    (tmp_path / "notes.txt").write_text(service("never"))

    async def scenario() -> None:
        async with following(tmp_path) as f:
            assert f.sink.calls == [("replace", ["default/a", "default/b", "default/c", "default/d"])]
            (tmp_path / "a.yaml").write_text(documents(service("a", 81), service("b")))
            await f.sees_port("a", 81)
            assert len(f.sink.calls_of("apply")) == 1
            (changes,) = f.sink.calls_of("apply")
            assert [str(c.name) for c in changes] == ["default/a"]  # type: ignore[attr-defined]
            (tmp_path / "d.yml").unlink()
            await f.sees("a", "b", "c")
            assert f.source.stale_since is None
            assert f.source.errors == ()

    run(scenario)


def test_editors_ways_to_save_are_one_change_each(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(service("a"))

    async def scenario() -> None:
        async with following(tmp_path) as f:
            # vim: a backup by rename, a test file, a new file in place
            (tmp_path / "4913").touch()
            (tmp_path / "4913").unlink()
            (tmp_path / ".a.yaml.swp").write_text("swap")
            path.rename(tmp_path / "a.yaml~")
            path.write_text(service("a", 81))
            (tmp_path / "a.yaml~").unlink()
            await f.sees_port("a", 81)
            # atomic rename
            (tmp_path / "a.yaml.tmp").write_text(service("a", 82))
            (tmp_path / "a.yaml.tmp").rename(path)
            await f.sees_port("a", 82)
            # emacs' lock, a link to nothing
            (tmp_path / ".#a.yaml").symlink_to("user@host.1:2")
            (tmp_path / "#a.yaml#").write_text(service("never"))
            path.write_text(service("a", 83))
            await f.sees_port("a", 83)
            assert f.sink.names == ["default/a"]
            assert all(len(changes) == 1 for changes in f.sink.calls_of("apply"))  # type: ignore[arg-type]
            assert f.source.errors == ()

    run(scenario)


def test_file_is_not_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(documents(service("a"), service("b")))

    async def scenario() -> None:
        async with following(tmp_path) as f:
            with path.open("w") as file:
                file.write(service("a", 81))
                file.flush()
                (tmp_path / "z.yaml").write_text(service("z"))
                await f.sees("a", "b", "z")
                assert f.port("a") == 80
                file.write("---\n" + service("b", 81))
            await f.sees_port("a", 81)
            assert f.sink.names == ["default/a", "default/b", "default/z"]

    run(scenario)


def test_new_and_renamed_and_removed_folders_are_followed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with following(tmp_path) as f:
            (tmp_path / "x" / "y").mkdir(parents=True)
            (tmp_path / "x" / "y" / "a.yaml").write_text(service("a"))
            await f.sees("a")
            (tmp_path / "x" / "y" / "b.yaml").write_text(service("b"))
            await f.sees("a", "b")
            (tmp_path / "x").rename(tmp_path / "w")
            (tmp_path / "w" / "y" / "c.yaml").write_text(service("c"))
            await f.sees("a", "b", "c")
            shutil.rmtree(tmp_path / "w" / "y")
            await f.sees()
            (tmp_path / "w" / "y").mkdir()
            (tmp_path / "w" / "y" / "d.yaml").write_text(service("d"))
            await f.sees("d")

    run(scenario)


def publish(volume: Path, generation: str, files: dict[str, str]) -> None:
    """Write a ConfigMap volume as kubelet's AtomicWriter does: a new folder, then one rename of a link."""
    new = volume / f"..{generation}"
    for name, text in files.items():
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).write_text(text)
    (volume / "..data_tmp").symlink_to(new.name)
    old = (volume / "..data").readlink() if (volume / "..data").is_symlink() else None
    (volume / "..data_tmp").rename(volume / "..data")
    for top in {name.split("/")[0] for name in files}:
        if not (volume / top).is_symlink():
            (volume / top).symlink_to(f"..data/{top}")
    for entry in volume.iterdir():
        if not entry.name.startswith("..") and not entry.exists():
            entry.unlink()
    if old is not None:
        shutil.rmtree(volume / old)


def test_config_map_volume_is_followed_through_its_links(tmp_path: Path) -> None:
    publish(tmp_path, "1", {"a.yaml": service("a"), "sub/b.yaml": service("b")})

    async def scenario() -> None:
        async with following(tmp_path) as f:
            assert f.sink.names == ["default/a", "default/b"]
            publish(tmp_path, "2", {"a.yaml": service("a", 81), "sub/b.yaml": service("b", 82)})
            await f.sees_port("b", 82)
            assert f.port("a") == 81
            assert f.sink.names == ["default/a", "default/b"]
            publish(tmp_path, "3", {"sub/b.yaml": service("b", 83), "sub/c.yaml": service("c")})
            await f.sees("b", "c")

    run(scenario)


def test_broken_file_keeps_its_last_good_objects(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(documents(service("a"), service("b"), service("c")))

    async def scenario() -> None:
        async with following(tmp_path) as f:
            path.write_text(documents(service("a", 81), "kind: [", service("c")))
            await f.sees_port("a", 81)
            assert f.sink.names == ["default/a", "default/b", "default/c"]
            (error,) = f.source.errors
            assert error.startswith("a.yaml: document 2 (line 6): line ")
            path.write_text(documents(service("a", 82), service("c")))
            await f.sees("a", "c")
            assert f.source.errors == ()

    with caplog.at_level(logging.ERROR):
        run(scenario)
    assert len([r for r in caplog.records if "document 2" in r.getMessage()]) == 1


def test_wrong_object_keeps_its_last_good_version_and_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(documents(service("a"), service("b"), service("c")))

    async def scenario() -> None:
        async with following(tmp_path) as f:
            path.write_text(documents(service("a", 99999), service("b", 81)))
            await f.sees("a", "b")  # c is gone: every document could be read
            assert f.port("a") == 80
            assert f.port("b") == 81
            assert f.source.errors == (
                "a.yaml: document 1 (line 1): Service default/a: spec.ports[0].port: 99999 is not a port (1 to 65535)",
            )

    run(scenario)


def test_first_file_by_name_holds_an_object_that_several_define(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.yaml").write_text(service("x", 1))
    (tmp_path / "b.yaml").write_text(documents(service("w"), service("x", 2)))

    async def scenario() -> None:
        async with following(tmp_path) as f:
            assert f.port("x") == 1
            (error,) = f.source.errors
            assert error == (
                "Service default/x: defined more than once: a.yaml: document 1 (line 1) counts,"
                " not: b.yaml: document 2 (line 6)"
            )
            (tmp_path / "a.yaml").unlink()
            await f.sees_port("x", 2)
            assert f.source.errors == ()
            (tmp_path / "0.yaml").write_text(service("x", 3))
            await f.sees_port("x", 3)
            (tmp_path / "0.yaml").rename(tmp_path / "c.yaml")
            await f.sees_port("x", 2)

    with caplog.at_level(logging.ERROR):
        run(scenario)
    assert len([r for r in caplog.records if "a.yaml: document 1 (line 1) counts" in r.getMessage()]) == 1


def test_object_twice_in_one_file_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(documents(service("x", 1), service("x", 2)))

    async def scenario() -> None:
        async with following(tmp_path) as f:
            assert f.port("x") == 1
            (error,) = f.source.errors
            assert error == (
                "a.yaml: document 2 (line 6): Service default/x: defined before:"
                " a.yaml: document 1 (line 1); that one counts"
            )

    run(scenario)


def test_moving_an_object_to_another_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("x"))

    async def scenario() -> None:
        async with following(tmp_path) as f:
            (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
            (tmp_path / "c.yaml").write_text(service("w"))
            await f.sees("w", "x")
            changes = [change for batch in f.sink.calls_of("apply") for change in batch]  # type: ignore[attr-defined]
            assert [change.name.name for change in changes] == ["w"]

    run(scenario)


def test_selectors_mean_the_same_as_at_an_api_server(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(documents(service("a"), service("h", labels="{headless: yes-please}")))

    async def scenario() -> None:
        async with following(tmp_path, labels="!headless") as f:
            assert f.sink.names == ["default/a"]
            (tmp_path / "a.yaml").write_text(documents(service("a", labels="{headless: x}"), service("h")))
            await f.sees("h")

    run(scenario)


def test_several_kinds_and_a_field_selector(tmp_path: Path) -> None:
    node = "apiVersion: v1\nkind: Node\nmetadata: {name: %s}\n"
    (tmp_path / "a.yaml").write_text(documents(node % "n1", service("a"), node % "n2", "kind: Lease\napiVersion: x/v1"))

    async def scenario() -> None:
        services: RecordingSink[Any] = RecordingSink(lambda s: s.name)
        nodes: RecordingSink[Any] = RecordingSink(lambda n: ObjectName("", n.name))
        folder = ManifestFolder(tmp_path)
        feeds: list[Feed[Any]] = [Feed(SERVICE, services), Feed(NODE, nodes, fields="metadata.name=n1")]
        source = ManifestSource(folder, feeds, ManualClock())
        await source.load()
        folder.close()
        assert services.calls == [("replace", ["default/a"])]
        assert nodes.calls == [("replace", ["n1"])]
        assert source.errors == ()

    run(scenario)


def test_folder_that_vanishes_keeps_everything_and_comes_back(tmp_path: Path) -> None:
    root = tmp_path / "m"
    root.mkdir()
    (root / "a.yaml").write_text(service("a"))

    async def scenario() -> None:
        async with following(root) as f:
            root.rename(tmp_path / "away")
            await f.clock.sleeper()
            assert f.source.stale_since == 1000.0
            assert f.sink.names == ["default/a"]
            root.mkdir()
            (root / "b.yaml").write_text(service("b"))
            await f.clock.skip()
            await f.sees("b")
            assert f.source.stale_since is None

    run(scenario)


def test_missing_folder_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--manifests .*/none: no such file or directory"):
        ManifestFolder(tmp_path / "none")


def test_a_single_file_is_followed_too(tmp_path: Path) -> None:
    path = tmp_path / "shop.txt"
    path.write_text(service("a"))
    (tmp_path / "other.yaml").write_text(service("never"))

    async def scenario() -> None:
        async with following(path) as f:
            assert f.sink.names == ["default/a"]
            path.write_text(service("b"))
            await f.sees("b")

    run(scenario)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "back").symlink_to(tmp_path)
    (tmp_path / "a.yaml").write_text(service("a"))
    (tmp_path / "sub" / "dead.yaml").symlink_to("nowhere")

    async def scenario() -> None:
        async with following(tmp_path) as f:
            assert f.sink.names == ["default/a"]
            assert f.source.errors == ()

    run(scenario)


def test_many_files_that_change_together_are_one_batch(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with following(tmp_path) as f:
            other = tmp_path.parent / f"{tmp_path.name}-other"
            other.mkdir()
            for i in range(200):
                (other / f"{i:03}.yaml").write_text(service(f"s{i:03}"))
            os.rename(other, tmp_path / "all")  # noqa: PTH104
            await f.sink.until(lambda: len(f.sink.objects) == 200)
            assert len(f.sink.calls_of("apply")) == 1

    run(scenario)


class Churn:
    """Somebody who works in a folder at random, in every way that people and programs do."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._random = random.Random(seed)
        self._count = 0

    def step(self) -> None:
        """Do one thing."""
        ways = (self._write, self._write, self._replace, self._append, self._delete, self._rename, self._folder)
        self._random.choice(ways)()

    def _text(self) -> str:
        self._count += 1
        names = self._random.sample(["alpha", "beta", "gamma", "delta", "echo"], self._random.randint(0, 3))
        return documents(*(service(name, self._count % 60000 + 1) for name in names))

    def _folders(self) -> list[Path]:
        return [self._root, *(path for path in sorted(self._root.rglob("*")) if path.is_dir())]

    def _files(self) -> list[Path]:
        return sorted(self._root.rglob("*.yaml"))

    def _new(self) -> Path:
        return self._random.choice(self._folders()) / f"{self._random.choice('abcdef')}.yaml"

    def _write(self) -> None:
        path = self._new()
        if not path.is_dir():
            path.write_text(self._text())

    def _replace(self) -> None:
        path = self._new()
        other = path.with_name(f".{path.name}.new")
        other.write_text(self._text())
        other.rename(path)

    def _append(self) -> None:
        if files := self._files():
            with self._random.choice(files).open("a") as file:
                file.write("---\n" + self._text())

    def _delete(self) -> None:
        if files := self._files():
            self._random.choice(files).unlink()

    def _rename(self) -> None:
        if files := self._files():
            self._random.choice(files).rename(self._new())

    def _folder(self) -> None:
        folders = self._folders()[1:]
        match self._random.randrange(4):
            case 0 if folders:
                shutil.rmtree(self._random.choice(folders))
            case 1 if folders:
                self._random.choice(folders).rename(self._root / f"moved{self._count}-{self._random.random()}")
            case _:
                (self._random.choice(self._folders()) / self._random.choice("xyz")).mkdir(exist_ok=True)


def on_disk(root: Path) -> dict[str, int]:
    """What should be known of a folder: of each Service the port in the first file by name."""
    known: dict[str, int] = {}
    for path in sorted(root.rglob("*.yaml"), key=lambda p: str(p.relative_to(root))):
        for one in read_manifest(path.name, path.read_bytes()).objects:
            known.setdefault(one.name.name, one.tree["spec"]["ports"][0]["port"])
    return known


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_in_a_folder_is_known_in_the_end(tmp_path: Path, seed: int) -> None:
    async def scenario() -> None:
        churn = Churn(tmp_path, seed)
        async with following(tmp_path) as f:
            for _ in range(30):
                for _ in range(10):
                    churn.step()
                await asyncio.sleep(0)
            wanted = on_disk(tmp_path)
            await f.sink.until(lambda: {n.name: s.ports[0].port for n, s in f.sink.objects.items()} == wanted)
            assert len(f.sink.calls_of("replace")) == 1

    run(scenario)
