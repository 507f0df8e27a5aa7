"""`fairway gc`: remove everything that dead runs left on this machine. Clusters that run are left alone."""

from __future__ import annotations

from collections.abc import Sequence

from fairway.cli.clusters import answer, make_parser, say
from fairway.cli.rights import require_root


def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    from fairway.cli import down
    from fairway.io.host import clusters

    options = make_parser("gc", __doc__).parse_args(arguments)
    require_root("fairway gc")
    dead, _, _ = clusters.remains()
    places = [(folder.kubeconfig_place(), folder.path.name) for folder in dead]
    said = clusters.collect()
    for place, name in places:
        if place is not None:
            down.forget(place, name)
    if options.output == "json":
        answer("gc", removed=said)
    else:
        say("\n".join(f"removed {one}" for one in said) or "nothing to remove")
    return 0
