"""Consoles of containers with `tty: true`: runc makes the pseudo-terminal and hands its master over a socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import termios


class ConsoleSocket:
    """Where runc sends the master. An abstract address, since a path of the file system may be too long for one."""

    def __init__(self) -> None:
        name = f"fairway-console-{os.getpid()}-{secrets.token_hex(8)}"
        self.address = f"@{name}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(f"\0{name}")
        self._listener.listen(1)

    async def receive(self) -> int:
        """The master's descriptor."""
        loop = asyncio.get_running_loop()
        connection, _ = await asyncio.wait_for(loop.sock_accept(self._listener), 10)
        with connection:
            ready = asyncio.Event()
            loop.add_reader(connection, ready.set)
            try:
                await asyncio.wait_for(ready.wait(), 10)
            finally:
                loop.remove_reader(connection)
            _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        return descriptors[0]

    def close(self) -> None:
        self._listener.close()


def resize(terminal: int, size: tuple[int, int]) -> None:
    """Width and height of a pseudo-terminal; its processes hear of it."""
    with contextlib.suppress(termios.error, OSError):  # it has ended
        termios.tcsetwinsize(terminal, (size[1], size[0]))


def write_all(descriptor: int, data: bytes) -> None:
    """As os.write, to the end. Raises OSError when nobody reads any more."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
