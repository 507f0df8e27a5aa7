"""The command `fairway`: finds the command that was named and hands it its arguments.

Each command is a module with `run(arguments) -> exit code`, imported only when it is asked for, so that one command
does not pay for another's libraries. Exit codes: 0 ok, 1 a check failed, 2 usage, 3 API unreachable, 4 time-out, 5 a
privilege or kernel feature is missing.
"""

from __future__ import annotations

import importlib
import sys
from enum import IntEnum
from typing import NamedTuple

from fairway import __version__
from fairway.kube.status import ApiUnreachableError
from fairway.values.errors import ConfigError, FairwayError, UnavailableError


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    API_UNREACHABLE = 3
    TIMED_OUT = 4
    UNAVAILABLE = 5


class Command(NamedTuple):
    """A command: the module that runs it, and what it is for."""

    name: str
    module: str
    help: str


COMMANDS = (
    Command("up", "fairway.cli.up", "a Kubernetes cluster on this machine, in seconds"),
    Command("down", "fairway.cli.down", "end it, and put the machine back as it was"),
    Command("status", "fairway.cli.cluster_status", "what of it runs, what does not, and what to do"),
    Command("kubectl", "fairway.cli.kubectl", "this machine's kubectl, on the cluster"),
    Command("kubeconfig", "fairway.cli.kubeconfig", "the cluster's kubeconfig, with a token"),
    Command("node", "fairway.cli.node", "`node exec NAME -- CMD`: a command on a node; or one node's process"),
    Command("gc", "fairway.cli.gc", "remove what dead clusters left"),
    Command("proxy", "fairway.cli.proxy", "the Service proxy of this node; takes kube-proxy's configuration and flags"),
    Command("dns", "fairway.cli.dns", "the cluster's DNS server; takes CoreDNS' Corefile as it is"),
    Command("explain", "fairway.cli.explain", "where a packet goes and why, step by step"),
    Command("apiserver", "fairway.cli.apiserver", "the Kubernetes API from one process and one SQLite file"),
    Command("control-plane", "fairway.cli.control_plane", "API server and controllers of a cluster, as its process"),
    Command("supervisor", "fairway.cli.supervisor", "the parent of a cluster's processes"),
    Command("services", "fairway.cli.services", "frontends and backends as this node plans them"),
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_usage())
        return Exit.OK if words else Exit.USAGE
    if words[0] in ("--version", "version"):
        sys.stdout.write(f"fairway {__version__}\n")
        return Exit.OK
    command = next((c for c in COMMANDS if c.name == words[0]), None)
    if command is None:
        sys.stderr.write(f"fairway: no such command: {words[0]}\n\n{_usage()}")
        return Exit.USAGE
    return _run(command, words[1:])


def _run(command: Command, arguments: list[str]) -> int:
    try:
        module = importlib.import_module(command.module)
        return int(module.run(arguments))
    except FairwayError as error:
        sys.stderr.write(f"fairway {command.name}: {error}\n")
        return exit_code(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return Exit.FAILED


def exit_code(error: FairwayError) -> Exit:
    """The exit code that tells what kind of failure it was."""
    match error:
        case ApiUnreachableError():
            return Exit.API_UNREACHABLE
        case UnavailableError():
            return Exit.UNAVAILABLE
        case ConfigError():
            return Exit.USAGE
        case _:
            return Exit.FAILED


def _usage() -> str:
    width = max(len(c.name) for c in COMMANDS)
    lines = "\n".join(f"  {c.name:<{width}}  {c.help}" for c in COMMANDS)
    return f"usage: fairway COMMAND [ARGUMENTS]\n\n{lines}\n\n`fairway COMMAND --help` says more.\n"


if __name__ == "__main__":
    sys.exit(main())
