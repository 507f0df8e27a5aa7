"""Who runs, by the kernel's locks; what is written down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairway.cluster.host import HostSysctl
from fairway.cluster.settings import make_settings
from fairway.io.host.statefolder import Part, RunningAlreadyError, StateFolder, folders
from fairway.values.errors import FairwayError

HOLD = """
import sys, time
from pathlib import Path
from fairway.io.host.statefolder import StateFolder
folder = StateFolder(Path(sys.argv[1]))
folder.take("node-1")
if sys.argv[2] == "ready":
    folder.ready("node-1")
print("held", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "one")
    made.create(make_settings("ipv4", {}, nodes=1))
    return made


@contextmanager
def held(folder: StateFolder, state: str = "ready") -> Iterator[subprocess.Popen[str]]:
    """Another process is node-1."""
    command = [sys.executable, "-c", HOLD, str(folder.path), state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_runs_is_known_by_its_lock_and_gone_with_its_process(folder: StateFolder) -> None:
    assert folder.names() == ("supervisor", "control-plane", "node-1")
    assert folder.part("node-1") == Part("node-1", 0, False)
    with held(folder) as process:
        assert folder.part("node-1") == Part("node-1", process.pid, True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert folder.part("node-1") == Part("node-1", 0, False)
    with held(folder, "starting") as process:
        assert folder.part("node-1") == Part("node-1", process.pid, False)


def test_nobody_can_be_what_another_process_is(folder: StateFolder) -> None:
    with held(folder) as process, pytest.raises(RunningAlreadyError, match=f"as process {process.pid}"):
        folder.take("node-1")
    pid = os.fork()
    if not pid:
        folder.take("node-1")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_what_is_written_is_read_again(folder: StateFolder) -> None:
    assert folder.settings() == make_settings("ipv4", {}, nodes=1)
    assert (folder.history(), folder.kubeconfig_place()) == ({}, None)
    folder.keep_history({"node-1": (2, "signal 9")})
    folder.keep_kubeconfig_place(Path("/x/config"))
    assert (folder.history(), folder.kubeconfig_place()) == ({"node-1": (2, "signal 9")}, Path("/x/config"))
    assert (folder.path.stat().st_mode & 0o777) == 0o700


def test_what_the_host_had_first_is_kept_and_handed_on(folder: StateFolder) -> None:
    first, later = HostSysctl("net.ipv4.ip_forward", "0"), HostSysctl("net.ipv4.ip_forward", "1")
    folder.keep_sysctls((first,))
    folder.keep_sysctls((later,))
    assert folder.sysctls() == (first,)
    other = StateFolder(folder.path.with_name("two"))
    other.create(make_settings("ipv4", {}, name="two"))
    other.keep_sysctls((later, HostSysctl("a.b", "5")))
    other.inherit_sysctls((first,))
    assert set(other.sysctls()) == {first, HostSysctl("a.b", "5")}
    assert [one.path.name for one in folders(folder.path.parent)] == ["one", "two"]


def test_a_folder_without_a_cluster_says_so(tmp_path: Path) -> None:
    assert not StateFolder(tmp_path).exists
    with pytest.raises(FairwayError, match="no cluster's state"):
        StateFolder(tmp_path).settings()
