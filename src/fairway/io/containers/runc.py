"""Containers by runc: made, started, watched to their end, entered, killed.

A container is an adopted child of this process, so no shim stands between: its output is read here, and its end is told
by a pidfd. When this process dies, its containers have nobody to write to and are removed by whoever comes next.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import pty
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from fairway.io.containers.console import ConsoleSocket, resize, write_all
from fairway.io.containers.grants import memory_group
from fairway.io.containers.logs import Log
from fairway.io.containers.syscalls import adopt_orphans
from fairway.io.http.streams import Terminal
from fairway.values.errors import FairwayError, UnavailableError

_CHUNK: Final = 64 << 10


class ContainerError(FairwayError):
    """runc refused; the message has its words."""


@dataclass(slots=True)
class Container:
    """One that runs or has run."""

    name: str
    pid: int
    log: Log
    ended: asyncio.Future[int]
    """Exit code; 128 and the signal's number when a signal ended it."""
    stdin: int | None = None
    console: int | None = None
    """The master of its pseudo-terminal."""
    memory_group: Path | None = None
    """Folder of its cgroup that counts memory."""

    @property
    def is_running(self) -> bool:
        return not self.ended.done()


class _Created(NamedTuple):
    """What comes of `runc create`: the first process, where its output is read, where its input is written."""

    pid: int
    outputs: tuple[int, ...]
    into: int | None


class Runc:
    """All containers of one node, with their states below `folder`."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("runc")
        if program is None:
            raise UnavailableError("runc is missing: apt-get install runc")
        self._program = program
        self._state = folder / "state"
        self._bundles = folder / "bundles"
        for path in (self._state, self._bundles):
            path.mkdir(parents=True, exist_ok=True)
        self._numbers = itertools.count()
        adopt_orphans()

    async def start(self, name: str, config: dict[str, Any], log: Log, *, stdin: bool = False) -> Container:
        """Make and start a container, on a console if its config asks for one.

        Raises ContainerError, and leaves nothing then.
        """
        bundle = self._bundles / name
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(config), encoding="utf-8")
        make = self._create_on_console if config["process"].get("terminal") else self._create_on_pipes
        try:
            pid, outputs, into = await make(bundle, stdin=stdin)
        except BaseException:
            shutil.rmtree(bundle, ignore_errors=True)
            raise
        made = Container(name, pid, log, asyncio.get_running_loop().create_future(), into)
        made.console = os.dup(outputs[0]) if len(outputs) == 1 else None
        # Before the start: one that dies at once has no groups that can be looked up.
        made.memory_group = memory_group(pid)
        _watch(made)
        readers = [await _read_pipe(made, one, kind) for one, kind in zip(outputs, ("stdout", "stderr"), strict=False)]
        try:
            await self._call("start", name)
        except ContainerError:
            await self.remove(made)
            raise
        made.ended.add_done_callback(lambda _: _close_soon(made, readers))
        return made

    async def _create_on_pipes(self, bundle: Path, *, stdin: bool) -> _Created:
        out, err = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        into = os.pipe2(os.O_CLOEXEC) if stdin else None
        try:
            pid = await self._create(bundle, [], into[0] if into else subprocess.DEVNULL, out[1], err[1])
        except BaseException:
            for descriptor in (out[0], err[0], *(into[1:] if into else ())):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (out[1], err[1], *(into[:1] if into else ())):
                os.close(descriptor)
        return _Created(pid, (out[0], err[0]), into[1] if into else None)

    async def _create_on_console(self, bundle: Path, *, stdin: bool) -> _Created:
        console = ConsoleSocket()
        try:
            nothing = subprocess.DEVNULL
            pid = await self._create(bundle, ["--console-socket", console.address], nothing, nothing, nothing)
            master = await console.receive()
        finally:
            console.close()
        return _Created(pid, (master,), os.dup(master) if stdin else None)

    async def signal(self, container: Container, number: int) -> None:
        """Send a signal to its first process, if it still runs."""
        if container.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(container.pid, number)

    async def stop(self, container: Container, grace: float) -> int:
        """SIGTERM, and after `grace` seconds SIGKILL; returns the exit code."""
        await self.signal(container, signal.SIGTERM if grace > 0 else signal.SIGKILL)
        if grace > 0:
            await asyncio.wait({container.ended}, timeout=grace)
            await self.signal(container, signal.SIGKILL)
        return await asyncio.shield(container.ended)

    async def remove(self, container: Container) -> None:
        """End it if need be, and forget it."""
        await self.signal(container, signal.SIGKILL)
        with contextlib.suppress(ContainerError):
            await self._call("delete", "--force", container.name)
        for descriptor in (container.stdin, container.console):
            if descriptor is not None:
                os.close(descriptor)
        container.stdin = container.console = None
        shutil.rmtree(self._bundles / container.name, ignore_errors=True)

    async def remove_leftovers(self) -> list[str]:
        """End and forget all containers of a process that died; their names."""
        names = sorted(path.name for path in self._state.iterdir() if path.is_dir())
        for name in names:
            await self._call("delete", "--force", name)
        for bundle in self._bundles.iterdir():
            shutil.rmtree(bundle, ignore_errors=True)
        return names

    # -- commands inside

    async def probe(self, container: Container, command: Sequence[str], seconds: float) -> tuple[int, bytes]:
        """Run a command without input; its exit code and the beginning of what it said. Raises TimeoutError."""
        pid_file = self._bundles / container.name / f"probe-{next(self._numbers)}"
        process = await self._exec(container, command, pid_file, stdin=subprocess.DEVNULL)
        try:
            said, _ = await asyncio.wait_for(process.communicate(), seconds)
        except BaseException:
            await _kill_command(process, pid_file)
            raise
        finally:
            for path in (pid_file, pid_file.with_suffix(".words")):
                path.unlink(missing_ok=True)
        return process.returncode or 0, said[:10240]

    async def run(self, container: Container, command: Sequence[str], terminal: Terminal, *, tty: bool) -> int:
        """Run a command for a client; its exit code. Raises ContainerError when runc cannot."""
        pid_file = self._bundles / container.name / f"run-{next(self._numbers)}"
        words = pid_file.with_suffix(".words")
        try:
            run = self._run_on_tty if tty else self._run_on_pipes
            code = await run(container, command, terminal, pid_file)
            if code and words.exists() and (said := _last_words(words.read_text("utf-8", "replace"))):
                raise ContainerError(said)
            return code
        finally:
            for path in (pid_file, words):
                path.unlink(missing_ok=True)

    async def _run_on_pipes(
        self, container: Container, command: Sequence[str], terminal: Terminal, pid_file: Path
    ) -> int:
        pipe = subprocess.PIPE
        process = await self._exec(container, command, pid_file, stdin=pipe, stderr=pipe)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        feeding = asyncio.ensure_future(_feed(terminal, process.stdin))
        try:
            await asyncio.gather(
                _drain(process.stdout, terminal.write),
                _drain(process.stderr, lambda data: terminal.write(data, stderr=True)),
            )
            return await process.wait()
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            if process.returncode is None:
                await _kill_command(process, pid_file)

    async def _run_on_tty(
        self, container: Container, command: Sequence[str], terminal: Terminal, pid_file: Path
    ) -> int:
        master, slave = pty.openpty()
        try:
            process = await self._exec(container, command, pid_file, "--tty", stdin=slave, stdout=slave, stderr=slave)
        finally:
            os.close(slave)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(master, "rb", 0))

        async def feed() -> None:
            while data := await terminal.read():
                await loop.run_in_executor(None, write_all, master, data)

        async def follow_size() -> None:
            while True:
                resize(master, await terminal.resized())
                process.send_signal(signal.SIGWINCH)

        helpers = [asyncio.ensure_future(feed()), asyncio.ensure_future(follow_size())]
        try:
            with contextlib.suppress(OSError):  # the pty's other end has gone: EIO
                await _drain(reader, terminal.write)
            return await process.wait()
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            pipe.close()
            if process.returncode is None:
                await _kill_command(process, pid_file)

    async def _exec(
        self, container: Container, command: Sequence[str], pid_file: Path, *flags: str, **streams: Any
    ) -> asyncio.subprocess.Process:
        if not container.is_running:
            raise ContainerError(f"container {container.name} does not run")
        streams.setdefault("stdout", subprocess.PIPE)
        streams.setdefault("stderr", subprocess.STDOUT)
        base = [self._program, "--root", str(self._state), "--log", str(pid_file.with_suffix(".words"))]
        base += ["exec", "--pid-file", str(pid_file), *flags]
        return await asyncio.create_subprocess_exec(*base, container.name, *command, **streams)

    # -- runc itself

    async def _create(self, bundle: Path, flags: list[str], stdin: int, out: int, err: int) -> int:
        """Process id of the container that waits to be started."""
        # The container inherits standard error, so runc's own words go to a file.
        words, pid_file = self._bundles / f"{bundle.name}.words", bundle / "pid"
        command = [self._program, "--root", str(self._state), "--log", str(words), "create", *flags]
        command += ["--bundle", str(bundle), "--pid-file", str(pid_file), bundle.name]
        process = await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=out, stderr=err)
        code = await process.wait()
        said = words.read_text(encoding="utf-8", errors="replace") if words.exists() else ""
        words.unlink(missing_ok=True)
        if code:
            raise ContainerError(_last_words(said) or f"runc create: exit code {code}")
        return int(pid_file.read_text())

    async def _call(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            self._program, "--root", str(self._state), *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise ContainerError(_last_words(said.decode(errors="replace")))


async def _kill_command(process: asyncio.subprocess.Process, pid_file: Path) -> None:
    """Killing runc alone would leave the command; and once runc is gone, it is ours to reap.

    Unreaped it would hold up the end of the container's process namespace.
    """
    pid = _pid_in(pid_file)
    for one in (pid, process.pid):
        if one:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
    await process.wait()
    if pid:
        with contextlib.suppress(ChildProcessError):
            await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)


def _pid_in(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


def _last_words(text: str) -> str:
    """runc's error: the `msg` of its last line."""
    line = (text.strip().splitlines() or [""])[-1]
    _, found, rest = line.partition('msg="')
    return rest.rpartition('"')[0].replace('\\"', '"') if found else line


def _watch(container: Container) -> None:
    """Reap it when it ends."""
    descriptor = os.pidfd_open(container.pid)
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(descriptor)
        result = os.waitid(os.P_PIDFD, descriptor, os.WEXITED)
        os.close(descriptor)
        if result is not None and not container.ended.done():
            is_signal = result.si_code != os.CLD_EXITED
            container.ended.set_result(result.si_status + (128 if is_signal else 0))

    loop.add_reader(descriptor, ended)


class _Feeder(asyncio.Protocol):
    def __init__(self, log: Log, stream: str) -> None:
        self._log, self._stream = log, stream
        self.finished = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._log.feed(data, self._stream)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(None)


async def _read_pipe(container: Container, descriptor: int, stream: str) -> _Feeder:
    loop = asyncio.get_running_loop()
    _, feeder = await loop.connect_read_pipe(lambda: _Feeder(container.log, stream), os.fdopen(descriptor, "rb", 0))
    return feeder


def _close_soon(container: Container, readers: list[_Feeder]) -> None:
    """The log ends when all that was written has been read."""

    async def close() -> None:
        await asyncio.wait([reader.finished for reader in readers], timeout=2.0)
        container.log.close()

    task = asyncio.ensure_future(close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()


async def _feed(terminal: Terminal, into: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await terminal.read():
            into.write(data)
            await into.drain()
    into.close()


async def _drain(reader: asyncio.StreamReader, write: Callable[[bytes], Any]) -> None:
    while data := await reader.read(_CHUNK):
        await write(data)
