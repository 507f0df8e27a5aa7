"""Follows the Corefile in a ConfigMap (`kube-system/coredns`): the server reads it again as soon as it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from fairway.agents.dns import DnsAgent
from fairway.agents.feed import Change, Feed
from fairway.kube.administration import ConfigMap
from fairway.kube.objects import CONFIG_MAP
from fairway.values.names import ObjectName

log = logging.getLogger(__name__)

DEFAULT = ObjectName("kube-system", "coredns")
KEY = "Corefile"


class CorefileSink:
    """Takes the ConfigMap. One that goes, or has no Corefile, changes nothing: names are needed all the more then."""

    def __init__(self, take: Callable[[str], None], where: ObjectName = DEFAULT) -> None:
        self._take = take
        self._where = where
        self.has_changed = asyncio.Event()

    def feed(self) -> Feed[ConfigMap]:
        """What is to be followed."""
        return Feed(CONFIG_MAP, self, fields=f"metadata.name={self._where.name}", namespace=self._where.namespace)

    def replace(self, objects: Sequence[ConfigMap], kept: Collection[ObjectName]) -> None:
        del kept
        for one in objects:
            self._put(one)

    def apply(self, changes: Sequence[Change[ConfigMap]]) -> None:
        for _, one in changes:
            if one is not None:
                self._put(one)

    def _put(self, one: ConfigMap) -> None:
        text = (one.data or {}).get(KEY)
        if text is None:
            log.warning("configmap=%s msg='it has no key %s: the last Corefile stays'", self._where, KEY)
            return
        self._take(text)
        self.has_changed.set()

    async def reload_for_ever(self, agent: DnsAgent) -> None:
        """Until cancelled."""
        while True:
            await self.has_changed.wait()
            self.has_changed.clear()
            await agent.reload()
