"""`fairway down`: end a cluster and put the machine back as it was."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fairway.cli.rights import require_root
from fairway.cluster.settings import DEFAULT_NAME
from fairway.io.host.statefolder import ROOT, StateFolder


def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    from fairway.io.host import clusters

    parser = argparse.ArgumentParser(prog="fairway down", description=__doc__)
    parser.add_argument("--name", default=DEFAULT_NAME, help="of the cluster")
    options = parser.parse_args(arguments)
    require_root("fairway down")
    folder = StateFolder(ROOT / options.name)
    if not folder.exists:
        sys.stderr.write(f"there is no cluster {options.name}\n")
        return 0
    clusters.stop(folder)
    clusters.clear(folder)
    sys.stderr.write(f"cluster {options.name} is down\n")
    return 0
