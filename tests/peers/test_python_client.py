"""The official Python client works with our server: documents, typed objects, pages, watches, the dynamic client."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from api_process import running
from peer import peer

pytestmark = pytest.mark.peers
PYTHON = peer("python-client")


def test_the_official_client_is_at_home(tmp_path: Path) -> None:
    program = Path(__file__).with_name("python_client_program.py")
    with running(tmp_path):
        command = [PYTHON, str(program), str(tmp_path / "kubeconfig")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "6 steps\n"), done.stderr[-3000:]
