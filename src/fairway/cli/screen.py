"""How commands print to a person: one console, wide enough for its tables when nobody watches."""

from __future__ import annotations

import shutil

from rich.console import Console

LEAST_WIDTH = 140


def screen() -> Console:
    """Standard output; a pipe or a narrow terminal gets whole lines rather than broken ones."""
    width = shutil.get_terminal_size().columns
    return Console(highlight=False, soft_wrap=True, width=max(LEAST_WIDTH, width))
