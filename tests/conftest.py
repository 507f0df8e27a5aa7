"""Rules for all tests: what needs root says so, and as root nothing of it may be skipped."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
"""`same`: each run tries the same examples, whatever else the machine does. `search`: new and many ones."""

MAY_SKIP: dict[str, str] = {}
"""Kernel tests that may be skipped even as root: the start of a test's id, and why."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("kernel") and os.geteuid() != 0:
        pytest.skip("programs a real kernel: needs root")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped kernel test is a failed one where nothing stands in its way."""
    report = yield
    is_skip = report.skipped and not hasattr(report, "wasxfail")
    must_run = item.get_closest_marker("kernel") is not None and os.geteuid() == 0
    if is_skip and must_run and not any(item.nodeid.startswith(start) for start in MAY_SKIP):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, as root: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    judge = sys.modules.get("flow_judge")  # imported by those tests alone that let flows through the kernel
    tally = judge.Tally if judge else None
    if tally and tally.flows:
        terminalreporter.write_line(f"{tally.flows} flows went through the kernel, by {tally.connections} connections")
