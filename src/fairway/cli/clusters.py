"""What the commands about clusters on this machine share: their flags, where they find one, how they speak."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from fairway.cli.rights import require_root
from fairway.cluster.settings import DEFAULT_NAME
from fairway.io.host.statefolder import ROOT, StateFolder
from fairway.values.errors import FairwayError


class NoClusterError(FairwayError):
    """There is no cluster of this name here."""


def make_parser(command: str, description: str | None, *, has_output: bool = True) -> argparse.ArgumentParser:
    """A parser with the flags that all of these commands have."""
    parser = argparse.ArgumentParser(prog=f"fairway {command}", description=description)
    parser.add_argument("--name", default=DEFAULT_NAME, help=f"which cluster (default: {DEFAULT_NAME})")
    if has_output:
        parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to answer")
    return parser


def find(command: str, name: str) -> StateFolder:
    """The state folder of a cluster that is there. Raises NoClusterError, or UnavailableError to who is not root."""
    require_root(f"fairway {command}")
    folder = StateFolder(ROOT / name)
    if not folder.exists:
        raise NoClusterError(f"there is no cluster {name} on this machine: start it with `fairway up`")
    return folder


def say(text: str) -> None:
    """To the person who watches: progress, hints, warnings."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def answer(kind: str, **fields: Any) -> None:
    """To a program: one JSON object on standard output."""
    json.dump({"schema": f"fairway.{kind}/v1", **fields}, sys.stdout)
    sys.stdout.write("\n")
    sys.stdout.flush()
