"""`fairway kubectl …`: the kubectl of this machine, on the cluster."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from fairway.cli.clusters import find
from fairway.cluster.settings import DEFAULT_NAME
from fairway.values.errors import UnavailableError

OTHERS = (Path(sys.executable).with_name("kubectl"), Path(__file__).resolve().parents[3] / ".peers" / "bin" / "kubectl")
"""Where a clone has one, from `make setup` and from `make peers`."""


def run(arguments: Sequence[str]) -> int:
    """The command; replaced by kubectl. `--name` must come first, since everything else is kubectl's."""
    words, name = list(arguments), DEFAULT_NAME
    if words[:1] == ["--name"] and len(words) > 1:
        name, words = words[1], words[2:]
    program = shutil.which("kubectl") or next((str(one) for one in OTHERS if one.exists()), None)
    if program is None:
        raise UnavailableError("there is no kubectl on this machine: install one, 1.29 or newer")
    folder = find("kubectl", name)
    environment = {**os.environ, "KUBECONFIG": str(folder.kubeconfig)}
    os.execvpe(program, ["kubectl", *words], environment)  # noqa: S606 - a list of words, for no shell
