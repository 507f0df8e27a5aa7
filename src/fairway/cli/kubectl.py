"""`fairway kubectl …`: the kubectl of this machine, on the cluster."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from fairway.cli.clusters import find
from fairway.cluster.settings import DEFAULT_NAME
from fairway.values.errors import UnavailableError

PEERS = Path(__file__).resolve().parents[3] / ".peers" / "bin" / "kubectl"


def run(arguments: Sequence[str]) -> int:
    """The command; replaced by kubectl. `--name` must come first, since everything else is kubectl's."""
    words, name = list(arguments), DEFAULT_NAME
    if words[:1] == ["--name"] and len(words) > 1:
        name, words = words[1], words[2:]
    program = shutil.which("kubectl") or (str(PEERS) if PEERS.exists() else None)
    if program is None:
        raise UnavailableError("there is no kubectl on this machine: `make peers ARGS=kubectl` builds one (needs Go)")
    folder = find("kubectl", name)
    environment = {**os.environ, "KUBECONFIG": str(folder.kubeconfig)}
    os.execvpe(program, ["kubectl", *words], environment)  # noqa: S606 - a list of words, for no shell
