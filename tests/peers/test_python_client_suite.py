"""The official Python client's own end-to-end suite, unchanged, against our server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from api_process import running
from peer import peer

pytestmark = pytest.mark.peers
PYTHON, SUITE = peer("python-client"), Path(peer("python-client-tests"))
# Its package lies beside the installed client's, of which it is a part.
PROGRAM = """
import sys, unittest, kubernetes
kubernetes.__path__.append(sys.argv[1])
names = ["kubernetes.e2e_test." + name for name in sys.argv[2:]]
done = unittest.TextTestRunner(verbosity=2).run(unittest.defaultTestLoader.loadTestsFromNames(names))
sys.exit(not done.wasSuccessful() or bool(done.skipped) or not done.testsRun)
"""


@pytest.mark.parametrize("name", ["test_apps", "test_batch", "test_utils", "test_watch"])
def test_suite_passes_on_the_server(tmp_path: Path, name: str) -> None:
    with running(tmp_path):
        command = [PYTHON, "-P", "-c", PROGRAM, str(SUITE / "kubernetes"), name]
        environment = {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")}
        done = subprocess.run(
            command, cwd=SUITE, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr[-5000:]
