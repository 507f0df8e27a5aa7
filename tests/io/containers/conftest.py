from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_process import ApiProcess, running
from fairway.io.containers.rootfs import RootFiles


@pytest.fixture
def files() -> Iterator[RootFiles]:
    """Root file systems of the real machine, in a folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix="fw-pods-"))
    made = RootFiles(folder)
    made.open("64m")
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file in the machine's /root, and one that only root may read in /etc."""
    paths = [Path(f"/root/fw-pods-{os.getpid()}"), Path(f"/etc/fw-pods-{os.getpid()}.conf")]
    for path in paths:
        path.write_text("machine's secret")
        path.chmod(0o600)
    try:
        yield paths[1]
    finally:
        for path in paths:
            path.unlink()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with running(tmp_path_factory.mktemp("api")) as server:
        yield server
