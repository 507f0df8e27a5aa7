"""A flood of connections or datagrams from ever new ports, by a process of its own."""

from __future__ import annotations

import multiprocessing
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import netns
from fairway.values.address import Address, Family


def _flood(namespace: int, family: Family, kind: int, target: tuple[str, int], result: Connection) -> None:
    """Until told to stop; reports how many it sent and how many failed."""
    sent = failed = 0
    is_v4 = family is Family.IPV4
    with netns.entered(namespace):
        while not result.poll():
            for _ in range(64):
                with socket.socket(socket.AF_INET if is_v4 else socket.AF_INET6, kind) as client:
                    client.settimeout(2)
                    # reset when closed: no port is kept from being used again
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    try:
                        client.connect(target)
                        if kind == socket.SOCK_DGRAM:
                            client.send(b"x")
                    except OSError:
                        failed += 1
                    sent += 1
    result.send((sent, failed))


@contextmanager
def flooded(namespace: int, kind: int, target: Address, port: int = 80) -> Iterator[dict[str, int]]:
    """A flood as long as the block lasts; how many were sent and failed stands in the result afterwards."""
    ours, theirs = multiprocessing.Pipe()
    arguments = (namespace, target.family, kind, (str(target), port), theirs)
    sender = multiprocessing.get_context("fork").Process(target=_flood, args=arguments)
    outcome: dict[str, int] = {}
    sender.start()
    try:
        yield outcome
        ours.send("stop")
        outcome["sent"], outcome["failed"] = ours.recv()
    finally:
        sender.kill()
        sender.join()
