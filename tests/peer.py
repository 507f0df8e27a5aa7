"""The real Kubernetes programs that `make peers` builds, for tests beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("FAIRWAY_PEERS", Path(__file__).parents[1] / ".peers")) / "bin"


def peer(name: str) -> str:
    """The path of a built peer. Where there is none the module that asks while it is read is skipped, or the test."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is not there: make peers builds it", allow_module_level=True)
    return str(path)
