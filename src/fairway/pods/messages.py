"""How much of a container's last words its status keeps (kubelet's limits)."""

from __future__ import annotations

from typing import Final

LONGEST_MESSAGE: Final = 4096
"""Bytes of the termination message file."""
LAST_LINES: Final = 80
LAST_BYTES: Final = 2048
"""Of the log, where terminationMessagePolicy falls back to it."""
