"""Connections from a network namespace of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from ssl import SSLContext

from fairway.io.host.netns import entered

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def dial(namespace: str, address: str, port: int, tls: SSLContext | None = None) -> Pair:
    """Connect from inside a namespace (empty: this process's own); the socket is made there and used from here."""

    def make() -> socket.socket:
        with entered(namespace) if namespace else contextlib.nullcontext():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    made = await asyncio.to_thread(make) if namespace else make()
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    name = "" if tls is not None else None
    return await asyncio.open_connection(sock=made, ssl=tls, server_hostname=name)
