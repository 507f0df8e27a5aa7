"""Keeps the tables of finished answers equal to the rows, change by change.

Decides when a table is filled (its cluster has synced), mended (after each batch of changes) and exchanged (the
Corefile changed). What an answer is, is `fairway.dns.answers`'; how it is found and sent, the listener's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, Self

from fairway.agents.dns import Cluster, Endpoint, Generation
from fairway.config.corefile_settings import cluster_key
from fairway.dns.answers import FastAnswers, FastZone
from fairway.dns.fast_rules import FastRules, fast_rules
from fairway.dns.state import Touched

log = logging.getLogger(__name__)


class Table(Protocol):
    """Finished answers by name."""

    def __len__(self) -> int: ...

    def set_zone(self, index: int, zone: FastZone, serial: int) -> None: ...

    def set_limit(self, max_edns: int) -> None: ...

    def put(self, nodes: Iterable[bytes]) -> None: ...

    def delete(self, keys: Iterable[bytes]) -> None: ...

    def clear(self) -> None: ...

    def spare(self) -> Self:
        """An empty one, to fill aside."""
        ...

    def swap(self, other: Self) -> None:
        """Exchange contents at once."""
        ...


class _Filled:
    """One block's answers in one table."""

    def __init__(self, table: Table, rules: FastRules, cluster: Cluster, first_zone: int) -> None:
        self.table = table
        self.cluster = cluster
        self.first_zone = first_zone
        self.answers = FastAnswers(
            rules.plugin, first_zone=first_zone, has_glue=rules.has_glue, shuffles=rules.shuffles
        )
        self.is_filled = False
        self._serial = -1

    def fill(self) -> None:
        self.table.put(self.answers.everything())
        self.is_filled = True
        self._serial = -1
        self.set_zones()

    def set_zones(self) -> None:
        if self._serial == self.cluster.serial:
            return  # it counts seconds: most changes of a burst share one
        self._serial = self.cluster.serial
        for index, zone in enumerate(self.answers.zones, self.first_zone):
            self.table.set_zone(index, zone, self.cluster.serial)

    def mend(self, touched: Touched) -> None:
        answers, table = self.answers, self.table
        for namespace in sorted(touched.namespaces):
            table.delete(answers.namespace_keys(namespace))
            table.put(answers.namespace(namespace))
        for service in touched.services:
            nodes = list(answers.service(service))
            if not nodes:
                table.delete(answers.service_keys(service))
            table.put(nodes)
        for address in touched.addresses:
            nodes = list(answers.address(address))
            if not nodes:
                table.delete(answers.address_keys(address))
            table.put(nodes)
        self.set_zones()


class FastTables:
    """The tables of all listening addresses."""

    def __init__(self) -> None:
        self._filled: list[_Filled] = []
        self._hooks: list[tuple[Cluster, Callable[[], None]]] = []

    def begin(self, generation: Generation, tables: Mapping[Endpoint, Table]) -> None:
        """Fill the tables for a new generation. Until one is full, its old answers stay."""
        for cluster, hook in self._hooks:
            cluster.listeners.remove(hook)
        self._hooks, self._filled = [], []
        for endpoint, table in tables.items():
            self._prepare(endpoint, table, generation)
        for cluster in generation.clusters.values():
            mine = [one for one in self._filled if one.cluster is cluster]
            if mine:
                self._follow(cluster, mine)

    def _prepare(self, endpoint: Endpoint, table: Table, generation: Generation) -> None:
        chains = [c for c in generation.chains if endpoint in generation.endpoints[id(c)]]
        spare, first, limits = table.spare(), 0, []
        for chain in chains:
            others = [zone for other in chains if other is not chain for zone in other.settings.zones]
            rules = fast_rules(chain, others)
            if rules is None:
                continue
            cluster = generation.clusters[cluster_key(chain.kubernetes[0][0])]
            filled = _Filled(spare, rules, cluster, first)
            first += len(filled.answers.zones)
            self._filled.append(filled)
            limits += [rules.max_edns] if rules.max_edns else []
            if cluster.has_synced:
                filled.fill()
            filled.table = table
        spare.set_limit(min(limits, default=0))
        table.swap(spare)
        spare.clear()

    def _follow(self, cluster: Cluster, filled: list[_Filled]) -> None:
        def changed() -> None:
            touched = cluster.state.take_touched()
            for one in filled:
                if not one.is_filled:
                    one.fill()
                elif touched:
                    one.mend(touched)

        if cluster.has_synced:
            cluster.state.take_touched()
            log.info("answers=%d msg='finished answers made'", sum(len(one.table) for one in filled))
        self._hooks.append((cluster, changed))
        cluster.listeners.append(changed)
