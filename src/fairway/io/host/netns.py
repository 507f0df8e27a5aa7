"""Network namespaces: made, entered for the time of a block, removed. Uses `ip` of iproute2; never on a hot path."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fairway.values.errors import FairwayError, UnavailableError

FOLDER = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceError(FairwayError):
    """A network namespace could not be made as asked; the message has the command and what it said."""


def names(prefix: str) -> list[str]:
    """The named namespaces that begin so, sorted."""
    return sorted(path.name for path in FOLDER.glob(f"{prefix}*")) if FOLDER.is_dir() else []


def add(name: str) -> None:
    """Make a namespace with its loopback up."""
    ip(["netns", "add", name])
    ip(["-n", name, "link", "set", "lo", "up"])


def remove(name: str) -> None:
    """Remove a namespace and all that is in it, if it is there."""
    if (FOLDER / name).exists():
        ip(["netns", "del", name])


def ip(arguments: Sequence[str]) -> None:
    """Run `ip`. Raises NamespaceError with what it said."""
    _run(["ip", *arguments])


def set_sysctl(name: str, key: str, value: str) -> None:
    """Write one sysctl inside a namespace."""
    with entered(name):
        Path("/proc/sys", *key.split(".")).write_text(value, encoding="ascii")


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UnavailableError(f"{command[0]} is missing: apt-get install iproute2") from None
    if done.returncode:
        raise NamespaceError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


@contextmanager
def entered(name: str) -> Iterator[None]:
    """Run the block with this thread in the namespace; sockets opened there stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(FOLDER / name, os.O_RDONLY)
        try:
            _set(there, name)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _set(home, "home")
    finally:
        os.close(home)


@contextmanager
def scratch() -> Iterator[None]:
    """Run the block with this thread in a new namespace without a name, gone with its last socket."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if _libc.unshare(_CLONE_NEWNET):
            reason = os.strerror(ctypes.get_errno())
            raise UnavailableError(f"cannot make a network namespace: {reason}; run as root")
        try:
            yield
        finally:
            _set(home, "home")
    finally:
        os.close(home)


def _set(descriptor: int, name: str) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise UnavailableError(f"cannot enter network namespace {name}: {os.strerror(number)}; run as root")
