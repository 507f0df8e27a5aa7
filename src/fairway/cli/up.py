"""`fairway up`: a Kubernetes cluster on this machine, its nodes network namespaces, its pods containers by runc."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fairway.cli.rights import require_root
from fairway.cluster.settings import DEFAULT_NAME, RANGES, ClusterSettings, flag_of, make_settings
from fairway.io.host.statefolder import ROOT, StateFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

READY_SECONDS = 60.0


def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    from fairway.io.host import clusters

    if "--demo" in arguments or "--manifests" in arguments:
        from fairway.cli import town

        return town.run(list(arguments))
    options = _parser().parse_args(arguments)
    settings = read_settings(options)
    require_root("fairway up")
    folder = StateFolder(ROOT / settings.name)
    began = time.monotonic()
    clusters.build(folder, settings)
    clusters.start(folder)
    clusters.wait_ready(folder, READY_SECONDS, lambda name: _say(f"{name} is ready ({time.monotonic() - began:.1f} s)"))
    _say(f"cluster {settings.name} is ready: export KUBECONFIG={folder.kubeconfig}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fairway up", description=__doc__)
    parser.add_argument("--name", default=DEFAULT_NAME, help="of the cluster and its kubeconfig context")
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="how many nodes (3), in three zones")
    parser.add_argument("--ip-family", default="ipv4", metavar="F", help="ipv4, ipv6 or dual")
    for field, (ipv4, ipv6) in RANGES.items():
        parser.add_argument(flag_of(field), dest=field, default="", metavar="A[,B]", help=f"{ipv4}, {ipv6}")
    parser.add_argument("--mode", default="nftables", help="the proxies' dataplane")
    parser.add_argument("--api-port", type=int, default=6443, metavar="P", help="where the API server listens (6443)")
    parser.add_argument(
        "--image", action="append", default=[], metavar="NAME=PATH", help="a program of this machine for an image"
    )
    return parser


def read_settings(options: argparse.Namespace) -> ClusterSettings:
    """Settings from flags. Raises ConfigError."""
    from fairway.cli.images import image_table

    image_table(options.image)  # says what is wrong
    pairs = [text.partition("=") for text in options.image]
    images = {name: str(Path(path).absolute()) for name, _, path in pairs}
    given = {field: getattr(options, field) for field in RANGES}
    return make_settings(
        options.ip_family,
        given,
        name=options.name,
        nodes=options.nodes,
        mode=options.mode,
        api_port=options.api_port,
        images=images,
    )


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
