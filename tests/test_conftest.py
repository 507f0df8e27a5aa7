"""The rule that no kernel test may be skipped as root, tried on a test run of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.kernel
def test_skipped():
    pytest.skip("no such feature")

@pytest.mark.kernel
@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    assert False

def test_pure():
    pytest.skip("not on this machine")
"""


@pytest.mark.kernel
def test_a_skipped_kernel_test_fails_as_root(tmp_path: Path) -> None:
    here = Path(__file__).parent
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text((here / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = kernel: x\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--import-mode=importlib", "-rfs", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(here)},
    )
    assert "1 failed, 1 skipped, 1 xfailed" in done.stdout, done.stdout
    assert "test_skipped was skipped, as root" in done.stdout
