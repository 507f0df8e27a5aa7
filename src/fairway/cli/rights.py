"""What a command needs to be allowed to."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fairway.values.errors import UnavailableError

_CAP_NET_ADMIN: Final = 12


def require_root(what: str) -> None:
    """Raise UnavailableError when this process may not program the kernel."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    if not int(fields["CapEff"], 16) >> _CAP_NET_ADMIN & 1:
        raise UnavailableError(f"{what} needs CAP_NET_ADMIN: run it as root, or give the capability to its service")
