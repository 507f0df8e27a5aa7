"""A cluster on this machine from outside its processes: built, started, waited for, ended, cleared away."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from fairway.cluster.preflight import OUR_LINK, OURS, missing_of
from fairway.cluster.settings import ClusterSettings
from fairway.io.containers.syscalls import unmount
from fairway.io.host import netns, underlay, waysin
from fairway.io.host.statefolder import ROOT, SUPERVISOR, Part, StateFolder, folders
from fairway.io.netlink.addresses import Links
from fairway.io.netlink.links import LinkWriter
from fairway.values.errors import FairwayError

POLL_SECONDS = 0.02
STOP_SECONDS = 15.0
CGROUPS = Path("/sys/fs/cgroup")


class NotReadyError(FairwayError):
    """The cluster did not become ready in time; the message says which part is not and what its log says."""


def build(folder: StateFolder, settings: ClusterSettings) -> None:
    """The host's side; again, when parts of it have gone."""
    folder.create(settings)
    for node in settings.topology.nodes:
        folder.node(node.name).mkdir(exist_ok=True)
    folder.keep_sysctls(underlay.sysctls_now(settings.topology))
    underlay.build(settings.topology)
    for one in underlay.sysctls_now(settings.topology):
        if one.value != "1":
            underlay.write_sysctl(one._replace(value="1"))


def missing(settings: ClusterSettings) -> tuple[str, ...]:
    """What of a cluster's side of the host is not there."""
    with Links() as links:
        names = {one.name for one in links.interfaces()}
    return missing_of(settings.topology, names, netns.exists)


def lost_nodes(settings: ClusterSettings) -> list[str]:
    """Nodes whose namespaces have lost their names: their processes, if they run, are in a place that nobody finds."""
    return [node.name for node in settings.topology.nodes if not netns.exists(node.namespace)]


def end(folder: StateFolder, names: Iterable[str]) -> None:
    """End some parts; the supervisor starts them again, in the namespaces that are there now."""
    running = [part for part in map(folder.part, names) if part.pid]
    ends = _watch_ends(part.pid for part in running)
    _signal(running, signal.SIGTERM)
    for one in ends:
        select.select([one], [], [], STOP_SECONDS)
        os.close(one)


def start(folder: StateFolder) -> None:
    """Start the supervisor, detached from this terminal, unless it runs. Returns when `stop` would find it."""
    if folder.part(SUPERVISOR).pid:
        return
    command = [sys.executable, "-m", "fairway.cli.main", "supervisor", "--state", str(folder.path)]
    none = subprocess.DEVNULL
    with folder.log(SUPERVISOR).open("ab") as out:
        begun = subprocess.Popen(command, stdin=none, stdout=out, stderr=out, start_new_session=True, cwd="/")
    try:
        while not folder.part(SUPERVISOR).pid and begun.poll() is None:
            time.sleep(POLL_SECONDS)
    except BaseException:
        begun.kill()
        begun.wait()
        raise


def wait_ready(folder: StateFolder, seconds: float, said: Callable[[str], None]) -> None:
    """Return when every part is ready; `said` hears of each once. Raises NotReadyError."""
    deadline = time.monotonic() + seconds
    told: set[str] = set()
    names = folder.names()
    while True:
        parts = [folder.part(name) for name in names]
        for part in parts:
            if part.is_ready and part.name not in told:
                told.add(part.name)
                said(part.name)
        missing = [part.name for part in parts if not part.is_ready]
        if not missing:
            return
        if time.monotonic() > deadline:
            words = f"{', '.join(missing)}: not ready after {seconds:.0f} s"
            raise NotReadyError(f"{words}; {last_words(folder, missing[0])}")
        time.sleep(POLL_SECONDS)


def last_words(folder: StateFolder, name: str) -> str:
    """The end of a part's log, for an error message."""
    path = folder.log(name)
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(path.stat().st_size - 4096, 0))
        lines = file.read().decode(errors="replace").splitlines()
        return f"{path} ends with: {lines[-1] if lines else 'nothing'}"
    return f"{path} is not there"


def stop(folder: StateFolder, seconds: float = 40.0) -> None:
    """End all processes: the supervisor ends the others; where it is gone, they are ended one by one."""
    names = folder.names()
    deadline = time.monotonic() + seconds
    asked: set[int] = set()
    ends = _watch_ends(part.pid for part in map(folder.part, names))
    while running := [part for part in map(folder.part, names) if part.pid]:
        if time.monotonic() > deadline:
            _signal(running, signal.SIGKILL)
            deadline = time.monotonic() + 1.0
        first = running[:1] if running[0].name == SUPERVISOR else running
        _signal((part for part in first if part.pid not in asked), signal.SIGTERM)
        asked.update(part.pid for part in first)
        time.sleep(POLL_SECONDS)
    for end in ends:
        select.select([end], [], [], 1.0)  # a lock is let go of a moment before its process has gone
        os.close(end)


def _watch_ends(pids: Iterable[int]) -> list[int]:
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            found += [os.pidfd_open(pid)] if pid else []
    return found


def _signal(parts: Iterable[Part], number: int) -> None:
    for part in parts:
        with contextlib.suppress(ProcessLookupError):
            os.kill(part.pid, number)


def clear(folder: StateFolder) -> None:
    """Put the host back as it was, also after processes that were killed. None of them may run any more."""
    settings = folder.settings()
    for node in settings.topology.nodes:
        _clear_pods(folder.node(node.name))
        for name in netns.names(f"{node.namespace}-"):
            netns.remove(name)
    _unmount_below(folder.path)
    waysin.remove(settings)
    underlay.remove(settings.topology)
    _restore_sysctls(folder)
    _remove_groups()
    shutil.rmtree(folder.path, ignore_errors=True)
    for place in (folder.path.parent, netns.FOLDER):
        with contextlib.suppress(OSError):
            place.rmdir()


def _clear_pods(place: Path) -> None:
    """Containers whose node was killed run on without one."""
    states = sorted((place / "runc" / "state").glob("*"))
    runc = shutil.which("runc") if states else None
    for state in states:
        if runc is not None:
            subprocess.run(
                [runc, "--root", state.parent, "delete", "--force", state.name], capture_output=True, check=False
            )


def _unmount_below(place: Path) -> None:
    """All that is mounted in a folder, the last one first."""
    prefix = f"{place}/"
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    for target in reversed([line.split()[1] for line in lines]):
        if target.startswith(prefix):
            unmount(Path(target))


def _restore_sysctls(folder: StateFolder) -> None:
    """The last cluster puts them back; another that still runs inherits what there was before all of them."""
    before = folder.sysctls()
    others = [one for one in folders(folder.path.parent) if one.path != folder.path and one.exists]
    for other in others:
        other.inherit_sysctls(before)
    for one in before if not others else ():
        with contextlib.suppress(OSError):
            underlay.write_sysctl(one)


def _remove_groups() -> None:
    """Of containers; one in which something runs stays."""
    for top in (CGROUPS / "fairway", *sorted(CGROUPS.glob("*/fairway"))):
        for group in (*sorted(top.glob("*")), top):
            with contextlib.suppress(OSError):
                group.rmdir()


# -- after dead runs


def is_dead(folder: StateFolder) -> bool:
    """Whether nothing of it runs."""
    if not folder.exists:
        return True
    with contextlib.suppress(FairwayError):
        return not any(part.pid for part in folder.parts())
    return True


def remains(root: Path = ROOT) -> tuple[list[StateFolder], list[str], list[str]]:
    """What dead runs left: state folders, and links and namespaces that belong to no folder at all."""
    found = list(folders(root))
    prefixes = set()
    for folder in found:
        with contextlib.suppress(FairwayError):
            prefixes.add(folder.settings().prefix)
    with Links() as links:
        strays = [one.name for one in links.interfaces() if OUR_LINK.fullmatch(one.name)]
    spaces = [name for name in netns.names("fw") if OURS.fullmatch(name)]
    return (
        [folder for folder in found if is_dead(folder)],
        [name for name in strays if name.partition("-")[0] not in prefixes],
        [name for name in spaces if name.partition("-")[0] not in prefixes],
    )


def collect(root: Path = ROOT) -> list[str]:
    """Remove what `remains` finds; says what it was."""
    dead, links, spaces = remains(root)
    said = []
    for folder in dead:
        if folder.exists:
            with contextlib.suppress(FairwayError):
                clear(folder)
        shutil.rmtree(folder.path, ignore_errors=True)
        said.append(f"the dead cluster {folder.path.name}")
    with LinkWriter() as writer:
        for name in links:
            writer.remove(name)
            said.append(f"the interface {name}")
    for name in spaces:
        netns.remove(name)
        said.append(f"the network namespace {name}")
    return said
