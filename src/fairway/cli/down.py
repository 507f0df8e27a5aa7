"""`fairway down`: end a cluster and put the machine back as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fairway.cli.clusters import answer, make_parser, say
from fairway.cli.rights import require_root
from fairway.io.host.statefolder import ROOT, StateFolder
from fairway.values.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    options = make_parser("down", __doc__).parse_args(arguments)
    require_root("fairway down")
    folder = StateFolder(ROOT / options.name)
    was_there = folder.exists
    if was_there:
        take_down(folder)
    if options.output == "json":
        answer("down", name=options.name, ended=was_there)
    else:
        say(f"cluster {options.name} is down" if was_there else f"there is no cluster {options.name}")
    return 0


def take_down(folder: StateFolder) -> None:
    """End its processes, put the machine back, take the entry out of the kubeconfig that got one."""
    from fairway.io.host import clusters

    place, name = folder.kubeconfig_place(), folder.settings().name
    clusters.stop(folder)
    clusters.clear(folder)
    if place is not None:
        forget(place, name)


def forget(place: Path, name: str) -> None:
    """Take a cluster's entry out of a kubeconfig; a file that is empty then, and was ours alone, goes, too."""
    from fairway.cluster.kubeconfig import is_empty, without
    from fairway.io.kube import userconfig

    if not place.exists():
        return
    try:
        userconfig.change(place, lambda tree: without(tree, name))
    except ConfigError as error:
        say(f"the kubeconfig keeps its entry {name}: {error}")
        return
    if is_empty(userconfig.read(place)):
        with contextlib.suppress(OSError):
            place.unlink()
            place.parent.rmdir()
