"""A client on a container that runs: it hears what is said from now on, and may type."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from fairway.io.containers.console import resize, write_all
from fairway.io.containers.runc import Container
from fairway.io.http.streams import Terminal

MOST_BEHIND: Final = 1024
"""Pieces that a client may be behind before it is cut: neither the container nor the log waits for it."""


async def attach(running: Container, terminal: Terminal, *, ends_input: bool) -> int:
    """Follow what runs to its end; its exit code. `ends_input`: its standard input ends with the client's (stdinOnce).

    Raises ConnectionError when the client does not keep up.
    """
    pieces: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()

    def listen(data: bytes, stream: str) -> None:
        pieces.put_nowait((data, stream))

    async def type_in() -> None:
        while running.stdin is not None:
            data = await terminal.read()
            if data:
                await asyncio.to_thread(write_all, running.stdin, data)
                continue
            if ends_input and running.console is None:
                os.close(running.stdin)
                running.stdin = None
            return

    async def follow_size() -> None:
        while running.console is not None:
            resize(running.console, await terminal.resized())

    running.log.listeners.append(listen)
    helpers = [asyncio.ensure_future(type_in()), asyncio.ensure_future(follow_size())]
    try:
        while not running.log.is_closed or not pieces.empty():
            data, stream = await pieces.get()
            if pieces.qsize() > MOST_BEHIND:
                raise ConnectionResetError("the client does not keep up with what the container says")
            await terminal.write(data, stderr=stream == "stderr")
        return await asyncio.shield(running.ended)
    finally:
        running.log.listeners.remove(listen)
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
