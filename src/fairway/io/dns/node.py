"""The DNS server's world on a node of an embedded cluster: the Corefile is an API object, the client the node's own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from fairway.agents.dns import Endpoint
from fairway.agents.feed import Feed, Source
from fairway.agents.reflector import Reflector
from fairway.config import corefile_settings as config
from fairway.config.corefile_default import default_corefile
from fairway.config.corefile_servers import read_corefile
from fairway.io.dns.http import Page, SmallHttpServer
from fairway.io.dns.world import RealWorld
from fairway.io.kube.client import ApiClient

LOCAL_ADDRESS = "169.254.20.10"
"""Of every node's DNS server, for its own pods (as NodeLocal DNSCache has it)."""
ASIDE = 2000
"""How much higher than CoreDNS' the ports of health and readiness are."""
SOURCE = "ConfigMap kube-system/coredns"


class NodePlace(NamedTuple):
    """Where the server is."""

    addresses: tuple[str, ...]
    """The node's own, the primary one first."""
    resolvers: tuple[str, ...]
    """What `/etc/resolv.conf` in a Corefile stands for; without any, nothing is forwarded."""
    domain: str = "cluster.local"


async def _keep_open() -> None:
    """The client belongs to the node."""


class NodeWorld(RealWorld):
    """As the machine's, but for what a node has of its own."""

    def __init__(self, place: NodePlace, api: ApiClient) -> None:
        super().__init__(Path(SOURCE))
        self._place = place
        self._api = api
        self.text = default_corefile(place.domain)
        """The Corefile, as last heard."""
        self.may_forward = True
        """Not when queries were seen to come back."""

    def take(self, text: str) -> None:
        """The Corefile is this from now on; `DnsAgent.reload` reads it."""
        self.text = text

    def take_default(self) -> None:
        """The Corefile is the one that a cluster begins with."""
        self.text = default_corefile(self._place.domain)

    def read_settings(self) -> tuple[str, config.CorefileSettings]:
        """Imports of files are not followed: a ConfigMap is all there is. Raises ConfigError."""
        settings = read_corefile(self.text, SOURCE, os.environ, lambda _: [])
        servers = tuple(replace(one, plugins=tuple(self._usable(one.plugins))) for one in settings.servers)
        digest = hashlib.sha256(f"{self.may_forward} {self.text}".encode()).hexdigest()
        return digest, replace(settings, servers=servers)

    def _usable(self, plugins: Sequence[object]) -> list[object]:
        """Upstreams by address; a `forward` without any is left out."""
        found: list[object] = []
        for one in plugins:
            if isinstance(one, config.ForwardSettings):
                to = [t for text in one.to for t in (self._place.resolvers if text == config.RESOLV_CONF else (text,))]
                if to and self.may_forward:
                    found.append(replace(one, to=tuple(to)))
            else:
                found.append(one)
        return found

    def endpoints(self, settings: config.ServerSettings) -> list[tuple[config.ServerKey, Endpoint]]:
        """A block without `bind` is served at the node's addresses alone: port 53 of others is anybody's."""
        if not settings.bind.names:
            settings = replace(settings, bind=config.BindSettings((*self._place.addresses, LOCAL_ADDRESS)))
        return super().endpoints(settings)

    def sources(
        self, settings: config.KubernetesSettings, feeds: Sequence[Feed[Any]]
    ) -> tuple[list[Source], Callable[[], Any]]:
        """Whatever API the Corefile names, the node's is meant."""
        return [Reflector(self._api, feed, self._clock, self.random) for feed in feeds], _keep_open

    def http(self, address: str, pages: dict[str, Page]) -> SmallHttpServer:
        """Metrics at the node's address; health and readiness where no program of the node can be in the way.

        Nor they in its way: whoever listens on all addresses needs the port at each, and 8080 is a favourite of pods in
        the node's network.
        """
        host, _, port = address.rpartition(":")
        if not host:
            is_metrics = "/metrics" in pages
            host, port = (self._place.addresses[0], port) if is_metrics else (LOCAL_ADDRESS, str(int(port) + ASIDE))
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return SmallHttpServer(address, pages)
