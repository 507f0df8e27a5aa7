"""Every version of the nft program at hand: the machine's own, and those that `tools/nft-versions` has unpacked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_UNPACKED = Path(__file__).parent.parent / ".peers" / "nft"


def programs() -> list[str]:
    """Paths to run; the machine's own first."""
    own = shutil.which("nft")
    return [*([own] if own else []), *(str(path) for path in sorted(_UNPACKED.glob("*/nft")))]


def version(program: str) -> tuple[int, ...]:
    """(1, 0, 6)"""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.split()[1].removeprefix("v").split("."))
