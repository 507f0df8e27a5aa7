"""Keeps the tables of finished answers equal to the rows, change by change, and hands them what caches keep.

Decides when a table is filled (its cluster has synced), mended (after each batch of changes) and exchanged (the
Corefile changed). What an answer is, is `fairway.dns.answers`'; how it is found and sent, the listener's; what of a
cache gets there, `fairway.agents.dns_kept`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, Self

from fairway.agents.dns import Cluster, Endpoint, Generation
from fairway.agents.dns_kept import KeptAnswers, KeptTable, Row, Rows, zone_label
from fairway.config.corefile_settings import cluster_key
from fairway.dns.answers import FastAnswers, FastZone
from fairway.dns.cache import Cache
from fairway.dns.chain import Chain
from fairway.dns.fast_rules import FastRules, fast_rules, kept_rules
from fairway.dns.server import read_request
from fairway.dns.state import Touched

log = logging.getLogger(__name__)


class Table(KeptTable, Protocol):
    """Finished answers by name."""

    def __len__(self) -> int: ...

    refresh: Callable[[int, bytes], None]
    """Called with a row and a query whose kept answer should be fetched anew."""

    def set_zone(self, index: int, zone: FastZone, serial: int, row: int = 0) -> None: ...

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

    def __init__(self, table: Table, rules: FastRules, cluster: Cluster, first_zone: int, row: int) -> None:
        self.table = table
        self.cluster = cluster
        self.first_zone = first_zone
        self._row = row
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
            self.table.set_zone(index, zone, self.cluster.serial, self._row)

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
        self._kept: list[tuple[Cache, KeptAnswers]] = []
        self.rows = Rows()

    def begin(self, generation: Generation, tables: Mapping[Endpoint, Table]) -> None:
        """Fill the tables for a new generation. Until one is full, its old answers stay."""
        for cluster, hook in self._hooks:
            cluster.listeners.remove(hook)
        self._hooks, self._filled = [], []
        for endpoint, table in tables.items():
            self._prepare(endpoint, table, generation)
        self._keep(generation, tables)
        for cluster in generation.clusters.values():
            mine = [one for one in self._filled if one.cluster is cluster]
            if mine:
                self._follow(cluster, mine)

    def _prepare(self, endpoint: Endpoint, table: Table, generation: Generation) -> None:
        chains = [c for c in generation.chains if endpoint in generation.endpoints[id(c)]]
        spare, first, limits = table.spare(), 0, []
        for chain in chains:
            kept = kept_rules(chain)
            limits += [kept.max_edns] if kept is not None and kept.max_edns else []
            others = [zone for other in chains if other is not chain for zone in other.settings.zones]
            rules = fast_rules(chain, others)
            row = self.rows.number(_cluster_row(chain)) if rules is not None else None
            if rules is None or row is None:
                continue
            cluster = generation.clusters[cluster_key(chain.kubernetes[0][0])]
            filled = _Filled(spare, rules, cluster, first, row)
            first += len(filled.answers.zones)
            self._filled.append(filled)
            limits += [rules.max_edns] if rules.max_edns else []
            if cluster.has_synced:
                filled.fill()
            filled.table = table
        spare.set_limit(min(limits, default=0))
        table.swap(spare)
        spare.clear()

    def _keep(self, generation: Generation, tables: Mapping[Endpoint, Table]) -> None:
        """Have caches hand over what they keep. Those of the last generation do not any more: their questions went."""
        for cache, _ in self._kept:
            cache.keeper = None
        self._kept, self.rows.caches = [], {}
        for chain in generation.chains:
            mine = [tables[endpoint] for endpoint in generation.endpoints[id(chain)] if endpoint in tables]
            rules = kept_rules(chain) if mine else None
            if rules is not None:
                kept = KeptAnswers(rules, chain.settings, mine, self.rows)
                rules.cache.keeper = kept
                self._kept.append((rules.cache, kept))
                self.rows.caches[kept.block] = rules.cache
        for table in tables.values():
            table.refresh = self._refresh

    def _refresh(self, row: int, query: bytes) -> None:
        cache = self.rows.cache_of(row)
        request = read_request(query)
        if cache is not None and request is not None:
            cache.refresh(request)

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


def _cluster_row(chain: Chain) -> Row:
    return Row(zone_label(chain.kubernetes[0][1].options.primary_zone, chain.settings.zones), "kubernetes")
