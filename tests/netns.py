"""Private network namespaces for tests, entered by a thread or by a child process; gone when their last user is."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def current() -> int:
    """A descriptor of this thread's network namespace; the caller closes it."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def create() -> int:
    """A descriptor of a new network namespace with loopback up; this thread stays where it is."""
    home = current()
    try:
        _check(_libc.unshare(CLONE_NEWNET), "unshare")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            return current()
        finally:
            _check(_libc.setns(home, CLONE_NEWNET), "setns")
    finally:
        os.close(home)


@contextmanager
def entered(namespace: int) -> Iterator[None]:
    """This thread inside a namespace; sockets made there stay there."""
    home = current()
    try:
        _check(_libc.setns(namespace, CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            _check(_libc.setns(home, CLONE_NEWNET), "setns")
    finally:
        os.close(home)


@contextmanager
def private() -> Iterator[int]:
    """This thread inside a new namespace of its own, which is gone afterwards."""
    namespace = create()
    try:
        with entered(namespace):
            yield namespace
    finally:
        os.close(namespace)


def run(*command: str, stdin: str = "") -> str:
    """A command in this thread's namespace; its output. Fails with what it said."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout
