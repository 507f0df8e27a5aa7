"""A node whose kernel holds our table in one family, and elements put into it by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import netns
import nft_items as items
from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.skeleton import PodRanges, SkeletonSettings
from fairway.io.netlink.nftables import NftablesKernel
from fairway.reconcile.items import Item
from fairway.values.address import Address, Family
from fairway.values.protocol import Protocol
from node import PLANS, PORT, Node, Outcome, Plan


class World:
    """Everything happens in the node's namespace."""

    def __init__(self, node: Node, settings: SkeletonSettings) -> None:
        self.node, self.settings = node, settings
        self.plan = PLANS[settings.family]
        self.kernel = NftablesKernel(settings.family)
        self.kernel.ensure_skeleton(settings)
        if isinstance(settings.pods, PodRanges):
            self.add([items.network(layout.PODS, self.plan.pods)])

    def add(self, wanted: list[Item]) -> None:
        self.kernel.apply(items.additions(wanted))

    def remove(self, unwanted: list[Item]) -> None:
        self.kernel.apply(items.removals(unwanted))

    def send(self, protocol: Protocol, source: Address, target: Address, port: int = 80) -> Outcome:
        return self.node.send(protocol, source, target, port)

    def dump(self, container: str) -> dict[bytes, bytes]:
        return dict(pair for chunk in self.kernel.dump(container) for pair in chunk)

    @property
    def sources(self) -> dict[str, Address]:
        plan = self.plan
        return {"pod": plan.caller, "node": plan.node, "outside": plan.client}


@contextmanager
def world_of(settings: SkeletonSettings) -> Iterator[World]:
    """A node of its own, entered."""
    with Node() as node, netns.entered(node.node):
        world = World(node, settings)
        with world.kernel:
            yield world


def pods(plan: Plan, *numbers: int) -> list[tuple[Address, int]]:
    """Backends of this family."""
    return [(plan.pod[number], PORT) for number in numbers]


def settings_of(family: Family) -> SkeletonSettings:
    """Pods are told by their range."""
    return SkeletonSettings(family, PodRanges())
