"""Network namespaces with names that iproute2 knows: made, entered for the time of a block, removed."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fairway.values.errors import FairwayError, UnavailableError

FOLDER = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MNT_DETACH = 4096, 2
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceError(FairwayError):
    """A network namespace could not be made as asked; the message has the command and what it said."""


def names(prefix: str) -> list[str]:
    """The named namespaces that begin so, sorted."""
    return sorted(path.name for path in FOLDER.glob(f"{prefix}*")) if FOLDER.is_dir() else []


def add(name: str) -> None:
    """Make a namespace with its loopback up; one that is there already is made anew. `ip netns` takes 10 ms for it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / name
    remove(name)
    path.touch(mode=0o444)
    with scratch():
        _switch_on("lo")
        if _libc.mount(b"/proc/thread-self/ns/net", os.fsencode(path), b"none", _MS_BIND, None):
            reason = os.strerror(ctypes.get_errno())
            raise UnavailableError(f"cannot mount a network namespace at {path}: {reason}; run as root")


def exists(name: str) -> bool:
    """Whether there is a namespace of this name, and not only its file."""
    with contextlib.suppress(FileNotFoundError):
        return (FOLDER / name).stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
    return False


def remove(name: str) -> None:
    """Remove a namespace, if it is there. All that is in it goes with its last process."""
    path = FOLDER / name
    while not _libc.umount2(os.fsencode(path), _MNT_DETACH):
        pass  # what a crash left may be mounted twice
    path.unlink(missing_ok=True)


def _switch_on(link: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", link.encode(), _IFF_UP))


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


def enter(name: str) -> None:
    """Move this thread into a namespace for good, and with it all that it starts from here on."""
    there = os.open(FOLDER / name, os.O_RDONLY)
    try:
        _set(there, name)
    finally:
        os.close(there)


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
