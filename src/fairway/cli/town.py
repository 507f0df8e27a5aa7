"""`fairway up`: a node, its pods and a client outside as network namespaces, and Services between them.

The first form of the embedded cluster: objects come from a folder of manifests, one `fairway proxy` programs the node.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from fairway.cli import demo
from fairway.cli.rights import require_root
from fairway.values.errors import ConfigError

EXAMPLES = (Path(__file__).resolve().parents[1] / "examples", Path(__file__).resolve().parents[3] / "examples")
"""In a wheel, and in a clone."""


def run(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="fairway up", description=__doc__)
    parser.add_argument("--demo", action="store_true", help="send requests to every Service, explain one, and end")
    parser.add_argument("--foreground", action="store_true", help="stay up until Ctrl-C")
    parser.add_argument("--manifests", type=Path, default=_example(), help="the objects (default: the example shop)")
    options = parser.parse_args(arguments)
    if not options.manifests.is_dir():
        raise ConfigError(f"--manifests: {options.manifests} is no folder")
    require_root("fairway up")
    return asyncio.run(_up(options.manifests, stays=options.foreground))


def _example() -> Path:
    return next((folder for folder in EXAMPLES if folder.is_dir()), EXAMPLES[0]) / "shop"


async def _up(manifests: Path, *, stays: bool) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await demo.Town.plan(manifests) as town:
        good = await demo.visit(town)
        if stays and not stop.is_set():
            sys.stdout.write(demo.how_to_try(town))
            sys.stdout.flush()
            await stop.wait()
    return 0 if good else 1
