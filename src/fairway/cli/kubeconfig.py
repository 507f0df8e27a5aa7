"""`fairway kubeconfig`: a kubeconfig of the cluster alone, with a token."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fairway.cli.clusters import find, make_parser


def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    name = make_parser("kubeconfig", __doc__, has_output=False).parse_args(arguments).name
    sys.stdout.write(find("kubeconfig", name).kubeconfig.read_text(encoding="utf-8"))
    return 0
