"""No packet is lost, and none gets by untranslated, while backends are replaced, grown and shrunk under a flood."""

from __future__ import annotations

import multiprocessing
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from multiprocessing.connection import Connection

import pytest

import netns
import nft_items as items
from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Policy
from fairway.reconcile.difference import Difference
from fairway.reconcile.items import Item
from fairway.values.address import Address, Family
from nft_world import World, settings_of, world_of
from node import PORT

pytestmark = pytest.mark.kernel
SVC = 2
SECONDS = 2
Maker = Callable[[World, list[int], Address], list[Item]]
both_families = pytest.mark.parametrize("family", list(Family), ids=str)


class Reconciler:
    """What the proxy does with a change: what is new in one transaction, what nobody points to any more in a second."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._difference = Difference(layout.CONTAINERS)
        self.transactions = 0

    def want(self, wanted: list[Item]) -> None:
        difference = self._difference
        difference.set_wanted("all", wanted)
        for _, steps in groupby(difference.pending(), lambda step: max(difference.stage_of(step), 2)):
            batch = list(steps)
            self._world.kernel.apply(batch)
            difference.applied(batch)
            self.transactions += 1


def plain(world: World, numbers: list[int], target: Address) -> list[Item]:
    return [
        *items.backends(SVC, [(world.plan.pod[n], PORT) for n in numbers]),
        *items.frontend(target),
    ]


def sticky(world: World, numbers: list[int], target: Address) -> list[Item]:
    targets = {100 + n: (world.plan.pod[n], PORT) for n in numbers}
    shown = items.frontend(target, policy=Policy.affinity(60))
    return [items.timeout(60), *items.sticky_backends(SVC, targets), *shown]


def flood(namespace: int, family: Family, kind: int, target: tuple[str, int], result: Connection) -> None:
    """Connections, or datagrams from ever new ports, until told to stop; reports how many and how many failed."""
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
def flooded(world: World, kind: int, target: Address) -> Iterator[dict[str, int]]:
    """A flood as long as the block lasts; what came of it stands in the result afterwards."""
    ours, theirs = multiprocessing.Pipe()
    arguments = (world.node.outside, world.plan.family, kind, (str(target), 80), theirs)
    sender = multiprocessing.get_context("fork").Process(target=flood, args=arguments)
    outcome: dict[str, int] = {}
    sender.start()
    try:
        yield outcome
        ours.send("stop")
        outcome["sent"], outcome["failed"] = ours.recv()
    finally:
        sender.kill()
        sender.join()


def churn(reconciler: Reconciler, world: World, make: Maker, target: Address) -> None:
    """Change the backends as fast as possible for a while."""
    dice = random.Random(1)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        numbers = dice.sample(range(10), dice.choice([1, 1, 2, 3, 5, 9]))
        reconciler.want(make(world, numbers, target))


def untranslated(world: World, target: Address) -> list[str]:
    """Entries of the connection table for this address that lead nowhere else."""
    version = "ipv4" if world.plan.family is Family.IPV4 else "ipv6"
    listed = netns.run("conntrack", "-L", "-f", version, "--orig-dst", str(target))
    return [line for line in listed.splitlines() if f"src={target} " in line]


@both_families
@pytest.mark.parametrize("make", [plain, sticky])
def test_no_datagram_is_lost_or_untranslated_while_backends_change(family: Family, make: Maker) -> None:
    with world_of(settings_of(family)) as world:
        target = world.plan.service(1)
        reconciler = Reconciler(world)
        reconciler.want(make(world, [0, 1, 2], target))
        with flooded(world, socket.SOCK_DGRAM, target) as outcome:
            churn(reconciler, world, make, target)
        world.node.settle(world.node.outside, family)
        received = world.node.received(family)
        assert untranslated(world, target) == []
        assert outcome["failed"] == 0
        assert sum(received.values()) == outcome["sent"] > 1000
        assert reconciler.transactions > 200


@both_families
@pytest.mark.parametrize("make", [plain, sticky])
def test_no_connection_fails_while_backends_change(family: Family, make: Maker) -> None:
    with world_of(settings_of(family)) as world:
        target = world.plan.service(1)
        reconciler = Reconciler(world)
        reconciler.want(make(world, [0, 1, 2], target))
        with flooded(world, socket.SOCK_STREAM, target) as outcome, world.node.accepting(family):
            churn(reconciler, world, make, target)
        assert outcome["failed"] == 0
        assert outcome["sent"] > 500
        assert reconciler.transactions > 200
