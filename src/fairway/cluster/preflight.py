"""Whether a machine has room for a cluster: all that is wrong, each with the flag or the command that mends it.

Pure: what the machine is like is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Final, NamedTuple

from fairway.cluster.settings import RANGES, ClusterSettings, flag_of
from fairway.cluster.topology import Topology
from fairway.values.address import Prefix

OURS: Final = re.compile(r"fw([0-9a-f]{4})?-(switch|node-\d+(-[0-9a-f-]+)?)")
"""How namespaces of any cluster are called."""
OUR_LINK: Final = re.compile(r"fw([0-9a-f]{4})?-underlay")


class Taken(NamedTuple):
    """A range that this machine uses already."""

    prefix: Prefix
    what: str
    """`the address 10.0.0.4/24 of eth0`."""


class HostFacts(NamedTuple):
    """What counts of a machine."""

    taken: tuple[Taken, ...] = ()
    links: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    is_port_free: bool = True
    missing: tuple[str, ...] = ()
    """Programs and kernel features, each with what mends it."""


def problems(settings: ClusterSettings, facts: HostFacts) -> list[str]:
    """All that stands in the way of a new cluster; empty when nothing does."""
    return [*facts.missing, *_names(settings, facts), *_ranges(settings, facts), *_port(settings, facts)]


def _names(settings: ClusterSettings, facts: HostFacts) -> Iterator[str]:
    topology = settings.topology
    remedy = "`fairway gc` removes what a dead run left; --name gives this cluster other names"
    if topology.link in facts.links:
        yield f"an interface {topology.link} is there already: {remedy}"
    wanted = {topology.switch, *(node.namespace for node in topology.nodes)}
    for name in sorted(wanted & set(facts.namespaces)):
        yield f"a network namespace {name} is there already: {remedy}"


def _ranges(settings: ClusterSettings, facts: HostFacts) -> Iterator[str]:
    for field in RANGES:
        for text in getattr(settings, field):
            wanted = Prefix.parse(text)
            for one in facts.taken:
                if one.prefix.length and (one.prefix.address in wanted or wanted.address in one.prefix):
                    yield f"{wanted} overlaps {one.what}: choose another range with {flag_of(field)}"
                    break


def _port(settings: ClusterSettings, facts: HostFacts) -> Iterator[str]:
    if not facts.is_port_free:
        yield f"port {settings.api_port} of this machine is taken: choose another one with --api-port"


def missing_of(topology: Topology, links: Collection[str], has_namespace: Callable[[str], bool]) -> tuple[str, ...]:
    """What of a running cluster is not there any more on its host."""
    spaces = (topology.switch, *(node.namespace for node in topology.nodes))
    gone = [f"the network namespace {name}" for name in spaces if not has_namespace(name)]
    return (*gone, *([] if topology.link in links else [f"the interface {topology.link}"]))
