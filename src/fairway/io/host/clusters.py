"""A cluster on this machine from outside its processes: built, started, waited for, ended, cleared away."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fairway.cluster.settings import ClusterSettings
from fairway.io.containers.syscalls import unmount
from fairway.io.host import netns, underlay, waysin
from fairway.io.host.statefolder import SUPERVISOR, StateFolder
from fairway.values.errors import FairwayError

POLL_SECONDS = 0.02


class NotReadyError(FairwayError):
    """The cluster did not become ready in time; the message says which part is not and what its log says."""


def build(folder: StateFolder, settings: ClusterSettings) -> None:
    """The host's side; again, when parts of it have gone."""
    folder.create(settings)
    for node in settings.topology.nodes:
        folder.node(node.name).mkdir(exist_ok=True)
    folder.keep_sysctls(underlay.forwarding_now(settings.topology))
    underlay.build(settings.topology)
    for one in underlay.forwarding_now(settings.topology):
        underlay.write_sysctl(one._replace(value="1"))


def start(folder: StateFolder) -> None:
    """Start the supervisor, detached from this terminal, unless it runs."""
    if folder.part(SUPERVISOR).pid:
        return
    with folder.log(SUPERVISOR).open("ab") as out:
        command = [sys.executable, "-m", "fairway.cli.main", "supervisor", "--state", str(folder.path)]
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd="/")


def wait_ready(folder: StateFolder, seconds: float, said: Callable[[str], None]) -> None:
    """Return when every part is ready; `said` hears of each once. Raises NotReadyError."""
    deadline = time.monotonic() + seconds
    told: set[str] = set()
    while True:
        parts = folder.parts()
        for part in parts:
            if part.is_ready and part.name not in told:
                told.add(part.name)
                said(part.name)
        missing = [part.name for part in parts if not part.is_ready]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise NotReadyError(
                f"not ready after {seconds:.0f} s: {', '.join(missing)}; {_last_words(folder, missing[0])}"
            )
        time.sleep(POLL_SECONDS)


def _last_words(folder: StateFolder, name: str) -> str:
    with contextlib.suppress(OSError):
        lines = folder.log(name).read_text(errors="replace").splitlines()
        return f"{folder.log(name)} ends with: {lines[-1] if lines else 'nothing'}"
    return f"{folder.log(name)} is not there"


def stop(folder: StateFolder, seconds: float = 40.0) -> None:
    """End all processes: the supervisor ends the others; where it is gone, they are ended one by one."""
    running = [part for part in folder.parts() if part.pid]
    first = [part for part in running if part.name == SUPERVISOR] or running
    _signal(first, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while running and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        running = [part for part in folder.parts() if part.pid]
        if not any(part.name == SUPERVISOR for part in running) and first[0].name == SUPERVISOR:
            _signal(running, signal.SIGTERM)
            first = running or first
    _signal(running, signal.SIGKILL)


def _signal(parts: list, number: int) -> None:  # type: ignore[type-arg]
    for part in parts:
        with contextlib.suppress(ProcessLookupError):
            os.kill(part.pid, number)


def clear(folder: StateFolder) -> None:
    """Put the host back as it was: also after processes that were killed. None of them may run any more."""
    settings = folder.settings()
    runc = shutil.which("runc")
    for node in settings.topology.nodes:
        place = folder.node(node.name)
        for state in sorted((place / "runc" / "state").glob("*")):
            if runc:
                command = [runc, "--root", str(state.parent), "delete", "--force", state.name]
                subprocess.run(command, capture_output=True, check=False)
        for path in sorted(place.glob("fs/layers/*/root")):
            unmount(path)
        unmount(place / "fs")
        for name in netns.names(f"{node.namespace}-"):
            netns.remove(name)
    waysin.remove(settings)
    underlay.remove(settings.topology)
    for one in folder.sysctls():
        underlay.write_sysctl(one)
    for group in sorted(Path("/sys/fs/cgroup").glob("*/fairway")):
        with contextlib.suppress(OSError):
            group.rmdir()
    shutil.rmtree(folder.path, ignore_errors=True)
