"""Real containers on the real machine."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import netns
from fairway.io.containers.attach import attach
from fairway.io.containers.grants import machine_grants
from fairway.io.containers.logs import Log
from fairway.io.containers.rootfs import RootFiles
from fairway.io.containers.runc import Container, ContainerError, Runc
from fairway.io.http.streams import LogOptions
from fairway.pods.bundle import Prepared, config
from pod_objects import container, pod

pytestmark = pytest.mark.kernel
ALL = LogOptions(False, False, False, None, None, None, "")


class Bench:
    """Starts containers of one pod in one private network namespace."""

    def __init__(self, files: RootFiles, folder: Path, network: int) -> None:
        self.files, self.runc, self._folder, self._network = files, Runc(folder), folder, network
        self._made: list[tuple[str, Container]] = []

    async def start(self, *argv: str, **fields: Any) -> Container:
        name = f"fw-test-{os.getpid()}-{len(self._made)}"
        one = pod(container(**fields))
        prepared = Prepared(
            rootfs=str(self.files.make(name)),
            network=f"/proc/{os.getpid()}/fd/{self._network}",
            ipc="",
            cgroup=f"/{name}",
            argv=argv,
            env={},
            mounts=(),
            grants=machine_grants(),
            hostname="web",
            is_terminal=bool(fields.get("tty")),
        )
        tree, _ = config(one, one.spec.containers[0], prepared)
        made = await self.runc.start(name, tree, Log(self._folder / f"{name}.log"), stdin=bool(fields.get("stdin")))
        self._made.append((name, made))
        return made

    async def say(self, *argv: str) -> tuple[int, str]:
        made = await self.start(*argv)
        code = await asyncio.wait_for(made.ended, 20)
        return code, await text_of(made)

    async def close(self) -> None:
        for name, made in self._made:
            await self.runc.remove(made)
            self.files.remove(name)


async def text_of(made: Container) -> str:
    follow = ALL._replace(follow=True)  # to its end: the last bytes may still be on their way
    return b"".join([chunk async for chunk in made.log.read(follow)]).decode()


@asynccontextmanager
async def bench(files: RootFiles) -> AsyncIterator[Bench]:
    network = netns.create()
    with tempfile.TemporaryDirectory(prefix="fw-pods-") as folder:
        made = Bench(files, Path(folder), network)
        try:
            yield made
        finally:
            await made.close()
            os.close(network)


def test_a_container_says_its_words_and_its_exit_code(files: RootFiles) -> None:
    async def go() -> None:
        async with bench(files) as b:
            code, text = await b.say("/bin/sh", "-c", "echo out; echo err >&2; hostname; exit 3")
            assert (code, sorted(text.split())) == (3, ["err", "out", "web"])

    asyncio.run(go())


def test_its_network_is_the_private_one(files: RootFiles) -> None:
    async def go() -> None:
        async with bench(files) as b:
            code, text = await b.say("/bin/ls", "/sys/class/net")
            assert (code, text.split()) == (0, ["lo"])

    asyncio.run(go())


def test_its_ipc_namespace_is_not_the_machines(files: RootFiles) -> None:
    async def go() -> None:
        async with bench(files) as b:
            code, text = await b.say("/bin/readlink", "/proc/self/ns/ipc")
            assert code == 0
            assert text.strip().startswith("ipc:[")
            assert text.strip() != os.readlink("/proc/self/ns/ipc")  # noqa: PTH115

    asyncio.run(go())


def test_the_machines_secrets_do_not_show(files: RootFiles, secret: Path) -> None:
    """Not even those that were put there when the root file systems were already open."""
    script = (
        f"cat {secret} /etc/shadow /etc/gshadow /etc/shadow- /root/{secret.stem} /var/backups/* && echo LEAK; "
        "ls -A /root /home /etc/ssh /etc/ssl/private /var/lib /work 2>/dev/null | grep -v : ; true"
    )

    async def go() -> None:
        async with bench(files) as b:
            code, text = await b.say("/bin/sh", "-c", script)
            assert code == 0
            assert "machine's secret" not in text
            assert "LEAK" not in text
            listed = [line for line in text.splitlines() if line and not line.startswith("cat: ")]
            assert listed == []

    asyncio.run(go())


def test_a_container_cannot_mount_or_open_the_machines_disks(files: RootFiles) -> None:
    async def go() -> None:
        async with bench(files) as b:
            code, _ = await b.say("/bin/sh", "-c", "mount -t tmpfs x /mnt || exit 9")
            assert code == 9
            root = os.lstat("/").st_dev
            script = f"mknod /tmp/d b {os.major(root)} {os.minor(root)}; head -c 1 /tmp/d >/dev/null || exit 9"
            code, _ = await b.say("/bin/sh", "-c", script)
            assert code == 9

    asyncio.run(go())


def test_what_it_writes_stays_in_its_own_layer(files: RootFiles) -> None:
    async def go() -> None:
        async with bench(files) as b:
            name = f"fw-written-{os.getpid()}"
            assert (await b.say("/bin/sh", "-c", f"echo x > /usr/{name} && cat /usr/{name}")) == (0, "x\n")
            assert name not in os.listdir("/usr")  # noqa: PTH208
            code, _ = await b.say("/bin/cat", f"/usr/{name}")
            assert code == 1

    asyncio.run(go())


def test_it_ends_by_term_within_the_grace_period_and_by_kill_after_it(files: RootFiles) -> None:
    async def go() -> None:
        async with bench(files) as b:
            polite = await b.start("/bin/sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")
            await anext(polite.log.read(ALL._replace(follow=True)))
            assert await b.runc.stop(polite, 10) == 0
            deaf = await b.start("/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
            await anext(deaf.log.read(ALL._replace(follow=True)))
            assert await b.runc.stop(deaf, 0.2) == 137

    asyncio.run(go())


def test_a_program_that_is_not_there_is_named_and_nothing_stays(files: RootFiles) -> None:
    async def go() -> None:
        async with bench(files) as b:
            with pytest.raises(ContainerError, match="/no/such"):
                await b.start("/no/such")
            assert await b.runc.remove_leftovers() == []

    asyncio.run(go())


class Client:
    """A terminal that types one text and keeps what comes."""

    def __init__(self, typed: bytes = b"") -> None:
        self._typed = [typed, b""] if typed else [b""]
        self.out = {False: b"", True: b""}
        self.sizes: list[tuple[int, int]] = []

    async def read(self) -> bytes:
        if not self._typed:
            await asyncio.Event().wait()
        return self._typed.pop(0)

    async def write(self, data: bytes, *, stderr: bool = False) -> None:
        self.out[stderr] += data

    async def resized(self) -> tuple[int, int]:
        if self.sizes:
            return self.sizes.pop(0)
        await asyncio.Event().wait()
        raise AssertionError


def test_commands_run_inside_with_input_output_and_exit_code(files: RootFiles) -> None:
    async def go() -> None:
        async with bench(files) as b:
            made = await b.start("/bin/sleep", "60")
            client = Client(b"hello")
            code = await b.runc.run(made, ["/bin/sh", "-c", "cat; echo e >&2; exit 4"], client, tty=False)
            assert (code, client.out) == (4, {False: b"hello", True: b"e\n"})
            client = Client(b"tty; exit 5\n")
            assert await b.runc.run(made, ["/bin/sh"], client, tty=True) == 5
            assert b"/dev/pts/" in client.out[False]
            assert await b.runc.probe(made, ["/bin/sh", "-c", "echo no; exit 1"], 5) == (1, b"no\n")
            with pytest.raises(ContainerError, match='exec: "nosuch": executable file not found'):
                await b.runc.run(made, ["nosuch"], Client(), tty=False)
            with pytest.raises(TimeoutError):
                await b.runc.probe(made, ["/bin/sleep", "30"], 0.2)

    asyncio.run(go())


def test_a_client_is_attached_to_a_console_and_sizes_it(files: RootFiles) -> None:
    script = "trap 'tty; stty size; exit 6' WINCH; echo up; while :; do sleep 0.05; done"

    async def go() -> None:
        async with bench(files) as b:
            made = await b.start("/bin/bash", "-c", script, tty=True)
            await anext(made.log.read(ALL._replace(follow=True)))
            client = Client()
            client.sizes.append((100, 40))
            assert await asyncio.wait_for(attach(made, client, ends_input=False), 10) == 6
            assert client.out == {False: b"/dev/pts/0\r\n40 100\r\n", True: b""}

    asyncio.run(go())


def test_what_a_client_types_reaches_a_console(files: RootFiles) -> None:
    async def go() -> None:
        async with bench(files) as b:
            made = await b.start("/bin/sh", tty=True, stdin=True)
            client = Client(b"stty -echo; echo $((6*7)); exit 3\n")
            assert await asyncio.wait_for(attach(made, client, ends_input=True), 10) == 3
            assert b"42\r\n" in client.out[False]

    asyncio.run(go())


def test_input_of_a_container_ends_with_its_only_client(files: RootFiles) -> None:
    async def go() -> None:
        async with bench(files) as b:
            made = await b.start("/bin/sh", "-c", "cat; echo end >&2", stdin=True)
            client = Client(b"hello\n" * 50_000)
            assert await asyncio.wait_for(attach(made, client, ends_input=True), 10) == 0
            assert client.out == {False: b"hello\n" * 50_000, True: b"end\n"}

    asyncio.run(go())


def test_a_client_that_leaves_takes_no_input_with_it(files: RootFiles) -> None:
    async def go() -> None:
        async with bench(files) as b:
            made = await b.start("/bin/cat", stdin=True)
            first = asyncio.ensure_future(attach(made, Client(b"one\n"), ends_input=False))
            assert await anext(made.log.read(ALL._replace(follow=True))) == b"one\n"
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            assert await asyncio.wait_for(attach(made, Client(b"two\n"), ends_input=True), 10) == 0

    asyncio.run(go())


def test_leftovers_of_a_process_that_died_are_found_and_ended(files: RootFiles) -> None:
    async def go() -> None:
        async with bench(files) as b:
            made = await b.start("/bin/sleep", "60")
            assert await b.runc.remove_leftovers() == [made.name]
            assert await asyncio.wait_for(made.ended, 10) == 137

    asyncio.run(go())
