"""No packet is lost, and none gets by untranslated, while backends are replaced, grown and shrunk under a flood."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from itertools import groupby

import pytest

import netns
import nft_items as items
from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Policy
from fairway.reconcile.difference import Difference
from fairway.reconcile.items import Item
from fairway.values.address import Address, Family
from fairway.values.protocol import Protocol
from flood import flooded
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
        with flooded(world.node.outside, socket.SOCK_DGRAM, target) as outcome:
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
        with flooded(world.node.outside, socket.SOCK_STREAM, target) as outcome, world.node.accepting(family):
            churn(reconciler, world, make, target)
        assert outcome["failed"] == 0
        assert outcome["sent"] > 500
        assert reconciler.transactions > 200


@both_families
@pytest.mark.parametrize("make", [plain, sticky])
def test_no_datagram_is_lost_while_the_whole_table_is_made_anew(family: Family, make: Maker) -> None:
    """As after an update of Fairway that changes the layout of a set."""
    settings = settings_of(family)
    with world_of(settings) as world:
        target = world.plan.service(1)
        network = items.network(layout.PODS, world.plan.pods)
        wanted = [network, *make(world, [0, 1, 2], target), *many_others(world)]
        Reconciler(world).want(wanted)
        remembered = remember(world, target)
        kept_count = 0
        with flooded(world.node.outside, socket.SOCK_DGRAM, target) as outcome:
            for size in (1 << 21, 1 << 22, 1 << 23):
                said = world.kernel.ensure_skeleton(settings._replace(affinity_size=size), lambda: wanted)
                assert said == ["set affinity had another layout"]
                kept_count += remembered.items() <= world.dump(layout.AFFINITY).items()
        world.node.settle(world.node.outside, family)
        received = world.node.received(family)
        assert untranslated(world, target) == []
        assert outcome["failed"] == 0
        assert sum(received.values()) == outcome["sent"] > 100
        assert kept_count == 3
        assert len(world.dump(layout.FRONTENDS)) > 5000


def many_others(world: World) -> list[Item]:
    """So many that making the table takes a while."""
    addresses = [world.plan.service(1000 + n) for n in range(3000)]
    return [item for address in addresses for item in items.frontend(address, svc=90)]


def remember(world: World, target: Address) -> dict[bytes, bytes]:
    """An affinity of a client that is not among those who flood, if the service has affinity."""
    world.send(Protocol.UDP, world.plan.caller, target)
    return world.dump(layout.AFFINITY)
