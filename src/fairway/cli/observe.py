"""A look at a node without touching it: its objects planned afresh, and what the kernel holds beside it.

Explain, status and services all look this way; the proxy that runs on the node is not asked, so it cannot be wrong
about itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fairway.agents.dataplane import suspects_by_dump
from fairway.agents.family import FamilySync
from fairway.agents.node_view import NodeViews
from fairway.cli.sources import gather, pod_feed, proxy_feeds, proxy_sources
from fairway.cli.wiring import NftablesFamily, host_name
from fairway.config.proxy import Flag, ProxySettings, node_name
from fairway.config.proxy.kinds import Bool, Text
from fairway.dataplanes.nftables.dataplane import NftablesDataplane
from fairway.explain.names import StateNames
from fairway.io.netlink.addresses import Links
from fairway.plan.view import NodeView
from fairway.reconcile.items import Item, Operation
from fairway.state.tables import State, Writer
from fairway.values.address import LOOPBACK6, Address, Family

OWN_FLAGS = (
    Flag("manifests", "Objects from a folder of YAML or JSON files instead of an API server.", kind=Text("a path")),
    Flag("offline", "Plan only, without asking the kernel; needs no root.", kind=Bool()),
    Flag("strict-config", "Refuse a configuration file with unknown fields.", kind=Bool()),
    Flag("output", "text or json.", kind=Text("text or json"), short="o"),
)


class FamilyLook(NamedTuple):
    """One IP family: the plan with its items, and what is wrong with the constant rules."""

    sync: FamilySync
    wrong_rules: Sequence[str]
    ask: Callable[[str, Any], Any | None]
    """One element of the kernel, now."""


class Look(NamedTuple):
    """Everything that was seen."""

    state: State
    names: StateNames
    families: Mapping[Family, FamilyLook]
    is_live: bool


async def look(settings: ProxySettings, flags: Mapping[str, str], addresses: Sequence[str] = ()) -> Look:
    """List all objects once, plan them, and dump the kernel unless offline.

    `addresses` are the node's, offline; a live node's are read from its interfaces.
    """
    state = State()
    names = StateNames(state)
    name = node_name(settings, host_name())
    feeds = (*proxy_feeds(Writer(state), _ignore, "", mirrors="manifests" in flags), pod_feed(names))
    await gather(proxy_sources(feeds, settings, flags))
    is_live = flags.get("offline") != "true"
    views = NodeViews(settings, name, state, _node_addresses(state, name, addresses, is_live=is_live))
    families = {}
    for family in Family:
        reader = _Reader(NftablesFamily(family, settings) if is_live else None)
        sync = FamilySync(state, views.view(family), NftablesDataplane(), reader)
        await sync.open(views.view(family))
        sync.plan_all()
        families[family] = FamilyLook(sync, reader.wrong_rules, reader.get)
    return Look(state, names, families, is_live)


def _ignore(kind: str, count: int) -> None: ...


def _node_addresses(state: State, name: str, given: Sequence[str], *, is_live: bool) -> Sequence[Address]:
    """Offline, what was given, or else the Node object's addresses; and loopback, which every node has."""
    if is_live:
        with Links() as links:
            return links.usable_addresses()
    node = state.node(name)
    own = [Address.parse(text) for text in given] or (node.addresses if node else ())
    return [*own, Address.parse("127.0.0.1"), LOOPBACK6]


class _Reader:
    """A kernel that is looked at and never written; without one, an empty one."""

    def __init__(self, kernel: NftablesFamily | None) -> None:
        self._kernel = kernel
        self.wrong_rules: Sequence[str] = ()

    def ensure(self, view: NodeView, items: Callable[[], Iterable[Item]]) -> Sequence[str]:
        if self._kernel is not None:
            self.wrong_rules = self._kernel.check(view)
        return ()

    def apply(self, operations: Sequence[Operation]) -> None:
        raise AssertionError("who only looks writes nothing")

    def dump(self, container: str) -> Iterator[Sequence[tuple[Any, Any]]]:
        return iter(()) if self._kernel is None else self._kernel.dump(container)

    def get(self, container: str, key: Any) -> Any | None:
        return None if self._kernel is None else self._kernel.get(container, key)

    def suspects(self, container: str, known: Mapping[Any, Any]) -> Iterator[Collection[Any]]:
        return suspects_by_dump(self.dump(container), known)
