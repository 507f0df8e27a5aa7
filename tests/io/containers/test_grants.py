from __future__ import annotations

from pathlib import Path

import pytest

from fairway.io.containers.grants import machine_grants, memory_group, was_out_of_memory
from fairway.pods.grants import CAPABILITIES, WITHHELD

FULL = (1 << len(CAPABILITIES)) - 1


class Machine:
    """A /proc and cgroup trees in a folder."""

    def __init__(self, folder: Path, capabilities: int = FULL) -> None:
        self.proc, self.cgroups = folder / "proc", folder / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self/status").write_text(f"Name:\tx\nCapBnd:\t{capabilities:016x}\n")
        (self.proc / "self/oom_score_adj").write_text("-17\n")
        self.lines: list[str] = ["1 0 0:1 / / rw - overlay overlay rw"]
        self._write()

    def mount(self, name: str, kind: str, options: str, **files: str) -> Path:
        folder = self.cgroups / name
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file.replace("__", ".")).write_text(text)
        self.lines.append(f"2 1 0:2 / {folder} rw,nosuid shared:3 - {kind} {kind} {options}")
        self._write()
        return folder

    def _write(self) -> None:
        (self.proc / "self/mountinfo").write_text("".join(f"{line}\n" for line in self.lines))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_leads_out_of_a_pod_is_withheld_and_what_the_machine_lacks_is_missing(tmp_path: Path) -> None:
    lacking = FULL & ~(1 << CAPABILITIES.index("NET_RAW"))
    granted = machine_grants(Machine(tmp_path, lacking).proc)
    assert granted.capabilities == set(CAPABILITIES) - WITHHELD - {"NET_RAW"}
    assert granted.oom_score == -17


def test_a_machine_without_cgroups_controls_nothing(machine: Machine) -> None:
    assert machine_grants(machine.proc).controls == frozenset()


def test_controls_of_version_1_are_those_that_are_mounted(machine: Machine) -> None:
    machine.mount("memory", "cgroup", "rw,memory", memory__limit_in_bytes="0")
    machine.mount("cpu", "cgroup", "rw,cpu,cpuacct")
    assert machine_grants(machine.proc).controls == {"memory"}


def test_controls_of_version_2_are_those_that_are_listed(machine: Machine) -> None:
    machine.mount("unified", "cgroup2", "rw", cgroup__controllers="cpu memory pids\n")
    assert machine_grants(machine.proc).controls == {"cpu", "memory"}


@pytest.mark.parametrize(
    ("kind", "options", "line", "file", "text"),
    [
        ("cgroup", "rw,memory", "4:memory:/fw/c", "memory.oom_control", "under_oom 0\noom_kill {}\n"),
        ("cgroup2", "rw", "0::/fw/c", "memory.events", "oom 3\noom_kill {}\n"),
    ],
    ids=["version 1", "version 2"],
)
def test_a_kill_for_want_of_memory_is_seen(
    machine: Machine, kind: str, options: str, line: str, file: str, text: str
) -> None:
    folder = machine.mount("memory", kind, options) / "fw/c"
    folder.mkdir(parents=True)
    (folder / file).write_text(text.format(0))
    (machine.proc / "77").mkdir()
    (machine.proc / "77/cgroup").write_text(f"3:cpu:/fw/c\n{line}\n")
    group = memory_group(77, machine.proc)
    assert group == folder
    assert not was_out_of_memory(folder)
    (folder / file).write_text(text.format(1))
    assert was_out_of_memory(folder)


def test_a_process_without_a_memory_group_has_none(machine: Machine) -> None:
    assert memory_group(78, machine.proc) is None
