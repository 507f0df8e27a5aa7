"""sd_notify against a real datagram socket, as systemd listens on one."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairway.io.host.systemd import Systemd


@contextmanager
def listener(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.settimeout(5)
        one.bind("\0" + address[1:] if address.startswith("@") else address)
        yield one


@pytest.mark.parametrize("is_abstract", [False, True])
def test_states_arrive_as_systemd_reads_them(tmp_path: Path, is_abstract: bool) -> None:
    address = f"@fairway-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with listener(address) as heard:
        systemd = Systemd({"NOTIFY_SOCKET": address})
        assert systemd.is_there
        systemd.ready("9 services")
        systemd.ready()
        systemd.watchdog()
        systemd.status("two\nlines")
        systemd.stopping()
        assert [heard.recv(4096) for _ in range(5)] == [
            b"READY=1\nSTATUS=9 services",
            b"READY=1",
            b"WATCHDOG=1",
            b"STATUS=two lines",
            b"STOPPING=1",
        ]


def test_reloading_carries_the_time_that_systemd_compares(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    before = time.monotonic_ns() // 1000
    with listener(address) as heard:
        Systemd({"NOTIFY_SOCKET": address}).reloading()
        first, second = heard.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_watchdog_interval_is_half_of_what_is_allowed_and_for_this_process_only() -> None:
    there = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000"}
    assert Systemd(there).watchdog_interval == 15.0
    assert Systemd({**there, "WATCHDOG_PID": str(os.getpid())}).watchdog_interval == 15.0
    assert Systemd({**there, "WATCHDOG_PID": "1"}).watchdog_interval is None
    assert Systemd({"NOTIFY_SOCKET": "/x"}).watchdog_interval is None


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    Systemd({}).ready()
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
    assert not Systemd({}).is_there
