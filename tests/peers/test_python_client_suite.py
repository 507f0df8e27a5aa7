"""The official Python client's own end-to-end suite, unchanged, on our server and on `fairway up`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from api_process import running
from cluster_host import ClusterHost
from peer import peer

pytestmark = pytest.mark.peers
SUITE = Path(peer("python-client-tests"))
# The suite is a part of the client's package that only its sources have.
PROGRAM = """
import sys, unittest, kubernetes
kubernetes.__path__.append("kubernetes")
names = ["kubernetes.e2e_test." + sys.argv[1]]
done = unittest.TextTestRunner(verbosity=2).run(unittest.defaultTestLoader.loadTestsFromNames(names))
sys.exit(not done.wasSuccessful() or bool(done.skipped) or not done.testsRun)
"""
COMMAND = [str(SUITE / "env/bin/python"), "-P", "-c", PROGRAM]


@pytest.mark.parametrize("name", ["test_apps", "test_batch", "test_utils", "test_watch"])
def test_suite_passes_on_the_server(tmp_path: Path, name: str) -> None:
    with running(tmp_path):
        environment = {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")}
        done = subprocess.run(
            [*COMMAND, name], cwd=SUITE, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.mark.kernel
def test_suite_of_running_pods_passes_on_a_cluster(tmp_path: Path) -> None:
    with ClusterHost(tmp_path) as host:
        host.up("--nodes", "1")
        done = host.attempt("env", "-C", str(SUITE), *COMMAND, "test_client", seconds=120)
    assert done.returncode == 0, done.stderr[-5000:]
