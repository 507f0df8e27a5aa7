"""`fairway up`: the demonstration reaches every Service, and leaves nothing behind."""

from __future__ import annotations

import subprocess

import pytest

from proxy_process import fairway

pytestmark = pytest.mark.kernel


def test_the_demonstration_reaches_every_service_and_leaves_nothing_behind() -> None:
    before = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    done = fairway("up", "--demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shop/idle   1× refused" in done.stdout
    assert "6× pod store-31 (source 192.168.77.2)" in done.stdout
    assert "agreed: plan = items = kernel" in done.stdout
    after = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert after == before
    spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert "fw-" not in spaces
